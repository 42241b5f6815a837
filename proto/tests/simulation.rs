//! The simulator over many seeds: see `blk_proto::sim` for what happens in a run and what is checked.
//!
//! A failure prints its seed and its scenario. `scripts/sim` replays it, and runs as many seeds as wanted, fast:
//!
//! ```text
//! scripts/sim --seed 17
//! scripts/sim --seeds 100000
//! ```

use blk_proto::sim::{self, Count};

/// Unoptimised, this takes some seconds; `scripts/test` runs more of them in a release build.
const SEEDS: u64 = 300;

#[test]
fn sessions_survive_the_network() {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = sim::run_many(0..SEEDS, jobs, |_, failure| {
        if let Some(failure) = failure {
            println!("{failure}");
        }
        true
    });
    assert_eq!((summary.passed, summary.failed), (SEEDS, 0), "see above");
    // The scenarios must reach what they are meant to test.
    for count in [
        Count::Retransmitted,
        Count::Spurious,
        Count::ServerCrashed,
        Count::ClientCrashed,
        Count::DiskStalled,
        Count::Cancelled,
        Count::Committed,
        Count::Fetched,
        Count::GaveUp,
        Count::Undelivered,
    ] {
        assert!(
            summary.tally.get(count) > 0,
            "never happened: {}",
            count.words()
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [5, 17, 99] {
        assert_eq!(sim::run(seed), sim::run(seed));
    }
    assert_ne!(sim::run(5), sim::run(6));
}
