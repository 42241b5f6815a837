//! A session allocates nothing per packet once its buffers have grown: counted, with and without loss.

use blk_proto::net::Ecn;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blk_proto::session::{BlockMeta, Config, Parameters, Session, Transmit};
use blk_proto::time::Time;
use blk_proto::wire;
use zerocopy::IntoBytes;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PAYLOAD: &[u8] = b"x";

/// A datagram in memory that is used again.
type Datagram = Vec<u8>;

fn write(transmit: &Transmit<'_, ()>, datagram: &mut Datagram) {
    datagram.clear();
    datagram.extend_from_slice(transmit.header().as_bytes());
    datagram.resize(usize::from(transmit.header().span.get()), 0);
    datagram.extend_from_slice(match transmit {
        Transmit::Inline { payload, .. } => payload,
        Transmit::Block { .. } => PAYLOAD,
    });
}

struct Pair {
    sender: Session<()>,
    receiver: Session<()>,
    now: Time,
    datagram: Datagram,
    sent: u64,
}

impl Pair {
    fn new() -> Self {
        let config = Config {
            local: Parameters {
                initial_credit: 4096,
                ..Parameters::default()
            },
            ..Config::default()
        };
        let now = Time::from_nanos(1_000_000);
        let mut datagram = Vec::with_capacity(4096);
        let mut sender = Session::connect(config.clone(), 1, now);
        write(
            &sender.poll_transmit(now, |_| true).expect("a Hello"),
            &mut datagram,
        );
        let hello = wire::open(&datagram).expect("whole");
        let mut receiver = Session::accept(config, 2, &hello, now).expect("acceptable");
        write(
            &receiver.poll_transmit(now, |_| true).expect("a reply"),
            &mut datagram,
        );
        let reply = wire::open(&datagram).expect("whole");
        sender
            .handle_packet(now, &reply, Ecn::Capable0)
            .expect("a good reply");
        Self {
            sender,
            receiver,
            now,
            datagram,
            sent: 0,
        }
    }

    /// A window of blocks to the receiver, and its Acks back.
    fn round(&mut self, lose_every: u64) {
        let meta = BlockMeta {
            transfer: 1,
            offset: 0,
            len: 1,
            crc: wire::payload_crc(PAYLOAD),
        };
        while self.sender.queue_block(meta, ()).is_ok() {}
        for _ in 0..512 {
            let Some(transmit) = self.sender.poll_transmit(self.now, |_| true) else {
                break;
            };
            write(&transmit, &mut self.datagram);
            self.sent += 1;
            if self.sent.is_multiple_of(lose_every) {
                continue;
            }
            let packet = wire::open(&self.datagram).expect("whole");
            let taken = self
                .receiver
                .handle_packet(self.now, &packet, Ecn::Capable0)
                .expect("no violation");
            self.receiver.release_credit(u64::from(taken.is_some()));
        }
        self.now += Duration::from_micros(100);
        self.receiver.handle_timeout(self.now);
        while let Some(transmit) = self.receiver.poll_transmit(self.now, |_| true) {
            write(&transmit, &mut self.datagram);
            let packet = wire::open(&self.datagram).expect("whole");
            self.sender
                .handle_packet(self.now, &packet, Ecn::Capable0)
                .expect("no violation");
        }
        self.sender.handle_timeout(self.now);
        while self.sender.poll_event().is_some() {}
    }
}

#[test]
fn no_allocation_per_packet() {
    for lose_every in [0, 100] {
        let mut pair = Pair::new();
        for _ in 0..300 {
            pair.round(lose_every);
        }
        let (allocations, sent) = (ALLOCATIONS.load(Ordering::Relaxed), pair.sent);
        for _ in 0..300 {
            pair.round(lose_every);
        }
        let (allocations, sent) = (
            ALLOCATIONS.load(Ordering::Relaxed) - allocations,
            pair.sent - sent,
        );
        assert!(sent > 50_000, "{sent}");
        assert_eq!(allocations, 0, "for {sent} packets");
    }
}
