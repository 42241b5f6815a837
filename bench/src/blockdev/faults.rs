//! What goes wrong on a disk, changed while it runs.

use std::ops::Range;
use std::time::Duration;

use rustix::io::Errno;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes are read.
    Read,
    /// Bytes are written, discarded or zeroed.
    Write,
    /// Everything completed is made durable.
    Flush,
}

/// Requests that fail.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which kind.
    pub operation: Operation,
    /// Only those that touch this range of the disk, when there is one. A flush touches every range.
    pub range: Option<Range<u64>>,
    /// So many that match go well first.
    pub skip: u64,
    /// Then so many fail.
    pub times: u64,
    /// With this error.
    pub error: Errno,
}

impl Rule {
    /// All requests of a kind fail with EIO.
    pub fn every(operation: Operation) -> Self {
        Self {
            operation,
            range: None,
            skip: 0,
            times: u64::MAX,
            error: Errno::IO,
        }
    }

    /// The nth request of a kind from now on fails with EIO, counted from 1.
    pub fn nth(operation: Operation, number: u64) -> Self {
        Self {
            skip: number.saturating_sub(1),
            times: 1,
            ..Self::every(operation)
        }
    }

    fn matches(&self, operation: Operation, range: &Range<u64>) -> bool {
        let touched = |own: &Range<u64>| own.start < range.end && range.start < own.end;
        self.operation == operation
            && (operation == Operation::Flush || self.range.as_ref().is_none_or(touched))
    }
}

/// The faults of a disk at present.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    /// Added to every request.
    pub delay: Duration,
    /// Bytes per second, when that is limited.
    pub rate: Option<u64>,
    /// No request is answered.
    pub still: bool,
    /// Requests that a rule has failed so far.
    pub failed: u64,
}

impl Faults {
    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Takes all rules away, and all slowness.
    pub fn heal(&mut self) {
        *self = Self {
            failed: self.failed,
            ..Self::default()
        };
    }

    /// The error that this request has to fail with.
    pub fn verdict(&mut self, operation: Operation, range: &Range<u64>) -> Option<Errno> {
        let rule = self
            .rules
            .iter_mut()
            .find(|rule| rule.times > 0 && rule.matches(operation, range))?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times = rule.times.saturating_sub(1);
        self.failed += 1;
        Some(rule.error)
    }

    /// How long a request of so many bytes takes.
    pub fn time(&self, bytes: usize) -> Duration {
        let transfer = self
            .rate
            .map(|rate| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64));
        self.delay + transfer.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_write_of_a_range_fails_once() {
        let mut faults = Faults::default();
        faults.add(Rule {
            range: Some(1_000..2_000),
            ..Rule::nth(Operation::Write, 2)
        });
        let mut ask = |operation, range| faults.verdict(operation, &range).is_some();
        assert!(!ask(Operation::Write, 0..1_000));
        assert!(!ask(Operation::Write, 900..1_001));
        assert!(!ask(Operation::Read, 1_000..1_100));
        assert!(!ask(Operation::Write, 2_000..3_000));
        assert!(ask(Operation::Write, 1_999..3_000));
        assert!(!ask(Operation::Write, 1_999..3_000));
        assert_eq!(faults.failed, 1);
    }

    #[test]
    fn a_flush_has_no_range_and_healing_ends_all() {
        let mut faults = Faults::default();
        faults.add(Rule {
            range: Some(1..2),
            ..Rule::every(Operation::Flush)
        });
        faults.rate = Some(1_000);
        assert!(faults.verdict(Operation::Flush, &(0..0)).is_some());
        assert_eq!(faults.time(500), Duration::from_millis(500));
        faults.heal();
        assert!(faults.verdict(Operation::Flush, &(0..0)).is_none());
        assert_eq!(faults.time(500), Duration::ZERO);
    }
}
