//! Who may send to our ports, and how many handshakes.

use std::time::{Duration, Instant};

use super::packets::{hello, of_kind, udp_from};
use super::*;
use crate::error::TableError;
use crate::limit::HandshakeLimit;
use crate::netns::is_root;
use crate::network::Network;

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

/// A packet of 100 bytes to our first port.
fn from(source: &str) -> Vec<u8> {
    udp_from(source, 0, FIRST, &[0x55; 100])
}

fn verdict(loaded: &Loaded, source: &str) -> Verdict {
    run(loaded, &from(source)).1
}

#[test]
fn the_allow_list_lets_in_what_is_on_it() {
    if !is_root("the_allow_list_lets_in_what_is_on_it") {
        return;
    }
    use Verdict::{NotAllowed, Redirected};
    let (mut loaded, _sockets) = load_with_sockets();
    let tables = loaded.maps.tables_mut();
    tables.allow(network("10.0.0.0/8")).unwrap();
    tables.deny(network("10.1.0.0/16")).unwrap();
    tables.allow(network("10.1.2.3")).unwrap();
    tables.allow(network("fd00:77::/64")).unwrap();
    tables.deny(network("fd00:77::66")).unwrap();
    let cases = [
        ("10.0.0.1:7", Redirected),
        ("10.255.255.255:7", Redirected),
        ("10.1.0.0:7", NotAllowed),
        ("10.1.2.2:7", NotAllowed),
        ("10.1.2.3:7", Redirected),
        ("11.0.0.0:7", NotAllowed),
        ("9.255.255.255:7", NotAllowed),
        ("[fd00:77::1]:7", Redirected),
        ("[fd00:77::ffff:0:0:66]:7", Redirected),
        ("[fd00:77::66]:7", NotAllowed),
        ("[fd00:77:0:1::1]:7", NotAllowed),
        ("[::ffff:10.0.0.1]:7", NotAllowed),
    ];
    for (source, _) in cases {
        assert_eq!(
            verdict(&loaded, source),
            Redirected,
            "{source}: not enforced"
        );
    }
    loaded.maps.tables_mut().enforce_allow_list(true).unwrap();
    for (source, expected) in cases {
        for tags in 0..3 {
            let packet = udp_from(source, tags, FIRST, &[0x55; 100]);
            expect(&loaded, &packet, expected, source);
            let other = udp_from(source, tags, FIRST - 1, &[0x55; 100]);
            expect(&loaded, &other, Verdict::NotOurs, "another port");
        }
        let short = udp_from(source, 0, FIRST, b"short");
        let refused = match expected {
            Redirected => Verdict::TooShort,
            other => other,
        };
        expect(&loaded, &short, refused, source);
    }
    loaded.maps.tables_mut().enforce_allow_list(false).unwrap();
    assert_eq!(verdict(&loaded, "11.0.0.0:7"), Redirected);
}

#[test]
fn the_allow_list_changes_while_the_program_runs() {
    if !is_root("the_allow_list_changes_while_the_program_runs") {
        return;
    }
    use Verdict::{NotAllowed, Redirected};
    let (mut loaded, _sockets) = load_with_sockets();
    loaded.maps.tables_mut().enforce_allow_list(true).unwrap();
    for (source, net) in [("10.0.0.1:7", "0.0.0.0/0"), ("[fd00::1]:7", "::/0")] {
        assert_eq!(verdict(&loaded, source), NotAllowed, "an empty list");
        loaded.maps.tables_mut().allow(network(net)).unwrap();
        assert_eq!(verdict(&loaded, source), Redirected);
        loaded.maps.tables_mut().deny(network(net)).unwrap();
        assert_eq!(verdict(&loaded, source), NotAllowed, "replaced");
        loaded.maps.tables_mut().allow(network(net)).unwrap();
        assert!(loaded.maps.tables_mut().forget(network(net)).unwrap());
        assert!(!loaded.maps.tables_mut().forget(network(net)).unwrap());
        assert_eq!(verdict(&loaded, source), NotAllowed, "forgotten");
    }
    // Limits and the list are settings of one kind: one changes, the other stays.
    loaded.maps.tables_mut().allow(network("10.0.0.1")).unwrap();
    loaded
        .maps
        .tables_mut()
        .set_handshake_limit(limit(5, 5))
        .unwrap();
    assert_eq!(verdict(&loaded, "10.0.0.1:7"), Redirected);
    assert_eq!(verdict(&loaded, "10.0.0.2:7"), NotAllowed);
}

