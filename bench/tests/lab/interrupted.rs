//! Either side dies in the middle of a copy.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::client::{Running, start_over};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, ready, within};

/// Long enough to be hit in the middle.
const SIZE: u64 = 64 << 20;

/// A wire on which that file takes about five seconds.
const SLOW: [&str; 2] = ["--rate", "100mbit"];

/// Both kinds of link.
const DATAPATHS: [&str; 2] = ["copy", "udp"];

/// A slow link with blockd on it.
struct Scene {
    datapath: &'static str,
    daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    directory: Directory,
}

impl Scene {
    fn new() -> Self {
        Self::over("copy")
    }

    /// Both ends over this data path.
    fn over(datapath: &'static str) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::up(Link {
            mtu: 3498,
            wire: &SLOW,
        });
        let daemon = serve(&hosts, datapath, &export, &directory);
        Self {
            datapath,
            daemon,
            hosts,
            export,
            directory,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .join(name)
            .to_str()
            .expect("test files have plain paths")
            .to_owned()
    }

    fn start(&self, arguments: &[&str]) -> Running {
        start_over(
            &self.hosts,
            Host::Client,
            self.datapath,
            &self.directory,
            arguments,
        )
    }

    /// Runs blkcp to its end, which is a good one.
    fn copy(&self, arguments: &[&str]) {
        self.start(arguments).outcome().ok();
    }

    /// Starts to put a file over an old one, and waits until it is on its way.
    fn put_in_the_middle(&self) -> Running {
        files::write(&self.directory.join("file"), SIZE, 1);
        files::write(&self.directory.join("old"), 1_000, 2);
        std::fs::copy(self.directory.join("old"), self.export.join("file"))
            .expect("cannot place the old file");
        self.soon(self.start(&[&self.path("file"), "10.77.0.1:data/file"]))
    }

    /// Starts to get a file, and waits until it is on its way.
    fn get_in_the_middle(&self) -> Running {
        files::write(&self.export.join("file"), SIZE, 1);
        self.directory.subdirectory("back");
        self.soon(self.start(&["10.77.0.1:data/file", &self.path("back/file")]))
    }

    /// Waits until the copy is about in the middle.
    fn soon(&self, mut copy: Running) -> Running {
        std::thread::sleep(Duration::from_millis(1_500));
        if !copy.is_running() {
            panic!("the copy was over before its middle: {:?}", copy.outcome());
        }
        copy
    }

    /// blockd dies without a word, and another one is there at once.
    fn restart(&mut self) {
        self.daemon.signal(Signal::KILL);
        let dead = self.daemon.wait(Duration::from_secs(5));
        assert!(dead.is_some(), "blockd survived SIGKILL");
        self.daemon = serve(&self.hosts, self.datapath, &self.export, &self.directory);
    }

    /// From now on every packet is lost.
    fn fall_silent(&self) {
        self.hosts.change(&["--loss", "100%"]);
    }

    /// No part of a file is left on the client.
    fn nothing_came_back(&self) {
        let names = files::names(&self.directory.join("back"));
        assert!(names.is_empty(), "a part of the file was left: {names:?}");
    }

    /// The export holds the old file and nothing else: no part of the new one, and soon no temporary.
    fn only_the_old_file(&self) {
        files::assert_same(&self.directory.join("old"), &self.export.join("file"));
        // What can be gone on with is kept apart, out of reach of clients.
        let shown = || {
            let mut names = files::names(&self.export);
            names.retain(|name| name != ".blockd");
            names
        };
        assert!(
            within(Duration::from_secs(5), || shown() == ["file"]),
            "left behind: {:?}",
            shown()
        );
    }
}

fn serve(hosts: &Hosts, datapath: &str, export: &Path, directory: &Directory) -> Daemon {
    let interface = Host::Server.interface();
    Daemon::start_over(hosts, interface, datapath, export, directory)
}

#[test]
fn ctrl_c_in_a_put() {
    if !ready("ctrl_c_in_a_put") {
        return;
    }
    let scene = Scene::new();
    let copy = scene.put_in_the_middle();
    copy.signal(Signal::INT);
    let outcome = copy.outcome();
    outcome.fails(130, &["interrupted"]);
    scene.only_the_old_file();
    assert!(
        !scene.hosts.has_xdp(Host::Client),
        "blkcp left its XDP program"
    );
}

#[test]
fn ctrl_c_in_a_get() {
    if !ready("ctrl_c_in_a_get") {
        return;
    }
    let scene = Scene::new();
    let copy = scene.get_in_the_middle();
    copy.signal(Signal::INT);
    copy.outcome().fails(130, &["interrupted"]);
    assert!(
        files::names(&scene.directory.join("back")).is_empty(),
        "a part of the file was left"
    );
}

