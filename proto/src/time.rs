//! Points on a monotonic clock, as plain numbers, so that code which reads no clock can be driven in virtual time.

use core::ops::{Add, AddAssign};
use core::time::Duration;

/// A point in time: nanoseconds since the start of some monotonic clock that the caller chose.
///
/// 64 bits hold 584 years, so arithmetic saturates rather than wraps and nothing has to care.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Time(u64);

impl Time {
    /// The latest point there is; stands for "never" in deadline arithmetic.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the clock's start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate_at_zero() {
        let (early, late) = (Time::from_nanos(5), Time::from_nanos(12));
        assert_eq!(late.saturating_since(early), Duration::from_nanos(7));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
    }

    #[test]
    fn sums_saturate_at_the_end_of_time() {
        assert_eq!(
            Time::from_nanos(1) + Duration::from_micros(1),
            Time::from_nanos(1001)
        );
        assert_eq!(Time::from_nanos(1) + Duration::MAX, Time::MAX);
        let mut time = Time::from_nanos(3);
        time += Duration::from_nanos(4);
        assert_eq!(time.as_nanos(), 7);
    }
}