#[test]
fn a_full_allow_list_says_so() {
    if !is_root("a_full_allow_list_says_so") {
        return;
    }
    let mut loaded = load(1);
    let error = loaded.maps.tables_mut().allow(network("::/0"));
    assert!(matches!(error, Err(TableError::NoService)), "{error:?}");
    loaded.maps.serve(FIRST, 0).unwrap();
    let nth = |n: u32| Network::from(std::net::IpAddr::from(n.to_be_bytes()));
    for n in 0..crate::abi::RULES_MAX {
        loaded.maps.tables_mut().allow(nth(n)).unwrap();
    }
    let full = loaded.maps.tables_mut().allow(nth(1 << 31)).unwrap_err();
    assert!(matches!(full, TableError::ListFull { .. }), "{full:?}");
    loaded.maps.tables_mut().allow(network("fd00::/8")).unwrap();
}

fn limit(rate: u32, burst: u32) -> Option<HandshakeLimit> {
    Some(HandshakeLimit::new(rate, burst).unwrap())
}

/// How many of `sent` Hellos get through.
fn through(loaded: &Loaded, source: &str, sent: u32) -> u32 {
    let packet = hello(source);
    let mut through = 0;
    for _ in 0..sent {
        match run(loaded, &packet) {
            (REDIRECT, Verdict::Redirected) => through += 1,
            (DROP, Verdict::HandshakeLimit) => {}
            other => panic!("{other:?}"),
        }
    }
    through
}

#[test]
fn handshakes_are_limited_for_each_source() {
    if !is_root("handshakes_are_limited_for_each_source") {
        return;
    }
    let (mut loaded, _sockets) = load_with_sockets();
    assert_eq!(through(&loaded, "10.0.0.9:7", 100), 100, "off");
    // A token a second: none comes while this runs, unless the machine stands still.
    let started = Instant::now();
    loaded
        .maps
        .tables_mut()
        .set_handshake_limit(limit(1, 5))
        .unwrap();
    let sources = [
        "10.0.0.1:7",
        "10.0.0.2:7",
        "[fd00::1]:7",
        "[fd00:0:0:1::1]:7",
    ];
    let counts = sources.map(|source| through(&loaded, source, 20));
    // The port is no part of the source, nor are the last 64 bits of an IPv6 address.
    let same = ["10.0.0.1:8", "[fd00::2]:9", "[fd00::1:0:0:1]:7"];
    let again = same.map(|source| through(&loaded, source, 20));
    let came = started.elapsed().as_secs() as u32 + 1;
    for (source, count) in sources.into_iter().zip(counts) {
        assert!((5..=5 + came).contains(&count), "{source}: {count}");
    }
    for (source, count) in same.into_iter().zip(again) {
        assert!(count <= came, "{source}: {count}");
    }
    // Other kinds are not limited, nor does a Hello's version matter.
    for kind in (0..=255).filter(|kind| *kind != 1) {
        let packet = of_kind("10.0.0.1:7", kind, 2);
        expect(
            &loaded,
            &packet,
            Verdict::Redirected,
            &format!("kind {kind}"),
        );
    }
    for version in [0, 1, 3, 255] {
        let packet = of_kind("10.0.0.3:7", 1, version);
        expect(
            &loaded,
            &packet,
            Verdict::Redirected,
            &format!("version {version}"),
        );
    }
    loaded.maps.tables_mut().set_handshake_limit(None).unwrap();
    assert_eq!(through(&loaded, "10.0.0.1:7", 20), 20, "off again");
}

#[test]
fn tokens_come_back_with_time_and_with_another_limit() {
    if !is_root("tokens_come_back_with_time_and_with_another_limit") {
        return;
    }
    let (mut loaded, _sockets) = load_with_sockets();
    let source = "10.0.0.1:7";
    loaded
        .maps
        .tables_mut()
        .set_handshake_limit(limit(1, 1000))
        .unwrap();
    assert_eq!(through(&loaded, source, 1000), 1000, "the burst");
    assert!(through(&loaded, source, 10) < 10);
    // The bucket would be full in 1000 s; a limit that fills it sooner begins with a full one.
    loaded
        .maps
        .tables_mut()
        .set_handshake_limit(limit(50, 2))
        .unwrap();
    assert!(through(&loaded, source, 2) == 2);
    while through(&loaded, source, 1) == 1 {}
    let started = Instant::now();
    while through(&loaded, source, 1) == 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "no token came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn counters_are_told_by_cpu() {
    if !is_root("counters_are_told_by_cpu") {
        return;
    }
    let (loaded, _sockets) = load_with_sockets();
    run(&loaded, &from("10.0.0.1:7"));
    let by_cpu = loaded.maps.counters_by_cpu().unwrap();
    assert!(!by_cpu.is_empty());
    let redirected: Vec<u64> = by_cpu.iter().map(|cpu| cpu.redirected).collect();
    assert_eq!(redirected.iter().sum::<u64>(), 1, "{redirected:?}");
    assert_eq!(loaded.maps.counters().unwrap().redirected, 1);
}
