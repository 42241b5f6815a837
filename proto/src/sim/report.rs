//! Many runs, and what is said of them.

use core::ops::Range;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::scenario::{START, Scenario};
use super::tally::Tally;
use super::trace::Trace;
use super::truth::Sabotage;
use super::world::{Outcome, World};

/// A run that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What went wrong.
    pub what: String,
    /// When, since the start of the run; `None` after a panic.
    pub at: Option<Duration>,
    /// The scenario in words.
    pub scenario: String,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "seed {} failed", self.seed)?;
        if let Some(at) = self.at {
            write!(f, " after {at:?}")?;
        }
        writeln!(f, ": {}", self.what)?;
        write!(f, "{}", self.scenario)?;
        write!(f, "replay: scripts/sim --seed {}", self.seed)
    }
}

/// Runs the scenario of a seed.
///
/// # Errors
/// An invariant does not hold, or something panicked.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    run_with(seed, None, Trace::default())
}

/// As [`run`], with a mistake that the invariants should notice, and told packet by packet.
///
/// # Errors
/// An invariant does not hold, or something panicked.
pub fn run_with(seed: u64, sabotage: Option<Sabotage>, trace: Trace) -> Result<Outcome, Failure> {
    let scenario = Scenario::new(seed);
    let words = scenario.to_string();
    let failure = |what, at| Failure {
        seed,
        what,
        at,
        scenario: words.clone(),
    };
    let world = World::new(scenario, sabotage).traced(trace);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err((at, broken))) => Err(failure(
            broken.to_string(),
            Some(at.saturating_since(START)),
        )),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_else(|| "no message".into());
            Err(failure(format!("panic: {text}"), None))
        }
    }
}

/// What many runs amount to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Runs without a failure.
    pub passed: u64,
    /// Runs with one.
    pub failed: u64,
    /// What happened in all of them.
    pub tally: Tally,
    /// Virtual time that went by.
    pub simulated: Duration,
    /// Points in time at which something happened.
    pub steps: u64,
    /// The run that took longest in real time: its seed, and how long.
    pub slowest: (u64, Duration),
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Option<&Outcome>, took: Duration) {
        match outcome {
            Some(outcome) => {
                self.passed += 1;
                self.tally.merge(&outcome.tally);
                self.simulated += outcome.duration;
                self.steps += outcome.steps;
            }
            None => self.failed += 1,
        }
        if took > self.slowest.1 {
            self.slowest = (seed, took);
        }
    }
}

/// Runs these seeds, so many at a time; `watch` is told of each failure, and every so many runs. It says whether to go
/// on.
pub fn run_many(
    seeds: Range<u64>,
    jobs: usize,
    watch: impl Fn(&Summary, Option<&Failure>) -> bool + Sync,
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let started = Instant::now();
            let result = run(seed);
            let took = started.elapsed();
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.add(seed, result.as_ref().ok(), took);
            if !watch(&summary, result.as_ref().err()) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}
