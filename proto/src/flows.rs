//! Which flow sends which range of a file: work shared out among the flows of one transfer.
//!
//! A flow is a session; a transfer over several flows is a set of ranges that they take when they have room, so that a
//! fast flow takes more of them than a slow one. Ranges lie between two bounds of the [grid](crate::geometry::GRID), and
//! are taken in ascending order, so that the receiver writes long runs and the disks see a file from its start to its end.
//!
//! ```text
//!   done │ done │ flow 1 │ done │ flow 0 │ given back │ flow 1 │ not taken yet …
//!                                 └ take ─────┘
//! ```
//!
//! * A flow that dies gives back what it has not finished; the others take that first.
//! * When all is taken, an idle flow takes over ranges that their holder has had for much longer than ranges take: a stalled
//!   flow does not hold up the end of a file. What both bring is dropped by the receiver as a duplicate.
//!
//! Pure: it knows neither sessions nor blocks, and is told the time.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::geometry::GRID;
use crate::time::Time;

/// A range is not taken over before its holder has had it for so many times as long as ranges took on average …
const PATIENCE_FACTOR: u32 = 4;
/// … nor before this: blocks on their way are not late yet.
const PATIENCE_MIN: Duration = Duration::from_millis(20);
/// What a range takes, as long as none is done.
const FIRST_GUESS: Duration = Duration::from_millis(250);

/// One of the flows that share a [`Work`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(u32);

/// A range of the file, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Bytes; the range does not cross a bound of the [grid](crate::geometry::GRID).
    pub len: u64,
}

/// Who has a range, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    flow: FlowId,
    since: Time,
}

/// A range that was taken and is not done.
#[derive(Debug)]
struct Taken {
    range: Range,
    first: Holder,
    /// Who took it over.
    second: Option<Holder>,
}

/// The ranges of one transfer.
#[derive(Debug)]
pub struct Work {
    /// The first byte that nobody has taken.
    fresh: u64,
    end: u64,
    /// What is not to be done, from `fresh` on: `[start, end)`, ascending and apart.
    done_before: VecDeque<(u64, u64)>,
    /// Taken once, and given back.
    back: BTreeSet<Range>,
    taken: Vec<Taken>,
    flows: u32,
    /// How long a range takes, smoothed; `None` as long as none is done.
    average: Option<Duration>,
}

impl Work {
    /// `len` bytes from byte `offset` on, which together must not exceed `u64::MAX`.
    #[must_use]
    pub fn new(offset: u64, len: u64) -> Self {
        Self::without(offset, len, [])
    }

    /// The same without some ranges of it (offsets and lengths, ascending, apart and within the whole): they are done already.
    #[must_use]
    pub fn without(offset: u64, len: u64, done: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let done = done
            .into_iter()
            .filter(|&(_, len)| len > 0)
            .map(|(offset, len)| (offset, offset + len));
        let mut work = Self {
            fresh: offset,
            end: offset + len,
            done_before: done.collect(),
            back: BTreeSet::new(),
            taken: Vec::new(),
            flows: 0,
            average: None,
        };
        work.skip_done();
        work
    }

    /// One more flow shares the work.
    pub fn add_flow(&mut self) -> FlowId {
        self.flows += 1;
        FlowId(self.flows - 1)
    }

    /// Whether every range is done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.has_untaken() && self.taken.is_empty()
    }

    /// Whether there is a range that nobody holds.
    #[must_use]
    pub fn has_untaken(&self) -> bool {
        self.fresh < self.end || !self.back.is_empty()
    }

    /// The next range for `flow`: what was given back, what nobody has taken yet, or one to take over.
    pub fn take(&mut self, flow: FlowId, now: Time) -> Option<Range> {
        let first = Holder { flow, since: now };
        if let Some(range) = self.back.pop_first().or_else(|| self.take_fresh()) {
            self.taken.push(Taken {
                range,
                first,
                second: None,
            });
            return Some(range);
        }
        let patience = self.patience();
        let late = self.latest_for(flow)?;
        if late.first.since + patience > now {
            return None;
        }
        late.second = Some(first);
        Some(late.range)
    }

    /// When [`Work::take`] will give `flow` a range to take over, if nothing else happens; it gives none before.
    #[must_use]
    pub fn takeover_at(&mut self, flow: FlowId) -> Option<Time> {
        let patience = self.patience();
        self.latest_for(flow)
            .map(|late| late.first.since + patience)
    }

    /// `flow` has brought all of a range that it took. `true` the first time: the range counts as done from now on.
    pub fn done(&mut self, flow: FlowId, range: Range, now: Time) -> bool {
        let Some(at) = self.taken.iter().position(|taken| taken.range == range) else {
            return false;
        };
        let taken = &self.taken[at];
        let holders = [Some(taken.first), taken.second];
        let Some(holder) = holders.into_iter().flatten().find(|had| had.flow == flow) else {
            return false;
        };
        let took = now.saturating_since(holder.since);
        // Smoothed as round-trip times are: an eighth of the new one.
        self.average = Some(match self.average {
            Some(average) => average - average / 8 + took / 8,
            None => took,
        });
        self.taken.swap_remove(at);
        true
    }

    /// `flow` is no more: what it holds alone is for the others to take.
    pub fn dead(&mut self, flow: FlowId) {
        let back = &mut self.back;
        self.taken.retain_mut(|taken| {
            if taken.second.is_some_and(|holder| holder.flow == flow) {
                taken.second = None;
            }
            if taken.first.flow != flow {
                return true;
            }
            match taken.second.take() {
                Some(other) => {
                    taken.first = other;
                    true
                }
                None => {
                    back.insert(taken.range);
                    false
                }
            }
        });
    }

    fn take_fresh(&mut self) -> Option<Range> {
        if self.fresh >= self.end {
            return None;
        }
        let offset = self.fresh;
        let done = self.done_before.front().map_or(u64::MAX, |range| range.0);
        let bound = (offset / GRID + 1).saturating_mul(GRID);
        let bound = bound.min(self.end).min(done);
        self.fresh = bound;
        self.skip_done();
        Some(Range {
            offset,
            len: bound - offset,
        })
    }

    /// Moves `fresh` past what is done already.
    fn skip_done(&mut self) {
        while let Some(&(start, end)) = self.done_before.front()
            && start <= self.fresh
        {
            self.fresh = self.fresh.max(end);
            self.done_before.pop_front();
        }
    }

    fn patience(&self) -> Duration {
        let average = self.average.unwrap_or(FIRST_GUESS);
        (average * PATIENCE_FACTOR).max(PATIENCE_MIN)
    }

    /// The range that `flow` would take over: held the longest, by one other flow.
    fn latest_for(&mut self, flow: FlowId) -> Option<&mut Taken> {
        self.taken
            .iter_mut()
            .filter(|taken| taken.first.flow != flow && taken.second.is_none())
            .min_by_key(|taken| (taken.first.since, taken.range))
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
