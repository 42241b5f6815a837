//! `blockd restore`: puts back what a blockd that was killed had set on cards.

use std::path::Path;
use std::process::ExitCode;

use blk_datapath::explain::explain;
use blockd::steering::{STATE_DIRECTORY, recover};
use clap::Args;

/// Put back interrupts, RSS and rules of cards as they were before blockd --steer.
///
/// Only needed after blockd was killed (else it does so itself), and if it is not started again on the interface, which
/// does it, too. What somebody else has changed since stays. Interfaces whose blockd runs are left alone.
#[derive(Debug, Args)]
#[command(name = "restore", after_help = AFTER_HELP)]
pub struct RestoreArguments {
    /// Of this interface only [default: all of this network namespace]
    #[arg(short, long, value_name = "IF")]
    interface: Option<String>,
}

const AFTER_HELP: &str = "\
Exit codes: 0 everything is as it was, or nothing was to be done; 1 something could not be put back, or blockd runs there;
2 wrong usage.";

/// Does it, and says what was done.
pub fn run(arguments: &RestoreArguments) -> ExitCode {
    let interface = arguments.interface.as_deref();
    let outcomes = match recover(interface, Path::new(STATE_DIRECTORY)) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            eprintln!("blockd: {}", explain(&error));
            return ExitCode::FAILURE;
        }
    };
    if outcomes.is_empty() {
        println!("nothing to put back");
    }
    let mut status = ExitCode::SUCCESS;
    for (interface, recovered) in outcomes {
        let Some(recovered) = recovered else {
            eprintln!("blockd: {interface}: blockd runs there, and puts it back when it ends");
            status = ExitCode::FAILURE;
            continue;
        };
        println!(
            "{interface}: {} setting(s) as before blockd",
            recovered.settings
        );
        for note in recovered.notes {
            eprintln!("blockd: {interface}: {note}");
            status = ExitCode::FAILURE;
        }
    }
    status
}
