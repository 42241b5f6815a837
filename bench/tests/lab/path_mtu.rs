//! Paths that take less than the hosts' interfaces, drop what is longer without a word, and change.

use std::time::Duration;

use super::support::client::{blkcp, start};
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files, ready};

/// Payloads of 16 and 2 sectors: what fits an MTU of 9000, in several frames, and one of 1500.
const JUMBO: u64 = 8192;
const ORDINARY: u64 = 1024;

const SIZE: u64 = 256 << 20;

/// Hosts whose interfaces take jumbo frames, and a file.
struct Lab {
    directory: Directory,
    hosts: Hosts,
    _daemon: Daemon,
}

impl Lab {
    fn new(wire: &[&str], size: u64) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        files::write(&directory.join("file"), size, 8899);
        let hosts = Hosts::up(Link { mtu: 9000, wire });
        let daemon = Daemon::start(&hosts, &export, &directory);
        Self {
            directory,
            hosts,
            _daemon: daemon,
        }
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.join(name);
        path.to_str()
            .expect("test files have plain paths")
            .to_owned()
    }

    /// Copies the file to the server and back; gives the payloads that fitted in the end.
    fn there_and_back(&self) -> [u64; 2] {
        let copy = |from: &str, to: &str| {
            let outcome = blkcp(&self.hosts, &self.directory, &[from, to]);
            outcome.ok().number("payload")
        };
        let put = copy(&self.path("file"), "10.77.0.1:data/file");
        self.assert_same("export/file");
        let got = copy("10.77.0.1:data/file", &self.path("back"));
        self.assert_same("back");
        [put, got]
    }

    #[track_caller]
    fn assert_same(&self, copy: &str) {
        files::assert_same(&self.directory.join("file"), &self.directory.join(copy));
    }
}

#[test]
fn jumbo_frames_need_no_flag() {
    if !ready("jumbo_frames_need_no_flag") {
        return;
    }
    assert_eq!(Lab::new(&[], SIZE).there_and_back(), [JUMBO; 2]);
}

#[test]
fn a_path_that_takes_less_than_its_ends() {
    if !ready("a_path_that_takes_less_than_its_ends") {
        return;
    }
    let lab = Lab::new(&["--path-mtu", "1500"], SIZE);
    assert_eq!(lab.there_and_back(), [ORDINARY; 2]);
}

#[test]
fn sizes_between_are_found_also_with_loss() {
    if !ready("sizes_between_are_found_also_with_loss") {
        return;
    }
    // 2560 bytes and 114 of headers make 2674.
    let lab = Lab::new(&["--path-mtu", "3000", "--loss", "1%"], 64 << 20);
    assert_eq!(lab.there_and_back(), [2560; 2]);
}

/// Starts a copy, lets the path shrink in its midst, and gives the payload that fitted in the end.
fn shrinks_during(lab: &Lab, arguments: &[&str]) -> u64 {
    let line = ["--rate", "800mbit", "--queue", "500kb"];
    lab.hosts.change(&line);
    let mut copy = start(&lab.hosts, &lab.directory, arguments);
    // The file takes 2.7 s at least.
    std::thread::sleep(Duration::from_millis(1000));
    assert!(
        copy.is_running(),
        "the copy is over before the path shrinks"
    );
    lab.hosts
        .change(&[line.as_slice(), &["--path-mtu", "1500"]].concat());
    let outcome = copy.outcome();
    outcome.ok().number("payload")
}

#[test]
fn the_path_shrinks_in_mid_transfer() {
    if !ready("the_path_shrinks_in_mid_transfer") {
        return;
    }
    let lab = Lab::new(&["--rate", "800mbit", "--queue", "500kb"], SIZE);
    let (file, back) = (lab.path("file"), lab.path("back"));
    let remote = "10.77.0.1:data/file";
    assert_eq!(shrinks_during(&lab, &[&file, remote]), ORDINARY);
    lab.assert_same("export/file");
    shrinks_during(&lab, &[remote, &back]);
    lab.assert_same("back");
}
