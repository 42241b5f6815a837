//! What is said of interfaces, by example.

use blk_xdp::{Attachment, ProgramInfo};

use super::super::ethtool::{Offloads, Queues, Rings, Steering};
use super::super::finding::Level;
use super::super::host_findings::tests::good;
use super::super::interface::XdpProgram;
use super::super::links::Link;
use super::super::netdev::XdpFeatures;
use super::super::virtio::tests::features;
use super::*;
use crate::net::Driver;

fn named(name: &str, bus: &str) -> Option<Driver> {
    Some(Driver {
        name: name.to_owned(),
        version: "1".to_owned(),
        firmware: String::new(),
        bus: bus.to_owned(),
    })
}

/// A card with everything, on a host with 4 CPUs.
fn card() -> InterfaceFacts {
    InterfaceFacts {
        link: Link {
            index: 2,
            name: "eth1".to_owned(),
            ethernet: true,
            up: true,
            carrier: true,
            mtu: 3498,
            max_mtu: 9978,
            rx_queues: 8,
            addresses: vec![[10, 0, 0, 1].into()],
            ..Link::default()
        },
        lower: None,
        master: None,
        members: Vec::new(),
        driver: named("mlx5_core", "0000:01:00.0"),
        speed: Some(100_000),
        numa_node: Some(0),
        features: Ok(XdpFeatures {
            bits: 0b10_1111,
            zero_copy_segments: Some(17),
        }),
        virtio: None,
        program: None,
        queues: Some(Queues {
            now: 4,
            max: 8,
            combined: true,
        }),
        rings: Some(Rings {
            rx: 2048,
            rx_max: 8192,
            tx: 2048,
            tx_max: 8192,
        }),
        steering: Steering {
            rss_table: Some(128),
            rules: Some(0),
        },
        offloads: Offloads {
            ntuple: Some(true),
            ..Offloads::default()
        },
        busy_poll: None,
    }
}

fn veth() -> InterfaceFacts {
    let card = card();
    InterfaceFacts {
        link: Link {
            kind: Some("veth".to_owned()),
            mtu: 1500,
            max_mtu: 65_535,
            ..card.link
        },
        driver: named("veth", ""),
        features: Ok(XdpFeatures {
            bits: 0b10_0011,
            zero_copy_segments: Some(1),
        }),
        rings: None,
        steering: Steering::default(),
        numa_node: None,
        ..card
    }
}

/// The findings of a key, on a good host.
fn all(facts: &InterfaceFacts, key: &str) -> Vec<Finding> {
    let mut findings = interface_findings(facts, &good());
    findings.retain(|finding| finding.key == key);
    findings
}

#[track_caller]
fn find(facts: &InterfaceFacts, key: &str) -> Finding {
    all(facts, key).pop().unwrap_or_else(|| panic!("no {key}"))
}

/// Level, and part of text and fix.
#[track_caller]
fn says(facts: &InterfaceFacts, key: &str, level: Level, text: &str, fix: &str) {
    let finding = find(facts, key);
    assert_eq!(finding.level, level, "{finding:?}");
    assert!(finding.text.contains(text), "{finding:?}");
    let advice = finding.fix.as_deref().unwrap_or_default();
    assert!(advice.contains(fix), "{finding:?}");
    assert!(!fix.is_empty() || advice.is_empty(), "{finding:?}");
}

#[test]
fn a_good_card_has_nothing_to_change() {
    for finding in interface_findings(&card(), &good()) {
        assert_eq!(
            (finding.level, &finding.fix),
            (Level::Ok, &None),
            "{finding:?}"
        );
    }
    says(
        &card(),
        "zero_copy",
        Level::Ok,
        "mlx5_core announces it",
        "",
    );
    says(
        &card(),
        "fragments",
        Level::Ok,
        "in zero-copy mode up to 17",
        "",
    );
    says(&card(), "link", Level::Ok, "100000 Mb/s", "");
}

#[test]
fn veth_has_no_zero_copy() {
    let text = "no, driver veth has none; `auto` takes UDP sockets";
    says(&veth(), "zero_copy", Level::Note, text, "");
    says(&veth(), "native_xdp", Level::Ok, "yes, driver veth", "");
    says(&veth(), "mtu", Level::Note, "1500: 1024 bytes", "mtu 3698");
    assert!(all(&veth(), "quirk").iter().all(|row| row.source.is_some()));
    assert_eq!(all(&veth(), "quirk").len(), 1);
}

