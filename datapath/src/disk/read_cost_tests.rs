use proptest::prelude::*;

use super::*;

/// The time of `bytes` at so many ns per byte.
fn at(rate: f64, bytes: u64) -> Duration {
    Duration::from_nanos((rate * bytes as f64) as u64)
}

const RUN: u64 = 430_080;

fn presence(cached: u64) -> Presence {
    Presence { pages: 105, cached }
}

#[test]
fn the_cache_is_cheaper_than_a_disk() {
    let mut costs = ReadCosts::default();
    assert_eq!(costs.hot_way(), ReadWay::Cache);
    assert!(costs.is_filling_cheaper(presence(104)));
    assert!(costs.is_filling_cheaper(presence(92)));
    assert!(!costs.is_filling_cheaper(presence(91)), "too much to add");
    assert!(!costs.is_filling_cheaper(presence(0)));
}

#[test]
fn a_fast_device_is_cheaper_than_slow_memory_and_it_does_not_flap() {
    let mut costs = ReadCosts::default();
    for _ in 0..200 {
        costs.read(RUN, at(0.1, RUN));
        costs.copied(RUN, at(0.2, RUN));
    }
    assert_eq!(costs.hot_way(), ReadWay::Direct);
    assert!(!costs.is_filling_cheaper(presence(104)));
    // Equal prices change nothing.
    for _ in 0..200 {
        costs.read(RUN, at(0.2, RUN));
    }
    assert_eq!(costs.hot_way(), ReadWay::Direct);
    for _ in 0..200 {
        costs.read(RUN, at(0.3, RUN));
    }
    assert_eq!(costs.hot_way(), ReadWay::Cache);
    for _ in 0..200 {
        costs.read(RUN, at(0.2, RUN));
    }
    assert_eq!(costs.hot_way(), ReadWay::Cache);
}

#[test]
fn a_cache_that_was_slow_is_tried_again() {
    let mut costs = ReadCosts::default();
    for _ in 0..200 {
        costs.read(RUN, at(0.1, RUN));
        costs.copied(RUN, at(0.2, RUN));
    }
    let tries = (0..4 * TRY_EVERY)
        .filter(|_| costs.next_hot_way() == ReadWay::Cache)
        .count();
    assert_eq!(tries, 4 * TRY_RUNS as usize);
    // Copies are cheap now, which only these tries show; one in four of them is measured.
    let mut tries = 0;
    for _ in 0..40 * TRY_EVERY {
        if costs.next_hot_way() == ReadWay::Cache {
            tries += 1;
            if tries % 4 == 0 {
                costs.copied(RUN, at(0.05, RUN));
            }
        }
    }
    assert_eq!(costs.hot_way(), ReadWay::Cache);
}

#[test]
fn hiccups_do_not_count() {
    let mut costs = ReadCosts::default();
    costs.copied(1, Duration::from_secs(1));
    costs.copied(0, Duration::from_secs(1));
    costs.read(u64::MAX, Duration::from_nanos(1));
    assert_eq!(costs, ReadCosts::default());
}

proptest! {
    /// Prices stay between the extremes of what was measured and where they began, and approach what is measured now.
    #[test]
    fn prices_follow_what_is_measured(
        before in proptest::collection::vec(0.01f64..10.0, 0..50),
        now in 0.01f64..10.0,
    ) {
        let mut costs = ReadCosts::default();
        let start = costs.from_cache();
        for &rate in &before {
            costs.copied(RUN, at(rate, RUN));
        }
        let (low, high) = before.iter().fold((start, start), |(low, high), &rate| (low.min(rate), high.max(rate)));
        prop_assert!((low - 0.001..=high + 0.001).contains(&costs.from_cache()));
        for _ in 0..200 {
            costs.copied(RUN, at(now, RUN));
        }
        prop_assert!((costs.from_cache() - now).abs() < 0.01 * now + 0.001);
    }

    /// Whatever is measured, a change of way needs an advantage of a quarter.
    #[test]
    fn ways_change_for_a_clear_advantage_only(rates in proptest::collection::vec((0.05f64..2.0, 0.05f64..2.0), 1..200)) {
        let mut costs = ReadCosts::default();
        let mut way = costs.hot_way();
        for (copy, device) in rates {
            costs.copied(RUN, at(copy, RUN));
            costs.read(RUN, at(device, RUN));
            let next = costs.hot_way();
            if next != way {
                let (old, new) = match next {
                    ReadWay::Cache => (costs.direct(), costs.from_cache()),
                    _ => (costs.from_cache(), costs.direct()),
                };
                prop_assert!(new * 1.249 < old, "{old} {new}");
            }
            way = next;
        }
    }

    /// More in the cache never makes the cache less attractive.
    #[test]
    fn filling_is_monotonous(copy in 0.01f64..2.0, device in 0.01f64..5.0, cached in 0u64..105) {
        let mut costs = ReadCosts::default();
        for _ in 0..100 {
            costs.copied(RUN, at(copy, RUN));
            costs.read(RUN, at(device, RUN));
        }
        prop_assert!(!costs.is_filling_cheaper(presence(cached)) || costs.is_filling_cheaper(presence(cached + 1)));
    }
}
