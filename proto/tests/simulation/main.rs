//! Two sessions in virtual time over a network that loses, repeats, reorders, corrupts and cuts packets.
//!
//! Each seed makes a scenario: a network, limits and windows, transfers both ways (some of them cancelled), messages.
//! The world runs until both sides have closed, and checks at each step what must hold whatever the network does:
//! no wrong byte, each block delivered once, messages in order, no more blocks held than granted, every block given
//! to a session given back, no busy loop, no hang.
//!
//! A failure names its seed. To replay it, and to try more:
//!
//! ```text
//! BLK_SIM_SEED=17 cargo test -p blk-proto --test simulation
//! BLK_SIM_SEEDS=100000 cargo test -p blk-proto --test simulation
//! ```

mod host;
mod network;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Outcome, World};

const SEEDS: u64 = 400;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Runs the seeds on all cores; gives the outcomes.
fn run(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work =
        || {
            let mut outcomes = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return outcomes;
                }
                let run = catch_unwind(AssertUnwindSafe(|| World::new(seed).run()));
                outcomes.push(run.unwrap_or_else(|_| {
                    panic!("seed {seed} failed; replay with BLK_SIM_SEED={seed}")
                }));
            }
        };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a seed failed, see above"))
            .collect()
    })
}

#[test]
fn sessions_survive_the_network() {
    if let Some(seed) = variable("BLK_SIM_SEED") {
        println!("{:?}", World::new(seed).run());
        return;
    }
    let outcomes = run(0..variable("BLK_SIM_SEEDS").unwrap_or(SEEDS));
    let sum = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    println!(
        "{} seeds: {} blocks, {} retransmitted, {} spurious, {} finished, {} cut off",
        outcomes.len(),
        sum(|o| o.delivered),
        sum(|o| o.retransmitted),
        sum(|o| o.spurious),
        sum(|o| u64::from(o.finished)),
        sum(|o| u64::from(!o.finished)),
    );
    // The scenarios must reach what they are meant to test.
    assert!(sum(|o| o.retransmitted) > 0 && sum(|o| o.spurious) > 0);
    assert!(sum(|o| o.cancelled) > 0 && sum(|o| u64::from(!o.finished)) > 0);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(World::new(5).run(), World::new(5).run());
}
