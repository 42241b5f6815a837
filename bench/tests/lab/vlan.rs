//! Files there and back where packets have VLAN tags: all the way, or on one end's side of a switch.
//!
//! The kernels here may know nothing of 802.1Q: what is tagged, and untagged again, is so by blkcp, blockd and the wire.

use std::collections::BTreeMap;

use super::dump::wireshark_understands;
use super::pcapng::Capture;
use super::support::client::{Outcome, blkcp, start_over};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, ready};

/// Not a whole number of sectors.
const SIZE: u64 = (24 << 20) + 777;

/// The server's addresses.
const ADDRESSES: [&str; 2] = ["10.77.0.1", "[fd77::1]"];

/// A put, a get, and what blockd counted meanwhile.
struct Round {
    put: Outcome,
    got: Outcome,
    counted: BTreeMap<String, u64>,
}

/// What one path looks like.
#[derive(Clone, Copy)]
struct Case<'a> {
    mtu: u32,
    /// Words for the lab.
    wire: &'a [&'a str],
    /// Words for blkcp.
    vlan: &'a [&'a str],
    /// Its data path.
    datapath: &'a str,
}

/// AF_XDP at both ends.
const AF_XDP: &str = "copy";

impl Case<'_> {
    /// Puts a file and gets it back, byte for byte, from each address of the server.
    fn rounds(self) -> Vec<Round> {
        let Self {
            mtu,
            wire,
            vlan,
            datapath,
        } = self;
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::up(Link { mtu, wire });
        hosts.introduce();
        let source = directory.join("file");
        files::write(&source, SIZE, u64::from(mtu));
        let text = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let round = |(number, address): (usize, &&str)| {
            let daemon = Daemon::start(&hosts, &export, &directory);
            let (copy, back) = (format!("copy{number}"), text(&format!("back{number}")));
            let remote = format!("{address}:data/{copy}");
            let run = |from: &str, to: &str| {
                let words = [vlan, &[from, to]].concat();
                let copy = start_over(&hosts, Host::Client, datapath, &directory, &words);
                let outcome = copy.outcome();
                outcome.ok();
                outcome
            };
            let put = run(&text("file"), &remote);
            files::assert_same(&source, &export.join(&copy));
            let got = run(&remote, &back);
            files::assert_same(&source, &directory.join(&format!("back{number}")));
            Round {
                put,
                got,
                counted: daemon.statistics(),
            }
        };
        ADDRESSES.iter().enumerate().map(round).collect()
    }

    /// Every round had payloads of this length, and every block of both ways lay where the disk takes it. Where
    /// the tags at both ends differ, blockd has put its blocks elsewhere in the packets that it sends.
    fn lie_right(self, payload: u64, shifted: bool) {
        for round in self.rounds() {
            assert_eq!(round.put.number("payload"), payload);
            assert_eq!(round.got.number("payload"), payload);
            let counted = &round.counted;
            assert_eq!(counted["blocks_moved"], 0, "{counted:?}");
            assert_eq!(counted["blocks_shifted"] > 0, shifted, "{counted:?}");
            if payload == 3072 {
                // As without tags: whole sectors go from the frames to the disk, without a copy.
                for outcome in [&round.put, &round.got] {
                    let direct = outcome.number("zero_copy_bytes");
                    assert!(direct * 100 >= SIZE * 95, "{direct} of {SIZE}");
                }
            }
        }
    }
}

/// Trunks at both ends.
fn trunk_to_trunk(mtu: u32, payload: u64) {
    for vlan in ["100", "100,7"] {
        let case = Case {
            mtu,
            wire: &[],
            vlan: &["--vlan", vlan],
            datapath: AF_XDP,
        };
        case.lie_right(payload, false);
    }
}

#[test]
fn tags_at_both_ends() {
    if ready("tags_at_both_ends") {
        trunk_to_trunk(1500, 1024);
    }
}

#[test]
fn tags_at_both_ends_from_frame_to_disk() {
    if ready("tags_at_both_ends_from_frame_to_disk") {
        trunk_to_trunk(3498, 3072);
    }
}

/// An access port at the client, and a trunk at the server: a switch puts the tags in, and takes them out.
fn access_to_trunk(mtu: u32, payload: u64) {
    for vlan in ["100", "100,7"] {
        let case = Case {
            mtu,
            wire: &["--vlan-server", vlan],
            vlan: &[],
            datapath: AF_XDP,
        };
        case.lie_right(payload, true);
    }
}

#[test]
fn tags_at_the_server_alone() {
    if ready("tags_at_the_server_alone") {
        access_to_trunk(1500, 1024);
    }
}

#[test]
fn tags_at_the_server_alone_from_frame_to_disk() {
    if ready("tags_at_the_server_alone_from_frame_to_disk") {
        access_to_trunk(3498, 3072);
    }
}

#[test]
fn tags_at_the_client_alone() {
    if !ready("tags_at_the_client_alone") {
        return;
    }
    for vlan in ["100", "100,7"] {
        let case = Case {
            mtu: 3498,
            wire: &["--vlan-client", vlan],
            vlan: &["--vlan", vlan],
            datapath: AF_XDP,
        };
        case.lie_right(3072, true);
    }
}

#[test]
fn a_vlan_in_a_vlan_at_the_server_and_one_at_the_client() {
    if !ready("a_vlan_in_a_vlan_at_the_server_and_one_at_the_client") {
        return;
    }
    let case = Case {
        mtu: 1500,
        wire: &["--vlan-client", "7", "--vlan-server", "100,7"],
        vlan: &["--vlan", "7"],
        datapath: AF_XDP,
    };
    case.lie_right(1024, true);
}

#[test]
fn udp_sockets_at_the_client_and_tags_at_the_server() {
    if !ready("udp_sockets_at_the_client_and_tags_at_the_server") {
        return;
    }
    // The kernel of a client on a VLAN interface takes the tags away as a switch does.
    let case = Case {
        mtu: 3498,
        wire: &["--vlan-server", "100"],
        vlan: &[],
        datapath: "udp",
    };
    case.lie_right(3072, true);
}

#[test]
fn tagged_packets_are_dumped_as_they_went() {
    if !ready("tagged_packets_are_dumped_as_they_went") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    files::write(&directory.join("file"), SIZE, 2);
    let [file, dump] =
        ["file", "dump.pcapng"].map(|name| directory.join(name).to_string_lossy().into_owned());
    let words = [
        "--vlan",
        "100,7",
        "--dump",
        &dump,
        &file,
        "10.77.0.1:data/file",
    ];
    blkcp(&hosts, &directory, &words).ok();
    let bytes = std::fs::read(&dump).expect("cannot read the dump");
    for packet in Capture::read(&bytes).packets {
        let tags = [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7];
        assert_eq!(packet.bytes[12..20], tags, "{packet:?}");
    }
    wireshark_understands(&directory.join("dump.pcapng"));
}

#[test]
fn another_vlan_is_not_reached() {
    if !ready("another_vlan_is_not_reached") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    files::write(&directory.join("file"), 1000, 1);
    let wire = ["--vlan-client", "7", "--vlan-server", "7"];
    let hosts = Hosts::up(Link {
        mtu: 1500,
        wire: &wire,
    });
    hosts.introduce();
    let _daemon = Daemon::start(&hosts, &export, &directory);
    let file = directory.join("file").to_string_lossy().into_owned();
    let put = |vlan: &str| {
        let words = ["--vlan", vlan, &file, "10.77.0.1:data/file"];
        blkcp(&hosts, &directory, &words)
    };
    put("8").fails(3, &["no answer"]);
    put("7").ok();
}
