//! The lab, the daemon in it, and the clients of a round.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use blk_bench::lab::client::{Running, start_on};
use blk_bench::lab::daemon::Daemon;
use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::{Directory, files};
use rustix::process::Signal;

use super::budget::{Budget, received};
use super::sources::{Copy, Sources, Version, same};

/// MTU of the link: what native XDP takes without fragments.
const MTU: u32 = 3498;

/// Clients: those of the puts, and one that gets.
const CLIENTS: u32 = 4;

/// MiB of the file that is got all the while.
const FIXED: u64 = 24;

/// A server and its clients. Everything is removed when it is dropped.
pub struct Scene {
    // Dropped in this order: blockd ends before its namespace and its files go.
    daemon: Option<Daemon>,
    pub hosts: Hosts,
    pub sources: Sources,
    /// The version that all names show between two rounds.
    pub shown: Version,
    /// How long the load takes when nobody is killed.
    pub time: Duration,
    /// Bytes that came over the wire then, headers and small packets included, and bytes of payload among them.
    wire: (u64, u64),
    export: PathBuf,
    directory: Directory,
}

impl Scene {
    /// Makes the lab, and the files; every name shows one version in the end.
    pub fn new(largest: u64) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let sources = Sources::make(&directory.subdirectory("sources"), largest);
        files::write(&export.join("fixed"), FIXED << 20, 5);
        directory.subdirectory("back");
        let hosts = Hosts::with_clients(Link::of(MTU), CLIENTS);
        let mut scene = Self {
            daemon: Some(Daemon::start(&hosts, &export, &directory)),
            hosts,
            sources,
            shown: Version(0),
            time: Duration::ZERO,
            wire: (1, 1),
            export,
            directory,
        };
        // The second time, files are replaced, as in every round.
        for version in [Version(1), Version(0)] {
            let before = received(&scene);
            scene.time = scene.undisturbed(version);
            let mut budget = Budget::default();
            for copy in &scene.sources.copies {
                budget.first(&scene, copy, version);
            }
            scene.wire = (received(&scene) - before, budget.needed());
        }
        scene
    }

    /// Bytes of the wire for so many of payload, as in the round in which nobody died.
    pub fn on_wire(&self, payload: u64) -> u64 {
        let (sent, of) = self.wire;
        (u128::from(payload) * u128::from(sent) / u128::from(of.max(1))) as u64
    }

    /// Bytes that come over the wire in a round in which nobody dies.
    pub fn bytes(&self) -> u64 {
        self.wire.0
    }

    /// A round in which nobody dies.
    fn undisturbed(&self, version: Version) -> Duration {
        let start = Instant::now();
        let running: Vec<Running> = self.start_all(version);
        let get = self.get();
        for put in running {
            put.outcome().ok();
        }
        let time = start.elapsed();
        get.outcome().ok();
        for copy in &self.sources.copies {
            self.assert_shows(copy, version);
        }
        time
    }

    /// Starts all puts of a version.
    pub fn start_all(&self, version: Version) -> Vec<Running> {
        let copies = self.sources.copies.iter();
        copies.map(|copy| self.put(copy, version)).collect()
    }

    /// Starts a put.
    pub fn put(&self, copy: &Copy, version: Version) -> Running {
        let source = self.sources.path(version, copy.source);
        let arguments = ["-r".into(), source.into(), "10.77.0.1:data/".into()];
        self.start(copy.client, &arguments)
    }

    /// Starts to get the fixed file.
    pub fn get(&self) -> Running {
        let target = self.directory.join("back/fixed");
        let _ = std::fs::remove_file(&target);
        let arguments = ["10.77.0.1:data/fixed".into(), target.into()];
        self.start(CLIENTS, &arguments)
    }

    fn start(&self, client: u32, arguments: &[OsString]) -> Running {
        start_on(
            &self.hosts,
            Host::client(client),
            &self.directory,
            arguments,
        )
    }

    /// The got file is whole, or, unless blkcp called it stored, not there.
    pub fn assert_got(&self, stored: bool) {
        let target = self.directory.join("back/fixed");
        assert!(
            !stored && !target.exists() || same(&self.export.join("fixed"), &target),
            "{} is not whole",
            target.display()
        );
    }

    /// Whether a name in the export shows this version of its file.
    pub fn shows(&self, file: &str, version: Version) -> bool {
        same(&self.sources.path(version, file), &self.export.join(file))
    }

    /// Every file of a put is stored.
    #[track_caller]
    pub fn assert_shows(&self, copy: &Copy, version: Version) {
        for file in &copy.files {
            assert!(
                self.shows(file, version),
                "{file} was called stored, and is not what was sent"
            );
        }
    }

    /// blockd dies at once.
    pub fn kill_daemon(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            daemon.signal(Signal::KILL);
            let dead = daemon.wait(Duration::from_secs(10));
            assert!(dead.is_some(), "blockd survived SIGKILL");
        }
        self.daemon = None;
    }

    /// Another blockd takes its place.
    pub fn start_daemon(&mut self) {
        self.daemon = Some(Daemon::start(&self.hosts, &self.export, &self.directory));
    }

    /// The daemon runs still.
    pub fn assert_daemon_runs(&mut self) {
        let runs = self.daemon.as_mut().is_some_and(Daemon::is_running);
        assert!(runs, "blockd has ended");
    }
}
