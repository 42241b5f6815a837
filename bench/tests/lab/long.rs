//! Packets in several frames: AF_XDP copy mode where the MTU has room for them.

use std::collections::BTreeMap;

use super::support::client::{Outcome, start_over};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, ready};
use super::udp::both_ways;

const V4: &str = "10.77.0.1";
const V6: &str = "[fd77::1]";
/// Longest payload in a packet, by the MTU.
const LONGEST: [(u32, u64); 2] = [(9000, 8192), (65_535, 53_760)];
/// Blocks of a file are cut at multiples of this.
const GRID: u64 = 860_160;

/// Two hosts with both ends in copy mode.
struct Lab {
    directory: Directory,
    hosts: Hosts,
    daemon: Daemon,
}

impl Lab {
    fn new(mtu: u32, wire: &[&str]) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        directory.subdirectory("back");
        let hosts = Hosts::up(Link { mtu, wire });
        let interface = Host::Server.interface();
        let daemon = Daemon::start_over(&hosts, interface, "copy", &export, &directory);
        Self {
            directory,
            hosts,
            daemon,
        }
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.join(name);
        path.to_str()
            .expect("test files have plain paths")
            .to_owned()
    }

    fn copy(&self, from: &str, to: &str) -> Outcome {
        let outcome = start_over(
            &self.hosts,
            Host::Client,
            "copy",
            &self.directory,
            &[from, to],
        )
        .outcome();
        outcome.ok();
        outcome
    }

    /// Puts a new file of so many bytes and gets it back, byte for byte. What blkcp said, and what blockd counted
    /// by the end of each.
    fn there_and_back(&self, host: &str, size: u64) -> [(Outcome, BTreeMap<String, u64>); 2] {
        let name = format!("file-{size}");
        let (source, back) = (self.directory.join(&name), format!("back/{name}"));
        files::write(&source, size, size + 77);
        let remote = format!("{host}:data/{name}");
        let _ = std::fs::remove_file(self.directory.join(&format!("export/{name}")));
        let _ = std::fs::remove_file(self.directory.join(&back));
        let put = self.copy(&self.path(&name), &remote);
        files::assert_same(&source, &self.directory.join(&format!("export/{name}")));
        let stored = self.daemon.statistics();
        let got = self.copy(&remote, &self.path(&back));
        files::assert_same(&source, &self.directory.join(&back));
        [(put, stored), (got, self.daemon.statistics())]
    }
}

#[test]
fn long_packets_carry_every_size() {
    if !ready("long_packets_carry_every_size") {
        return;
    }
    for (mtu, longest) in LONGEST {
        let lab = Lab::new(mtu, &[]);
        let edges = [3072, 3584, longest, 2 * longest, GRID, 2 * GRID];
        let sizes = edges
            .into_iter()
            .flat_map(|edge| [edge - 1, edge, edge + 1]);
        for size in sizes.chain([0, 1, 511, 512, 32_769, 8 * GRID + 77]) {
            let host = if size % 3 == 0 { V6 } else { V4 };
            for (outcome, _) in lab.there_and_back(host, size) {
                assert_eq!(outcome.number("bytes"), size, "MTU {mtu}");
            }
        }
    }
}

#[test]
fn long_packets_are_few_and_their_bytes_are_not_copied() {
    if !ready("long_packets_are_few_and_their_bytes_are_not_copied") {
        return;
    }
    const SIZE: u64 = (256 << 20) + 1000;
    for (mtu, longest) in LONGEST {
        let lab = Lab::new(mtu, &[]);
        let [(put, stored), (got, all)] = lab.there_and_back(V4, SIZE);
        for outcome in [&put, &got] {
            assert_eq!(outcome.number("payload"), longest);
            let direct = outcome.number("zero_copy_bytes");
            assert!(direct * 100 >= SIZE * 95, "{direct} of {SIZE}");
        }
        // Blocks begin short, and are so at the bounds of reads.
        let blocks = SIZE.div_ceil(longest);
        let received = stored["frames_received"];
        assert!(
            received < blocks * 3 / 2,
            "MTU {mtu}: {received} packets for {blocks} blocks"
        );
        let long = stored["blocks_long"];
        assert!(long * 10 >= blocks * 9, "{long} of {blocks}");
        assert!(stored["rx_fragments"] >= SIZE / 3584, "{stored:?}");
        assert_eq!(stored["rx_fragments_dropped"], 0);
        assert!(stored["blocks_moved"] < blocks / 20, "{stored:?}");
        let sent = all["tx_fragments"] - stored["tx_fragments"];
        assert!(sent >= SIZE / 3584, "{sent} frames sent");
    }
}

#[test]
fn ends_with_and_without_long_packets_understand_each_other() {
    if !ready("ends_with_and_without_long_packets_understand_each_other") {
        return;
    }
    for (server, client) in [
        ("copy", "udp"),
        ("udp", "copy"),
        ("copy", "skb"),
        ("skb", "copy"),
        ("copy", "prefer-xdp"),
        ("prefer-xdp", "copy"),
    ] {
        let directory = Directory::new();
        directory.subdirectory("export");
        files::write(&directory.join("file"), (64 << 20) + 1000, 9000);
        let hosts = Hosts::up(Link::of(9000));
        let daemon = both_ways(&hosts, &directory, server, client);
        let counted = daemon.statistics();
        assert_eq!(counted["blocks_long"], 0, "{server} {client}: {counted:?}");
    }
}

#[test]
fn long_packets_become_as_short_as_the_path_asks() {
    if !ready("long_packets_become_as_short_as_the_path_asks") {
        return;
    }
    // 4096 bytes and 512 of headers make 4608, of which 14 do not count.
    for (path, payload) in [
        ("1500", 1024),
        ("3498", 3072),
        ("4593", 3584),
        ("4594", 4096),
    ] {
        let lab = Lab::new(9000, &["--path-mtu", path]);
        for (outcome, counted) in lab.there_and_back(V4, (32 << 20) + 7) {
            assert_eq!(outcome.number("payload"), payload, "{path}");
            assert_eq!(counted["blocks_long"] > 0, payload > 3584, "{counted:?}");
        }
    }
}

#[test]
fn long_packets_survive_loss() {
    if !ready("long_packets_survive_loss") {
        return;
    }
    let lab = Lab::new(9000, &["--loss", "2%", "--reorder", "1%"]);
    for (outcome, _) in lab.there_and_back(V4, (64 << 20) + 513) {
        assert_eq!(outcome.number("payload"), 8192);
    }
}
