//! The frame parser and writer against frames made byte by byte, cut at every length, and at random.

use std::net::SocketAddr;

use blk_proto::net::{
    Addresses, ParseError, Path, VlanTag, WriteError, fill_udp_checksum, fill_udp_checksum_of_two,
    parse, parse_headers,
};
use proptest::prelude::*;

/// Captured on a veth pair between two Linux sockets with IP_TOS 2 and TX checksum offload off:
/// 10.77.0.1:40000 -> 10.77.0.2:9000, "blk".
const CAPTURED_IPV4: [u8; 45] = [
    0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x45, 0x02,
    0x00, 0x1f, 0xaf, 0xba, 0x40, 0x00, 0x40, 0x11, 0x76, 0x75, 0x0a, 0x4d, 0x00, 0x01, 0x0a, 0x4d,
    0x00, 0x02, 0x9c, 0x40, 0x23, 0x28, 0x00, 0x0b, 0x5e, 0x66, 0x62, 0x6c, 0x6b,
];
/// The same over IPv6, fd00:77::1 -> fd00:77::2.
const CAPTURED_IPV6: [u8; 65] = [
    0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x86, 0xdd, 0x60, 0x24,
    0x3a, 0xcc, 0x00, 0x0b, 0x11, 0x40, 0xfd, 0x00, 0x00, 0x77, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xfd, 0x00, 0x00, 0x77, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x9c, 0x40, 0x23, 0x28, 0x00, 0x0b, 0x78, 0x10, 0x62, 0x6c,
    0x6b,
];

const SERVICE: VlanTag = VlanTag {
    protocol: 0x88a8,
    control: 0x2064,
};
const CUSTOMER: VlanTag = VlanTag {
    protocol: 0x8100,
    control: 0x0007,
};

fn path(source: &str, destination: &str) -> Path {
    Path::new(
        [2, 0, 0, 0, 0, 1],
        [2, 0, 0, 0, 0, 2],
        source.parse().unwrap(),
        destination.parse().unwrap(),
    )
}

fn v4() -> Path {
    path("10.77.0.1:40000", "10.77.0.2:9000")
}

fn v6() -> Path {
    path("[fd00:77::1]:40000", "[fd00:77::2]:9000")
}

/// A frame as the writer makes it.
fn frame(path: &Path, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; path.header_len()];
    let len = path.write_headers(&mut out, payload.len()).unwrap();
    assert_eq!(len, out.len());
    out.extend_from_slice(payload);
    out
}

/// Paths with and without tags, of both families.
fn all_paths() -> Vec<Path> {
    let tags = [
        [None, None],
        [Some(CUSTOMER), None],
        [Some(SERVICE), Some(CUSTOMER)],
    ];
    tags.into_iter()
        .flat_map(|vlans| [v4(), v6()].map(|path| Path { vlans, ..path }))
        .collect()
}

/// A UDP checksum by the book: pseudo header and datagram in one buffer, words added one by one.
fn reference_checksum(source: &[u8], destination: &[u8], datagram: &[u8]) -> u16 {
    let mut bytes = [source, destination].concat();
    bytes.extend_from_slice(&(datagram.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 17]);
    bytes.extend_from_slice(datagram);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    let mut sum: u16 = 0;
    for word in bytes.chunks(2) {
        let (next, carry) = sum.overflowing_add(u16::from_be_bytes([word[0], word[1]]));
        sum = next + u16::from(carry);
    }
    !sum
}

#[test]
fn captured_packets_are_understood() {
    let udp = parse(&CAPTURED_IPV4).unwrap();
    assert_eq!(udp.source, "10.77.0.1:40000".parse::<SocketAddr>().unwrap());
    assert_eq!(
        udp.destination,
        "10.77.0.2:9000".parse::<SocketAddr>().unwrap()
    );
    assert_eq!(udp.source_mac, [2, 0, 0, 0, 0, 1]);
    assert_eq!(udp.destination_mac, [2, 0, 0, 0, 0, 2]);
    assert_eq!(udp.vlans, [None, None]);
    assert_eq!(udp.ecn, 2);
    assert_eq!((udp.payload_offset, udp.payload), (42, &b"blk"[..]));

    let udp = parse(&CAPTURED_IPV6).unwrap();
    assert_eq!(
        (udp.source, udp.destination),
        (v6().source, v6().destination)
    );
    assert_eq!((udp.payload_offset, udp.payload), (62, &b"blk"[..]));
}

