//! What a worker does with its time.

use std::fmt;
use std::time::{Duration, Instant};

/// How a worker has spent its time so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// Turns in which there was something to do.
    pub turns_busy: u64,
    /// Turns that found nothing.
    pub turns_idle: u64,
    /// Time in turns with something to do, waiting for the CPU included.
    pub busy: Duration,
}

impl fmt::Display for Activity {
    /// `name=value` pairs on one line; no CPU where it is not pinned.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cpu) = self.cpu {
            write!(out, "cpu={cpu} ")?;
        }
        write!(
            out,
            "turns_busy={} turns_idle={} busy_us={}",
            self.turns_busy,
            self.turns_idle,
            self.busy.as_micros()
        )
    }
}

/// Measures turns. A look at the clock takes some 25 ns.
#[derive(Debug)]
pub(super) struct Stopwatch {
    pub(super) activity: Activity,
    /// When the present turn began.
    began: Instant,
    /// When the last turn ended that had something to do.
    last_work: Instant,
}

impl Stopwatch {
    pub(super) fn new(cpu: Option<usize>) -> Self {
        let now = Instant::now();
        Self {
            activity: Activity {
                cpu,
                ..Activity::default()
            },
            began: now,
            last_work: now,
        }
    }

    /// How long there had been nothing to do when the present turn began.
    pub(super) fn waited(&self) -> Duration {
        self.began.saturating_duration_since(self.last_work)
    }

    /// A turn is over, and the next one begins; how long there has been nothing to do.
    pub(super) fn turned(&mut self, busy: bool) -> Duration {
        let now = Instant::now();
        if busy {
            self.activity.turns_busy += 1;
            self.activity.busy += now - self.began;
            self.last_work = now;
        } else {
            self.activity.turns_idle += 1;
        }
        self.began = now;
        now - self.last_work
    }

    /// After a pause or a sleep: only now the turn begins.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_turns_with_work_count_as_busy() {
        const STEP: Duration = Duration::from_millis(3);
        let mut watch = Stopwatch::new(Some(4));
        std::thread::sleep(STEP);
        assert!(watch.turned(false) >= STEP);
        assert!(watch.waited() >= STEP);
        assert_eq!(watch.activity.busy, Duration::ZERO);
        std::thread::sleep(STEP);
        assert_eq!(watch.turned(true), Duration::ZERO);
        assert_eq!(watch.waited(), Duration::ZERO);
        let worked = watch.activity.busy;
        assert!(worked >= STEP);
        std::thread::sleep(STEP);
        watch.begin();
        watch.turned(true);
        let activity = watch.activity;
        assert_eq!((activity.turns_busy, activity.turns_idle), (2, 1));
        assert!(activity.busy >= worked);
        let text = activity.to_string();
        assert!(
            text.starts_with("cpu=4 turns_busy=2 turns_idle=1 busy_us="),
            "{text}"
        );
    }
}
