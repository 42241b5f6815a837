//! The program run by the kernel on packets, without an interface (BPF_PROG_TEST_RUN): every verdict and
//! counter. Needs root.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use aya::programs::{TestRun, TestRunOptions};
use blk_proto::net::{Path, VlanTag};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::error::SlotError;
use crate::load::{Counters, Loaded, PortRange};
use crate::netns::{A, is_root, pair};

/// Action codes of include/uapi/linux/bpf.h, `enum xdp_action`.
const PASS: u32 = 2;
const REDIRECT: u32 = 4;

const FIRST: u16 = 9000;
const PORTS: u16 = 4;

const ZERO: Counters = Counters {
    redirected: 0,
    no_socket: 0,
    not_ours: 0,
    fragments: 0,
    options: 0,
    malformed: 0,
};

fn load(queues: u32) -> Loaded {
    Loaded::new(PortRange::new(FIRST, PORTS).unwrap(), queues).unwrap()
}

/// An AF_XDP socket that can be put into a slot; it need not be bound for that.
fn af_xdp() -> OwnedFd {
    let socket = socket_with(
        AddressFamily::XDP,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    sockopt::set_xdp_rx_ring_size(&socket, 64).unwrap();
    socket
}

/// `struct xdp_md` of include/uapi/linux/bpf.h for a packet that came in by a queue of an interface.
fn context(len: usize, interface: u32, queue: u32) -> Vec<u8> {
    let fields = [0, len as u32, 0, interface, queue, 0];
    fields.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// What the program returns for a packet, and how the counters change. The packet must stay as it is.
fn run_on(loaded: &Loaded, packet: &[u8], context: Option<&[u8]>) -> (u32, Counters) {
    let before = loaded.counters().unwrap();
    let mut out = vec![0; packet.len() + 64];
    let result = loaded
        .program()
        .unwrap()
        .test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: context,
            ..TestRunOptions::new()
        })
        .unwrap();
    assert_eq!(&out[..result.data_size_out as usize], packet, "unchanged");
    let after = loaded.counters().unwrap();
    let difference = Counters {
        redirected: after.redirected - before.redirected,
        no_socket: after.no_socket - before.no_socket,
        not_ours: after.not_ours - before.not_ours,
        fragments: after.fragments - before.fragments,
        options: after.options - before.options,
        malformed: after.malformed - before.malformed,
    };
    (result.return_value, difference)
}

fn run(loaded: &Loaded, packet: &[u8]) -> (u32, Counters) {
    run_on(loaded, packet, None)
}

/// A UDP packet of either family to a port, with or without VLAN tags.
fn udp(ipv6: bool, tags: usize, port: u16, payload: usize) -> Vec<u8> {
    let (source, destination): (SocketAddr, SocketAddr) = if ipv6 {
        ("[fd00::1]:7".parse().unwrap(), ([0u16; 8], port).into())
    } else {
        ("10.0.0.1:7".parse().unwrap(), ([10, 0, 0, 2], port).into())
    };
    let mut path = Path::new([2; 6], [4; 6], source, destination);
    let outer = VlanTag {
        protocol: 0x88a8,
        control: 5,
    };
    let inner = VlanTag {
        protocol: 0x8100,
        control: 6,
    };
    path.vlans = match tags {
        0 => [None, None],
        1 => [Some(inner), None],
        _ => [Some(outer), Some(inner)],
    };
    let mut packet = vec![0x55; path.header_len() + payload];
    path.write_headers(&mut packet, payload).unwrap();
    packet
}

/// An untagged packet to our first port with one byte changed.
fn changed(ipv6: bool, offset: usize, byte: u8) -> Vec<u8> {
    let mut packet = udp(ipv6, 0, FIRST, 100);
    packet[offset] = byte;
    packet
}

#[test]
fn packets_to_our_ports_are_redirected_when_a_socket_is_there() {
    if !is_root("packets_to_our_ports_are_redirected_when_a_socket_is_there") {
        return;
    }
    let mut loaded = load(1);
    let socket = af_xdp();
    loaded.register(0, 2, &socket).unwrap();
    let redirected = Counters {
        redirected: 1,
        ..ZERO
    };
    let no_socket = Counters {
        no_socket: 1,
        ..ZERO
    };
    for ipv6 in [false, true] {
        for tags in 0..3 {
            let ours = run(&loaded, &udp(ipv6, tags, FIRST + 2, 1024));
            assert_eq!(ours, (REDIRECT, redirected), "IPv6 {ipv6}, {tags} tags");
            let neighbour = run(&loaded, &udp(ipv6, tags, FIRST + 1, 1024));
            assert_eq!(neighbour, (PASS, no_socket), "IPv6 {ipv6}, {tags} tags");
        }
    }
    loaded.unregister(0, 2).unwrap();
    let packet = udp(false, 0, FIRST + 2, 0);
    assert_eq!(run(&loaded, &packet), (PASS, no_socket), "unregistered");
    loaded.register(0, 2, &socket).unwrap();
    assert_eq!(run(&loaded, &packet), (REDIRECT, redirected));
    drop(socket);
    assert_eq!(run(&loaded, &packet), (PASS, no_socket), "socket closed");
}

#[test]
fn a_packet_in_several_fragments_is_redirected() {
    if !is_root("a_packet_in_several_fragments_is_redirected") {
        return;
    }
    let mut loaded = load(1);
    let socket = af_xdp();
    loaded.register(0, 0, &socket).unwrap();
    let redirected = Counters {
        redirected: 1,
        ..ZERO
    };
    for len in [3500, 9000, 60_000] {
        let packet = udp(false, 0, FIRST, len);
        assert_eq!(run(&loaded, &packet), (REDIRECT, redirected), "{len}");
    }
}