#[test]
fn written_headers_are_the_kernels_but_for_the_fields_left_zero() {
    let mut expected = CAPTURED_IPV4;
    expected[18..20].fill(0); // no identification
    expected[24..26].copy_from_slice(&[0x26, 0x30]); // the header checksum for that
    expected[40..42].fill(0); // no UDP checksum
    assert_eq!(frame(&v4(), b"blk"), expected);

    let mut expected = CAPTURED_IPV6;
    expected[15..18].copy_from_slice(&[0x20, 0, 0]); // no flow label
    expected[60..62].fill(0); // no UDP checksum
    assert_eq!(frame(&v6(), b"blk"), expected);
}

#[test]
fn header_lengths() {
    let lens: Vec<_> = all_paths().iter().map(Path::header_len).collect();
    assert_eq!(lens, [42, 62, 46, 66, 50, 70]);
}

#[test]
fn what_is_written_is_parsed_and_answered() {
    for path in all_paths() {
        let bytes = frame(&path, b"payload");
        let udp = parse(&bytes).unwrap();
        assert_eq!(
            (udp.source, udp.destination),
            (path.source, path.destination)
        );
        assert_eq!(udp.vlans, path.vlans);
        assert_eq!(udp.tags().count() * 4 + v4().header_len(), {
            let ip_difference = if path.source.is_ipv6() { 20 } else { 0 };
            udp.payload_offset - ip_difference
        });
        assert_eq!((udp.payload, udp.ecn), (&b"payload"[..], 2));
        let back = Path::reply_to(&udp);
        assert_eq!(back.source, path.destination);
        assert_eq!(back.destination, path.source);
        assert_eq!(back.source_mac, path.destination_mac);
        assert_eq!(back.destination_mac, path.source_mac);
        let plain = Path {
            vlans: path.vlans.map(|tag| tag.map(|tag| tag.plain())),
            ..path
        };
        assert_eq!(
            Path::reply_to(&parse(&frame(&back, b"")).unwrap()),
            plain,
            "and back"
        );
    }
}

#[test]
fn answers_go_to_the_same_vlans_with_no_priority_of_the_question() {
    let asked = Path {
        vlans: [Some(SERVICE), Some(CUSTOMER)],
        ..v4()
    };
    let back = Path::reply_to(&parse(&frame(&asked, b"")).unwrap());
    assert_eq!(
        back.vlans,
        [Some(VlanTag::service(0x64)), Some(VlanTag::customer(7))]
    );
    assert!(back.is_in(&asked.vlans) && asked.is_in(&back.vlans));
}

#[test]
fn another_vlan_is_another_network() {
    let inner = Some(VlanTag::customer(7));
    let path = |vlans| Path { vlans, ..v4() };
    let others = [
        [None, None],
        [Some(VlanTag::customer(8)), None],
        [Some(VlanTag::service(7)), None],
        [Some(VlanTag::service(100)), inner],
    ];
    for vlans in others {
        assert!(!path([inner, None]).is_in(&vlans), "{vlans:?}");
        assert!(path(vlans).is_in(&vlans), "{vlans:?}");
    }
    let urgent = VlanTag {
        control: 7 | 5 << 13,
        ..VlanTag::customer(7)
    };
    assert!(path([inner, None]).is_in(&[Some(urgent), None]));
}

#[test]
fn a_tag_that_has_only_a_priority_names_no_vlan() {
    let path = |vlans| Path { vlans, ..v4() };
    let customer = Some(VlanTag::customer(7));
    for control in [0, 5 << 13, 1 << 12] {
        let priority = VlanTag {
            control,
            ..VlanTag::customer(0)
        };
        let priority = Some(priority);
        assert!(path([None, None]).is_in(&[priority, None]), "{control:x}");
        assert!(path([priority, None]).is_in(&[None, None]), "{control:x}");
        assert!(path([customer, None]).is_in(&[priority, customer]));
        assert!(!path([customer, None]).is_in(&[priority, None]));
    }
}

#[test]
fn a_frame_cut_anywhere_is_truncated() {
    for path in all_paths() {
        let bytes = frame(&path, b"payload");
        for len in 0..bytes.len() {
            assert_eq!(
                parse(&bytes[..len]),
                Err(ParseError::Truncated),
                "{path:?} cut to {len}"
            );
        }
        // The headers alone are enough for the XDP program, which sees only the first fragment.
        let headers = parse_headers(&bytes[..path.header_len()]).unwrap();
        assert_eq!(
            (headers.payload_offset, headers.payload_len),
            (path.header_len(), 7)
        );
    }
}

