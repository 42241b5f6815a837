//! Faults on request, for tests: what a disk does only when it is ill.
//!
//! A fault changes what the queue learns of a request, at the level of its completion; the request itself runs. So a
//! write that is said to have failed, or to have been short, may have reached the file in whole, as with a real disk.
//!
//! Only in this crate's own tests; nothing of it is in other builds.

use std::time::{Duration, Instant};

use super::{DiskQueue, operation::Kind, queue::Work};
use crate::umem::Umem;

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails with this error number.
    Fail(i32),
    /// It did at most so many bytes.
    Short(u32),
    /// Its completion comes so much later.
    Delay(Duration),
}

/// Which requests a fault is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Reads.
    Reads,
    /// Writes.
    Writes,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    which: Which,
    first: u64,
    count: u64,
    fault: Fault,
}

/// The faults of one queue. Requests are counted as they are made, from 0, reads and writes apart; a request that is
/// tried again counts again.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    reads: u64,
    writes: u64,
}

impl Faults {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// `fault` for the requests `first..first + count`. Of several for one request, the first given is taken.
    #[must_use]
    pub fn with(mut self, which: Which, first: u64, count: u64, fault: Fault) -> Self {
        self.rules.push(Rule {
            which,
            first,
            count,
            fault,
        });
        self
    }

    /// The fault of the next request.
    pub(super) fn next(&mut self, which: Which) -> Option<Fault> {
        let number = match which {
            Which::Reads => &mut self.reads,
            Which::Writes => &mut self.writes,
        };
        let at = *number;
        *number += 1;
        self.rules
            .iter()
            .find(|rule| rule.which == which && at.wrapping_sub(rule.first) < rule.count)
            .map(|rule| rule.fault)
    }
}

/// The faults of a queue, and the completions they hold back.
#[derive(Debug, Default)]
pub(super) struct Injector {
    faults: Faults,
    /// When due, which slot, which result.
    delayed: Vec<(Instant, u32, i32)>,
}

impl Injector {
    /// Completions held back.
    pub(super) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// A time to sleep, or until the next completion held back is due.
    pub(super) fn shorten(&self, timeout: Option<Duration>) -> Option<Duration> {
        let due = self.delayed.iter().map(|(due, _, _)| *due).min();
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        match (timeout, left) {
            (Some(timeout), Some(left)) => Some(timeout.min(left)),
            (timeout, left) => timeout.or(left),
        }
    }
}

impl DiskQueue {
    /// Has these faults from now on, counted from the next request.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults.faults = faults;
    }

    /// Decides what will become of the request that is about to be made for a slot.
    pub(super) fn assign_fault(&mut self, index: u32) {
        let slot = &mut self.parts.slots[index as usize];
        if let Work::Disk(operation) = &slot.work {
            slot.fault = self.faults.faults.next(match operation.kind {
                Kind::Read => Which::Reads,
                Kind::Write => Which::Writes,
            });
        }
    }

    /// The result as the fault has it; `None` when it comes later.
    pub(super) fn apply_fault(&mut self, index: u32, result: i32) -> Option<i32> {
        match self.parts.slots[index as usize].fault.take() {
            None => Some(result),
            Some(Fault::Fail(errno)) => Some(-errno),
            Some(Fault::Short(most)) => Some(result.min(i32::try_from(most).unwrap_or(i32::MAX))),
            Some(Fault::Delay(time)) => {
                let due = Instant::now() + time;
                self.faults.delayed.push((due, index, result));
                None
            }
        }
    }

    /// Takes the results that are due.
    pub(super) fn release_delayed(&mut self, umem: &mut Umem) {
        let now = Instant::now();
        while let Some(at) = self.faults.delayed.iter().position(|held| held.0 <= now) {
            let (_, index, result) = self.faults.delayed.swap_remove(at);
            self.progress(umem, index, result);
        }
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
