//! What reading costs, either way, as measured while reading: nanoseconds per byte, smoothed. Pure.
//!
//! A read from the page cache costs the thread the copy. A direct read costs the thread the submission (for each frame a
//! piece of a request), and the device its time; both go on at once, so the larger of the two is the price. On a
//! disk of 1 GB/s the cache is five times cheaper; on one of 10 GB/s it may cost more than the device.

use std::time::Duration;

use super::read_choice::{Presence, ReadWay};

/// Weight of a new sample: 1 in so many.
const SMOOTHING: f64 = 16.0;
/// The other way must be cheaper by this factor before it is taken.
const HYSTERESIS: f64 = 1.25;
/// Missing pages are read in pieces, which takes the device so many times as long per byte.
const GAP_PENALTY: f64 = 4.0;
/// No more of a run than one part in so many is ever added to the cache.
const GAP_PART: u64 = 8;
/// While runs that are in the cache are read past it, so many in a row of [`TRY_EVERY`] come from it nevertheless: else
/// what a copy costs would never be measured again. In a row, since a submission tells something only when all its reads
/// go the same way.
const TRY_RUNS: u32 = 16;
/// See [`TRY_RUNS`].
const TRY_EVERY: u32 = 512;
/// No sample counts as more than so many times the average: an interrupt, or a wait for the CPU.
const OUTLIER: f64 = 4.0;
/// A sample outside of this is a hiccup of the clock or of the scheduler, ns per byte.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// What reading costs a thread and a device, ns per byte. Starts with 8 GB/s for copies, 25 GB/s for submissions, and a
/// device of 1 GB/s.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ReadCosts {
    copy: f64,
    submission: f64,
    device: f64,
    /// Runs that are in the cache are read past it.
    past_cache: bool,
    /// Runs since then.
    hot_runs: u32,
}

impl Default for ReadCosts {
    fn default() -> Self {
        Self {
            copy: 0.125,
            submission: 0.04,
            device: 1.0,
            past_cache: false,
            hot_runs: 0,
        }
    }
}

impl ReadCosts {
    /// The thread used so much of its CPU to read `bytes` from the cache.
    pub fn copied(&mut self, bytes: u64, took: Duration) {
        smooth(&mut self.copy, bytes, took);
    }

    /// The thread used so much of its CPU to submit direct reads of `bytes`.
    pub fn submitted(&mut self, bytes: u64, took: Duration) {
        smooth(&mut self.submission, bytes, took);
    }

    /// `bytes` came from the device within a time when it always had something to do.
    pub fn read(&mut self, bytes: u64, took: Duration) {
        smooth(&mut self.device, bytes, took);
    }

    /// Price of a byte in the cache.
    pub fn from_cache(&self) -> f64 {
        self.copy
    }

    /// Price of a byte read directly.
    pub fn direct(&self) -> f64 {
        self.device.max(self.submission)
    }

    /// Which way to read the next run that is all in the cache: the [better one](Self::hot_way), but for a try now and then.
    pub fn next_hot_way(&mut self) -> ReadWay {
        let way = self.hot_way();
        if way == ReadWay::Cache {
            self.hot_runs = 0;
            return way;
        }
        self.hot_runs = (self.hot_runs + 1) % TRY_EVERY;
        if self.hot_runs >= TRY_EVERY - TRY_RUNS {
            return ReadWay::Cache;
        }
        way
    }

    /// Which way is better for a run that is all in the cache. Changes only for a clear advantage.
    pub fn hot_way(&mut self) -> ReadWay {
        let (cache, direct) = (self.from_cache(), self.direct());
        self.past_cache = if self.past_cache {
            direct <= cache * HYSTERESIS
        } else {
            direct * HYSTERESIS < cache
        };
        if self.past_cache {
            ReadWay::Direct
        } else {
            ReadWay::Cache
        }
    }

    /// Whether a run of which some pages are missing is cheaper through the cache, with only these read from the device.
    pub fn is_filling_cheaper(&self, presence: Presence) -> bool {
        let missing = presence.pages.saturating_sub(presence.cached);
        if missing > presence.pages / GAP_PART {
            return false;
        }
        let share = missing as f64 / presence.pages.max(1) as f64;
        let filling = self.from_cache() + share * GAP_PENALTY * self.device;
        filling * HYSTERESIS < self.direct()
    }
}

fn smooth(average: &mut f64, bytes: u64, took: Duration) {
    if bytes == 0 {
        return;
    }
    let sample = took.as_nanos() as f64 / bytes as f64;
    if PLAUSIBLE.contains(&sample) {
        *average += (sample.min(*average * OUTLIER) - *average) / SMOOTHING;
    }
}

#[cfg(test)]
#[path = "read_cost_tests.rs"]
mod tests;
