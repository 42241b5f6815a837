//! Who is let in: `--allow` and `--handshake-rate`, by the XDP program and by the gate of the UDP sockets.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

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
fn the_list_changes_while_transfers_go_on() {
    if ready("the_list_changes_while_transfers_go_on") {
        changes_while_transfers_go_on("copy");
    }
}

#[test]
fn the_list_changes_while_transfers_go_on_over_udp() {
    if ready("the_list_changes_while_transfers_go_on_over_udp") {
        changes_while_transfers_go_on("udp");
    }
}

fn changes_while_transfers_go_on(datapath: &'static str) {
    let list = Directory::new();
    let allowed = list.join("allowed");
    let write = |text: &str| std::fs::write(&allowed, text).expect("the list can be written");
    write("# IPv6 only\nfd77::/64\n");
    let path = allowed.to_str().expect("a plain path");
    let scene = Scene::new(datapath, &["--allow", "192.0.2.0/24", "--allow-from", path]);
    let said = scene.daemon.log();
    assert!(said.contains("2 allowed network(s) only"), "{said}");
    let refused = || {
        let outcome = scene.put("10.77.0.1:data/refused");
        outcome.fails(3, &["no answer", "--allow"]);
    };
    refused();

    // One who may come goes on while others come and go, however often the list is read.
    let large = scene.directory.join("large");
    files::write(&large, 256 << 20, 2);
    let arguments = [
        large.to_str().expect("a plain path"),
        "[fd77::1]:data/large",
    ];
    let mut copy = start_over(
        &scene.hosts,
        Host::Client,
        datapath,
        &scene.directory,
        &arguments,
    );
    let started = within(Duration::from_secs(10), || {
        scene.daemon.statistics()["payload_in"] > 1 << 20
    });
    assert!(started, "the copy does not start: {}", scene.daemon.log());
    let mut readings = 0;
    while copy.is_running() || readings < 4 {
        // First one that stands for all addresses, then the single one.
        for (text, change) in [
            (
                "fd77::/64\n10.77.0.0/24\n",
                "3 allowed network(s), 1 added, 0 removed",
            ),
            ("fd77::2\n", "2 allowed network(s), 1 added, 2 removed"),
            ("fd77::/64\n", "2 allowed network(s), 1 added, 1 removed"),
        ] {
            write(text);
            read_again(&scene, change);
        }
        readings += 3;
    }
    copy.outcome().ok();
    files::assert_same(&large, &scene.export.join("large"));

    // Let in, and shut out again.
    write("fd77::/64\n10.77.0.2 # the client\nhandshake-rate 500\n");
    read_again(&scene, "1 added, 0 removed, handshake rate 500");
    scene.put("10.77.0.1:data/file").ok();
    files::assert_same(&scene.source, &scene.export.join("file"));

    // A mistake changes nothing.
    write("fd77::/64\n10.77.0.2\n10.77.0.0/99\n");
    read_again(&scene, "the allow-list stays as it was");
    assert!(scene.daemon.log().contains("allowed, line 3: "));
    scene.put("10.77.0.1:data/again").ok();

    write("fd77::/64\n");
    read_again(&scene, "0 added, 1 removed, handshake rate 1000");
    refused();
    scene.copy_over_ipv6();
}

/// Sends SIGHUP, and waits until blockd has said that.
#[track_caller]
fn read_again(scene: &Scene, words: &str) {
    let before = scene.daemon.log().len();
    scene.daemon.signal(Signal::HUP);
    let said = || {
        let log = scene.daemon.log();
        log[before..].contains(words)
    };
    let told = within(Duration::from_secs(5), said);
    assert!(told, "no `{words}` in: {}", &scene.daemon.log()[before..]);
}

#[test]
fn a_hangup_without_a_file_is_said_and_survived() {
    if ready("a_hangup_without_a_file_is_said_and_survived") {
        let scene = Scene::new("udp", &[]);
        read_again(&scene, "nothing to read again, without --allow-from");
        scene.copy_over_ipv6();
    }
}

#[test]
fn networks_that_make_no_sense_are_refused() {
    if !ready("networks_that_make_no_sense_are_refused") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    let wrong = directory.join("wrong");
    std::fs::write(&wrong, "10.0.0.0/8\n10.0.0.0/33\n").expect("the list can be written");
    for (option, value, word) in [
        ("--allow", "10.77.0.1/24", "10.77.0.0/24"),
        ("--allow", "somebody", "10.0.0.0/8"),
        ("--handshake-rate", "1000001", "1000000"),
        (
            "--allow-from",
            wrong.to_str().expect("a plain path"),
            "wrong, line 2: ",
        ),
        ("--allow-from", "/dev/null", "not a regular file"),
        ("--allow-from", "/no/such/file", "/no/such/file"),
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

/// Sends so many Hellos from one socket.
fn greet(count: u32) {
    let socket = UdpSocket::bind("10.77.0.2:0").expect("there is a port");
    socket
        .connect("10.77.0.1:7440")
        .expect("the server has an address");
    for id in 1..=count {
        // A full queue is not this test's concern.
        let _ = socket.send(&hello(id));
    }
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
    let started = Instant::now();
    let sent = on_host(&scene.hosts, Host::Client, || greet(SENT));
    sent.join().expect("the Hellos were sent");
    let come = |counted: &BTreeMap<String, u64>| counted[let_in] + counted["handshakes_limited"];
    let mut counted = scene.daemon.statistics();
    // Some may still wait in a socket.
    let all = within(Duration::from_secs(20), || {
        let before = come(&counted);
        std::thread::sleep(Duration::from_millis(200));
        counted = scene.daemon.statistics();
        come(&counted) == before
    });
    assert!(all, "more and more Hellos: {counted:?}");
    // The last of them was judged by now, and the bucket has got one for each second at most, a begun one included.
    let seconds = started.elapsed().as_secs() + 1;
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