#[test]
fn ethernet_padding_is_not_payload() {
    for path in all_paths() {
        let mut bytes = frame(&path, b"ab");
        bytes.resize(120, 0);
        assert_eq!(parse(&bytes).unwrap().payload, b"ab");
    }
}

#[test]
fn udp_may_be_shorter_than_ip_but_not_longer() {
    for (path, udp_len) in [(v4(), 38), (v6(), 58)] {
        let mut bytes = frame(&path, b"payload");
        bytes[udp_len + 1] = 8 + 4;
        assert_eq!(parse(&bytes).unwrap().payload, b"payl");
        bytes[udp_len + 1] = 8 + 8;
        assert_eq!(parse(&bytes), Err(ParseError::Malformed));
        bytes[udp_len + 1] = 7;
        assert_eq!(parse(&bytes), Err(ParseError::Malformed));
    }
}

/// The error after setting `byte` at `offset` of an untagged frame, seen by the shared parser.
fn changed(path: Path, offset: usize, byte: u8) -> ParseError {
    let mut bytes = frame(&path, b"payload");
    bytes[offset] = byte;
    parse_headers(&bytes[..]).unwrap_err()
}

#[test]
fn everything_else_has_its_reason() {
    assert_eq!(changed(v4(), 13, 0x06), ParseError::NotIp, "ARP");
    assert_eq!(changed(v4(), 14, 0x65), ParseError::Malformed, "version 6");
    assert_eq!(changed(v4(), 14, 0x44), ParseError::Malformed, "IHL 4");
    assert_eq!(changed(v4(), 14, 0x4f), ParseError::Malformed, "60 bytes");
    assert_eq!(changed(v4(), 20, 0x20), ParseError::Fragment, "first");
    assert_eq!(changed(v4(), 20, 0x1f), ParseError::Fragment, "middle");
    assert_eq!(changed(v4(), 21, 0x01), ParseError::Fragment, "last");
    assert_eq!(changed(v4(), 23, 6), ParseError::NotUdp, "TCP");
    assert_eq!(changed(v4(), 17, 27), ParseError::Malformed, "total length");
    assert_eq!(changed(v6(), 14, 0x40), ParseError::Malformed, "version 4");
    assert_eq!(changed(v6(), 20, 58), ParseError::NotUdp, "ICMPv6");
    assert_eq!(changed(v6(), 20, 51), ParseError::NotUdp, "AH");
    assert_eq!(changed(v6(), 20, 44), ParseError::Fragment);
    assert_eq!(changed(v6(), 19, 7), ParseError::Malformed, "length");
}

