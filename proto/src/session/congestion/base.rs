//! The path's round trip without a queue, and when to look for it.
//!
//! Who joins a path with a standing queue takes the queue for part of the path. So every sender makes room now and then,
//! some time after the queue was last seen empty. All of them see the same queue, so their probes fall together and
//! the queue runs empty (the idea of BBR's ProbeRTT).

/// A queue this short counts as none.
const EMPTY: u64 = 250_000;
/// A minimum is believed for so many intervals: then the path has become longer.
const MEMORY: usize = 32;

#[derive(Debug)]
pub(super) struct BaseRtt {
    /// Minimum of this interval.
    current: u64,
    /// When the queue was last seen empty, or was probed.
    seen_at: u64,
    /// Minima of earlier intervals, in a ring.
    earlier: [u64; MEMORY],
    at: usize,
    /// Of all those.
    min: u64,
}

impl BaseRtt {
    pub(super) const fn new() -> Self {
        Self {
            current: u64::MAX,
            seen_at: 0,
            earlier: [u64::MAX; MEMORY],
            at: 0,
            min: u64::MAX,
        }
    }

    /// The shortest round trip; `u64::MAX` before there was one.
    pub(super) const fn get(&self) -> u64 {
        self.min
    }

    pub(super) fn sample(&mut self, now: u64, rtt: u64) {
        self.current = self.current.min(rtt);
        self.min = self.min.min(rtt);
        if rtt <= self.min.saturating_add(EMPTY) {
            self.seen_at = now;
        }
    }

    /// For how long the queue was neither empty nor probed.
    pub(super) const fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.seen_at)
    }

    /// A probe is over, whose samples have been taken.
    pub(super) fn end_interval(&mut self, now: u64) {
        self.earlier[self.at] = self.current;
        self.at = (self.at + 1) % MEMORY;
        self.min = self.earlier.iter().copied().min().unwrap_or(self.current);
        self.current = u64::MAX;
        self.seen_at = now;
    }
}
