//! Two hosts and the files of both.

use std::path::PathBuf;

use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::{Directory, files};

/// The server's address.
pub const SERVER: &str = "10.77.0.1";

/// Everything is removed when it is dropped.
pub struct Scene {
    /// The two hosts.
    pub hosts: Hosts,
    /// What the client puts.
    pub source: PathBuf,
    /// The server's directory: puts come to `put` in it, `get` is what is got.
    pub export: PathBuf,
    /// Where gets come to.
    pub got: PathBuf,
    /// Bytes of the file.
    pub size: u64,
    /// For settings and logs.
    pub directory: Directory,
}

impl Scene {
    /// Hosts joined by a veth pair with this MTU, and a file of this size at both.
    pub fn new(mtu: u32, size: u64) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let source = directory.join("source");
        files::write(&source, size, 1);
        std::fs::copy(&source, export.join("get")).expect("cannot copy the file");
        let hosts = Hosts::up(Link::of(mtu));
        let got = directory.join("got");
        Self {
            hosts,
            source,
            export,
            got,
            size,
            directory,
        }
    }

    /// Where puts come to.
    pub fn put(&self) -> PathBuf {
        self.export.join("put")
    }

    /// A command on the client.
    pub fn client(&self, program: &str) -> std::process::Command {
        self.hosts.command(Host::Client, program)
    }

    /// A command on the server.
    pub fn server(&self, program: &str) -> std::process::Command {
        self.hosts.command(Host::Server, program)
    }
}
