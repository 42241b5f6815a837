//! How long an idle worker looks for work before it sleeps.

use std::time::Duration;

/// The longest that one whose work keeps coming looks for more: about the time that it takes to answer a small request, and the next
/// one comes after. Sleeping and waking cost each end of such an exchange about as much again.
const MOST: Duration = Duration::from_micros(50);

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
}

impl Spin {
    /// It spins for `least` in any case.
    pub(super) fn new(least: Duration) -> Self {
        Self {
            least,
            limit: least,
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
        if waited.is_zero() {
            return;
        }
        self.limit = if waited <= MOST {
            (2 * self.limit).min(MOST)
        } else {
            self.limit / 2
        }
        .max(self.least);
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
    fn more_than_most_may_be_asked_for() {
        let least = 3 * MOST;
        let mut spin = Spin::new(least);
        spin.worked(Duration::from_micros(1));
        assert_eq!(spin.limit(Hope::Messages), least);
    }
}
