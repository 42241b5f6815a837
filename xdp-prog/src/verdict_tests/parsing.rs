//! Which packets are ours.

use super::packets::{Extensions, HEADER, changed, ipv4_options, ipv6_extensions, taken, udp};
use super::*;
use crate::netns::{A, is_root, pair, skipped};

#[test]
fn headers_of_every_shape_are_followed() {
    if !is_root("headers_of_every_shape_are_followed") {
        return;
    }
    let (loaded, _sockets) = load_with_sockets();
    for (what, packet, payload_at) in taken() {
        expect(&loaded, &packet, Verdict::Redirected, &what);
        let udp = payload_at - 8;
        let mut other = packet.clone();
        other[udp + 2..udp + 4].copy_from_slice(&(FIRST + PORTS).to_be_bytes());
        expect(&loaded, &other, Verdict::NotOurs, &what);
        let mut long = packet.clone();
        long[udp + 4..udp + 6].copy_from_slice(&109u16.to_be_bytes());
        expect(&loaded, &long, Verdict::Malformed, &what);
    }
}

#[test]
fn every_beginning_of_a_packet_gets_a_verdict() {
    if !is_root("every_beginning_of_a_packet_gets_a_verdict") {
        return;
    }
    let (mut loaded, _sockets) = load_with_sockets();
    for limited in [false, true] {
        let limit = limited.then(|| crate::HandshakeLimit::new(1, 1).unwrap());
        loaded.maps.tables_mut().set_handshake_limit(limit).unwrap();
        for (what, packet, payload_at) in taken() {
            // The kernel runs no program on less than an Ethernet header.
            for len in 14..=packet.len() {
                // The headers say that there is more; with a limit, the kind of the packet has to be read.
                let needed = payload_at + if limited { 2 } else { 0 };
                let verdict = if len < needed {
                    Verdict::Malformed
                } else {
                    Verdict::Redirected
                };
                let what = format!("{what}, cut to {len}, limited {limited}");
                expect(&loaded, &packet[..len], verdict, &what);
            }
        }
    }
}

#[test]
fn headers_have_to_lie_in_the_linear_part() {
    if !is_root("headers_have_to_lie_in_the_linear_part") {
        return;
    }
    let (a, _b) = pair("xdp-linear", 1);
    a.run(|| {
        let index = crate::link_state(&A.into()).unwrap().index;
        let (loaded, _sockets) = load_with_sockets();
        let mut tried = false;
        for (what, packet, payload_at) in taken() {
            for linear in (payload_at - 16)..(payload_at + 16) {
                let context = context(linear, index, 0);
                let Some((returned, verdict)) = try_run_on(&loaded, &packet, &context) else {
                    continue;
                };
                tried = true;
                let expected = if linear < payload_at {
                    Verdict::Malformed
                } else {
                    Verdict::Redirected
                };
                assert_eq!(verdict, expected, "{what}, {linear} bytes linear");
                assert_eq!(returned, action(expected));
            }
        }
        if !tried {
            skipped(
                "headers_have_to_lie_in_the_linear_part",
                "it needs Linux 6.18",
            );
        }
    });
}

/// [`run_on`] with less linear data than the packet has, which older kernels than 6.18 refuse.
fn try_run_on(loaded: &Loaded, packet: &[u8], context: &[u8]) -> Option<(u32, Verdict)> {
    let before = loaded.maps.counters().unwrap();
    let result = loaded.program().unwrap().test_run(TestRunOptions {
        data_in: Some(packet),
        ctx_in: Some(context),
        ..TestRunOptions::new()
    });
    let result = result.ok()?;
    let after = loaded.maps.counters().unwrap();
    Some((result.return_value, counted(&before, &after)))
}

