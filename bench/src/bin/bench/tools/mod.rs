//! The tools that are compared: each serves a directory on one host and copies on the other.

mod blkcp;
mod http;
mod iperf;
mod nbd;
mod rsync;
mod scp;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use blk_bench::lab::hosts::Host;
use blk_bench::lab::{daemon, within};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::scene::{SERVER, Scene};

/// Which way the file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client to the server.
    Put,
    /// From the server to the client.
    Get,
}

impl Direction {
    /// As people call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// What a figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// blkcp.
    Ours,
    /// Another tool for the same work.
    Peer,
    /// Less work: what the network alone gives.
    Ceiling,
}

/// A tool.
pub trait Tool {
    /// Its name, with what it was told.
    fn name(&self) -> String;
    /// What it is compared with.
    fn kind(&self) -> Kind {
        Kind::Peer
    }
    /// The programs that it is made of.
    fn programs(&self) -> &'static [&'static str];
    /// Which ways it goes.
    fn directions(&self) -> &'static [Direction] {
        &[Direction::Put, Direction::Get]
    }
    /// Whether it leaves a file.
    fn writes(&self) -> bool {
        true
    }
    /// Starts its server, and waits until it serves.
    fn serve(&self, direction: Direction, scene: &Scene) -> Server;
    /// The command that copies.
    fn client(&self, direction: Direction, scene: &Scene) -> Command;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Tool>> {
    vec![
        // UDP sockets, as the lab's veth has no zero-copy.
        Box::new(blkcp::Blkcp { datapath: "auto" }),
        Box::new(blkcp::Blkcp { datapath: "copy" }),
        Box::new(nbd::Nbd { connections: 1 }),
        Box::new(nbd::Nbd { connections: 4 }),
        Box::new(http::Http),
        Box::new(rsync::Rsync),
        Box::new(scp::Scp),
        Box::new(iperf::Iperf),
    ]
}

/// Whether a program can be started. One with a slash in its name is looked for there.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned()])
        .any(|directory| directory.join(program).is_file())
}

/// A server that runs. Ended when dropped.
pub struct Server(Child);

impl Server {
    /// Starts a command on the server; it serves when somebody listens on this TCP port.
    ///
    /// # Panics
    /// When it does not within ten seconds, with where it wrote why.
    pub fn start(command: &mut Command, port: u16, scene: &Scene) -> Self {
        let log = scene.directory.join("server.log");
        let file = File::create(&log).expect("cannot make the log of the server");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("cannot share the log"))
            .stderr(file)
            .spawn();
        let mut server = Self(child.expect("cannot start the server"));
        let filter = format!("sport = :{port}");
        let listens = || {
            let mut ss = scene.hosts.command(Host::Server, "ss");
            let listening = ss.args(["-Hltn", &filter]).output().expect("cannot run ss");
            !listening.stdout.is_empty()
        };
        let ready = within(Duration::from_secs(10), || {
            listens() || server.0.try_wait().is_ok_and(|ended| ended.is_some())
        });
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(ready && listens(), "{command:?} does not serve:\n{said}");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        if daemon::wait(&mut self.0, Duration::from_secs(5)).is_none() {
            daemon::end(&mut self.0, "a server");
        }
    }
}

/// `HOST:PORT` of the server.
fn at(port: u16) -> String {
    format!("{SERVER}:{port}")
}
