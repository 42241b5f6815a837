//! Puts that did not come to their end, and go on where they stopped when blkcp is run again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::support::client::{Outcome, Running, start_on};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, ready, within};

/// Not a whole number of sectors.
const SIZE: u64 = (48 << 20) + 777;

/// What is on the server's disk before anything is killed.
const ENOUGH: u64 = 8 << 20;

/// A wire on which that file takes two seconds.
const SLOW: [&str; 2] = ["--rate", "200mbit"];

/// A server with blockd, clients, and a file.
struct Scene {
    daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    directory: Directory,
}

impl Scene {
    fn new() -> Self {
        Self::on(&SLOW, 1)
    }

    fn on(wire: &[&str], clients: u32) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::with_clients(Link { mtu: 3498, wire }, clients);
        files::write(&directory.join("file"), SIZE, 1);
        Self {
            daemon: Daemon::start(&hosts, &export, &directory),
            hosts,
            export,
            directory,
        }
    }

    fn start(&self, client: u32, file: &str, options: &[&str]) -> Running {
        let path = self.directory.join(file);
        let path = path.to_str().expect("test files have plain paths");
        let arguments = [options, &[path, "10.77.0.1:data/file"]].concat();
        start_on(
            &self.hosts,
            Host::client(client),
            &self.directory,
            &arguments,
        )
    }

    /// Starts to put the file, and waits until a good part of it is on the server's disk.
    fn put_in_the_middle(&self, options: &[&str]) -> Running {
        let before = self.written();
        let mut copy = self.start(1, "file", options);
        let under_way = within(Duration::from_secs(30), || {
            assert!(copy.is_running(), "the copy was over before its middle");
            self.written() >= before + ENOUGH
        });
        assert!(under_way, "nothing is written:\n{}", self.daemon.log());
        copy
    }

    fn written(&self) -> u64 {
        let counters = self.daemon.statistics();
        let written = |name: &str| name.starts_with("write_") && name.ends_with("_bytes");
        let ways = counters.iter().filter(|(name, _)| written(name));
        ways.map(|(_, bytes)| bytes).sum()
    }

    /// blkcp dies without a word.
    fn kill(copy: Running) {
        copy.signal(Signal::KILL);
        assert_eq!(copy.outcome().code, None);
    }

    /// blockd dies without a word, and another one is there at once.
    fn restart(&mut self) {
        self.daemon.signal(Signal::KILL);
        let dead = self.daemon.wait(Duration::from_secs(5));
        assert!(dead.is_some(), "blockd survived SIGKILL");
        self.daemon = Daemon::start(&self.hosts, &self.export, &self.directory);
    }

    /// Puts the file once more; it is stored then, and nothing else is left.
    fn put_again(&self, options: &[&str]) -> Outcome {
        let outcome = self.start(1, "file", options).outcome();
        outcome.ok();
        files::assert_same(&self.directory.join("file"), &self.export.join("file"));
        self.nothing_is_kept();
        outcome
    }

    /// Soon, no part of any file is left.
    fn nothing_is_kept(&self) {
        let kept = || {
            let partials = self.export.join(".blockd");
            match partials.exists() {
                true => files::names(&partials),
                false => Vec::new(),
            }
        };
        let gone = within(Duration::from_secs(10), || kept().is_empty());
        assert!(gone, "left behind: {:?}", kept());
    }
}

/// It went on where another one had stopped: what that one had brought was not sent again.
#[track_caller]
fn resumed(outcome: &Outcome) {
    let resumed = outcome.number("resumed_bytes");
    // What was written when it was looked at, but for the cells that were open.
    assert!(
        resumed >= ENOUGH / 2,
        "{resumed} bytes resumed:\n{}",
        outcome.stdout
    );
    let sent = sent(outcome);
    assert!(
        sent < SIZE - ENOUGH / 2 && sent + resumed >= SIZE,
        "{sent} bytes sent, {resumed} resumed"
    );
}

/// Bytes of blocks that it sent, over all flows.
fn sent(outcome: &Outcome) -> u64 {
    let line = outcome.stdout.lines().last().unwrap_or_default();
    let (_, flows) = line
        .split_once("\"flows\":[")
        .expect("the summary has flows");
    let (flows, _) = flows.split_once(']').expect("the list ends");
    let bytes = flows.split("\"bytes\":").skip(1);
    bytes
        .map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().expect("a number")
        })
        .sum()
}

#[test]
fn a_put_whose_blkcp_was_killed_goes_on() {
    if !ready("a_put_whose_blkcp_was_killed_goes_on") {
        return;
    }
    let scene = Scene::new();
    Scene::kill(scene.put_in_the_middle(&[]));
    // At once: blockd does not know yet that the other one is dead.
    resumed(&scene.put_again(&[]));
}

#[test]
fn a_put_whose_blockd_was_killed_goes_on() {
    if !ready("a_put_whose_blockd_was_killed_goes_on") {
        return;
    }
    let mut scene = Scene::new();
    let copy = scene.put_in_the_middle(&[]);
    scene.restart();
    copy.outcome()
        .fails(12, &["run it again", "where they stopped"]);
    resumed(&scene.put_again(&[]));
}

#[test]
fn a_put_that_was_interrupted_goes_on() {
    if !ready("a_put_that_was_interrupted_goes_on") {
        return;
    }
    let scene = Scene::new();
    let copy = scene.put_in_the_middle(&[]);
    copy.signal(Signal::INT);
    copy.outcome().fails(130, &["interrupted", "run it again"]);
    resumed(&scene.put_again(&[]));
}

