//! What happens to a frame between two interfaces: a pure function of the seed, the frames and the time given.
//!
//! ```text
//!   offer(now, frame) -> duplicate -> mtu -> loss -> queue: drop or mark -> corrupt -> rate -> delay +- jitter -> take_due(now)
//!                                                                                    \-- reorder: past the delay --/
//! ```
//!
//! The options mean what they mean to the kernel's netem (`net/sched/sch_netem.c`, tc-netem(8)), with two differences: a
//! line rate serialises first and delays afterwards, as a cable does; and `reorder` without a delay, which netem
//! refuses, holds a frame back behind the next one to three.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::VecDeque;

use super::burst::{BurstLoss, Bursts};
use super::ecn;
use super::frame::{Frame, Pool};
use super::line::{Backlog, Depth, Line};
use super::random::Random;

/// A frame held back to be overtaken leaves after this time when nothing overtakes it: 1 ms, in nanoseconds.
const HOLD_LIMIT: u64 = 1_000_000;

/// A held frame falls behind at most this many others.
const HOLD_FRAMES: u64 = 3;

/// What a direction of the wire does. The default does nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Impairment {
    /// Share of frames dropped, 0..=1.
    pub loss: f64,
    /// Share of frames sent twice, 0..=1.
    pub duplicate: f64,
    /// Share of frames with one bit flipped, 0..=1.
    pub corrupt: f64,
    /// Share of frames that go past the delayed ones (with a delay) or fall behind the next few (without), 0..=1.
    pub reorder: f64,
    /// Time from end to end, in nanoseconds.
    pub delay: u64,
    /// The delay varies evenly by up to this much in either direction, in nanoseconds.
    pub jitter: u64,
    /// Losses in bursts, beside `loss`.
    pub burst: Option<BurstLoss>,
    /// The longest packet, in bytes without the Ethernet header; longer ones vanish without a word.
    pub mtu: Option<usize>,
    /// Line rate in bits per second.
    pub rate: Option<u64>,
    /// What may wait for the line; more is dropped at the tail. Needs a rate.
    pub queue: Option<Depth>,
    /// When more waits for the line, frames that are ECN-capable are marked. Needs a rate.
    pub mark: Option<Depth>,
    /// Frames that may be on the way; more are dropped.
    pub limit: usize,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            reorder: 0.0,
            delay: 0,
            jitter: 0,
            burst: None,
            mtu: None,
            rate: None,
            queue: None,
            mark: None,
            limit: 65_536,
        }
    }
}

/// What happened to the frames of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames offered.
    pub received: u64,
    /// Frames that came out.
    pub delivered: u64,
    /// Frames dropped by `loss` and `burst`.
    pub lost: u64,
    /// Frames longer than the MTU.
    pub too_long: u64,
    /// Frames dropped because the queue in front of the line was full.
    pub queue_drops: u64,
    /// Frames marked as having met congestion.
    pub marked: u64,
    /// Second copies made.
    pub duplicated: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
    /// Frames sent past, or held behind, others.
    pub reordered: u64,
    /// Frames dropped because too many were on the way.
    pub overflowed: u64,
}

/// A frame on the way, ordered by the time it is due, then by arrival.
#[derive(Debug)]
struct Pending {
    due: u64,
    sequence: u64,
    frame: Frame,
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.sequence).cmp(&(other.due, other.sequence))
    }
}

/// A frame that waits for others to overtake it.
#[derive(Debug)]
struct Held {
    frame: Frame,
    behind: u64,
    deadline: u64,
}

/// One direction of the wire. Times are nanoseconds of any clock that does not go back.
#[derive(Debug)]
pub struct Queue {
    impairment: Impairment,
    random: Random,
    pending: BinaryHeap<Reverse<Pending>>,
    held: VecDeque<Held>,
    sequence: u64,
    line: Line,
    bursts: Bursts,
    counters: Counters,
}

/// Separates the random numbers of bursts from those of single losses.
const BURST_SEED: u64 = 0x6275_7273_7473_2121;

