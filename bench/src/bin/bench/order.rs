//! In which order the tools take part in a run.

/// These in the order of a run, from 1 on: over as many runs as there are tools each is first once, and nobody always comes
/// after the same one. That is a row of Williams' design (E. J. Williams, 1949): of an even number each comes after each other
/// one once; of an odd number every second run goes backwards.
pub fn of<T: Copy>(all: &[T], run: u32) -> Vec<T> {
    let count = all.len();
    let turn = (run as usize).saturating_sub(1);
    // 0, 1, n - 1, 2, n - 2, ...
    let place = |position: usize| match position {
        0 => 0,
        odd if odd % 2 == 1 => odd.div_ceil(2),
        even => count - even / 2,
    };
    let mut order: Vec<T> = (0..count)
        .map(|position| all[(place(position) + turn) % count])
        .collect();
    if count % 2 == 1 && turn % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everybody_takes_part_and_has_changing_neighbours() {
        for count in 3..=14_usize {
            let all: Vec<usize> = (0..count).collect();
            let mut before = vec![BTreeSet::new(); count];
            let mut first = BTreeSet::new();
            for run in 1..=2 * count as u32 {
                let order = of(&all, run);
                assert_eq!(order.iter().copied().collect::<BTreeSet<_>>().len(), count);
                first.insert(order[0]);
                for pair in order.windows(2) {
                    before[pair[1]].insert(pair[0]);
                }
            }
            assert_eq!(first.len(), count, "each of {count} is first in some run");
            let least = if count % 2 == 0 { count - 1 } else { 2 };
            for earlier in &before {
                assert!(earlier.len() >= least, "{count} tools: {before:?}");
            }
        }
    }

    #[test]
    fn few_tools() {
        assert!(of::<u8>(&[], 3).is_empty());
        assert_eq!(of(&['a'], 2), ['a']);
        assert_eq!(of(&['a', 'b'], 1), ['a', 'b']);
        assert_eq!(of(&['a', 'b'], 2), ['b', 'a']);
        let three = [1, 2, 3].map(|run| of(&['a', 'b', 'c'], run).into_iter().collect::<String>());
        assert_eq!(three, ["abc", "acb", "cab"]);
    }
}
