//! A server's door: cookies, refusals, resets, and sessions that are half open.
#![no_main]

use blk_proto_fuzz::door::Door;
use libfuzzer_sys::fuzz_target;

// A byte says what the server is like; then come the steps, each of eight bytes.
fuzz_target!(|bytes: &[u8]| {
    let Some((setup, steps)) = bytes.split_first() else {
        return;
    };
    let mut door = Door::new(setup & 1 == 0, setup & 2 != 0);
    for step in steps.as_chunks().0.iter().take(400) {
        door.step(*step);
    }
    door.finish();
});
