//! How often something may happen.

use crate::time::Time;

/// A token bucket: so many events a second on average, and at most that many at once.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Nanoseconds in which one token comes; `None`: never.
    interval: Option<u64>,
    /// Time that has been saved up and not spent, in nanoseconds.
    saved: u64,
    last: Time,
}

/// What a bucket holds when it is full.
const FULL: u64 = 1_000_000_000;

impl Bucket {
    /// Full at first.
    pub(super) const fn new(per_second: u32) -> Self {
        Self {
            interval: match per_second {
                0 => None,
                _ => Some(FULL / per_second as u64),
            },
            saved: FULL,
            last: Time::from_nanos(0),
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let elapsed = now.as_nanos().saturating_sub(self.last.as_nanos());
        self.last = self.last.max(now);
        self.saved = self.saved.saturating_add(elapsed).min(FULL);
        match self
            .interval
            .and_then(|interval| self.saved.checked_sub(interval))
        {
            Some(rest) => {
                self.saved = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn taken(bucket: &mut Bucket, now: Time, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(bucket.take(now))).sum()
    }

    #[test]
    fn it_gives_a_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(100);
        let mut now = Time::from_nanos(5);
        assert_eq!(taken(&mut bucket, now, 1000), 100);
        now += Duration::from_millis(50);
        assert_eq!(taken(&mut bucket, now, 1000), 5);
        now += Duration::from_secs(1000);
        assert_eq!(taken(&mut bucket, now, 1000), 100);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(1);
        let now = Time::from_nanos(10 * FULL);
        assert!(bucket.take(now) && !bucket.take(now));
        assert!(!bucket.take(Time::from_nanos(0)));
        assert!(!bucket.take(now));
        assert_eq!(taken(&mut Bucket::new(0), Time::MAX, 9), 0);
    }
}
