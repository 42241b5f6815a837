//! The end that measures.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use blk_bench::lab::{Directory, files, must};

use super::address::Control;
use super::remote::Remote;
use crate::attempt::attempt;
use crate::compare;
use crate::far_files::{FarFiles, sync};
use crate::figures::Board;
use crate::machine::Machine;
use crate::options::Common;
use crate::output::Output;
use crate::scene::{GET, Near, Place, RANDOM, Scene};
use crate::tools::{self, Tool};
use crate::work::Work;

/// Against which server, and what.
#[derive(Debug, clap::Args)]
pub struct ClientArguments {
    /// Address of a machine with `bench server`, as it was told to listen: ADDR, ADDR:PORT, or with brackets around an IPv6 address
    #[arg(long, value_name = "ADDR")]
    server: Control,
    /// What is measured: put, get or random [default: all of these]
    #[arg(long, value_name = "WORK", value_delimiter = ',')]
    work: Vec<Work>,
    /// How much, and what comes of it
    #[command(flatten)]
    common: Common,
}

/// Measures, and prints the tables.
pub fn measure(arguments: &ClientArguments) -> Result<()> {
    let works: Vec<Work> = match arguments.work.as_slice() {
        [] => Work::FAR.to_vec(),
        some => some.to_vec(),
    };
    for work in &works {
        ensure!(
            Work::FAR.contains(work),
            "{} needs both ends on one machine",
            work.word()
        );
    }
    let mut tools = tools::chosen(&arguments.common.tools);
    tools.retain(|tool| tool.goes_far());
    let amounts = arguments.common.sizes.amounts();
    let remote = Remote::connect(arguments.server)?;
    let tools = served(tools, &remote)?;
    ensure!(
        !tools.is_empty(),
        "no such tool, or none is installed at both ends"
    );
    let server = arguments.server.0.ip();
    let directory = Directory::new();
    let near = Near {
        place: Place::Here,
        server: server.to_string(),
        source: directory.join("source"),
        got: directory.join("got"),
        export: PathBuf::new(),
        home: directory.subdirectory("home"),
        mtu: mtu_to(server)?,
        size: amounts.size,
    };
    let machine = Machine::here(&near.home);
    files::write(&near.source, amounts.size, 1);
    sync(&near.source);
    remote.fill(GET, amounts.size);
    let mut scene = Scene::elsewhere(near, Box::new(remote), directory);
    let mut board = Board::default();
    let output = Output::begin(&amounts, &machine, arguments.common.out.as_deref())?;
    let save = |board: &Board| output.save(board);
    compare::on(&mut scene, &works, &tools, &amounts, &mut board, &save)?;
    for name in [GET, RANDOM] {
        // The server does it anyway at its end.
        let _ = attempt(|| scene.far_files.remove(name));
    }
    output.print(&board)
}

/// Those that the other end can serve; the others are named.
fn served(tools: Vec<Box<dyn Tool>>, remote: &Remote) -> Result<Vec<Box<dyn Tool>>> {
    let mut served = Vec::new();
    for tool in tools {
        let name = tool.name();
        if remote.has(&name)? {
            served.push(tool);
        } else {
            eprintln!("bench: SKIPPED: {name}: the other end does not serve it");
        }
    }
    Ok(served)
}

/// MTU of the interface that leads there.
fn mtu_to(server: IpAddr) -> Result<u32> {
    let route = must(Command::new("ip").args(["route", "get", &server.to_string()]));
    let interface = interface_of(&route).context("the route names no interface")?;
    let path = format!("/sys/class/net/{interface}/mtu");
    let text = std::fs::read_to_string(&path).with_context(|| path)?;
    Ok(text.trim().parse()?)
}

/// The word behind `dev` in what `ip route get` prints.
fn interface_of(route: &str) -> Option<&str> {
    let mut words = route.split_whitespace().skip_while(|word| *word != "dev");
    words.nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_name_their_interface() {
        let route = "10.77.0.1 dev blk1 src 10.77.0.2 uid 0 \n    cache \n";
        assert_eq!(interface_of(route), Some("blk1"));
        assert_eq!(interface_of("unreachable 10.0.0.1"), None);
    }
}