impl Queue {
    /// An empty direction.
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            random: Random::new(seed),
            pending: BinaryHeap::new(),
            held: VecDeque::new(),
            sequence: 0,
            line: Line::default(),
            bursts: Bursts::new(seed ^ BURST_SEED),
            counters: Counters::default(),
        }
    }

    /// Changes what happens to frames that come from now on.
    pub fn set_impairment(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// What waits for the line.
    pub fn backlog(&mut self, now: u64) -> Backlog {
        self.line.backlog(now)
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Frames on the way.
    pub fn len(&self) -> usize {
        self.pending.len() + self.held.len()
    }

    /// Nothing on the way?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a frame that arrived at `now`. Dropped frames go back to the pool, copies come from it.
    pub fn offer(&mut self, now: u64, frame: Frame, pool: &mut Pool) {
        self.counters.received += 1;
        let duplicate = self.random.chance(self.impairment.duplicate);
        if duplicate {
            self.counters.duplicated += 1;
            let copy = pool.copy(&frame);
            self.admit(now, copy, pool);
        }
        self.admit(now, frame, pool);
    }

    /// The next frame that is due at `now`.
    pub fn take_due(&mut self, now: u64) -> Option<Frame> {
        while self.held.front().is_some_and(|held| held.deadline <= now) {
            self.release_front(now);
        }
        if self
            .pending
            .peek()
            .is_none_or(|Reverse(first)| first.due > now)
        {
            return None;
        }
        let Reverse(first) = self.pending.pop()?;
        self.counters.delivered += 1;
        Some(first.frame)
    }

    /// When the next frame is due.
    pub fn next_due(&self) -> Option<u64> {
        let pending = self.pending.peek().map(|Reverse(first)| first.due);
        let held = self.held.iter().map(|held| held.deadline).min();
        match (pending, held) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Loss, corruption, then a place in the queue. Always takes the same count of random numbers for a frame that is
    /// kept, so that one option does not change what another decides.
    fn admit(&mut self, now: u64, mut frame: Frame, pool: &mut Pool) {
        if self
            .impairment
            .mtu
            .is_some_and(|mtu| ecn::packet_len(frame.bytes()) > mtu)
        {
            self.counters.too_long += 1;
            return pool.give(frame);
        }
        if self.is_lost() {
            self.counters.lost += 1;
            return pool.give(frame);
        }
        if self.len() >= self.impairment.limit {
            self.counters.overflowed += 1;
            return pool.give(frame);
        }
        if !self.enqueue(now, &mut frame) {
            self.counters.queue_drops += 1;
            return pool.give(frame);
        }
        let corrupt = self.random.chance(self.impairment.corrupt);
        let position = self.random.bits();
        if corrupt {
            self.corrupt(&mut frame, position);
        }
        let reorder = self.random.chance(self.impairment.reorder);
        let spread = self.random.bits();
        self.schedule(now, frame, reorder, spread);
    }

    fn is_lost(&mut self) -> bool {
        let single = self.random.chance(self.impairment.loss);
        let burst = self.impairment.burst;
        single | burst.is_some_and(|model| self.bursts.loses(&model))
    }

    /// Whether there is room in front of the line; marks the frame when there is little.
    fn enqueue(&mut self, now: u64, frame: &mut Frame) -> bool {
        let (queue, mark) = (self.impairment.queue, self.impairment.mark);
        if queue.is_none() && mark.is_none() {
            return true;
        }
        let backlog = self.line.backlog(now);
        if queue.is_some_and(|limit| backlog.is_full_for(frame.bytes().len(), limit)) {
            return false;
        }
        if mark.is_some_and(|threshold| backlog.exceeds(threshold)) && ecn::mark(frame.bytes_mut())
        {
            self.counters.marked += 1;
        }
        true
    }

    /// Flips one bit anywhere in the frame.
    fn corrupt(&mut self, frame: &mut Frame, position: u64) {
        let bytes = frame.bytes_mut();
        if bytes.is_empty() {
            return;
        }
        let bit = position % (bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        self.counters.corrupted += 1;
    }

    /// Decides when a frame comes out.
    fn schedule(&mut self, now: u64, frame: Frame, reorder: bool, spread: u64) {
        let rate = self.impairment.rate.unwrap_or_default();
        let departed = self.line.send(now, frame.bytes().len(), rate);
        let delays = self.impairment.delay > 0 || self.impairment.jitter > 0;
        if reorder {
            self.counters.reordered += 1;
        }
        if reorder && !delays {
            let behind = 1 + spread % HOLD_FRAMES;
            self.held.push_back(Held {
                frame,
                behind,
                deadline: departed + HOLD_LIMIT,
            });
            return;
        }
        let due = if reorder {
            departed
        } else {
            departed + self.delay(spread)
        };
        self.push(due, frame);
        self.overtake(due);
    }

    /// Delay plus or minus jitter, never below zero.
    fn delay(&mut self, spread: u64) -> u64 {
        let jitter = self.impairment.jitter;
        if jitter == 0 {
            return self.impairment.delay;
        }
        let offset = spread % (2 * jitter + 1);
        (self.impairment.delay + offset).saturating_sub(jitter)
    }

    /// A frame passed the held ones: those that were passed often enough follow it.
    fn overtake(&mut self, due: u64) {
        for held in &mut self.held {
            held.behind -= 1;
        }
        // The front is not always the first to be released: each was given its own number.
        let mut index = 0;
        while index < self.held.len() {
            if self.held[index].behind > 0 {
                index += 1;
            } else if let Some(held) = self.held.remove(index) {
                self.push(due, held.frame);
            }
        }
    }

    /// Lets the oldest held frame go.
    fn release_front(&mut self, now: u64) {
        if let Some(held) = self.held.pop_front() {
            self.push(now, held.frame);
        }
    }

    fn push(&mut self, due: u64, frame: Frame) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.pending.push(Reverse(Pending {
            due,
            sequence,
            frame,
        }));
    }
}

#[cfg(test)]
#[path = "impairment_tests.rs"]
mod tests;