#[test]
fn drivers_withdraw_programs_while_something_else_is_in_use() {
    let mut facts = veth();
    facts.features = Ok(XdpFeatures::default());
    let text = "more TX queues than this end";
    let fix = "ethtool -L eth1 rx 8";
    says(&facts, "native_xdp", Level::Missing, text, fix);
    facts.queues = None;
    facts.link.rx_queues = 2;
    says(
        &facts,
        "native_xdp",
        Level::Missing,
        text,
        "ethtool -L PEER tx 2",
    );
    facts.driver = named("mlx5_core", "0000:01:00.0");
    says(
        &facts,
        "native_xdp",
        Level::Missing,
        "LRO",
        "ethtool -K eth1 lro off rx-gro-hw off",
    );
}

#[test]
fn a_virtio_host_decides_what_there_is() {
    let mut facts = card();
    facts.driver = named("virtio_net", "0000:00:03.0");
    // VIRTIO_F_VERSION_1, VIRTIO_NET_F_GUEST_TSO4 and VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_F_ACCESS_PLATFORM.
    facts.virtio = Some(features(&[32, 7, 2, 33]));
    says(&facts, "native_xdp", Level::Ok, "yes", "");
    says(&facts, "zero_copy", Level::Ok, "announces it", "");
    facts.virtio = Some(features(&[32, 7, 2]));
    says(&facts, "native_xdp", Level::Ok, "yes", "");
    says(
        &facts,
        "zero_copy",
        Level::Note,
        "no, the host lets this device reach",
        "iommu_platform=on",
    );
    facts.virtio = Some(features(&[32, 7, 33]));
    says(
        &facts,
        "native_xdp",
        Level::Missing,
        "joined packets",
        "ctrl_guest_offloads=on",
    );
    assert!(all(&facts, "zero_copy").is_empty());
    // Also where the kernel does not tell what the driver announces.
    facts.features = Err("too old".to_owned());
    assert_eq!(
        (facts.native_xdp(), facts.zero_copy()),
        (Some(false), Some(false))
    );
}

#[test]
fn zero_copy_bounds_the_mtu() {
    let mut facts = card();
    facts.link.mtu = 9000;
    says(
        &facts,
        "mtu",
        Level::Warning,
        "here above 3686",
        "ip link set dev eth1 mtu 3686",
    );
    facts.link.mtu = 3686;
    says(&facts, "mtu", Level::Ok, "3686: 3072 bytes", "");
    facts.link.mtu = 1500;
    says(&facts, "mtu", Level::Note, "larger packets", "mtu 3186");
    // Without it, larger ones are of use.
    facts.features = Ok(XdpFeatures {
        bits: 0b10_0111,
        zero_copy_segments: None,
    });
    says(&facts, "mtu", Level::Note, "larger packets", "mtu 3698");
    facts.link.mtu = 9000;
    says(&facts, "mtu", Level::Ok, "9000: 3584 bytes", "");
}

#[test]
fn ena_needs_half_of_the_queues() {
    let mut facts = card();
    facts.driver = named("ena", "0000:00:05.0");
    facts.queues = Some(Queues {
        now: 8,
        max: 8,
        combined: true,
    });
    says(
        &facts,
        "queues",
        Level::Missing,
        "at most half",
        "ethtool -L eth1 combined 4",
    );
    facts.queues = Some(Queues {
        now: 2,
        max: 6,
        combined: true,
    });
    says(
        &facts,
        "queues",
        Level::Note,
        "2 of at most 6",
        "ethtool -L eth1 combined 3",
    );
}

#[test]
fn an_mtu_that_the_program_cannot_have() {
    let mut igb = card();
    igb.link.mtu = 3498;
    igb.driver = named("igb", "0000:02:00.0");
    igb.features = Ok(XdpFeatures {
        bits: 0b1111,
        zero_copy_segments: Some(1),
    });
    says(
        &igb,
        "mtu",
        Level::Missing,
        "at most 3046",
        "ip link set dev eth1 mtu 3046",
    );
    igb.link.mtu = 9000;
    says(&igb, "mtu", Level::Missing, "at most 3046", "mtu 3046");
    igb.link.mtu = 1500;
    // Neither of the good ones is possible.
    says(&igb, "mtu", Level::Ok, "at most 3046", "");
    igb.driver = named("e1000x", "");
    says(&igb, "mtu", Level::Ok, "not known", "");
}

#[test]
fn fragments_of_the_driver_count_for_more_than_the_table() {
    let mut virtio = card();
    virtio.link.mtu = 9000;
    virtio.features = Ok(XdpFeatures {
        bits: 0b10_0011,
        zero_copy_segments: None,
    });
    virtio.driver = named("virtio_net", "0000:00:03.0");
    says(&virtio, "mtu", Level::Ok, "sets no bound", "");
    virtio.features = Ok(XdpFeatures {
        bits: 0b0011,
        zero_copy_segments: None,
    });
    says(&virtio, "mtu", Level::Missing, "at most 3506", "mtu 3506");
    says(&virtio, "fragments", Level::Note, "one buffer", "");
}

