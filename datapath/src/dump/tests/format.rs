use proptest::prelude::*;

use super::Capture;
use crate::dump::pcapng::{self, Direction, Packet, Statistics};

fn header() -> Vec<u8> {
    let mut out = Vec::new();
    pcapng::section_header(&mut out, "Linux 6.18", "blkcp 0.1.0");
    out
}

#[test]
fn a_section_header_is_that_of_the_specification() {
    let expected = [
        [0x0a, 0x0d, 0x0d, 0x0a],
        [52, 0, 0, 0],
        // Byte order, version 1.0, no length.
        [0x4d, 0x3c, 0x2b, 0x1a],
        [1, 0, 0, 0],
        [0xff; 4],
        [0xff; 4],
        // shb_os, 5 bytes and 3 of padding.
        [3, 0, 5, 0],
        *b"Linu",
        *b"x\0\0\0",
        // shb_userappl, 4 bytes.
        [4, 0, 4, 0],
        *b"blk0",
        [0; 4],
        [52, 0, 0, 0],
    ];
    let mut out = Vec::new();
    pcapng::section_header(&mut out, "Linux", "blk0");
    assert_eq!(out, expected.concat());
}

#[test]
fn a_packet_is_that_of_the_specification() {
    let mut out = Vec::new();
    pcapng::packet(
        &mut out,
        &Packet {
            interface: 1,
            time: 0x0102_0304_0506_0708,
            direction: Direction::Outbound,
            original_len: 300,
            lost_before: 2,
            bytes: &[0xaa; 5],
        },
    );
    let expected = [
        [6, 0, 0, 0],
        [64, 0, 0, 0],
        [1, 0, 0, 0],
        // The upper half of the time first, each half little-endian.
        [4, 3, 2, 1],
        [8, 7, 6, 5],
        [5, 0, 0, 0],
        [44, 1, 0, 0],
        [0xaa; 4],
        [0xaa, 0, 0, 0],
        // epb_flags: outbound.
        [2, 0, 4, 0],
        [2, 0, 0, 0],
        // epb_dropcount.
        [4, 0, 8, 0],
        [2, 0, 0, 0],
        [0; 4],
        [0; 4],
        [64, 0, 0, 0],
    ]
    .concat();
    assert_eq!(out, expected);
}

#[test]
fn options_are_read_back() {
    let mut out = header();
    pcapng::interface(&mut out, "blk0", "queue 3", 192);
    let counts = Statistics {
        interface: 0,
        start: 5,
        end: u64::from(u32::MAX) + 2,
        written: 40,
        lost: 2,
    };
    pcapng::statistics(&mut out, &counts);
    let capture = Capture::read(&out);
    assert_eq!(capture.rest, 0);
    assert_eq!(capture.section[&3], b"Linux 6.18");
    assert_eq!(capture.section[&4], b"blkcp 0.1.0");
    let interface = &capture.interfaces[0];
    assert_eq!((interface.link, interface.snaplen), (1, 192));
    assert_eq!(interface.name(), "blk0");
    assert_eq!(interface.options[&3], b"queue 3");
    // 10^-9 s.
    assert_eq!(interface.options[&9], [9]);
    let statistics = &capture.statistics[0];
    assert_eq!(statistics.options[&2], [0, 0, 0, 0, 5, 0, 0, 0]);
    assert_eq!(statistics.options[&3], [1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!([4, 5, 8].map(|code| statistics.count(code)), [42, 2, 40]);
}

#[test]
fn an_option_that_is_too_long_is_cut() {
    let mut out = Vec::new();
    pcapng::section_header(&mut out, &"x".repeat(70_000), "");
    let capture = Capture::read(&out);
    assert_eq!(capture.section[&3].len(), usize::from(u16::MAX));
    assert_eq!(capture.section[&4], b"");
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        name in "[a-z0-9]{0,16}",
        packets in proptest::collection::vec(
            (any::<u64>(), direction(), 0u32..5, 0u64..3, proptest::collection::vec(any::<u8>(), 0..300)),
            0..20,
        ),
    ) {
        let mut out = header();
        pcapng::interface(&mut out, &name, "", 0);
        for (time, direction, more, lost_before, bytes) in &packets {
            pcapng::packet(&mut out, &Packet {
                interface: 0,
                time: *time,
                direction: *direction,
                original_len: bytes.len() as u32 + more,
                lost_before: *lost_before,
                bytes,
            });
            prop_assert!(out.len().is_multiple_of(4));
        }
        let capture = Capture::read(&out);
        prop_assert_eq!(capture.rest, 0);
        prop_assert_eq!(capture.interfaces[0].name(), name);
        prop_assert_eq!(capture.packets.len(), packets.len());
        for (read, (time, direction, more, lost_before, bytes)) in capture.packets.iter().zip(&packets) {
            let bits = if *direction == Direction::Inbound { 1 } else { 2 };
            prop_assert_eq!(read.time, *time);
            prop_assert_eq!(read.direction, bits);
            prop_assert_eq!(read.original_len, bytes.len() as u32 + more);
            prop_assert_eq!(read.lost_before, *lost_before);
            prop_assert_eq!(&read.bytes, bytes);
        }
    }
}
