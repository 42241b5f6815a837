//! Control messages, both ways: what decodes can be encoded again, in no more bytes, and means the same.
#![no_main]

use blk_proto_fuzz::{check_reply, check_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check_request(bytes);
    check_reply(bytes);
});
