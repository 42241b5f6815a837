//! The frame parser and the packet parser: any bytes, as a frame and as a UDP payload.
#![no_main]

use blk_proto::net;
use blk_proto::wire;
use blk_proto_fuzz::{check_open, reseal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = net::parse(bytes) {
        let end = frame.payload_offset + frame.payload.len();
        assert_eq!(bytes[frame.payload_offset..end], *frame.payload);
        check_open(frame.payload);
    }
    check_open(bytes);
    // Behind the checksum, where chance does not get to.
    let mut sealed = bytes.to_vec();
    reseal(&mut sealed);
    check_open(&sealed);
    assert!(!matches!(
        wire::open(&sealed),
        Err(wire::WireError::BadChecksum { .. } | wire::WireError::ReservedNotZero)
    ));
});