#[test]
fn a_put_whose_blockd_was_told_to_leave_goes_on() {
    if !ready("a_put_whose_blockd_was_told_to_leave_goes_on") {
        return;
    }
    let mut scene = Scene::new();
    let copy = scene.put_in_the_middle(&[]);
    scene.daemon.signal(Signal::TERM);
    let left = scene.daemon.wait(Duration::from_secs(10));
    assert!(left.is_some(), "blockd stays");
    scene.daemon = Daemon::start(&scene.hosts, &scene.export, &scene.directory);
    copy.outcome().fails(12, &["run it again"]);
    resumed(&scene.put_again(&[]));
}

#[test]
fn a_put_that_is_killed_again_and_again_comes_to_its_end() {
    if !ready("a_put_that_is_killed_again_and_again_comes_to_its_end") {
        return;
    }
    let mut scene = Scene::new();
    Scene::kill(scene.put_in_the_middle(&[]));
    let copy = scene.put_in_the_middle(&[]);
    scene.restart();
    copy.outcome().fails(12, &["run it again"]);
    let last = scene.put_again(&[]);
    resumed(&last);
    assert!(last.number("resumed_bytes") > ENOUGH, "{}", last.stdout);
}

#[test]
fn a_put_over_several_flows_goes_on() {
    if !ready("a_put_over_several_flows_goes_on") {
        return;
    }
    let mut scene = Scene::on(&["--queues", "2"], 1);
    // No slow wire has several queues: a large file gives the time.
    files::write(&scene.directory.join("file"), 512 << 20, 2);
    let copy = scene.put_in_the_middle(&["--flows", "2"]);
    scene.restart();
    copy.outcome().fails(12, &["run it again"]);
    let again = scene.put_again(&["--flows", "2"]);
    assert!(
        again.number("resumed_bytes") >= ENOUGH / 2,
        "{}",
        again.stdout
    );
    // Both ends again, this time with a dead client that has two sessions there.
    std::fs::remove_file(scene.export.join("file")).expect("the file is there");
    Scene::kill(scene.put_in_the_middle(&["--flows", "2"]));
    let again = scene.put_again(&["--flows", "2"]);
    assert!(
        again.number("resumed_bytes") >= ENOUGH / 2,
        "{}",
        again.stdout
    );
}

#[test]
fn a_changed_source_is_sent_from_its_beginning() {
    if !ready("a_changed_source_is_sent_from_its_beginning") {
        return;
    }
    let mut scene = Scene::new();
    let copy = scene.put_in_the_middle(&[]);
    scene.restart();
    copy.outcome().fails(12, &[]);
    // One byte, in what has arrived already; the size and the time of modification stay.
    let source = File::options()
        .write(true)
        .open(scene.directory.join("file"))
        .expect("the file is there");
    let modified = source.metadata().and_then(|metadata| metadata.modified());
    source
        .write_all_at(b"!", 4096)
        .expect("cannot change the file");
    source
        .set_modified(modified.expect("files have times"))
        .expect("cannot set the time");
    let outcome = scene.put_again(&[]);
    assert_eq!(outcome.number("resumed_bytes"), 0);
}

#[test]
fn nothing_is_kept_of_a_put_that_shall_not_be_resumed() {
    if !ready("nothing_is_kept_of_a_put_that_shall_not_be_resumed") {
        return;
    }
    let mut scene = Scene::new();
    let copy = scene.put_in_the_middle(&["--no-resume"]);
    scene.restart();
    let outcome = copy.outcome();
    outcome.fails(12, &[]);
    assert!(!outcome.stderr.contains("where they stopped"));
    scene.nothing_is_kept();
    assert_eq!(scene.put_again(&[]).number("resumed_bytes"), 0);
}

#[test]
fn what_is_kept_does_not_serve_a_put_that_shall_not_be_resumed() {
    if !ready("what_is_kept_does_not_serve_a_put_that_shall_not_be_resumed") {
        return;
    }
    let mut scene = Scene::new();
    let copy = scene.put_in_the_middle(&[]);
    scene.restart();
    copy.outcome().fails(12, &[]);
    let outcome = scene.start(1, "file", &["--no-resume"]).outcome();
    outcome.ok();
    assert_eq!(outcome.number("resumed_bytes"), 0);
    files::assert_same(&scene.directory.join("file"), &scene.export.join("file"));
}

#[test]
fn two_puts_of_the_same_name_at_once() {
    if !ready("two_puts_of_the_same_name_at_once") {
        return;
    }
    let scene = Scene::on(&SLOW, 2);
    files::write(&scene.directory.join("other"), SIZE, 2);
    let first = scene.put_in_the_middle(&[]);
    // Another file to the same name, and then the same file too: neither disturbs the one that goes on.
    scene.start(2, "other", &[]).outcome().ok();
    first.outcome().ok();
    let last = ["file", "other"].map(|name| scene.directory.join(name));
    let found = std::fs::read(scene.export.join("file")).expect("the file is there");
    let whole = last
        .iter()
        .any(|path| std::fs::read(path).is_ok_and(|bytes| bytes == found));
    assert!(whole, "the name shows neither file");
    let first = scene.put_in_the_middle(&[]);
    let second = scene.start(2, "file", &[]).outcome();
    second.ok();
    first.outcome().ok();
    files::assert_same(&scene.directory.join("file"), &scene.export.join("file"));
    assert_eq!(
        second.number("resumed_bytes"),
        0,
        "what another one brings is not taken away"
    );
}
