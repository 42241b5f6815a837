//! The command line of blkcp: reads the words, copies, says what happened.

mod arguments;
mod copy;
mod failure;
mod interrupt;
mod plan;
mod progress;
mod summary;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use arguments::Arguments;
use blk_datapath::explain::explain;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let interrupt = match interrupt::Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("blkcp: cannot catch signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    match copy::run(&arguments, interrupt) {
        Ok(summary) => {
            for item in &summary.skipped {
                eprintln!("blkcp: skipped {item}");
            }
            if arguments.json {
                println!("{}", summary.json());
            } else if !arguments.quiet {
                eprintln!("{summary}");
            }
            if summary.skipped.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(failure) => {
            eprintln!("blkcp: {}", explain(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}
