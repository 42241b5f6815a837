//! One tree: copied, changed, copied again.

use std::cell::Cell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use blk_bench::lab::client::blkcp_plain;
use blk_bench::lab::daemon::Daemon;
use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::{Directory, must};

use super::compare::{assert_same, with_slash};
use super::tree::Tree;

const MTU: u32 = 1500;

/// A server and a client. Everything is removed when it is dropped.
pub struct Scene {
    // Dropped in this order: blockd ends before its namespace and its files go.
    _daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    directory: Directory,
    /// Files that were left because the target had them.
    unchanged: Cell<u64>,
}

impl Scene {
    /// Makes the lab.
    pub fn new() -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::up(Link::of(MTU));
        let interface = Host::Server.interface();
        Self {
            _daemon: Daemon::start_over(&hosts, interface, "udp", &export, &directory),
            hosts,
            export,
            directory,
            unchanged: Cell::new(0),
        }
    }

    /// Files that were not copied because the target had them, in all rounds.
    pub fn unchanged(&self) -> u64 {
        self.unchanged.get()
    }

    /// Copies the tree of a seed there and back, and again when it has changed; how many items it had.
    ///
    /// # Panics
    /// When a copy fails, or differs from what rsync makes.
    pub fn round(&self, seed: u64, sparse: u64) -> u64 {
        let [source, model, back] =
            ["source", "model", "back"].map(|name| self.directory.subdirectory(name));
        let there = self.export.join("tree");
        let mut tree = Tree::make(&source, seed, sparse);
        let mut items = 0;
        for (pass, options) in [("first", &["-a"][..]), ("second", &["-a", "--delete"])] {
            if pass == "second" {
                tree.change();
            }
            items += tree.items();
            let what = |way: &str| format!("seed {seed}, {pass} copy, {way}");
            must(&mut rsync(options, &source, &model));
            self.blkcp(
                options,
                with_slash(&source),
                "10.77.0.1:data/tree".into(),
                &what("put"),
            );
            assert_same(&model, &there, &what("put"));
            self.blkcp(
                options,
                "10.77.0.1:data/tree/".into(),
                back.clone().into(),
                &what("get"),
            );
            assert_same(&model, &back, &what("get"));
        }
        for directory in [&source, &model, &back, &there] {
            std::fs::remove_dir_all(directory).expect("cannot remove a tree");
        }
        items
    }

    #[track_caller]
    fn blkcp(&self, options: &[&str], from: OsString, to: OsString, what: &str) {
        let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
        arguments.extend([from, to]);
        let outcome = blkcp_plain(&self.hosts, &self.directory, &arguments);
        assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.stderr);
        let unchanged = self.unchanged.get() + outcome.number("unchanged_files");
        self.unchanged.set(unchanged);
    }
}

fn rsync(options: &[&str], source: &Path, target: &Path) -> Command {
    let mut command = Command::new("rsync");
    // Holes stay holes and times differ by nanoseconds, as blkcp has it anyway.
    command
        .args(options)
        .args(["--sparse", "--modify-window=-1"])
        .arg(with_slash(source))
        .arg(target);
    command
}
