//! Where the packets of a worker are taken down.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::pcapng::Direction;
use super::ring::{Input, Output, ring};
use crate::umem::PACKET_MAX;

/// Packets of full length that a ring has room for: at 400,000 packets a second 40 ms, in which the writing thread looks four
/// times.
const PACKETS: usize = 16 * 1024;
/// What a ring needs for a packet besides its bytes, rounded up.
const RECORD: usize = 32;

/// What the taps of a dump share with its thread.
#[derive(Debug)]
pub(super) struct Shared {
    /// Bytes kept of a packet.
    snaplen: usize,
    /// Sources that the thread does not know yet.
    arrived: Mutex<Vec<Source>>,
    stop: AtomicBool,
    /// Nothing is written any more.
    over: AtomicBool,
    /// Packets in the file.
    written: AtomicU64,
}

/// The packets of one worker, for the thread that writes them.
#[derive(Debug)]
pub(super) struct Source {
    /// The interface's name.
    pub interface: String,
    /// Its queue.
    pub queue: u32,
    /// When its first packet could come, nanoseconds since 1970.
    pub start: u64,
    /// The packets.
    pub packets: Output,
}

impl Shared {
    /// A `snaplen` of 0: whole packets.
    pub(super) fn new(snaplen: usize) -> Self {
        Self {
            snaplen: match snaplen {
                0 => PACKET_MAX,
                limit => limit.min(PACKET_MAX),
            },
            arrived: Mutex::default(),
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            written: AtomicU64::new(0),
        }
    }

    /// The thread shall write what there is, and end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether it shall.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// From now on the taps only count.
    pub(super) fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// So many packets are in the file.
    pub(super) fn tell_written(&self, packets: u64) {
        self.written.store(packets, Ordering::Relaxed);
    }

    /// Packets in the file at the last write.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The sources that have come since the last call.
    pub(super) fn arrived(&self) -> Vec<Source> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut arrived)
    }
}

/// Gives each worker its tap.
#[derive(Debug, Clone)]
pub struct Taps {
    shared: Arc<Shared>,
}

impl Taps {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A tap for the packets of one queue: an interface of its own in the dump.
    pub fn tap(&self, interface: &str, queue: u32) -> Tap {
        let snaplen = self.shared.snaplen;
        let (ring, packets) = ring(PACKETS * (snaplen + RECORD));
        let source = Source {
            interface: interface.to_owned(),
            queue,
            start: now(),
            packets,
        };
        let mut arrived = self
            .shared
            .arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        arrived.push(source);
        Tap {
            ring,
            snaplen,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Takes down the packets of one socket. Belongs to its worker, and never waits.
#[derive(Debug)]
pub struct Tap {
    ring: Input,
    snaplen: usize,
    shared: Arc<Shared>,
}

impl Tap {
    /// A packet has come; from the Ethernet header on.
    pub fn received(&mut self, packet: &[u8]) {
        self.record(Direction::Inbound, packet);
    }

    /// A packet goes out.
    pub fn sent(&mut self, packet: &[u8]) {
        self.record(Direction::Outbound, packet);
    }

    fn record(&mut self, direction: Direction, packet: &[u8]) {
        if self.shared.over.load(Ordering::Relaxed) {
            self.ring.lose();
            return;
        }
        let captured = &packet[..packet.len().min(self.snaplen)];
        self.ring.push(now(), direction, packet, captured);
    }
}

/// Nanoseconds since 1970, by the wall clock.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is no clock.
    since.map_or(0, |since| since.as_nanos() as u64)
}
