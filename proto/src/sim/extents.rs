//! Which bytes of a file there are.

/// Disjoint ranges of bytes, ascending, joined where they touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents(Vec<(u64, u64)>);

impl Extents {
    /// Adds the bytes from `start` up to `end`; gives how many of them were there already.
    pub fn insert(&mut self, start: u64, end: u64) -> u64 {
        if end <= start {
            return 0;
        }
        let runs = &mut self.0;
        // Those that overlap or touch the new one.
        let first = runs.partition_point(|run| run.1 < start);
        let last = first + runs[first..].partition_point(|run| run.0 <= end);
        let mut joined = (start, end);
        let mut known = 0;
        for run in &runs[first..last] {
            known += run.1.min(end).saturating_sub(run.0.max(start));
            joined = (joined.0.min(run.0), joined.1.max(run.1));
        }
        runs.splice(first..last, [joined]);
        known
    }

    /// Whether all bytes below `size` are here.
    #[must_use]
    pub fn covers(&self, size: u64) -> bool {
        size == 0
            || self
                .0
                .first()
                .is_some_and(|run| run.0 == 0 && run.1 >= size)
    }

    /// The ranges.
    #[must_use]
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::random::Random;

    #[test]
    fn behaves_like_a_set_of_bytes() {
        let mut random = Random::new(5);
        for _ in 0..200 {
            let (mut extents, mut model) = (Extents::default(), [false; 60]);
            for _ in 0..20 {
                let start = random.within(0, 50);
                let end = start + random.within(0, 9);
                let range = start as usize..end as usize;
                let known = model[range.clone()].iter().filter(|here| **here).count() as u64;
                assert_eq!(extents.insert(start, end), known);
                model[range].fill(true);
                let runs = extents.runs();
                assert!(
                    runs.windows(2).all(|pair| pair[0].1 < pair[1].0),
                    "{runs:?}"
                );
                let total: u64 = runs.iter().map(|run| run.1 - run.0).sum();
                assert_eq!(total, model.iter().filter(|here| **here).count() as u64);
                let whole = model.iter().take_while(|here| **here).count() as u64;
                assert!(extents.covers(whole) && !extents.covers(whole + 1));
            }
        }
    }
}
