//! Round-trip time as RFC 9002, section 5, estimates it. All times in nanoseconds.

/// What timers are based on until there is a sample. Short, since the handshake usually gives one.
const INITIAL: u64 = 100_000_000;

/// Finest time that timers tell apart (RFC 9002, section 6.1.2).
pub(super) const GRANULARITY: u64 = 1_000_000;

/// Samples in a run.
const RUN: u32 = 4;

/// Estimate of the round-trip time.
#[derive(Debug)]
pub(super) struct Rtt {
    sampled: bool,
    /// The shortest of all.
    min: u64,
    /// The shortest of the current run of samples and of the one before; the number of samples in the current one.
    recent: [u64; 2],
    count: u32,
    smoothed: u64,
    variation: u64,
}

impl Rtt {
    pub(super) const fn new() -> Self {
        Self {
            sampled: false,
            min: INITIAL,
            recent: [INITIAL; 2],
            count: 0,
            smoothed: INITIAL,
            variation: INITIAL / 2,
        }
    }

    /// Takes a sample of which the peer says it spent `ack_delay` waiting.
    pub(super) fn update(&mut self, sample: u64, ack_delay: u64) {
        let sample = sample.max(1);
        if !self.sampled {
            *self = Self {
                sampled: true,
                min: sample,
                recent: [sample; 2],
                count: 1,
                smoothed: sample,
                variation: sample / 2,
            };
            return;
        }
        self.min = self.min.min(sample);
        if self.count == RUN {
            self.recent = [u64::MAX, self.recent[0]];
            self.count = 0;
        }
        self.recent[0] = self.recent[0].min(sample);
        self.count += 1;
        // A delay that would lead below the minimum is not to be believed.
        let adjusted = match sample.checked_sub(ack_delay) {
            Some(adjusted) if adjusted >= self.min => adjusted,
            _ => sample,
        };
        let deviation = self.smoothed.abs_diff(adjusted);
        self.variation = self.variation - self.variation / 4 + deviation / 4;
        self.smoothed = self.smoothed - self.smoothed / 8 + adjusted / 8;
    }

    pub(super) const fn smoothed(&self) -> u64 {
        self.smoothed
    }

    /// The shortest of the last four to eight samples: it follows a path that becomes longer, and a standing queue of
    /// others, also at a receiver, which has few samples.
    pub(super) fn min(&self) -> u64 {
        self.recent[0].min(self.recent[1])
    }

    /// How long to wait for an acknowledgement that the peer sends at once (RFC 9002, section 6.2.1).
    pub(super) fn probe_timeout(&self) -> u64 {
        let slack = self.variation.saturating_mul(4).max(GRANULARITY);
        self.smoothed.saturating_add(slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_replaces_the_guess() {
        let mut rtt = Rtt::new();
        rtt.update(50_000, 0);
        assert_eq!((rtt.smoothed(), rtt.min()), (50_000, 50_000));
        assert_eq!(rtt.probe_timeout(), 50_000 + GRANULARITY);
    }

    #[test]
    fn it_converges_and_subtracts_the_delay() {
        let mut rtt = Rtt::new();
        rtt.update(50_000, 0);
        for _ in 0..200 {
            rtt.update(1_100_000, 1_000_000);
        }
        assert!((95_000..=101_000).contains(&rtt.smoothed()), "{rtt:?}");
    }

    #[test]
    fn the_shortest_one_ages() {
        let mut rtt = Rtt::new();
        rtt.update(1_000_000, 0);
        for _ in 0..3 {
            rtt.update(100_000_000, 0);
        }
        assert_eq!(rtt.min(), 1_000_000);
        for _ in 0..5 {
            rtt.update(100_000_000, 0);
        }
        assert_eq!(rtt.min(), 100_000_000);
        rtt.update(2_000_000, 0);
        assert_eq!(rtt.min(), 2_000_000, "a shorter one counts at once");
    }

    #[test]
    fn an_incredible_delay_is_ignored() {
        let mut rtt = Rtt::new();
        rtt.update(50_000, 0);
        rtt.update(60_000, 59_000);
        rtt.update(60_000, u64::MAX);
        assert!(rtt.smoothed() > 50_000);
        assert_eq!(rtt.min(), 50_000);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut rtt = Rtt::new();
        for sample in [0, u64::MAX, 1, u64::MAX, u64::MAX] {
            rtt.update(sample, 0);
        }
        assert_eq!(rtt.probe_timeout(), u64::MAX);
    }
}
