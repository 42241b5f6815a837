//! What the delay-based controller remembers.

use super::super::curve::Curve;

/// Time between two probes: in round trips without a queue, but at least and at most so long.
pub(super) const PROBE_ROUNDS: u64 = 50;
pub(super) const PROBE_LEAST: u64 = 1_000_000_000;
pub(super) const PROBE_MOST: u64 = 5_000_000_000;
/// How long a probe lasts, in rounds: long enough that those who join in a round late are seen.
pub(super) const PROBE_LENGTH: u32 = 3;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    SlowStart,
    /// The delay is kept at the target.
    Steady,
    /// Somebody else fills the queue, or it is too short for the target: grow until packets are lost, as they do.
    Compete {
        /// The queue was full below the target.
        short_queue: bool,
    },
}

/// What the current round has shown.
#[derive(Debug)]
pub(super) struct Round {
    /// The round ends when a packet with at least this number is acknowledged.
    pub(super) end: u64,
    pub(super) min_rtt: u64,
    pub(super) samples: u32,
    pub(super) acked: u64,
    pub(super) packets: u64,
    pub(super) marked: u64,
    pub(super) lost: u64,
    pub(super) limited: bool,
}

impl Round {
    pub(super) const fn starting(end: u64) -> Self {
        Self {
            end,
            min_rtt: u64::MAX,
            samples: 0,
            acked: 0,
            packets: 0,
            marked: 0,
            lost: 0,
            limited: false,
        }
    }
}

/// The state before a cut for losses.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) window: u64,
    pub(super) mode: Mode,
    pub(super) curve: Curve,
    /// The first packet of this cut's losses, and the bytes of those that were not found to be none.
    pub(super) first: u64,
    pub(super) lost: u64,
}

/// A probe for the base round trip: the window is small for some rounds.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) restore: u64,
    pub(super) rounds: u32,
}
