//! Every data path on one link: what each end says that it got, and that the bytes arrive.

use std::ffi::OsStr;
use std::time::Duration;

use rustix::process::Signal;

use super::support::client::start_over;
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts};
use super::support::{Directory, files, ready};
use super::udp::{both_ways, scene, there_and_back};

/// What can be asked for on a veth, the words of the ready line, and how `ip link` names the program.
const MODES: [(&str, &str, Option<&str>); 5] = [
    ("copy", "AF_XDP copy mode", Some(" xdp ")),
    ("skb", "AF_XDP skb mode", Some(" xdpgeneric ")),
    ("udp", "UDP sockets", None),
    ("prefer-xdp", "AF_XDP copy mode", Some(" xdp ")),
    ("auto", "UDP sockets", None),
];

#[test]
fn each_mode_is_what_it_says_and_carries_both_families() {
    if !ready("each_mode_is_what_it_says_and_carries_both_families") {
        return;
    }
    for mtu in [1500, 3498] {
        let (directory, hosts) = scene(mtu);
        for (mode, words, program) in MODES {
            let daemon = both_ways(&hosts, &directory, mode, mode);
            let said = daemon.log();
            assert!(said.contains(words), "{mode}: {said}");
            let link = hosts.ip(Host::Server, "link show dev blk0");
            let named = |name: &str| link.contains(name);
            assert_eq!(named("xdp"), program.is_some(), "{mode}: {link}");
            assert!(program.is_none_or(named), "{mode}: {link}");
        }
        assert!(!hosts.has_xdp(Host::Server) && !hosts.has_xdp(Host::Client));
    }
}

#[test]
fn ends_in_different_modes_understand_each_other() {
    if !ready("ends_in_different_modes_understand_each_other") {
        return;
    }
    let (directory, hosts) = scene(3498);
    for (server, client) in [("skb", "copy"), ("copy", "skb")] {
        drop(both_ways(&hosts, &directory, server, client));
    }
}

#[test]
fn messages_that_the_other_end_cannot_take_are_given_up() {
    if !ready("messages_that_the_other_end_cannot_take_are_given_up") {
        return;
    }
    for mtu in [1500, 3498] {
        let (directory, hosts) = scene(mtu);
        drop(both_ways(&hosts, &directory, "skb", "udp"));
        let daemon = both_ways(&hosts, &directory, "udp", "skb");
        // A get of each family, over at least one flow.
        assert!(daemon.statistics()["udp_parted"] >= 2, "{}", daemon.log());
    }
}

#[test]
fn zero_copy_is_refused_where_the_driver_has_none() {
    if !ready("zero_copy_is_refused_where_the_driver_has_none") {
        return;
    }
    let (directory, hosts) = scene(1500);
    let export = directory.join("export");
    let mut daemon = Daemon::spawn_over(&hosts, "zerocopy", &export, &[], &directory);
    let status = daemon.wait(Duration::from_secs(10));
    let said = daemon.log();
    assert_eq!(status.and_then(|status| status.code()), Some(11), "{said}");
    for word in ["blk0", "ZeroCopy", "copy mode"] {
        assert!(said.contains(word), "no `{word}` in {said}");
    }
    assert!(!hosts.has_xdp(Host::Server));

    let _daemon = Daemon::start_over_options(&hosts, "copy", &export, &[], &directory);
    let source = directory.join("file");
    let arguments = [
        source.to_str().expect("a plain path"),
        "10.77.0.1:data/file",
    ];
    let put = start_over(&hosts, Host::Client, "zerocopy", &directory, &arguments).outcome();
    put.fails(11, &["blk1", "ZeroCopy", "copy mode"]);
    assert!(!hosts.has_xdp(Host::Client));
    assert!(files::names(&export).is_empty());
}

#[test]
fn after_a_kill_the_interface_can_be_had_at_once() {
    if !ready("after_a_kill_the_interface_can_be_had_at_once") {
        return;
    }
    let (directory, hosts) = scene(1500);
    for mode in ["copy", "skb", "udp"] {
        for _ in 0..3 {
            let mut daemon = start(&hosts, &directory, mode, &[]);
            round_trip(&hosts, &directory, mode, &[]);
            daemon.signal(Signal::KILL);
            assert!(daemon.wait(Duration::from_secs(10)).is_some(), "{mode}");
        }
        drop(start(&hosts, &directory, mode, &[]));
    }
}

#[test]
fn both_ends_poll_busily() {
    if !ready("both_ends_poll_busily") {
        return;
    }
    let (directory, hosts) = scene(3498);
    for (mode, words) in [
        ("copy", "napi_defer_hard_irqs"),
        ("skb", "no NAPI instance"),
        ("udp", "does nothing over UDP"),
    ] {
        for option in ["--busy-poll", "--busy-poll=50"] {
            let daemon = start(&hosts, &directory, mode, &[option]);
            let mut said = round_trip(&hosts, &directory, mode, &[option]).to_vec();
            said.push(daemon.log());
            for said in said {
                assert!(said.contains(words), "{mode}: no `{words}` in {said}");
            }
        }
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let option = [OsStr::new("--busy-poll=0")];
    let mut daemon = Daemon::spawn_over(&hosts, "copy", &export, &option, &directory);
    let status = daemon.wait(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(2));
}

fn start(hosts: &Hosts, directory: &Directory, mode: &str, options: &[&str]) -> Daemon {
    let options: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    Daemon::start_over_options(hosts, mode, &directory.join("export"), &options, directory)
}

/// Puts the file and gets it back; what blkcp said on stderr.
fn round_trip(hosts: &Hosts, directory: &Directory, mode: &str, options: &[&str]) -> [String; 2] {
    there_and_back(directory, "10.77.0.1", |arguments| {
        let arguments: Vec<&str> = options.iter().chain(arguments).copied().collect();
        start_over(hosts, Host::Client, mode, directory, &arguments).outcome()
    })
    .map(|outcome| outcome.stderr)
}
