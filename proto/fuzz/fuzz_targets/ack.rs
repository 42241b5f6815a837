//! Acks: any payloads, sealed, to a session with packets outstanding.
#![no_main]

use blk_proto::session::Congestion;
use blk_proto::wire::Kind;
use blk_proto_fuzz::memory;
use blk_proto_fuzz::world::{CLIENT, World};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

// A byte says which congestion controller. Each payload is a length in one byte, then so many bytes.
fuzz_target!(|bytes: &[u8]| {
    let Some((setup, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut world = World::connected(match setup & 1 {
        0 => Congestion::Delay,
        _ => Congestion::Cubic,
    });
    while let Some((len, more)) = rest.split_first() {
        let payload;
        (payload, rest) = more.split_at(more.len().min(usize::from(*len)));
        world.queue(CLIENT, 3, 100);
        world.send_message(CLIENT, 10);
        world.transmit(CLIENT);
        world.advance(300_000);
        world.forge(CLIENT, Kind::Ack, 0, payload);
        world.timeout(CLIENT);
    }
    world.finish();
});