#[test]
fn other_packets_are_passed_and_counted_by_reason() {
    if !is_root("other_packets_are_passed_and_counted_by_reason") {
        return;
    }
    use Verdict::{Fragment, Malformed, NotOurs};
    let (loaded, _sockets) = load_with_sockets();
    let cases = [
        ("ARP", changed(false, 13, 0x06), NotOurs),
        ("TCP", changed(false, 23, 6), NotOurs),
        ("ICMP", changed(false, 23, 1), NotOurs),
        ("ICMPv6", changed(true, 20, 58), NotOurs),
        ("no next header", changed(true, 20, 59), NotOurs),
        ("authentication header", changed(true, 20, 51), NotOurs),
        ("first fragment", changed(false, 20, 0x20), Fragment),
        ("middle fragment", changed(false, 20, 0x3f), Fragment),
        ("last fragment", changed(false, 21, 9), Fragment),
        ("IPv6 fragment", changed(true, 20, 44), Fragment),
        ("IPv4 header too short", changed(false, 14, 0x44), Malformed),
        (
            "options beyond the length",
            changed(false, 17, 40),
            Malformed,
        ),
        ("IPv4 says version 6", changed(false, 14, 0x65), Malformed),
        ("IPv6 says version 4", changed(true, 14, 0x45), Malformed),
        ("UDP length 7", changed(false, 39, 7), Malformed),
        ("UDP longer than IP", changed(true, 58, 1), Malformed),
    ];
    for (what, packet, verdict) in cases {
        expect(&loaded, &packet, verdict, what);
    }
    let mut three_tags = udp(false, 2, FIRST, 100);
    three_tags.splice(12..12, [0x88, 0xa8, 0, 1]);
    expect(&loaded, &three_tags, NotOurs, "three tags");
}

#[test]
fn fragments_and_extensions_that_are_not_followed_are_passed() {
    if !is_root("fragments_and_extensions_that_are_not_followed_are_passed") {
        return;
    }
    use Verdict::{Fragment, Malformed, NotOurs, Options};
    let (loaded, _sockets) = load_with_sockets();
    for tags in 0..3 {
        let ip = 14 + 4 * tags;
        for words in [1, 10] {
            let mut packet = ipv4_options(tags, words);
            packet[ip + 6] = 0x20;
            expect(&loaded, &packet, Fragment, "options and a fragment");
        }
        let chains: [(&Extensions, Verdict); 8] = [
            (&[(0, 8), (44, 8)], Fragment),
            (&[(0, 8), (60, 8), (43, 8), (60, 8), (44, 8)], Fragment),
            (&[(60, 8), (0, 8)], Malformed),
            (&[(60, 136)], Options),
            (&[(60, 2048)], Options),
            (&[(60, 64), (60, 72)], Options),
            (&[(60, 8); 5], Options),
            (&[(0, 8), (58, 8)], NotOurs),
        ];
        for (chain, verdict) in chains {
            let packet = ipv6_extensions(tags, chain);
            expect(
                &loaded,
                &packet,
                verdict,
                &format!("{chain:?}, {tags} tags"),
            );
        }
        // A route that goes on: this host is not where the packet goes in the end.
        let mut packet = ipv6_extensions(tags, &[(0, 8), (43, 24)]);
        packet[ip + 40 + 8 + 3] = 1;
        expect(&loaded, &packet, Options, "segments left");
    }
}

#[test]
fn packets_too_short_for_the_protocol_are_dropped() {
    if !is_root("packets_too_short_for_the_protocol_are_dropped") {
        return;
    }
    let (loaded, _sockets) = load_with_sockets();
    for ipv6 in [false, true] {
        for tags in 0..3 {
            for payload in 0..HEADER + 2 {
                let verdict = if payload < HEADER {
                    Verdict::TooShort
                } else {
                    Verdict::Redirected
                };
                let what = format!("{payload} bytes");
                expect(&loaded, &udp(ipv6, tags, FIRST, payload), verdict, &what);
                let other = udp(ipv6, tags, FIRST - 1, payload);
                expect(&loaded, &other, Verdict::NotOurs, &what);
            }
        }
    }
}
