//! blkcp and blockd on one interface, in whatever order they come and go.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::sharing::{puts_under_way, settled};
use super::support::client::{Outcome, Running, start_over};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, ready, within};

/// Not a whole number of sectors.
const SIZE: u64 = (64 << 20) + 77;
/// The same, and large enough to be caught in the middle.
const LARGE: u64 = (384 << 20) + 77;
/// The blockd that shares its interface, and the one far from there.
const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";

/// Two hosts with two queues each. The near one is where blkcp and blockd share an interface; a blockd runs on the far one.
struct Scene {
    far: Daemon,
    hosts: Hosts,
    near_export: PathBuf,
    far_export: PathBuf,
    directory: Directory,
}

impl Scene {
    fn new() -> Self {
        let directory = Directory::new();
        let near_export = directory.subdirectory("near");
        let far_export = directory.subdirectory("far");
        files::write(&directory.join("file"), SIZE, 81);
        files::write(&directory.join("large"), LARGE, 82);
        let hosts = Hosts::up(Link {
            mtu: 3498,
            wire: &["--queues", "2"],
        });
        let queues = options(&["--queues", "1"]);
        let far = Daemon::start_on(
            &hosts,
            Host::Client,
            "copy",
            &queues,
            &far_export,
            &directory,
        );
        Self {
            far,
            hosts,
            near_export,
            far_export,
            directory,
        }
    }

    /// Starts the blockd that shares its interface.
    fn near(&self, datapath: &str, more: &[&str]) -> Daemon {
        let (host, export) = (Host::Server, &self.near_export);
        let options = options(more);
        Daemon::start_on(
            &self.hosts,
            host,
            datapath,
            &options,
            export,
            &self.directory,
        )
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.join(name);
        path.to_str()
            .expect("test files have plain paths")
            .to_owned()
    }

    /// Starts a put of the large file from the near host to the far one, as `name`.
    fn put_out(&self, datapath: &str, name: &str) -> Running {
        let to = format!("{FAR}:data/{name}");
        let large = self.path("large");
        let arguments = ["--flows", "1", "--timeout", "60", &large, &to];
        start_over(
            &self.hosts,
            Host::Server,
            datapath,
            &self.directory,
            &arguments,
        )
    }

    /// Starts puts of the large file to the far host under these names, each over AF_XDP. The far blockd stands still in the
    /// middle of all of them.
    fn put_and_hold<const N: usize>(&self, puts: [(&str, &str); N]) -> [Running; N] {
        // None is over before the last one has begun.
        self.far.signal(Signal::STOP);
        let copies = puts.map(|(datapath, name)| self.put_out(datapath, name));
        settled(&copies, N);
        let begun = self.far.lead_to(|| puts_under_way(&self.far_export) == N);
        assert!(begun, "nothing is on its way");
        copies
    }

    fn release(&self) {
        self.far.signal(Signal::CONT);
    }

    /// A put from the far host to the near one, and the file back.
    fn there_and_back(&self, name: &str) {
        let (there, back) = (format!("{NEAR}:data/{name}"), self.path("back"));
        for words in [[self.path("file"), there.clone()], [there, back]] {
            self.run_far(&words).ok();
        }
        for copy in [self.near_export.join(name), self.directory.join("back")] {
            files::assert_same(&self.directory.join("file"), &copy);
        }
        std::fs::remove_file(self.directory.join("back")).expect("it was there");
    }

    fn run_far(&self, words: &[String]) -> Outcome {
        start_over(
            &self.hosts,
            Host::Client,
            "prefer-xdp",
            &self.directory,
            words,
        )
        .outcome()
    }

    #[track_caller]
    fn check(&self, name: &str, copy: Running, datapath: &str) {
        let outcome = copy.outcome();
        outcome.ok();
        assert_eq!(outcome.field("datapath"), datapath);
        files::assert_same(&self.directory.join("large"), &self.far_export.join(name));
    }

    #[track_caller]
    fn assert_gone(&self) {
        let gone = within(Duration::from_secs(1), || !self.hosts.has_xdp(Host::Server));
        assert!(gone, "the XDP program is still there");
    }
}

fn options<'a>(words: &'a [&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(OsStr::new).collect()
}

