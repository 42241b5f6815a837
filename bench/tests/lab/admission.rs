//! Who is let in: `--allow` and `--handshake-rate`, by the XDP program and by the gate of the UDP sockets.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::flood::hello;
use super::support::client::{Outcome, start_over};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::traffic::on_host;
use super::support::{Directory, files, ready, within};

/// Two hosts, a file, and blockd with these options; all of them on one data path.
struct Scene {
    datapath: &'static str,
    daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    directory: Directory,
    source: PathBuf,
}

impl Scene {
    fn new(datapath: &'static str, options: &[&str]) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let source = directory.join("file");
        files::write(&source, 3_000_000, 1);
        let hosts = Hosts::up(Link::of(3498));
        let options: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        let daemon = Daemon::start_over_options(&hosts, datapath, &export, &options, &directory);
        Self {
            datapath,
            daemon,
            hosts,
            export,
            directory,
            source,
        }
    }

    fn put(&self, target: &str) -> Outcome {
        let arguments = [self.source.to_str().expect("a plain path"), target];
        let (hosts, directory) = (&self.hosts, &self.directory);
        start_over(hosts, Host::Client, self.datapath, directory, &arguments).outcome()
    }

    /// Copies the file to the server's IPv6 address, which is another source for it than an IPv4 one.
    #[track_caller]
    fn copy_over_ipv6(&self) {
        self.put("[fd77::1]:data/file").ok();
        files::assert_same(&self.source, &self.export.join("file"));
    }
}

#[test]
fn a_client_that_is_not_allowed_gets_no_answer() {
    if ready("a_client_that_is_not_allowed_gets_no_answer") {
        gets_no_answer("copy", "redirected");
    }
}

#[test]
fn a_client_that_is_not_allowed_gets_no_answer_over_udp() {
    if ready("a_client_that_is_not_allowed_gets_no_answer_over_udp") {
        gets_no_answer("udp", "frames_received");
    }
}

/// `let_in` counts the packets that got through to a worker.
fn gets_no_answer(datapath: &'static str, let_in: &str) {
    let scene = Scene::new(
        datapath,
        &["--allow", "10.77.0.64/26", "--allow", "fd77::/64"],
    );
    let said = scene.daemon.log();
    assert!(said.contains("2 allowed network(s) only"), "{said}");
    let refused = scene.put("10.77.0.1:data/file");
    refused.fails(3, &["10.77.0.1", "no answer", "--allow"]);
    assert!(files::names(&scene.export).is_empty());
    let counted = scene.daemon.statistics();
    assert!(counted["not_allowed"] > 0, "{counted:?}");
    // Not one packet got to a worker.
    assert_eq!(counted[let_in], 0, "{counted:?}");
    assert_eq!(counted["frames_received"], 0, "{counted:?}");

    scene.copy_over_ipv6();
    let after = scene.daemon.statistics();
    assert_eq!(after["not_allowed"], counted["not_allowed"]);
    assert!(after[let_in] > 0, "{after:?}");
}

#[test]
fn networks_that_make_no_sense_are_refused() {
    if !ready("networks_that_make_no_sense_are_refused") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    for (option, value, word) in [
        ("--allow", "10.77.0.1/24", "10.77.0.0/24"),
        ("--allow", "somebody", "10.0.0.0/8"),
        ("--handshake-rate", "1000001", "1000000"),
    ] {
        let options = [option, value].map(OsStr::new);
        let mut daemon = Daemon::spawn_options(&hosts, &export, &options, &directory);
        let status = daemon.wait(Duration::from_secs(10));
        let said = daemon.log();
        assert_eq!(status.and_then(|status| status.code()), Some(2), "{said}");
        assert!(said.contains(word), "{value}: {said}");
        assert!(!hosts.has_xdp(Host::Server), "{value}");
    }
}

/// Sends so many Hellos from one socket; gives how many seconds that took, begun ones included.
fn greet(count: u32) -> u64 {
    let started = Instant::now();
    let socket = UdpSocket::bind("10.77.0.2:0").expect("there is a port");
    socket
        .connect("10.77.0.1:7440")
        .expect("the server has an address");
    for id in 1..=count {
        // A full queue is not this test's concern.
        let _ = socket.send(&hello(id));
    }
    started.elapsed().as_secs() + 1
}

#[test]
fn a_source_greets_no_more_often_than_it_may() {
    if ready("a_source_greets_no_more_often_than_it_may") {
        greets_no_more_often("copy", "redirected");
    }
}

#[test]
fn a_source_greets_no_more_often_than_it_may_over_udp() {
    if ready("a_source_greets_no_more_often_than_it_may_over_udp") {
        greets_no_more_often("udp", "frames_received");
    }
}

fn greets_no_more_often(datapath: &'static str, let_in: &str) {
    /// At once, with a rate of 1 per second.
    const BURST: u64 = 32;
    const SENT: u32 = 2000;
    let scene = Scene::new(datapath, &["--handshake-rate", "1"]);
    let seconds = on_host(&scene.hosts, Host::Client, || greet(SENT));
    let seconds = seconds.join().expect("the Hellos were sent");
    let come = |counted: &BTreeMap<String, u64>| counted[let_in] + counted["handshakes_limited"];
    let mut counted = scene.daemon.statistics();
    // Some may still wait in a socket.
    let all = within(Duration::from_secs(5), || {
        let before = come(&counted);
        std::thread::sleep(Duration::from_millis(200));
        counted = scene.daemon.statistics();
        come(&counted) == before
    });
    assert!(all, "more and more Hellos: {counted:?}");
    // The network may have lost some; those let through are as many as the bucket had, and got in the meantime.
    let (let_in, kept_out) = (counted[let_in], counted["handshakes_limited"]);
    assert!((BURST..=BURST + seconds).contains(&let_in), "{counted:?}");
    assert!(kept_out > u64::from(SENT) / 10, "{counted:?}");
    assert!(let_in + kept_out <= u64::from(SENT), "{counted:?}");

    // Another source has a bucket of its own, and packets that are no Hellos take nothing from it.
    scene.copy_over_ipv6();
    assert_eq!(
        scene.daemon.statistics()["handshakes_limited"],
        kept_out,
        "{counted:?}"
    );
}
