//! `blockd probe`: what this host, its interfaces and its disks can do, for people and programs.

mod json;
mod report;
mod text;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use blk_datapath::explain::explain;
use blockd::exports::ExportSpec;
use clap::Args;

use report::Report;
use rustix::termios::tcgetwinsize;

/// Tell what the network card, the kernel and the disk can do, and what to change
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ProbeArguments {
    /// Network interface to look at; may be given several times [default: all but lo]
    #[arg(short, long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
    /// Directory to look at; may be given several times
    #[arg(short, long = "path", value_name = "DIR")]
    paths: Vec<PathBuf>,
    /// Export to look at, as blockd is given it; may be given several times
    #[arg(short, long = "export", value_name = "NAME=DIR", value_parser = clap::value_parser!(ExportSpec))]
    exports: Vec<ExportSpec>,
    /// One JSON object; its keys are in docs/operations.md
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Nothing is changed: no program is loaded and no queue is bound. In each directory, a file without a name is made and closed.
It works without privileges, and says what it could not read. note, warning: blockd runs; missing: it does not.

Exit codes: 0 well enough to run, 2 wrong usage, else the first of: 5 a directory cannot be used, 11 an interface cannot be
used (without --interface: none can), 1 kernel, io_uring or AF_XDP (or the report could not be made), 9 missing privileges.

Example:
  blockd probe --interface eth1 --path /srv/data";

/// Looks, and says what it found.
pub fn run(arguments: &ProbeArguments) -> ExitCode {
    let exports = arguments.exports.iter().map(|spec| spec.directory.clone());
    let paths: Vec<PathBuf> = arguments.paths.iter().cloned().chain(exports).collect();
    let report = match Report::make(&arguments.interfaces, &paths) {
        Ok(report) => report,
        Err(error) => {
            eprintln!(
                "blockd: cannot list the network interfaces: {}",
                explain(&error)
            );
            return ExitCode::from(1);
        }
    };
    let said = match arguments.json {
        true => format!("{}\n", json::report(&report)),
        false => text::report(&report, columns()),
    };
    match io::stdout().write_all(said.as_bytes()) {
        // Who reads has seen enough: `blockd probe | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("blockd: cannot write the report: {error}");
            return ExitCode::from(1);
        }
        Ok(()) => {}
    }
    ExitCode::from(report.exit_code())
}

/// Columns of the terminal that the report goes to; `None`: it goes elsewhere, and programs like whole lines.
fn columns() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| tcgetwinsize(&stdout))?.ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}