/// A packet with so many words of IPv4 options in front of UDP, with the right checksum.
fn with_options(path: &Path, words: u8) -> Vec<u8> {
    let mut bytes = frame(path, b"payload");
    let ip = path.header_len() - 28;
    let more = usize::from(words) * 4;
    bytes.splice(ip + 20..ip + 20, vec![1; more]);
    bytes[ip] += words;
    bytes[ip + 3] += more as u8;
    bytes[ip + 10..ip + 12].fill(0);
    let sum: u32 = bytes[ip..ip + 20 + more]
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// IPv6 extension headers: type, length, and what their fourth byte is.
type Extensions = [(u8, usize, u8)];

/// A packet with these IPv6 extension headers in front of UDP.
fn with_extensions(path: &Path, extensions: &Extensions) -> Vec<u8> {
    let mut bytes = frame(path, b"payload");
    let ip = path.header_len() - 48;
    let (mut next_at, mut at) = (ip + 6, ip + 40);
    for &(kind, len, fourth) in extensions {
        let mut header = vec![0; len];
        (header[0], header[1], header[3]) = (bytes[next_at], (len / 8 - 1) as u8, fourth);
        bytes[next_at] = kind;
        bytes.splice(at..at, header);
        let total = u16::from_be_bytes([bytes[ip + 4], bytes[ip + 5]]) + len as u16;
        bytes[ip + 4..ip + 6].copy_from_slice(&total.to_be_bytes());
        (next_at, at) = (at, at + len);
    }
    bytes
}

#[test]
fn options_and_extension_headers_are_passed_over() {
    for path in all_paths() {
        let packets: Vec<Vec<u8>> = if path.source.is_ipv4() {
            (1..=10).map(|words| with_options(&path, words)).collect()
        } else {
            let chains: [&Extensions; 5] = [
                &[(0, 8, 1)],
                &[(43, 24, 0)],
                &[(0, 8, 9), (60, 8, 9), (43, 40, 0), (60, 16, 9)],
                &[(60, 128, 0)],
                &[(60, 64, 0), (60, 64, 0)],
            ];
            chains.map(|chain| with_extensions(&path, chain)).to_vec()
        };
        for bytes in packets {
            let udp = parse(&bytes).unwrap();
            assert_eq!(udp.payload, b"payload");
            assert_eq!(udp.payload_offset, bytes.len() - 7);
            let addresses = (udp.source, udp.destination);
            assert_eq!(addresses, (path.source, path.destination));
            for len in 0..udp.payload_offset {
                assert_eq!(parse_headers(&bytes[..len]), Err(ParseError::Truncated));
            }
            let mut filled = bytes.clone();
            fill_udp_checksum(&mut filled).unwrap();
            assert_eq!(parse(&filled).unwrap().payload, b"payload");
        }
    }
}

#[test]
fn extension_headers_that_are_not_followed_have_their_reason() {
    let cases: [(&Extensions, ParseError); 8] = [
        (&[(60, 8, 0); 5], ParseError::Options),
        (&[(60, 136, 0)], ParseError::Options),
        (&[(60, 72, 0), (60, 64, 0)], ParseError::Options),
        (&[(43, 8, 1)], ParseError::Options),
        (&[(60, 8, 0), (0, 8, 0)], ParseError::Malformed),
        (&[(0, 8, 0), (44, 8, 0)], ParseError::Fragment),
        (&[(60, 8, 0), (58, 8, 0)], ParseError::NotUdp),
        (&[(51, 16, 0)], ParseError::NotUdp),
    ];
    for (chain, error) in cases {
        assert_eq!(
            parse(&with_extensions(&v6(), chain)),
            Err(error),
            "{chain:?}"
        );
    }
    // One bit of an option: the checksum is that of the whole IPv4 header.
    let mut bytes = with_options(&v4(), 2);
    bytes[14 + 24] ^= 1;
    assert_eq!(parse(&bytes), Err(ParseError::Ipv4Checksum));
}

#[test]
fn flags_that_do_not_matter_do_not() {
    let mut bytes = frame(&v4(), b"payload");
    bytes[20] = 0; // "don't fragment" clear, offset zero: still whole
    assert!(parse_headers(&bytes[..]).is_ok());
    for (path, offset, byte) in [(v4(), 15, 0xab), (v6(), 15, 0xb5)] {
        let mut bytes = frame(&path, b"payload");
        bytes[offset] = byte; // DSCP and ECN; in IPv6 the flow label begins in the same byte
        assert_eq!(parse_headers(&bytes[..]).unwrap().ecn, 3);
    }
}

#[test]
fn three_tags_are_not_ours() {
    let path = Path {
        vlans: [Some(SERVICE), Some(CUSTOMER)],
        ..v4()
    };
    let mut bytes = frame(&path, b"payload");
    bytes.splice(12..12, [0x88, 0xa8, 0, 1]);
    assert_eq!(parse(&bytes), Err(ParseError::NotIp));
}

#[test]
fn a_wrong_ipv4_checksum_is_seen_in_user_space_only() {
    let mut bytes = frame(&v4(), b"payload");
    bytes[29] ^= 1; // one bit of the source address
    assert_eq!(parse(&bytes), Err(ParseError::Ipv4Checksum));
    assert!(parse_headers(&bytes[..]).is_ok());
}

#[test]
fn headers_that_cannot_be_written_are_refused() {
    let mixed = path("10.0.0.1:1", "[fd00::1]:2");
    assert_eq!(
        mixed.write_headers(&mut [0; 64], 10),
        Err(WriteError::MixedFamilies)
    );
    for path in all_paths() {
        let mut short = vec![0; path.header_len() - 1];
        assert_eq!(
            path.write_headers(&mut short, 10),
            Err(WriteError::BufferTooShort)
        );
        let mut out = vec![0; path.header_len()];
        let largest = 65535 - 8 - if path.source.is_ipv4() { 20 } else { 0 };
        assert_eq!(path.write_headers(&mut out, largest), Ok(path.header_len()));
        for len in [largest + 1, 65536, usize::MAX] {
            assert_eq!(
                path.write_headers(&mut out, len),
                Err(WriteError::PayloadTooLong)
            );
        }
    }
}

#[test]
fn the_udp_checksum_is_the_kernels() {
    let mut bytes = CAPTURED_IPV4;
    bytes[40..42].fill(0);
    fill_udp_checksum(&mut bytes).unwrap();
    assert_eq!(bytes, CAPTURED_IPV4);
    let mut bytes = CAPTURED_IPV6;
    bytes[60..62].fill(0xaa); // whatever stands there is ignored
    fill_udp_checksum(&mut bytes).unwrap();
    assert_eq!(bytes, CAPTURED_IPV6);
    let cut = fill_udp_checksum(&mut bytes[..64]);
    assert_eq!(cut, Err(ParseError::Truncated));
}

#[test]
fn the_udp_checksum_of_two_pieces_is_that_of_the_whole() {
    for path in [v4(), v6()] {
        let payload: Vec<u8> = (0..301u32).map(|at| (at * 7) as u8).collect();
        let mut whole = frame(&path, &payload);
        let start = whole.len() - payload.len();
        let mut apart = whole.clone();
        fill_udp_checksum(&mut whole).unwrap();
        for cut in [0, 2, 56, 300, 301] {
            let (first, second) = apart.split_at_mut(start + cut);
            fill_udp_checksum_of_two(first, second).unwrap();
            assert_eq!(apart, whole, "{cut}");
        }
        let (first, second) = apart.split_at_mut(start + 57);
        let odd = fill_udp_checksum_of_two(first, second);
        assert_eq!(odd, Err(ParseError::Malformed));
        let short = fill_udp_checksum_of_two(&mut apart[..start + 56], &[0; 244]);
        assert_eq!(short, Err(ParseError::Truncated));
        assert_eq!(apart, whole, "errors change nothing");
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
    let mut bytes = frame(&v6(), &[0, 0]);
    fill_udp_checksum(&mut bytes).unwrap();
    // A payload equal to the checksum makes the datagram sum to all ones, hence its complement zero.
    let checksum = [bytes[60], bytes[61]];
    bytes[62..64].copy_from_slice(&checksum);
    fill_udp_checksum(&mut bytes).unwrap();
    assert_eq!(bytes[60..62], [0xff, 0xff]);
}

prop_compose! {
    fn any_tag()(service: bool, control: u16) -> VlanTag {
        VlanTag { protocol: if service { 0x88a8 } else { 0x8100 }, control }
    }
}

prop_compose! {
    fn any_path()(
        source_mac: [u8; 6],
        destination_mac: [u8; 6],
        outer in proptest::option::of(any_tag()),
        inner in proptest::option::of(any_tag()),
        addresses in prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(s, d)| (s.into(), d.into())),
            any::<([u8; 16], [u8; 16])>().prop_map(|(s, d)| (s.into(), d.into())),
        ],
        ports: (u16, u16),
    ) -> Path {
        Path {
            source_mac,
            destination_mac,
            vlans: [outer, outer.and(inner)],
            source: SocketAddr::new(addresses.0, ports.0),
            destination: SocketAddr::new(addresses.1, ports.1),
        }
    }
}

