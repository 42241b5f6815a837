//! A server with blockd behind a traced link, and its clients.

use std::path::PathBuf;

use blk_bench::lab::client::{Outcome, Running, start_on};
use blk_bench::lab::daemon::Daemon;
use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::trace::Trace;
use blk_bench::lab::{Directory, files};

/// MTU of all links: the largest at which a packet fills one frame, and what native XDP takes.
pub const MTU: u32 = 3498;

/// Bytes of a sender that are not yet, or no more, its transfer.
pub const MARGIN: u64 = 256 << 10;

/// The scene. Everything is removed when it is dropped.
pub struct Scene {
    // Dropped in this order: blockd ends before its namespace and its files go.
    pub daemon: Daemon,
    pub hosts: Hosts,
    pub export: PathBuf,
    pub directory: Directory,
}

impl Scene {
    /// A link with these options of `scripts/lab up`.
    pub fn new(clients: u32, wire: &[&str]) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        Self::on(directory, export, clients, wire)
    }

    /// The same with an export somewhere.
    pub fn on(directory: Directory, export: PathBuf, clients: u32, wire: &[&str]) -> Self {
        let trace = directory.join("trace");
        let trace = trace
            .to_str()
            .expect("the target directory has a plain path");
        let wire = [wire, &["--trace", trace]].concat();
        let hosts = Hosts::with_clients(
            Link {
                mtu: MTU,
                wire: &wire,
            },
            clients,
        );
        Self {
            daemon: Daemon::start(&hosts, &export, &directory),
            hosts,
            export,
            directory,
        }
    }

    /// Makes a file to send; it is in the page cache then.
    pub fn file(&self, mebibytes: u64) -> String {
        let path = self.directory.join(&format!("file-{mebibytes}"));
        if !path.exists() {
            files::write(&path, mebibytes << 20, mebibytes);
        }
        path.to_str()
            .expect("the target directory has a plain path")
            .to_owned()
    }

    /// Starts to put a file from a client; its name at the server is the client's number.
    pub fn start(&self, client: u32, file: &str) -> Running {
        let remote = format!("10.77.0.1:data/{client}");
        start_on(
            &self.hosts,
            Host::client(client),
            &self.directory,
            &[file, &remote],
        )
    }

    /// Puts a file from the first client; it must arrive whole.
    pub fn put(&self, file: &str) -> Outcome {
        let outcome = self.start(1, file).outcome();
        outcome.ok();
        files::assert_same(file.as_ref(), &self.export.join("1"));
        outcome
    }

    /// What has come through the link so far.
    pub fn trace(&self) -> Trace {
        Trace::read(&self.directory.join("trace"))
    }
}

/// Bits per second of some bytes in some milliseconds, in Mb/s.
pub fn megabits(bytes: u64, milliseconds: u64) -> f64 {
    bytes as f64 * 8.0 / 1e3 / milliseconds.max(1) as f64
}
