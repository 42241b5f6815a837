//! How many kernel threads (io-wq) the ring may use: one as a rule, as many as there are operations while something waits.
//!
//! An operation that cannot be submitted without waiting is submitted by a kernel thread. So is every direct write into a
//! part of an ext4 file that was allocated and never written (fs/ext4/file.c, `ext4_dio_write_checks`: with `IOCB_NOWAIT`
//! only what is an overwrite). Several threads at it contend for the locks of one file, which costs more than they gain: measured
//! 0.15 seconds of CPU time for a gigabyte, and 0.10 with one, which is enough, as it does not wait for what it has submitted.
//!
//! But a thread may have to wait: for a disk that stands still or has its queue full, for a read through the page cache. With one
//! alone all that is behind it would wait as well, for whatever disk. So when an operation has waited for
//! [`PATIENCE`], or goes through the page cache, there may be one for each operation, until a while after that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// An operation that takes longer may hold up others. Six direct writes of 840 KiB in flight take a tenth of it on a disk of 1 GB/s.
/// A slower disk with a deep queue is given as many threads as it would have without this.
const PATIENCE: Duration = Duration::from_millis(50);
/// So long after the last one that waited it is back to one thread.
const CALM: Duration = Duration::from_secs(1);
/// The least of [`ThreadLimit::crowded`].
const CROWDED: usize = 64;

/// How many threads the kernel may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Threads {
    /// One.
    One,
    /// One for each operation.
    Many,
}

/// An operation, by its slot and when it began: slots are used again.
type Begun = (u32, Instant);

/// Decides how many threads there may be.
#[derive(Debug)]
pub(super) struct ThreadLimit {
    now: Threads,
    /// The operations in flight by age, among some that have ended.
    begun: VecDeque<Begun>,
    /// When `begun` is so long, those that have ended are taken out: they stay behind one that hangs.
    crowded: usize,
    /// When an operation was last found that may wait.
    waited: Option<Instant>,
}

impl ThreadLimit {
    pub(super) fn new() -> Self {
        Self {
            now: Threads::One,
            begun: VecDeque::new(),
            crowded: CROWDED,
            waited: None,
        }
    }

    /// An operation began; `waits`: by its nature a thread waits for it.
    pub(super) fn begin(&mut self, (slot, now): Begun, waits: bool) {
        if waits {
            self.waited = Some(now);
        }
        self.begun.push_back((slot, now));
    }

    /// What is to be set now, if that has changed. `in_flight` tells whether an operation is.
    pub(super) fn change(
        &mut self,
        now: Instant,
        in_flight: impl Fn(Begun) -> bool,
    ) -> Option<Threads> {
        while let Some(&oldest) = self.begun.front()
            && !in_flight(oldest)
        {
            self.begun.pop_front();
        }
        if self.begun.len() >= self.crowded {
            self.begun.retain(|&begun| in_flight(begun));
            self.crowded = CROWDED.max(2 * self.begun.len());
        }
        let oldest = self.begun.front();
        if oldest.is_some_and(|(_, begun)| now.saturating_duration_since(*begun) >= PATIENCE) {
            self.waited = Some(now);
        }
        let wanted = match self.waited {
            Some(waited) if now.saturating_duration_since(waited) < CALM => Threads::Many,
            _ => Threads::One,
        };
        (wanted != std::mem::replace(&mut self.now, wanted)).then_some(wanted)
    }

    /// When [`change`](Self::change) must be asked at the latest, should no operation end before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let oldest = self.begun.front().map(|(_, begun)| *begun + PATIENCE);
        oldest.filter(|_| self.now == Threads::One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn one_that_waits_lets_the_others_have_threads_for_a_while() {
        let (mut limit, start) = (ThreadLimit::new(), Instant::now());
        assert_eq!(limit.deadline(), None);
        limit.begin((0, start), false);
        limit.begin((1, start + ms(10)), false);
        assert_eq!(limit.deadline(), Some(start + PATIENCE));
        assert_eq!(limit.change(start + ms(49), |_| true), None);
        assert_eq!(limit.change(start + ms(50), |_| true), Some(Threads::Many));
        assert_eq!(limit.deadline(), None, "nothing more can be done");
        assert_eq!(limit.change(start + ms(5000), |_| true), None);
        assert_eq!(limit.change(start + ms(5999), |_| false), None);
        assert_eq!(
            limit.change(start + ms(6000), |_| false),
            Some(Threads::One)
        );
    }

    #[test]
    fn those_that_end_in_time_change_nothing() {
        let (mut limit, start) = (ThreadLimit::new(), Instant::now());
        for number in 0..100 {
            let now = start + ms(10) * number;
            // One of four slots, used again and again.
            limit.begin((number % 4, now), false);
            let in_flight = |(_, begun)| now < begun + ms(40);
            assert_eq!(limit.change(now, in_flight), None);
            assert!(limit.begun.len() <= 4);
        }
    }

    #[test]
    fn those_behind_one_that_hangs_are_forgotten_when_they_end() {
        let (mut limit, start) = (ThreadLimit::new(), Instant::now());
        limit.begin((0, start), false);
        for number in 0..100_000 {
            let now = start + ms(number);
            limit.begin((1, now), false);
            limit.change(now, |(slot, begun)| slot == 0 || begun == now);
            assert!(limit.begun.len() <= CROWDED);
        }
        assert_eq!(limit.begun.front(), Some(&(0, start)));
    }

    #[test]
    fn the_page_cache_is_waited_for() {
        let (mut limit, start) = (ThreadLimit::new(), Instant::now());
        limit.begin((0, start), true);
        assert_eq!(limit.change(start, |_| true), Some(Threads::Many));
        assert_eq!(limit.change(start + CALM, |_| false), Some(Threads::One));
    }
}
