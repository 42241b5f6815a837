//! How long an idle worker looks for work before it sleeps.

use std::time::Duration;

/// The longest that one whose work keeps coming looks for more: about the time that it takes to answer a small request, and the next
/// one comes after. Sleeping and waking cost each end of such an exchange about as much again.
const MOST: Duration = Duration::from_micros(50);

/// Work that has come after at most so long comes within [`MOST`], perhaps, if it is waited for awake: the rest may be the time that
/// both ends take to wake up.
const NEAR: Duration = Duration::from_micros(200);

/// One in so many waits that end that near has the next one looked for as long as can be. If it comes in vain, that costs less than a
/// tenth of the time.
const TRY_EVERY: u32 = 16;

/// What a worker may hope for while it has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hope {
    /// Nothing: whoever has something for it will wake it.
    None,
    /// The next block of a transfer, of which there are many: spinning longer than at least gains nothing, and takes the CPU
    /// from the other end where there are few.
    Blocks,
    /// A message.
    Messages,
}

/// Learns from how long the worker had to wait for work. When that came soon, waiting pays the next time; when it did not, less and
/// less time is spent on it.
#[derive(Debug)]
pub(super) struct Spin {
    least: Duration,
    limit: Duration,
    /// Waits that have ended near since the last try.
    near: u32,
}

impl Spin {
    /// It spins for `least` in any case; if that is nothing, it never does.
    pub(super) fn new(least: Duration) -> Self {
        Self {
            least,
            limit: least,
            near: 0,
        }
    }

    /// How long it is worth to look for what is hoped for.
    pub(super) fn limit(&self, hope: Hope) -> Duration {
        match hope {
            Hope::None => Duration::ZERO,
            Hope::Blocks => self.least,
            Hope::Messages => self.limit,
        }
    }

    /// There was work again, after so long; no time at all if it never ceased.
    pub(super) fn worked(&mut self, waited: Duration) {
        if waited.is_zero() || self.least.is_zero() {
            return;
        }
        let limit = if waited <= MOST {
            2 * self.limit
        } else if waited <= NEAR && self.is_due() {
            MOST
        } else {
            self.limit / 2
        };
        self.limit = limit.min(MOST).max(self.least);
    }

    /// Whether it is time for a try.
    fn is_due(&mut self) -> bool {
        self.near = (self.near + 1) % TRY_EVERY;
        self.near == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_micros(10);

    #[test]
    fn who_is_asked_again_and_again_waits_for_it() {
        let mut spin = Spin::new(LEAST);
        assert_eq!(spin.limit(Hope::Messages), LEAST);
        (0..4).for_each(|_| spin.worked(Duration::from_micros(20)));
        assert_eq!(spin.limit(Hope::Messages), MOST);
        assert_eq!(spin.limit(Hope::Blocks), LEAST);
        assert_eq!(spin.limit(Hope::None), Duration::ZERO);
        spin.worked(Duration::ZERO);
        assert_eq!(spin.limit(Hope::Messages), MOST);
    }

    #[test]
    fn who_waits_in_vain_stops_it() {
        let mut spin = Spin::new(LEAST);
        (0..4).for_each(|_| spin.worked(Duration::from_micros(20)));
        (0..4).for_each(|_| spin.worked(Duration::from_millis(1)));
        assert_eq!(spin.limit(Hope::Messages), LEAST);
    }

    #[test]
    fn two_that_keep_each_other_asleep_wake_up() {
        let mut spin = Spin::new(LEAST);
        let near = Duration::from_micros(70);
        let tries = (0..160).filter(|_| {
            spin.worked(near);
            spin.limit(Hope::Messages) == MOST
        });
        assert_eq!(tries.count(), 10);
        // It is not worth it: what comes next does not come sooner.
        (0..3).for_each(|_| spin.worked(near));
        assert_eq!(spin.limit(Hope::Messages), LEAST);
        // A try that succeeds is the last one that is needed.
        while spin.limit(Hope::Messages) < MOST {
            spin.worked(near);
        }
        spin.worked(Duration::from_micros(20));
        assert_eq!(spin.limit(Hope::Messages), MOST);
    }

    #[test]
    fn who_shall_not_spin_does_not_learn_it() {
        let mut spin = Spin::new(Duration::ZERO);
        (0..4).for_each(|_| spin.worked(Duration::from_micros(20)));
        assert_eq!(spin.limit(Hope::Messages), Duration::ZERO);
    }

    #[test]
    fn more_than_most_may_be_asked_for() {
        let least = 3 * MOST;
        let mut spin = Spin::new(least);
        spin.worked(Duration::from_micros(1));
        assert_eq!(spin.limit(Hope::Messages), least);
    }
}
