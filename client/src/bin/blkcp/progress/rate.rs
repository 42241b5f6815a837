//! How fast a copy goes, and how long the rest of it takes.

use std::collections::VecDeque;
use std::time::Duration;

/// The rate is that of the last so many seconds: long enough that the pauses of disks are in it, short enough that a change of
/// the network is seen.
const WINDOW: Duration = Duration::from_secs(10);
/// Looks that are kept in a window.
const LOOKS: u32 = 100;
/// Nothing is said about the time left before.
const FIRST: Duration = Duration::from_millis(500);

/// The rate of the last seconds.
#[derive(Debug, Default)]
pub struct Rate {
    /// When somebody looked, and how many bytes there were: in the window, but for the first one.
    looks: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// At a time since the begin of the copy so many bytes had been sent.
    pub fn look(&mut self, at: Duration, bytes: u64) {
        let latest = self.looks.back();
        if latest.is_some_and(|&(latest, _)| at < latest + WINDOW / LOOKS) {
            return;
        }
        self.looks.push_back((at, bytes));
        // One look that is older than the window is what the others are compared with.
        while self
            .looks
            .get(1)
            .is_some_and(|&(second, _)| second + WINDOW <= at)
        {
            self.looks.pop_front();
        }
    }

    /// Bytes per second; `None` as long as nothing can be said.
    pub fn per_second(&self) -> Option<f64> {
        let (&(from, first), &(to, last)) = (self.looks.front()?, self.looks.back()?);
        let time = to.saturating_sub(from);
        (time >= FIRST).then(|| last.saturating_sub(first) as f64 / time.as_secs_f64())
    }

    /// How long so many bytes take at this rate; `None`: nobody knows, or for ever.
    pub fn time_for(&self, bytes: u64) -> Option<Duration> {
        let rate = self.per_second()?;
        Duration::try_from_secs_f64(bytes as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Looks every tenth of a second at what a rate of so many MiB/s gives.
    fn run(rate: &mut Rate, from: (f64, u64), seconds: f64, per_second: u64) -> (f64, u64) {
        let count = (seconds * 10.0) as u64;
        for look in 1..=count {
            let at = Duration::from_secs_f64(from.0 + look as f64 / 10.0);
            rate.look(at, from.1 + look * per_second * MIB / 10);
        }
        (from.0 + seconds, from.1 + count * per_second * MIB / 10)
    }

    #[test]
    fn a_steady_rate_is_known_after_half_a_second() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        rate.look(Duration::ZERO, 0);
        let at = run(&mut rate, (0.0, 0), 0.4, 100);
        assert_eq!(rate.time_for(100 * MIB), None);
        run(&mut rate, at, 0.2, 100);
        let left = rate.time_for(1_000 * MIB).unwrap().as_secs_f64();
        assert!((9.5..10.5).contains(&left), "{left}");
    }

    #[test]
    fn a_change_is_seen_within_the_window_and_old_times_are_forgotten() {
        let mut rate = Rate::default();
        rate.look(Duration::ZERO, 0);
        let at = run(&mut rate, (0.0, 0), 100.0, 1000);
        let at = run(&mut rate, at, 5.0, 10);
        let between = rate.per_second().unwrap() / MIB as f64;
        assert!((10.0..1000.0).contains(&between), "{between}");
        run(&mut rate, at, 6.0, 10);
        let after = rate.per_second().unwrap() / MIB as f64;
        assert!((9.9..10.1).contains(&after), "{after}");
        assert!(rate.looks.len() <= LOOKS as usize + 2);
    }

    #[test]
    fn a_copy_that_stands_has_no_end() {
        let mut rate = Rate::default();
        rate.look(Duration::ZERO, 5);
        rate.look(Duration::from_secs(1), 5);
        assert_eq!(rate.per_second(), Some(0.0));
        assert_eq!(rate.time_for(1), None);
        assert_eq!(rate.time_for(0), None, "0 bytes at no rate: who knows");
    }
}
