//! blockd and blkcp on disks that fail: a clear error to who asked, nothing acknowledged that is not there, and everybody
//! else is served.

mod reading;
mod slow;
mod target;
mod writing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use blk_bench::blockdev::{self, Disk, Faults, Kind, Mounted, Operation, Options, Rule, isolated};
use blk_bench::lab::client::{Outcome, Running, start_on};
use blk_bench::lab::daemon::Daemon;
use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::{Directory, files, ready, within};

/// Larger than any file here.
const DISK: u64 = 256 << 20;

/// What is still under way on a slow disk when others have been served, however busy the machine is: it goes on at full speed
/// when the disk is healed.
const LARGE: u64 = 160 << 20;

/// blkcp's status when a disk failed.
const FAILED: i32 = 1;

/// Two clients, and blockd with an export on a disk that can break (`data`) and one on a good one (`good`).
struct Scene {
    daemon: Daemon,
    hosts: Hosts,
    /// Frames that were free before anything was sent.
    frames: u64,
    good: PathBuf,
    mount: Mounted,
    disk: Disk,
    directory: Directory,
}

/// Runs a test on such a scene, and looks at the end that blockd is well.
fn on_a_disk(name: &str, kind: Kind, test: impl FnOnce(&Scene) + Send) {
    if !ready(name) || !blockdev::ready(name) {
        return;
    }
    isolated(|| {
        let scene = Scene::new(kind);
        test(&scene);
        scene.close();
    })
    .expect("cannot make a mount namespace");
}

impl Scene {
    fn new(kind: Kind) -> Self {
        let directory = Directory::new();
        let options = Options::of(DISK.max(kind.smallest()));
        let disk = Disk::formatted(&directory.join("disk"), options, kind).expect("no disk");
        let mount = disk
            .mount(kind, &directory.subdirectory("mount"))
            .expect("cannot mount");
        // What mkfs left in the page cache is no part of any test.
        settle(mount.path());
        let good = directory.subdirectory("good");
        let hosts = Hosts::with_clients(Link::of(3498), 2);
        let exports = [("data", mount.path()), ("good", &good)];
        let daemon = Daemon::start_with(&hosts, &exports, &directory);
        let frames = daemon.statistics()["frames_free"];
        Self {
            daemon,
            hosts,
            frames,
            good,
            mount,
            disk,
            directory,
        }
    }

    /// Changes what is wrong with the disk.
    fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.disk.control().faults(change);
    }

    /// One request fails: the nth of a kind from now on.
    fn fail(&self, operation: Operation, number: u64) {
        self.faults(|faults| faults.add(Rule::nth(operation, number)));
    }

    /// How many requests have failed.
    fn failed(&self) -> u64 {
        self.disk.control().faults(|faults| faults.failed)
    }

    fn heal(&self) {
        self.faults(Faults::heal);
    }

    /// The place of a file on the breaking disk.
    fn there(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    fn source(&self, size: u64, seed: u64) -> PathBuf {
        let path = self.directory.join(&format!("source-{seed}"));
        files::write(&path, size, seed);
        path
    }

    /// blkcp on a client, without waiting.
    fn start(&self, client: Host, from: &str, to: &str) -> Running {
        // The kernel takes the program of a process that has ended away when it comes to it.
        let free = || !self.hosts.has_xdp(client);
        assert!(within(Duration::from_secs(10), free), "a program stays");
        start_on(&self.hosts, client, &self.directory, &[from, to])
    }

    fn start_put(&self, client: Host, source: &Path, to: &str) -> Running {
        self.start(client, plain(source), &format!("10.77.0.1:{to}"))
    }

    fn put(&self, source: &Path, to: &str) -> Outcome {
        self.start_put(Host::Client, source, to).outcome()
    }

    fn get(&self, from: &str, to: &Path) -> Outcome {
        self.start(Host::Client, &format!("10.77.0.1:{from}"), plain(to))
            .outcome()
    }

    /// Somebody else's put to the good disk goes well.
    fn others_are_served(&self, seed: u64) {
        let source = self.source(3_000_000, seed);
        self.start_put(Host::Other(2), &source, "good/other")
            .outcome()
            .ok();
        files::assert_same(&source, &self.good.join("other"));
    }

    /// The same client and export are served as if nothing had been.
    fn all_is_well(&self, seed: u64) {
        let source = self.source(5_000_000, seed);
        self.put(&source, "data/well").ok();
        files::assert_same(&source, &self.there("well"));
    }

    /// No frame was lost, and blockd leaves in order: it counts its frames when it does.
    fn close(mut self) {
        let all = || self.daemon.statistics()["frames_free"] == self.frames;
        assert!(
            within(Duration::from_secs(10), all),
            "{} frames were free before: {:?}",
            self.frames,
            self.daemon.statistics()
        );
        self.heal();
        self.daemon.signal(Signal::TERM);
        let status = self.daemon.wait(Duration::from_secs(10));
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "{}",
            self.daemon.log()
        );
        assert!(
            !self.daemon.log().contains("panicked"),
            "{}",
            self.daemon.log()
        );
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A test that has failed leaves a disk that stands still: blockd, which goes before the disk, could not end on it.
        self.heal();
    }
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Everything of a file system is on its disk.
fn settle(path: &Path) {
    let root = std::fs::File::open(path).expect("cannot open the mount");
    rustix::fs::syncfs(root).expect("cannot sync");
}

/// The page cache holds nothing of a file any more.
fn forget(path: &Path) {
    let file = std::fs::File::open(path).expect("cannot open the file");
    file.sync_all().expect("cannot sync");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("cannot forget");
}