#[test]
fn the_range_of_ports_is_exact() {
    if !is_root("the_range_of_ports_is_exact") {
        return;
    }
    let loaded = load(1);
    for port in 0..=u16::MAX {
        if port % 97 != 0 && port.abs_diff(FIRST) > 20 && port != u16::MAX {
            continue; // a syscall each: all around the range, and a sample of the rest
        }
        let ours = (FIRST..FIRST + PORTS).contains(&port);
        let expected = Counters {
            no_socket: u64::from(ours),
            not_ours: u64::from(!ours),
            ..ZERO
        };
        assert_eq!(
            run(&loaded, &udp(false, 0, port, 64)),
            (PASS, expected),
            "{port}"
        );
    }
}

#[test]
fn other_packets_are_passed_and_counted_by_reason() {
    if !is_root("other_packets_are_passed_and_counted_by_reason") {
        return;
    }
    let loaded = load(1);
    let not_ours = Counters {
        not_ours: 1,
        ..ZERO
    };
    let fragments = Counters {
        fragments: 1,
        ..ZERO
    };
    let options = Counters { options: 1, ..ZERO };
    let malformed = Counters {
        malformed: 1,
        ..ZERO
    };
    let cases = [
        ("ARP", changed(false, 13, 0x06), not_ours),
        ("TCP", changed(false, 23, 6), not_ours),
        ("ICMP", changed(false, 23, 1), not_ours),
        ("ICMPv6", changed(true, 20, 58), not_ours),
        ("hop-by-hop options", changed(true, 20, 0), not_ours),
        ("first fragment", changed(false, 20, 0x20), fragments),
        ("last fragment", changed(false, 21, 9), fragments),
        ("IPv6 fragment", changed(true, 20, 44), fragments),
        ("IPv4 options", changed(false, 14, 0x46), options),
        ("IPv4 header too short", changed(false, 14, 0x44), malformed),
        ("IPv4 says version 6", changed(false, 14, 0x65), malformed),
        ("IPv6 says version 4", changed(true, 14, 0x45), malformed),
        ("UDP length 7", changed(false, 39, 7), malformed),
        ("UDP longer than IP", changed(true, 58, 1), malformed),
    ];
    for (what, packet, expected) in cases {
        assert_eq!(run(&loaded, &packet), (PASS, expected), "{what}");
    }
    for (ipv6, tags) in [(false, 0), (false, 2), (true, 0), (true, 2)] {
        let whole = udp(ipv6, tags, FIRST, 0);
        for len in 14..whole.len() {
            let cut = run(&loaded, &whole[..len]);
            assert_eq!(
                cut,
                (PASS, malformed),
                "IPv6 {ipv6}, {tags} tags, cut to {len}"
            );
        }
    }
}

#[test]
fn each_queue_has_its_own_slots() {
    if !is_root("each_queue_has_its_own_slots") {
        return;
    }
    let (a, _b) = pair("xdp-queues", 3);
    a.run(|| {
        let index = crate::link_state(&A.into()).unwrap().index;
        let mut loaded = load(2); // the program is older than the third queue
        let socket = af_xdp();
        loaded.register(1, 3, &socket).unwrap();
        let packet = udp(true, 1, FIRST + 3, 100);
        for (queue, action) in [(0, PASS), (1, REDIRECT), (2, PASS)] {
            let context = context(packet.len(), index, queue);
            let (returned, counters) = run_on(&loaded, &packet, Some(&context));
            assert_eq!(returned, action, "queue {queue}");
            assert_eq!(counters.redirected, u64::from(action == REDIRECT));
            assert_eq!(counters.no_socket, u64::from(action == PASS));
        }
    });
}

#[test]
fn slots_are_guarded() {
    if !is_root("slots_are_guarded") {
        return;
    }
    let mut loaded = load(2);
    let (first, second) = (af_xdp(), af_xdp());
    loaded.register(1, 3, &first).unwrap();
    let error = loaded.register(1, 3, &second).unwrap_err();
    assert!(
        matches!(
            error,
            SlotError::Taken {
                queue: 1,
                worker: 3
            }
        ),
        "{error:?}"
    );
    loaded.unregister(1, 3).unwrap();
    loaded.unregister(1, 3).unwrap();
    loaded.register(1, 3, &second).unwrap();

    let error = loaded.register(2, 0, &first).unwrap_err();
    assert!(
        matches!(
            error,
            SlotError::NoSuchQueue {
                queue: 2,
                queues: 2
            }
        ),
        "{error:?}"
    );
    let error = loaded.unregister(0, 4).unwrap_err();
    assert!(
        matches!(
            error,
            SlotError::NoSuchWorker {
                worker: 4,
                workers: 4
            }
        ),
        "{error:?}"
    );

    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for error in [
        loaded.register(0, 0, &udp).unwrap_err(),
        loaded.register(0, 0, &file).unwrap_err(),
        loaded.register(0, 0, &-1).unwrap_err(),
    ] {
        assert!(matches!(error, SlotError::NotASocket { .. }), "{error:?}");
    }
}

#[test]
fn port_ranges_that_cannot_be_are_refused() {
    for (first, count) in [(0, 1), (1, 0), (1, 17), (65535, 2), (65521, 16)] {
        assert!(PortRange::new(first, count).is_err(), "{first} {count}");
    }
    for (first, count) in [(1, 1), (1, 16), (65535, 1), (65520, 16)] {
        assert!(PortRange::new(first, count).is_ok(), "{first} {count}");
    }
}
