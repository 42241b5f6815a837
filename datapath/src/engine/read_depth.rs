//! How many reads one transfer has under way. Pure: what reads brought, and when, is told.
//!
//! A disk gives its full rate only with enough to do: its rate times what one read takes. As nobody knows either, the depth
//! grows while the network waits for the disk and growing helps, and shrinks while the network is what limits, since
//! frames in use fall out of the processor's cache and are kept from other sessions.

use blk_proto::time::Time;

/// Runs under way or waiting for the network at least: reads from the page cache need no more.
pub const DEPTH_MIN: u32 = 4;
/// … and at most, some 10 MB.
pub const DEPTH_MAX: u32 = 24;
/// An epoch lasts so many times the depth, in reads.
const EPOCH: u32 = 4;
/// Growth that did not make the rate larger by one part in so many is taken back …
const GAIN_PART: f64 = 32.0;
/// … and tried again after so many epochs.
const HOLD: u32 = 16;

/// The depth of one transfer's reads.
#[derive(Debug)]
pub struct ReadDepth {
    depth: u32,
    /// Depth and rate (bytes per ns) before it grew.
    before: Option<(u32, f64)>,
    /// Epochs until growth is tried again.
    hold: u32,
    since: Option<Time>,
    bytes: u64,
    reads: u32,
    starved: u32,
}

impl Default for ReadDepth {
    fn default() -> Self {
        Self {
            depth: DEPTH_MIN,
            before: None,
            hold: 0,
            since: None,
            bytes: 0,
            reads: 0,
            starved: 0,
        }
    }
}

impl ReadDepth {
    /// Runs to have under way or waiting.
    pub fn runs(&self) -> usize {
        self.depth as usize
    }

    /// A read brought `bytes`; `starved`: it came from the disk, and the network had nothing left to send.
    pub fn read(&mut self, now: Time, bytes: u64, starved: bool) {
        let Some(since) = self.since else {
            // The first one only starts the clock.
            self.since = Some(now);
            return;
        };
        self.bytes += bytes;
        self.reads += 1;
        self.starved += u32::from(starved);
        if self.reads < EPOCH * self.depth {
            return;
        }
        let took = now.saturating_since(since).as_nanos().max(1) as f64;
        let rate = self.bytes as f64 / took;
        let starving = self.starved * 4 >= self.reads;
        (self.since, self.bytes, self.reads, self.starved) = (Some(now), 0, 0, 0);
        self.adjust(rate, starving);
    }

    fn adjust(&mut self, rate: f64, starving: bool) {
        let before = self.before.take();
        if !starving {
            self.depth = (self.depth - self.depth.div_ceil(8)).max(DEPTH_MIN);
            return;
        }
        if let Some((depth, then)) = before
            && rate < then + then / GAIN_PART
        {
            (self.depth, self.hold) = (depth, HOLD);
            return;
        }
        if self.hold > 0 {
            self.hold -= 1;
        } else if self.depth < DEPTH_MAX {
            self.before = Some((self.depth, rate));
            self.depth = (self.depth + self.depth / 2).min(DEPTH_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: u64 = 430_080;

    /// A disk: `rate` bytes per ns at most, a read takes at least `latency` ns. Returns the depth after `reads`.
    fn run(depth: &mut ReadDepth, now: &mut u64, rate: f64, latency: f64, reads: u32) -> usize {
        for _ in 0..reads {
            let possible = depth.runs() as f64 * RUN as f64 / latency;
            *now += (RUN as f64 / possible.min(rate)) as u64;
            depth.read(Time::from_nanos(*now), RUN, true);
        }
        depth.runs()
    }

    #[test]
    fn it_grows_as_far_as_the_disk_needs() {
        let (mut depth, mut now) = (ReadDepth::default(), 0);
        // 2 GB/s over 2 ms are 9.3 runs.
        let runs = run(&mut depth, &mut now, 2.0, 2e6, 2000);
        assert!((9..=14).contains(&runs), "{runs}");
        // 1 GB/s over 1 ms is less than it starts with.
        let mut depth = ReadDepth::default();
        let runs = run(&mut depth, &mut now, 1.0, 1e6, 16);
        assert!(runs <= 6, "{runs}");
        let mut depth = ReadDepth::default();
        let runs = run(&mut depth, &mut now, 100.0, 1e7, 2000);
        assert_eq!(runs, DEPTH_MAX as usize);
    }

    #[test]
    fn it_shrinks_when_the_network_limits() {
        let (mut depth, mut now) = (ReadDepth::default(), 0);
        assert_eq!(
            run(&mut depth, &mut now, 100.0, 1e7, 2000),
            DEPTH_MAX as usize
        );
        for _ in 0..5000 {
            now += 1_000_000;
            depth.read(Time::from_nanos(now), RUN, false);
        }
        assert_eq!(depth.runs(), DEPTH_MIN as usize);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(reads in proptest::collection::vec((0u64..10_000_000, 0u64..500_000, any::<bool>()), 0..2000)) {
            let (mut depth, mut now) = (ReadDepth::default(), 0);
            for (pause, bytes, starved) in reads {
                now += pause;
                depth.read(Time::from_nanos(now), bytes, starved);
                prop_assert!((DEPTH_MIN as usize..=DEPTH_MAX as usize).contains(&depth.runs()));
            }
        }
    }
}
