//! A bottleneck that several flows share, in virtual time.
//!
//! ```text
//!   sender 0 ─ NIC ─┐                                      ┌──► receiver 0
//!   sender 1 ─ NIC ─┼─► queue (tail drop, marks) ─► link ──┼──► receiver 1      back: delay only
//!   …              ─┘                    loss, reordering  └──► …
//! ```

use std::time::Duration;

use blk_proto::net::Ecn;
use blk_proto::time::Time;

/// What the path does to packets. Sizes are bytes of UDP payload.
#[derive(Clone, Debug)]
pub struct Path {
    /// Bytes a second.
    pub rate: u64,
    /// Round trip without any queue.
    pub rtt: Duration,
    /// Bytes that the queue takes.
    pub queue: u64,
    /// Packets that find more bytes than this in the queue are marked, if their sender takes part in ECN.
    pub mark_above: u64,
    /// Packets lost at random, in a million.
    pub loss: u64,
    /// Packets delayed so that others overtake them, in a million.
    pub reordering: u64,
    /// By how much.
    pub reorder_delay: Duration,
    /// Senders' NICs are so many times faster than the link.
    pub nic: u64,
}

impl Path {
    /// With a queue of so many bandwidth-delay products.
    pub fn new(rate: u64, rtt: Duration, queue: f64) -> Self {
        let product = rate as f64 * rtt.as_secs_f64();
        Self {
            rate,
            rtt,
            queue: (product * queue) as u64,
            mark_above: u64::MAX,
            loss: 0,
            reordering: 0,
            reorder_delay: Duration::ZERO,
            nic: 10,
        }
    }

    /// How long the link takes for so many bytes.
    pub fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_nanos((u128::from(bytes) * 1_000_000_000 / u128::from(self.rate)) as u64)
    }
}

/// The queue and the link behind it: a first-in, first-out queue with a constant rate needs no list of packets, only
/// the time at which it will be empty.
pub struct Bottleneck {
    pub path: Path,
    empty_at: Time,
    random: u64,
    pub dropped: u64,
    pub marked: u64,
    /// Longest queue since it was last set to 0.
    pub longest: u64,
}

impl Bottleneck {
    pub fn new(path: Path) -> Self {
        Self {
            path,
            empty_at: Time::default(),
            random: 1,
            dropped: 0,
            marked: 0,
            longest: 0,
        }
    }

    /// Below `bound`.
    pub fn random(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX generator; its high bits are good enough here.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    /// A packet enters; gives when it arrives at the receiver, if at all, and its mark.
    pub fn enter(&mut self, now: Time, size: u64, ecn: bool) -> Option<(Time, Ecn)> {
        let wait = self.empty_at.saturating_since(now);
        let queued = (wait.as_nanos() * u128::from(self.path.rate) / 1_000_000_000) as u64;
        if queued + size > self.path.queue {
            self.dropped += 1;
            return None;
        }
        self.longest = self.longest.max(queued + size);
        self.empty_at = now.max(self.empty_at) + self.path.time_for(size);
        if self.random(1_000_000) < self.path.loss {
            return None;
        }
        let mut arrival = self.empty_at + self.path.rtt / 2;
        if self.random(1_000_000) < self.path.reordering {
            arrival += self.path.reorder_delay;
        }
        let marked = ecn && queued > self.path.mark_above;
        self.marked += u64::from(marked);
        let unmarked = if ecn { Ecn::Capable0 } else { Ecn::NotCapable };
        Some((arrival, if marked { Ecn::Congested } else { unmarked }))
    }
}