proptest! {
    #[test]
    fn any_path_and_payload_come_back(
        path in any_path(),
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut bytes = frame(&path, &payload);
        fill_udp_checksum(&mut bytes).unwrap();
        let udp = parse(&bytes).unwrap();
        prop_assert_eq!(udp.payload, &payload[..]);
        prop_assert_eq!(Path::reply_to(&udp), Path {
            source_mac: path.destination_mac,
            destination_mac: path.source_mac,
            vlans: path.vlans.map(|tag| tag.map(|tag| tag.plain())),
            source: path.destination,
            destination: path.source,
        });
        let headers = parse_headers(&bytes[..]).unwrap();
        let datagram = &bytes[headers.payload_offset - 8..];
        let verified = match headers.addresses {
            Addresses::V4 { source, destination } => reference_checksum(&source, &destination, datagram),
            Addresses::V6 { source, destination } => reference_checksum(&source, &destination, datagram),
        };
        prop_assert_eq!(verified, 0);
        prop_assert!(datagram[6..8] != [0, 0]);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_headers(&bytes[..]);
        let _ = parse(&bytes);
        let _ = fill_udp_checksum(&mut bytes);
    }

    /// Damaged packets reach every branch, which random bytes hardly do.
    #[test]
    fn damaged_packets_never_panic_nor_reach_outside(
        path in any_path(),
        damage in proptest::collection::vec((0usize..80, any::<u8>()), 1..6),
        len in 0usize..120,
    ) {
        let mut bytes = frame(&path, b"some payload of a packet");
        for (offset, byte) in damage {
            let at = offset % bytes.len();
            bytes[at] = byte;
        }
        bytes.resize(len, 0);
        if let Ok(udp) = parse(&bytes) {
            prop_assert!(udp.payload_offset + udp.payload.len() <= len);
        }
        let _ = fill_udp_checksum(&mut bytes);
    }
}
