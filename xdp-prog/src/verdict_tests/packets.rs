//! Packets, made byte by byte behind the Ethernet header that the protocol's own writer makes.

use std::net::SocketAddr;

use blk_proto::net::{Path, VlanTag};
use blk_proto::wire::{Header, Kind};
use zerocopy::IntoBytes;

use super::FIRST;

/// Bytes of the protocol's header.
pub const HEADER: usize = 56;

/// A UDP packet from `source` to a port, with so many VLAN tags.
pub fn udp_from(source: &str, tags: usize, port: u16, payload: &[u8]) -> Vec<u8> {
    let source: SocketAddr = source.parse().unwrap();
    let destination: SocketAddr = if source.is_ipv6() {
        ([0u16; 8], port).into()
    } else {
        ([10, 0, 0, 2], port).into()
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
    let mut packet = vec![0; path.header_len()];
    path.write_headers(&mut packet, payload.len()).unwrap();
    packet.extend_from_slice(payload);
    packet
}

/// A UDP packet of either family to a port, with or without VLAN tags.
pub fn udp(ipv6: bool, tags: usize, port: u16, payload: usize) -> Vec<u8> {
    let source = if ipv6 { "[fd00::1]:7" } else { "10.0.0.1:7" };
    udp_from(source, tags, port, &vec![0x55; payload])
}

/// A packet of this kind and version, with a payload of 256 bytes.
pub fn of_kind(source: &str, kind: u8, version: u8) -> Vec<u8> {
    let mut header = Header::new(Kind::Hello, 0);
    (header.kind, header.version) = (kind, version);
    let mut payload = header.as_bytes().to_vec();
    payload.resize(HEADER + 256, 0);
    udp_from(source, 0, FIRST, &payload)
}

/// A Hello.
pub fn hello(source: &str) -> Vec<u8> {
    of_kind(source, 1, 2)
}

/// An untagged packet to our first port with one byte changed.
pub fn changed(ipv6: bool, offset: usize, byte: u8) -> Vec<u8> {
    let mut packet = udp(ipv6, 0, FIRST, 100);
    packet[offset] = byte;
    packet
}

/// Where the IP header starts.
fn ip_at(tags: usize) -> usize {
    14 + 4 * tags
}

/// An IPv4 packet to our first port with so many words of options.
pub fn ipv4_options(tags: usize, words: usize) -> Vec<u8> {
    let mut packet = udp(false, tags, FIRST, 100);
    let ip = ip_at(tags);
    packet.splice(ip + 20..ip + 20, vec![1; words * 4]); // option 1: none
    packet[ip] = 0x45 + words as u8;
    add_length(&mut packet, ip + 2, words * 4);
    packet
}

/// IPv6 extension headers: type and whole length.
pub type Extensions = [(u8, usize)];

/// An IPv6 packet to our first port with these extension headers.
pub fn ipv6_extensions(tags: usize, extensions: &Extensions) -> Vec<u8> {
    let mut packet = udp(true, tags, FIRST, 100);
    let ip = ip_at(tags);
    let (mut next_at, mut at) = (ip + 6, ip + 40);
    for &(kind, len) in extensions {
        let mut header = vec![0; len];
        header[0] = packet[next_at];
        header[1] = (len / 8 - 1) as u8;
        packet[next_at] = kind;
        packet.splice(at..at, header);
        add_length(&mut packet, ip + 4, len);
        (next_at, at) = (at, at + len);
    }
    packet
}

fn add_length(packet: &mut [u8], at: usize, more: usize) {
    let len = u16::from_be_bytes([packet[at], packet[at + 1]]) + more as u16;
    packet[at..at + 2].copy_from_slice(&len.to_be_bytes());
}

/// Packets to our first port with headers of every shape that is taken: what they are, the packet, and where its
/// payload starts.
pub fn taken() -> Vec<(String, Vec<u8>, usize)> {
    let mut all = Vec::new();
    for tags in 0..3 {
        for ipv6 in [false, true] {
            let packet = udp(ipv6, tags, FIRST, 100);
            all.push((format!("IPv6 {ipv6}, {tags} tags"), packet));
        }
        for words in [1, 2, 9, 10] {
            let packet = ipv4_options(tags, words);
            all.push((format!("{words} words of options, {tags} tags"), packet));
        }
        let chains: [&Extensions; 8] = [
            &[(0, 8)],
            &[(60, 8)],
            &[(43, 24)],
            &[(0, 16), (60, 8)],
            &[(0, 8), (60, 8), (43, 40), (60, 16)],
            &[(60, 128)],
            &[(0, 32), (60, 32), (43, 32), (60, 32)],
            &[(60, 120), (60, 8)],
        ];
        for chain in chains {
            let packet = ipv6_extensions(tags, chain);
            all.push((format!("extensions {chain:?}, {tags} tags"), packet));
        }
    }
    let with_offset = |(what, packet): (String, Vec<u8>)| {
        let payload_at = packet.len() - 100;
        (what, packet, payload_at)
    };
    all.into_iter().map(with_offset).collect()
}
