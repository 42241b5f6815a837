//! Over UDP sockets: at both ends, at one of them, without privileges, and to this host itself.

use std::path::Path;

use super::support::client::{Outcome, start_behind, start_over, start_unprivileged};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, LITTLE_LOCKED, Link};
use super::support::{Directory, files, ready};

const SIZE: u64 = (64 << 20) + 1_000;
const V4: &str = "10.77.0.1";
const V6: &str = "[fd77::1]";

/// Puts a file to `host` and gets it back, both by `run`; both copies are right. What blkcp said about each.
pub(super) fn there_and_back(
    directory: &Directory,
    host: &str,
    run: impl Fn(&[&str]) -> Outcome,
) -> [Outcome; 2] {
    let (source, back) = (directory.join("file"), directory.subdirectory("back"));
    let (stored, back) = (directory.join("export/file"), back.join("file"));
    for old in [&stored, &back] {
        let _ = std::fs::remove_file(old);
    }
    let remote = format!("{host}:data/file");
    let put = run(&[plain(&source), &remote]);
    put.ok();
    files::assert_same(&source, &stored);
    let got = run(&[&remote, plain(&back)]);
    got.ok();
    files::assert_same(&source, &back);
    [put, got]
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("test files have plain paths")
}

/// A file, an export and a link.
pub(super) fn scene(mtu: u32) -> (Directory, Hosts) {
    let directory = Directory::new();
    directory.subdirectory("export");
    files::write(&directory.join("file"), SIZE, u64::from(mtu));
    (directory, Hosts::up(Link::of(mtu)))
}

/// The link that blkcp reports for a data path.
fn link_over(datapath: &str) -> &str {
    match datapath {
        // What it is on a veth.
        "prefer-xdp" | "copy" => "af_xdp-copy",
        "skb" => "af_xdp-skb",
        "auto" => "udp",
        other => other,
    }
}

/// Both families between ends of these data paths.
pub(super) fn both_ways(
    hosts: &Hosts,
    directory: &Directory,
    server: &str,
    client: &str,
) -> Daemon {
    let export = directory.join("export");
    let interface = Host::Server.interface();
    let daemon = Daemon::start_over(hosts, interface, server, &export, directory);
    for host in [V4, V6] {
        let outcomes = there_and_back(directory, host, |arguments| {
            start_over(hosts, Host::Client, client, directory, arguments).outcome()
        });
        for outcome in outcomes {
            assert_eq!(outcome.field("datapath"), link_over(client));
        }
    }
    daemon
}

/// Without an XDP program, and with messages of many packets at both ends.
fn in_groups(test: &str, mtu: u32) {
    if !ready(test) {
        return;
    }
    let (directory, hosts) = scene(mtu);
    let daemon = both_ways(&hosts, &directory, "udp", "udp");
    assert!(!hosts.has_xdp(Host::Server) && !hosts.has_xdp(Host::Client));
    let export = directory.join("export");
    drop(daemon);
    // A put alone, from the beginning of both counts.
    let daemon = Daemon::start_over(&hosts, Host::Server.interface(), "udp", &export, &directory);
    let _ = std::fs::remove_file(export.join("file"));
    let source = directory.join("file");
    let arguments = [plain(&source), "10.77.0.1:data/other"];
    let put = start_over(&hosts, Host::Client, "udp", &directory, &arguments).outcome();
    put.ok();
    let counted = daemon.statistics();
    let (calls, received) = (counted["udp_receive_calls"], counted["udp_received"]);
    assert!(
        received > 4 * calls,
        "{received} packets in {calls} messages"
    );
    let (calls, sent) = (put.number("udp_send_calls"), put.number("udp_sent"));
    assert!(sent > 4 * calls, "{sent} packets in {calls} messages");
    assert!(counted["udp_receive_buffer"] > 0);
    // Acknowledgements of the other end have one length, blocks another, and only the first of these is unexpected.
    assert!(counted["udp_copied"] < received / 10, "{counted:?}");
}

#[test]
fn udp_at_mtu_1500() {
    in_groups("udp_at_mtu_1500", 1500);
}

#[test]
fn udp_at_mtu_9000() {
    in_groups("udp_at_mtu_9000", 9000);
}

#[test]
fn udp_and_af_xdp_understand_each_other() {
    if !ready("udp_and_af_xdp_understand_each_other") {
        return;
    }
    for mtu in [1500, 3498] {
        let (directory, hosts) = scene(mtu);
        drop(both_ways(&hosts, &directory, "udp", "copy"));
        drop(both_ways(&hosts, &directory, "copy", "udp"));
    }
}

#[test]
fn no_privileges_are_needed_for_udp() {
    if !ready("no_privileges_are_needed_for_udp") {
        return;
    }
    let (directory, hosts) = scene(1500);
    let export = directory.join("export");
    let daemon = Daemon::start_unprivileged(&hosts, &export, &directory);
    let log = daemon.log();
    for word in ["UDP sockets", "CAP_NET_RAW"] {
        assert!(log.contains(word), "no `{word}` in:\n{log}");
    }
    let outcomes = there_and_back(&directory, V4, |arguments| {
        start_unprivileged(&hosts, Host::Client, &directory, arguments).outcome()
    });
    for outcome in outcomes {
        assert_eq!(outcome.field("datapath"), "udp");
        let reason = outcome.field("datapath_reason");
        assert!(reason.contains("CAP_NET_ADMIN"), "{reason}");
    }
}

#[test]
fn udp_does_without_locked_memory() {
    if !ready("udp_does_without_locked_memory") {
        return;
    }
    let (directory, hosts) = scene(1500);
    let export = directory.join("export");
    let mode = "prefer-xdp";
    let daemon = Daemon::start_behind(&hosts, &LITTLE_LOCKED, mode, &export, &directory);
    let log = daemon.log();
    for word in ["UDP sockets", "memlock"] {
        assert!(log.contains(word), "no `{word}` in:\n{log}");
    }
    let outcomes = there_and_back(&directory, V4, |arguments| {
        start_behind(
            &hosts,
            Host::Client,
            &LITTLE_LOCKED,
            mode,
            &directory,
            arguments,
        )
        .outcome()
    });
    for outcome in outcomes {
        assert_eq!(outcome.field("datapath"), "udp");
        assert!(outcome.stdout.contains("memlock"), "{}", outcome.stdout);
    }
    assert!(!hosts.has_xdp(Host::Server) && !hosts.has_xdp(Host::Client));
}

#[test]
fn a_host_copies_to_itself_over_udp() {
    if !ready("a_host_copies_to_itself_over_udp") {
        return;
    }
    let (directory, hosts) = scene(1500);
    let export = directory.join("export");
    // The loopback has no native XDP, so this is what is chosen. The kernel counts packets to an address of an interface as
    // coming by that interface, also from the host itself.
    let cases = [
        ("lo", "auto", ["127.0.0.1", "[::1]"]),
        (Host::Server.interface(), "udp", [V4, V6]),
    ];
    for (interface, datapath, addresses) in cases {
        let daemon = Daemon::start_over(&hosts, interface, datapath, &export, &directory);
        assert!(daemon.log().contains("UDP sockets"), "{}", daemon.log());
        for host in addresses {
            let outcomes = there_and_back(&directory, host, |arguments| {
                start_over(&hosts, Host::Server, "auto", &directory, arguments).outcome()
            });
            for outcome in outcomes {
                assert_eq!(outcome.field("datapath"), "udp");
                assert_eq!(outcome.field("interface"), "lo");
            }
        }
    }
}