#[test]
fn blkcp_killed_in_a_put_leaves_nothing_under_the_name() {
    if !ready("blkcp_killed_in_a_put_leaves_nothing_under_the_name") {
        return;
    }
    for datapath in DATAPATHS {
        let scene = Scene::over(datapath);
        let copy = scene.put_in_the_middle();
        copy.signal(Signal::KILL);
        assert_eq!(copy.outcome().code, None);
        files::assert_same(&scene.directory.join("old"), &scene.export.join("file"));
        // The daemon serves others at once.
        files::write(&scene.directory.join("next"), 100_000, 3);
        scene.copy(&[&scene.path("next"), "10.77.0.1:data/next"]);
        files::assert_same(&scene.directory.join("next"), &scene.export.join("next"));
    }
}

#[test]
fn blockd_killed_in_a_put() {
    if !ready("blockd_killed_in_a_put") {
        return;
    }
    for datapath in DATAPATHS {
        let scene = Scene::over(datapath);
        let copy = scene.put_in_the_middle();
        scene.daemon.signal(Signal::KILL);
        soon_lost(copy, &[]);
        files::assert_same(&scene.directory.join("old"), &scene.export.join("file"));
    }
}

#[test]
fn blockd_killed_in_a_get() {
    if !ready("blockd_killed_in_a_get") {
        return;
    }
    for datapath in DATAPATHS {
        let scene = Scene::over(datapath);
        let copy = scene.get_in_the_middle();
        scene.daemon.signal(Signal::KILL);
        soon_lost(copy, &[]);
        scene.nothing_came_back();
    }
}

#[test]
fn blockd_killed_in_a_put_and_started_again() {
    if !ready("blockd_killed_in_a_put_and_started_again") {
        return;
    }
    for datapath in DATAPATHS {
        let mut scene = Scene::over(datapath);
        let copy = scene.put_in_the_middle();
        scene.restart();
        soon_lost(copy, &["restarted", "again"]);
        scene.only_the_old_file();
        // And so it is.
        scene.copy(&[&scene.path("file"), "10.77.0.1:data/file"]);
        files::assert_same(&scene.directory.join("file"), &scene.export.join("file"));
    }
}

#[test]
fn blockd_killed_in_a_get_and_started_again() {
    if !ready("blockd_killed_in_a_get_and_started_again") {
        return;
    }
    for datapath in DATAPATHS {
        let mut scene = Scene::over(datapath);
        let copy = scene.get_in_the_middle();
        scene.restart();
        soon_lost(copy, &["restarted", "again"]);
        scene.nothing_came_back();
        scene.copy(&["10.77.0.1:data/file", &scene.path("back/file")]);
        files::assert_same(
            &scene.export.join("file"),
            &scene.directory.join("back/file"),
        );
    }
}

#[test]
fn a_network_that_falls_silent_in_a_put() {
    if !ready("a_network_that_falls_silent_in_a_put") {
        return;
    }
    let scene = Scene::new();
    let copy = scene.put_in_the_middle();
    scene.fall_silent();
    soon_lost(copy, &["no packet"]);
}

#[test]
fn a_network_that_falls_silent_in_a_get() {
    if !ready("a_network_that_falls_silent_in_a_get") {
        return;
    }
    let scene = Scene::new();
    let copy = scene.get_in_the_middle();
    scene.fall_silent();
    soon_lost(copy, &["no packet"]);
    scene.nothing_came_back();
}

/// The copy fails within ten seconds from now, and one sentence says why.
#[track_caller]
fn soon_lost(copy: Running, words: &[&str]) {
    let start = Instant::now();
    let outcome = copy.outcome();
    let time = start.elapsed();
    outcome.fails(12, &[&["10.77.0.1"], words].concat());
    let sentences = outcome.stderr.trim().lines().count();
    assert_eq!(sentences, 1, "one sentence:\n{}", outcome.stderr);
    println!("noticed after {time:?}: {}", outcome.stderr.trim());
    assert!(
        time < Duration::from_secs(10),
        "blkcp took {time:?} to notice"
    );
}

#[test]
fn blockd_told_to_leave_in_a_put() {
    if !ready("blockd_told_to_leave_in_a_put") {
        return;
    }
    let mut scene = Scene::new();
    let copy = scene.put_in_the_middle();
    scene.daemon.signal(Signal::TERM);
    assert!(
        scene.daemon.wait(Duration::from_secs(1)).is_some(),
        "blockd did not leave within a second"
    );
    let outcome = copy.outcome();
    outcome.fails(12, &["10.77.0.1"]);
    assert!(
        outcome.time < Duration::from_secs(10),
        "blkcp was told, and took {:?}",
        outcome.time
    );
    scene.only_the_old_file();
}