#[test]
fn blkcp_comes_and_goes_beside_blockd() {
    if !ready("blkcp_comes_and_goes_beside_blockd") {
        return;
    }
    let scene = Scene::new();
    let near = scene.near("copy", &["--queues", "1"]);
    assert!(near.log().contains("UDP sockets for"), "{}", near.log());
    // What comes by the queue that blkcp has reaches blockd, too.
    let [out] = scene.put_and_hold([("prefer-xdp", "first")]);
    scene.there_and_back("in");
    scene.release();
    scene.check("first", out, "af_xdp-copy");
    scene.there_and_back("again");
    // A blockd that has all queues leaves none for blkcp.
    drop(near);
    scene.assert_gone();
    let mut near = scene.near("copy", &[]);
    let refused = scene.put_out("copy", "refused").outcome();
    refused.fails(11, &["queues 0 to 1 of blk0", "--datapath udp"]);
    let out = scene.put_out("prefer-xdp", "second");
    scene.check("second", out, "udp");
    near.signal(Signal::KILL);
    scene.assert_gone();
    assert!(near.wait(Duration::from_secs(5)).is_some());
}

#[test]
fn blockd_comes_and_goes_beside_blkcp() {
    if !ready("blockd_comes_and_goes_beside_blkcp") {
        return;
    }
    let scene = Scene::new();
    let [out] = scene.put_and_hold([("copy", "out")]);
    // It gets the other queue; killed, it leaves blkcp its own.
    let mut killed = scene.near("copy", &[]);
    killed.signal(Signal::KILL);
    assert!(killed.wait(Duration::from_secs(5)).is_some());
    assert!(scene.hosts.has_xdp(Host::Server), "blkcp has lost it");
    let near = scene.near("copy", &[]);
    for log in [killed.log(), near.log()] {
        assert!(log.contains("1 queue(s)"), "{log}");
        assert!(log.contains("UDP sockets for"), "{log}");
    }
    scene.there_and_back("in");
    scene.release();
    scene.check("out", out, "af_xdp-copy");
    // blkcp, which had attached the program, is gone.
    assert!(scene.hosts.has_xdp(Host::Server), "blockd has lost it");
    scene.there_and_back("again");
    near.signal(Signal::KILL);
    scene.assert_gone();
}

#[test]
fn no_queue_is_free_for_blockd() {
    if !ready("no_queue_is_free_for_blockd") {
        return;
    }
    let scene = Scene::new();
    let out = scene.put_and_hold([("copy", "a"), ("copy", "b")]);
    let near = scene.near("prefer-xdp", &[]);
    let log = near.log();
    assert!(
        log.contains("UDP sockets (no AF_XDP: queues 0 to 1"),
        "{log}"
    );
    scene.there_and_back("in");
    scene.release();
    for (name, copy) in ["a", "b"].into_iter().zip(out) {
        scene.check(name, copy, "af_xdp-copy");
    }
    scene.assert_gone();
    scene.there_and_back("again");
}

/// The far host is not on the list of the near blockd.
fn refused_in(scene: &Scene) {
    let words = [scene.path("file"), format!("{NEAR}:data/in")];
    let refused = scene.run_far(&words);
    refused.fails(3, &["no answer"]);
    assert!(!scene.near_export.join("in").exists());
}

#[test]
fn the_allow_list_is_that_of_blockd_alone() {
    if !ready("the_allow_list_is_that_of_blockd_alone") {
        return;
    }
    let scene = Scene::new();
    let strict = ["--queues", "1", "--allow", "10.99.0.0/16"];
    // blockd first: what comes for blkcp is not on its list, and blkcp gets it.
    let near = scene.near("copy", &strict);
    refused_in(&scene);
    let out = scene.put_out("copy", "first");
    scene.check("first", out, "af_xdp-copy");
    drop(near);
    // blkcp first. The list holds on its queue as well, for blockd's port.
    let [out] = scene.put_and_hold([("copy", "second")]);
    let mut near = scene.near("copy", &strict);
    // Killed, it leaves its list behind, which holds for nobody: the next blockd has none.
    near.signal(Signal::KILL);
    assert!(near.wait(Duration::from_secs(5)).is_some());
    let near = scene.near("copy", &["--queues", "1"]);
    scene.there_and_back("in");
    drop(near);
    std::fs::remove_file(scene.near_export.join("in")).expect("it was put");
    let near = scene.near("copy", &strict);
    refused_in(&scene);
    scene.release();
    scene.check("second", out, "af_xdp-copy");
    refused_in(&scene);
    drop(near);
    scene.assert_gone();
}