#[test]
fn another_program_is_named() {
    let mut facts = veth();
    let program = |info| XdpProgram {
        id: 77,
        attachment: Attachment::Native,
        info,
    };
    let named = |name: &str| ProgramInfo {
        name: name.to_owned(),
        tag: 0x0123_4567_89ab_cdef,
    };
    facts.program = Some(program(Ok(named("firewall"))));
    let text = "\"firewall\" (id 77, tag 0123456789abcdef, native)";
    says(&facts, "xdp_program", Level::Missing, text, "xdp off");
    facts.program = Some(program(Ok(named("blk_xdp"))));
    says(&facts, "xdp_program", Level::Note, "a blockd or blkcp", "");
    facts.program = Some(program(Err("only CAP_SYS_ADMIN may ask".to_owned())));
    says(
        &facts,
        "xdp_program",
        Level::Unknown,
        "CAP_SYS_ADMIN",
        "xdp off",
    );
}

#[test]
fn old_kernels_do_not_tell() {
    let mut facts = card();
    facts.features = Err("Linux 6.3 or newer tells it".to_owned());
    for key in ["native_xdp", "zero_copy", "fragments"] {
        says(&facts, key, Level::Unknown, "6.3", "");
    }
}

#[test]
fn interfaces_on_others() {
    let mut facts = veth();
    facts.driver = named("802.1Q VLAN Support", "");
    facts.features = Ok(XdpFeatures::default());
    facts.link.kind = Some("vlan".to_owned());
    facts.lower = Some("eth0".to_owned());
    says(
        &facts,
        "role",
        Level::Missing,
        "VLAN on eth0",
        "interface below (eth0)",
    );
    facts.link.kind = Some("bond".to_owned());
    facts.members = vec!["eth2".to_owned(), "eth3".to_owned()];
    says(
        &facts,
        "role",
        Level::Missing,
        "its members",
        "(eth2, eth3)",
    );
    facts.link.kind = Some("bridge".to_owned());
    says(&facts, "role", Level::Missing, "a bridge", "(eth2, eth3)");
    says(
        &facts,
        "native_xdp",
        Level::Missing,
        "runs no programs",
        "native XDP",
    );
    assert!(all(&facts, "zero_copy").is_empty() && all(&facts, "mtu").is_empty());
    let mut port = card();
    port.master = Some(("br0".to_owned(), Some("bridge".to_owned())));
    says(&port, "role", Level::Warning, "the bridge br0", "nomaster");
    assert!(all(&card(), "role").is_empty());
}

#[test]
fn queues_and_cpus() {
    let mut facts = card();
    let with = |now, combined| Queues {
        now,
        max: 8,
        combined,
    };
    facts.queues = Some(with(1, true));
    says(
        &facts,
        "queues",
        Level::Note,
        "1 of at most 8",
        "ethtool -L eth1 combined 4",
    );
    facts.queues = Some(with(8, false));
    says(
        &facts,
        "queues",
        Level::Note,
        "4 CPUs",
        "ethtool -L eth1 rx 4 tx 4",
    );
    facts.queues = None;
    says(&facts, "queues", Level::Ok, "8, as", "");
}

#[test]
fn small_rings_are_told_with_the_command() {
    let mut facts = card();
    facts.rings = Some(Rings {
        rx: 256,
        rx_max: 4096,
        tx: 4096,
        tx_max: 4096,
    });
    says(
        &facts,
        "rings",
        Level::Note,
        "256 descriptors",
        "ethtool -G eth1 rx 2048 tx 4096",
    );
    facts.rings = Some(Rings {
        rx: 256,
        rx_max: 256,
        tx: 256,
        tx_max: 256,
    });
    says(&facts, "rings", Level::Ok, "of at most 256", "");
}

#[test]
fn what_happens_to_packets_before_the_program() {
    let mut facts = card();
    facts.offloads.lro = Some(true);
    facts.offloads.rx_vlan = Some(true);
    facts.offloads.ntuple = Some(false);
    says(
        &facts,
        "lro",
        Level::Warning,
        "joins",
        "ethtool -K eth1 lro off",
    );
    says(&facts, "rx_vlan", Level::Note, "VLAN", "rxvlan off");
    says(&facts, "steering", Level::Ok, "but are off", "ntuple on");
}

#[test]
fn a_link_that_nobody_reaches() {
    let mut facts = card();
    facts.link.addresses.clear();
    facts.link.carrier = false;
    says(
        &facts,
        "address",
        Level::Warning,
        "no IP address",
        "ip address add",
    );
    says(&facts, "link", Level::Warning, "no carrier", "");
    facts.link.up = false;
    says(
        &facts,
        "link",
        Level::Warning,
        "off",
        "ip link set dev eth1 up",
    );
    facts.link.ethernet = false;
    says(
        &facts,
        "ethernet",
        Level::Missing,
        "no Ethernet",
        "Ethernet",
    );
}
