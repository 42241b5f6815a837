//! What all rounds came to.

use std::fmt;
use std::time::Instant;

use super::round::{Round, Victim};

/// Sums over the rounds with one kind of victim.
#[derive(Debug)]
pub struct Tally {
    victim: Victim,
    started: Instant,
    rounds: u32,
    stored: u32,
    interrupted: u32,
    resumed: u64,
    /// Of each round with an interrupted put, the bytes sent beyond what had to be.
    beyond: Vec<u64>,
    limit: u64,
}

impl Tally {
    /// No round yet.
    pub fn new(victim: Victim) -> Self {
        Self {
            victim,
            started: Instant::now(),
            rounds: 0,
            stored: 0,
            interrupted: 0,
            resumed: 0,
            beyond: Vec::new(),
            limit: 0,
        }
    }

    /// Adds a round, and says how it went.
    pub fn add(&mut self, number: u32, of: u32, round: &Round) {
        eprintln!(
            "{number:>4}/{of} {} killed after {:>5} ms: {} puts stored, {} interrupted, {:>4} MiB resumed, {:>3} MiB sent \
             again (limit {})",
            self.victim.name(),
            round.after.as_millis(),
            round.stored,
            round.interrupted,
            round.resumed >> 20,
            round.beyond >> 20,
            round.limit >> 20,
        );
        self.rounds += 1;
        self.stored += round.stored;
        self.interrupted += round.interrupted;
        self.resumed += round.resumed;
        if round.interrupted > 0 {
            self.beyond.push(round.beyond);
            self.limit = self.limit.max(round.limit);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut beyond = self.beyond.clone();
        beyond.sort_unstable();
        let median = beyond.get(beyond.len() / 2).copied().unwrap_or_default();
        let most = beyond.last().copied().unwrap_or_default();
        write!(
            out,
            "{}: {} kills in {:.0} s; {} puts stored, all whole; {} interrupted, all stored when run again, {} MiB of them \
             resumed; sent again in a round: median {} MiB, most {} MiB (limit up to {} MiB); no torn file",
            self.victim.name(),
            self.rounds,
            self.started.elapsed().as_secs_f64(),
            self.stored,
            self.interrupted,
            self.resumed >> 20,
            median >> 20,
            most >> 20,
            self.limit >> 20,
        )
    }
}
