//! `bench`: blkcp beside the tools that people use today, in one run, by turns. `scripts/bench` builds and installs what it
//! needs and cleans up behind it.
//!
//! ```text
//!   for each MTU: two hosts in network namespaces ([scene])      or: this machine and one with `bench server` ([two_hosts])
//!     for each kind of work ([work]): for each run: for each tool that can do it ([tools]), in changing order ([order]):
//!       start its server ─ wait for a disk at rest ([rest]) ─ do it, durably ─ compare ─ stop
//!   samples ([sample], [figures]) ─> tables ([table]), drawings ([drawings]), JSON ([output])
//! ```
//!
//! Exit status: 0 when all of it was measured, 1 when something has failed, 2 for a wrong command line.

mod attempt;
mod chart;
mod compare;
mod counting;
mod cpu;
mod drawings;
mod far_files;
mod figures;
mod held;
mod inside;
mod latencies;
mod machine;
mod measure;
mod options;
mod order;
mod output;
mod process;
mod rest;
mod running;
mod sample;
mod scene;
mod table;
mod tools;
mod two_hosts;
mod work;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use blk_bench::lab::Directory;
use clap::Parser;

use figures::Board;
use machine::Machine;
use options::{Arguments, Command};
use output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Inside(inside)) => inside.run(),
        Some(Command::Server(server)) => two_hosts::serve(server),
        Some(Command::Client(client)) => two_hosts::measure(client),
        None => lab(&arguments),
    };
    if let Err(error) = outcome {
        eprintln!("bench: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn lab(arguments: &Arguments) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "network namespaces need root"
    );
    let tools = tools::chosen(&arguments.common.tools);
    ensure!(!tools.is_empty(), "no such tool, or none is installed");
    let amounts = arguments.common.sizes.amounts();
    let directory = Directory::new();
    let machine = Machine::here(&directory.join("."));
    let output = Output::begin(&amounts, &machine, arguments.common.out.as_deref())?;
    let save = |board: &Board| output.save(board);
    let works = arguments.works();
    let board = compare::in_the_lab(&arguments.mtu, &works, &tools, &amounts, &save)?;
    output.print(&board)
}
