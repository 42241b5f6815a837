//! Which source ports to take so that the flows of a connection are spread evenly over the server's workers.
//!
//! A hash of addresses and ports, which this end does not know, decides to which worker a flow gets. So more ports are tried
//! than flows are wanted, and the best of them are taken.

/// How flows shall be spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// Flows wanted beside the first one.
    pub(crate) flows: usize,
    /// Workers that the server has, at least 1.
    pub(crate) workers: u32,
    /// The worker that has the first flow.
    pub(crate) first: u32,
}

impl Wish {
    /// The candidates to take, by their place in the list: as many as are wanted, or as there are. Of the flows of the
    /// busiest worker there are as few as the candidates allow. Those without an answer are left out: where they lead to,
    /// nobody may listen. Unless nobody answered at all.
    pub(crate) fn choose(&self, reached: &[Option<u32>]) -> Vec<usize> {
        if reached.iter().all(Option::is_none) {
            return (0..reached.len().min(self.flows)).collect();
        }
        let mut left: Vec<(usize, u32)> = (0..)
            .zip(reached)
            .filter_map(|(at, worker)| Some((at, (*worker)?)))
            .collect();
        let mut taken = vec![self.first];
        let mut chosen = Vec::new();
        while chosen.len() < self.flows {
            let load = |worker: u32| taken.iter().filter(|&&other| other == worker).count();
            let least = (0..left.len()).min_by_key(|&place| load(left[place].1));
            let Some(place) = least else { break };
            let (at, worker) = left.remove(place);
            taken.push(worker);
            chosen.push(at);
        }
        chosen
    }

    /// How many of the flows are not where they should be, if these are the candidates: they are more than their worker's
    /// share, or are missing.
    pub(crate) fn misplaced(&self, reached: &[Option<u32>]) -> usize {
        let workers = self.workers.max(1) as usize;
        let share = (self.flows + 1).div_ceil(workers);
        let chosen = self.choose(reached);
        let mut loads = std::collections::BTreeMap::from([(self.first, 1)]);
        let mut unknown = self.flows.saturating_sub(chosen.len());
        for at in chosen {
            match reached[at] {
                Some(worker) => *loads.entry(worker).or_insert(0) += 1,
                None => unknown += 1,
            }
        }
        let over: usize = loads
            .values()
            .map(|load: &usize| load.saturating_sub(share))
            .sum();
        unknown + over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wish(flows: usize, workers: u32, first: u32) -> Wish {
        Wish {
            flows,
            workers,
            first,
        }
    }

    /// Flows of the busiest worker.
    fn most(wish: Wish, reached: &[Option<u32>], chosen: &[usize]) -> usize {
        let taken: Vec<u32> = chosen
            .iter()
            .filter_map(|&at| reached[at])
            .chain([wish.first])
            .collect();
        let load = |worker| taken.iter().filter(|&&other| other == worker).count();
        taken.iter().map(|&worker| load(worker)).max().unwrap_or(0)
    }

    #[test]
    fn workers_that_are_left_out_come_first() {
        let reached = [0, 0, 1, 2, 0, 3].map(Some);
        let chosen = wish(3, 4, 0).choose(&reached);
        assert_eq!(chosen, [2, 3, 5]);
        assert_eq!(wish(3, 4, 0).misplaced(&reached), 0);
    }

    #[test]
    fn surplus_is_misplaced() {
        // Eight flows on four workers: two each. Worker 0 has five, worker 3 none.
        let reached = [0, 0, 0, 0, 1, 1, 2].map(Some);
        assert_eq!(wish(7, 4, 0).misplaced(&reached), 3);
        let better = [&reached[..], &[Some(3), Some(3)]].concat();
        assert_eq!(wish(7, 4, 0).misplaced(&better), 1);
        assert_eq!(wish(7, 4, 0).misplaced(&[]), 7);
    }

    #[test]
    fn ports_without_an_answer_are_the_last_resort() {
        let reached = [None, Some(1), None, Some(0)];
        assert_eq!(wish(3, 2, 0).choose(&reached), [1, 3]);
        assert_eq!(wish(3, 2, 0).misplaced(&reached), 1);
        assert_eq!(wish(2, 2, 0).choose(&[None; 3]), [0, 1]);
        assert_eq!(wish(2, 2, 0).misplaced(&[None; 3]), 2);
    }

    proptest! {
        #[test]
        fn no_other_choice_is_more_even(
            reached in proptest::collection::vec(proptest::option::weighted(0.9, 0_u32..5), 0..30),
            flows in 0_usize..8,
            workers in 1_u32..6,
            first in 0_u32..5,
        ) {
            let wish = wish(flows, workers, first);
            let chosen = wish.choose(&reached);
            let mut once = chosen.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), chosen.len());
            let known = reached.iter().flatten().count();
            let expected = if known == 0 { reached.len() } else { known };
            prop_assert_eq!(chosen.len(), flows.min(expected));
            if known == 0 {
                return Ok(());
            }
            // The least that the busiest worker can have: with that, there is room for all chosen, and with less not.
            let room = |cap: usize| -> usize {
                (0..5).map(|worker| {
                    let there = reached.iter().filter(|&&to| to == Some(worker)).count();
                    let mine = usize::from(worker == first);
                    there.min(cap.saturating_sub(mine))
                }).sum()
            };
            let least = (1..).find(|&cap| room(cap) >= chosen.len()).unwrap();
            prop_assert_eq!(most(wish, &reached, &chosen), least);
        }

        #[test]
        fn more_candidates_never_make_it_worse(
            reached in proptest::collection::vec(proptest::option::weighted(0.9, 0_u32..4), 1..20),
            more in proptest::collection::vec((0_u32..4).prop_map(Some), 0..10),
            flows in 1_usize..8,
        ) {
            let wish = wish(flows, 4, 0);
            let all = [reached.clone(), more].concat();
            prop_assert!(wish.misplaced(&all) <= wish.misplaced(&reached));
        }
    }
}
