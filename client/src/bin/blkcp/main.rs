//! The command line of blkcp: reads the words, copies, says what happened.

mod arguments;
mod carry;
mod copy;
mod destination;
mod direction;
mod directories;
mod dump;
mod failure;
mod filter;
mod interrupt;
mod lanes;
mod links;
mod measure;
mod memory;
mod plan;
mod progress;
mod removal;
mod small;
mod summary;
mod tree_options;
mod verbs;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Task};
use blk_datapath::explain::explain;
use failure::Failure;
use interrupt::Interrupt;
use measure::Measured;

/// Heaps of small files are open until they are durable; the usual soft limit of 1024 is kept low for programs that use
/// `select`, which this one does not.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn main() -> ExitCode {
    let task = Task::read();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // no-color.org: set to anything but nothing.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_color)
        .init();
    raise_descriptor_limit();
    let interrupt = match Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("blkcp: cannot catch signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    match task {
        Task::Copy(arguments) => copy(&arguments, interrupt),
        Task::Verb(verb) => ExitCode::from(verbs::run(&verb, &interrupt)),
        Task::Measure(arguments) => match measure::run(&arguments, interrupt) {
            Ok(Measured { report, removed }) => {
                // What has to be removed by hand is said whatever becomes of the rest.
                let code = removed.map_or_else(|left| fail(&left), |()| ExitCode::SUCCESS);
                let text = match arguments.json {
                    true => report.json(),
                    false => report.to_string(),
                };
                match say(&text) {
                    Err(failure) if code == ExitCode::SUCCESS => fail(&failure),
                    Err(failure) => {
                        fail(&failure);
                        code
                    }
                    Ok(()) => code,
                }
            }
            Err(failure) => fail(&failure),
        },
    }
}

/// Writes a line to standard output. Whoever has closed the other end of a pipe has seen enough: that is no failure.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("blkcp: {}", explain(failure));
    ExitCode::from(failure.exit_code())
}

fn copy(arguments: &Arguments, interrupt: Interrupt) -> ExitCode {
    match copy::run(arguments, interrupt) {
        Ok(summary) => {
            for item in &summary.skipped {
                eprintln!("blkcp: skipped {item}");
            }
            if arguments.json {
                if let Err(failure) = say(&summary.json()) {
                    return fail(&failure);
                }
            } else if !arguments.quiet {
                eprintln!("{summary}");
            }
            if summary.skipped.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(failure) => fail(&failure),
    }
}
