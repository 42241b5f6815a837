//! The path's round trip without a queue, and when to look for it.
//!
//! Who joins a path with a standing queue takes the queue for part of the path. So every sender makes room now and then
//! ([`BaseRtt::is_probe_due`]): 5 s after the round trip was last as short as ever in this interval. When one sender
//! makes room all see a short round trip, so their next probes fall together and the queue runs empty (the idea of
//! BBR's ProbeRTT).

/// Time between two probes.
const INTERVAL: u64 = 5_000_000_000;
/// A minimum is believed for so many intervals: then the path has become longer.
const MEMORY: usize = 6;

#[derive(Debug)]
pub(super) struct BaseRtt {
    /// Minimum of this interval, and when it was last seen.
    current: u64,
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
        if rtt <= self.current {
            self.current = rtt;
            self.seen_at = now;
            self.min = self.min.min(rtt);
        }
    }

    pub(super) const fn is_probe_due(&self, now: u64) -> bool {
        now.saturating_sub(self.seen_at) >= INTERVAL
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
