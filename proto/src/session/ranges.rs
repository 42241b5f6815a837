//! A set of numbers as a bounded list of runs, for packet numbers and stream offsets: mostly they come in order.

/// The numbers `start..end`; never empty in a [`RangeSet`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Run {
    pub(super) const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }
}

/// A set of numbers in at most `limit` runs. With one more, it forgets the lowest run, and counts all numbers below as
/// known: what is new is reported at most once, what is known may be reported as new never again.
#[derive(Debug)]
pub(super) struct RangeSet {
    /// Ascending, with gaps between them.
    runs: Vec<Run>,
    limit: usize,
    /// Everything below counts as known.
    floor: u64,
}

impl RangeSet {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            runs: Vec::with_capacity(limit + 1),
            limit,
            floor: 0,
        }
    }

    /// One more than the largest number in the set, ever.
    pub(super) fn end(&self) -> u64 {
        self.runs.last().map_or(self.floor, |run| run.end)
    }

    /// The runs, ascending.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        if number >= self.end() {
            return false;
        }
        let at = self.runs.partition_point(|run| run.end <= number);
        number < self.floor || self.runs.get(at).is_some_and(|run| run.start <= number)
    }

    /// The first part of `run` that is not in the set.
    pub(super) fn first_gap(&self, run: Run) -> Option<Run> {
        let mut start = run.start.max(self.floor);
        let at = self.runs.partition_point(|known| known.end <= start);
        let mut end = run.end;
        for known in &self.runs[at..] {
            if known.start > start {
                end = end.min(known.start);
                break;
            }
            start = known.end;
        }
        (start < end).then_some(Run::new(start, end))
    }

    /// Whether adding this run would make the set forget another one.
    pub(super) fn is_too_small_for(&self, new: Run) -> bool {
        self.runs.len() >= self.limit && self.is_apart(new)
    }

    /// Whether adding this run would need one more run in the list.
    pub(super) fn is_apart(&self, new: Run) -> bool {
        let at = self.runs.partition_point(|run| run.end < new.start);
        self.runs.get(at).is_none_or(|run| run.start > new.end)
    }

    /// Adds one number below `u64::MAX`; says whether it was new.
    pub(super) fn insert_one(&mut self, number: u64) -> bool {
        if let Some(last) = self.runs.last_mut()
            && last.end == number
        {
            last.end += 1;
            return true;
        }
        let mut is_new = false;
        self.insert(Run::new(number, number + 1), |_| is_new = true);
        is_new
    }

    /// Adds a run; reports those parts of it that were not in the set, ascending.
    pub(super) fn insert(&mut self, new: Run, mut report: impl FnMut(Run)) {
        let new = Run::new(new.start.max(self.floor), new.end);
        if new.start >= new.end {
            return;
        }
        // The runs at first..last touch the new one and become one with it.
        let first = self.runs.partition_point(|run| run.end < new.start);
        let mut last = first;
        let mut merged = new;
        let mut unknown = new.start;
        while let Some(run) = self.runs.get(last)
            && run.start <= new.end
        {
            if run.start > unknown {
                report(Run::new(unknown, run.start));
            }
            unknown = unknown.max(run.end);
            merged = Run::new(merged.start.min(run.start), merged.end.max(run.end));
            last += 1;
        }
        if unknown < new.end {
            report(Run::new(unknown, new.end));
        }
        if first == last {
            self.runs.insert(first, merged);
            if self.runs.len() > self.limit {
                self.floor = self.runs.remove(0).end;
            }
        } else {
            self.runs[first] = merged;
            self.runs.drain(first + 1..last);
        }
    }

    /// Forgets the numbers below `floor`; from now on they count as known.
    pub(super) fn forget_below(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        self.remove_below(floor);
    }

    /// Takes the numbers below `end` out of the set; they may be added again.
    pub(super) fn remove_below(&mut self, end: u64) {
        let gone = self.runs.partition_point(|run| run.end <= end);
        self.runs.drain(..gone);
        if let Some(run) = self.runs.first_mut() {
            run.start = run.start.max(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn runs(set: &RangeSet) -> Vec<(u64, u64)> {
        set.runs().iter().map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn neighbours_merge() {
        let mut set = RangeSet::new(8);
        for number in [0, 1, 5, 3, 2, 4] {
            assert!(set.insert_one(number));
            assert!(!set.insert_one(number));
        }
        assert_eq!(runs(&set), [(0, 6)]);
        assert_eq!(set.end(), 6);
    }

    #[test]
    fn a_run_reports_what_is_new() {
        let mut set = RangeSet::new(8);
        set.insert(Run::new(2, 4), |_| {});
        set.insert(Run::new(6, 8), |_| {});
        let mut new = Vec::new();
        set.insert(Run::new(0, 10), |run| new.push((run.start, run.end)));
        assert_eq!(new, [(0, 2), (4, 6), (8, 10)]);
        assert_eq!(runs(&set), [(0, 10)]);
    }

    #[test]
    fn the_lowest_run_makes_room() {
        let mut set = RangeSet::new(2);
        for number in [1, 3, 5] {
            assert!(set.insert_one(number));
        }
        assert_eq!(runs(&set), [(3, 4), (5, 6)]);
        assert!(set.contains(0) && set.contains(1) && !set.contains(2));
        assert!(!set.insert_one(1), "forgotten is not new");
    }

    #[test]
    fn forgetting_cuts_a_run() {
        let mut set = RangeSet::new(4);
        set.insert(Run::new(0, 10), |_| {});
        set.forget_below(4);
        assert_eq!(runs(&set), [(4, 10)]);
        set.forget_below(20);
        assert_eq!(set.end(), 20);
        assert!(set.is_apart(Run::new(30, 31)));
    }

    #[test]
    fn what_was_removed_may_come_again() {
        let mut set = RangeSet::new(2);
        set.insert(Run::new(0, 10), |_| {});
        set.remove_below(4);
        assert_eq!(runs(&set), [(4, 10)]);
        assert!(set.insert_one(2));
        assert!(set.is_too_small_for(Run::new(12, 13)));
        assert!(!set.is_too_small_for(Run::new(10, 13)));
        set.remove_below(10);
        assert!(set.runs().is_empty());
    }

    proptest! {
        #[test]
        fn the_first_gap_is_what_a_set_lacks(
            inserts in proptest::collection::vec((0u64..60, 1u64..8), 0..20),
            (start, len) in (0u64..70, 0u64..20),
            floor in 0u64..20,
        ) {
            let mut set = RangeSet::new(1000);
            for (start, len) in inserts {
                set.insert(Run::new(start, start + len), |_| {});
            }
            set.forget_below(floor);
            let run = Run::new(start, start + len);
            let first = (run.start..run.end).find(|number| !set.contains(*number));
            let end = first.map(|first| (first..run.end).find(|number| set.contains(*number)).unwrap_or(run.end));
            prop_assert_eq!(set.first_gap(run), first.zip(end).map(|(start, end)| Run::new(start, end)));
        }

        #[test]
        fn behaves_like_a_set(inserts in proptest::collection::vec((0u64..120, 0u64..12), 0..80), probe in 0u64..140) {
            let (mut set, mut model) = (RangeSet::new(1000), BTreeSet::new());
            for (start, len) in inserts {
                let run = Run::new(start, start + len);
                let mut reported = BTreeSet::new();
                set.insert(run, |new| for number in new.start..new.end { assert!(reported.insert(number)); });
                let expected: BTreeSet<u64> = (run.start..run.end).filter(|number| model.insert(*number)).collect();
                prop_assert_eq!(reported, expected);
            }
            prop_assert_eq!(set.contains(probe), model.contains(&probe));
            let listed: Vec<u64> = set.runs().iter().flat_map(|run| run.start..run.end).collect();
            prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
            prop_assert!(set.runs().windows(2).all(|pair| pair[0].end < pair[1].start));
        }

        #[test]
        fn bounded_and_never_new_twice(numbers in proptest::collection::vec(0u64..500, 0..300), limit in 1usize..8) {
            let (mut set, mut seen) = (RangeSet::new(limit), BTreeSet::new());
            for number in numbers {
                let known = set.contains(number);
                let new = set.insert_one(number);
                prop_assert_eq!(known, !new);
                prop_assert!(!new || seen.insert(number));
                prop_assert!(set.runs().len() <= limit);
            }
        }
    }
}
