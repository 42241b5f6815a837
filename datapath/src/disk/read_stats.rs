//! How files are read: runs and bytes by way.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads by way. A run that should have been in the page cache and was not counts as direct; its bytes count where they
/// came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadWays {
    /// Runs that the page cache had.
    pub cache_runs: u64,
    /// Bytes that the page cache had.
    pub cache_bytes: u64,
    /// Runs read past the page cache.
    pub direct_runs: u64,
    /// Bytes read past the page cache.
    pub direct_bytes: u64,
    /// Runs read through the page cache, which got what it lacked: few pages, or a file without direct I/O.
    pub buffered_runs: u64,
    /// Their bytes.
    pub buffered_bytes: u64,
    /// Questions to the kernel about what the page cache has.
    pub cachestat_calls: u64,
    /// Runs that were not, or not wholly, in the page cache any more when they were read from there.
    pub nowait_misses: u64,
}

impl ReadWays {
    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in self.fields_mut().into_iter().zip(other.fields()) {
            *to += from;
        }
    }

    fn fields(&self) -> [u64; 8] {
        [
            self.cache_runs,
            self.cache_bytes,
            self.direct_runs,
            self.direct_bytes,
            self.buffered_runs,
            self.buffered_bytes,
            self.cachestat_calls,
            self.nowait_misses,
        ]
    }

    fn fields_mut(&mut self) -> [&mut u64; 8] {
        [
            &mut self.cache_runs,
            &mut self.cache_bytes,
            &mut self.direct_runs,
            &mut self.direct_bytes,
            &mut self.buffered_runs,
            &mut self.buffered_bytes,
            &mut self.cachestat_calls,
            &mut self.nowait_misses,
        ]
    }
}

impl fmt::Display for ReadWays {
    /// `name=value` pairs.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "reads_cache={} bytes_cache={} reads_direct={} bytes_direct={} reads_buffered={} bytes_buffered={} \
             cachestat_calls={} nowait_misses={}",
            self.cache_runs,
            self.cache_bytes,
            self.direct_runs,
            self.direct_bytes,
            self.buffered_runs,
            self.buffered_bytes,
            self.cachestat_calls,
            self.nowait_misses,
        )
    }
}

/// The same, counted by several threads that read one file.
#[derive(Debug, Default)]
pub struct ReadCounters([AtomicU64; 8]);

impl ReadCounters {
    /// Adds.
    pub fn add(&self, ways: &ReadWays) {
        for (to, from) in self.0.iter().zip(ways.fields()) {
            if from > 0 {
                to.fetch_add(from, Ordering::Relaxed);
            }
        }
    }

    /// As they are now.
    pub fn get(&self) -> ReadWays {
        let mut ways = ReadWays::default();
        for (to, from) in ways.fields_mut().into_iter().zip(&self.0) {
            *to = from.load(Ordering::Relaxed);
        }
        ways
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_up() {
        let one = ReadWays {
            cache_runs: 1,
            cache_bytes: 2,
            direct_runs: 3,
            direct_bytes: 4,
            buffered_runs: 5,
            buffered_bytes: 6,
            cachestat_calls: 7,
            nowait_misses: 8,
        };
        let counters = ReadCounters::default();
        counters.add(&one);
        assert_eq!(counters.get(), one);
        counters.add(&one);
        let mut two = one;
        two.add(&one);
        assert_eq!(counters.get(), two);
        assert_eq!(
            one.to_string(),
            "reads_cache=1 bytes_cache=2 reads_direct=3 bytes_direct=4 reads_buffered=5 bytes_buffered=6 \
             cachestat_calls=7 nowait_misses=8"
        );
    }
}
