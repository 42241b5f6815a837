//! What was sent, what of it arrived, and what is lost: RFC 9002 with the time-based loss detection of RACK (RFC 8985).
//!
//! Packets are numbered in the order they are sent, and a number is never used twice. A packet is lost when one that
//! was sent later has arrived, and a round trip and a reordering window have passed since it was sent. Send times grow
//! with the numbers, so what is lost is always a prefix of what is outstanding, and one cursor finds it:
//!
//! ```text
//!            base                cursor                 largest acked              next
//!   ──────────┼─────────────────────┼──────────────────────┼────────────────────────┼─────►
//!   forgotten │ acknowledged or lost│ outstanding or acked │ outstanding            │ not sent
//!             │                     │ the first one's time │ the probe timeout      │
//!             │                     │ is the loss deadline │ watches over these     │
//! ```
//!
//! Each record is visited a constant number of times: when sent, when acknowledged, by the cursor, when forgotten.

use std::collections::VecDeque;

use super::ack::Ack;
use super::congestion::{Aimd, Controller};
use super::pmtu::Probe;
use super::ranges::RangeSet;
use super::rtt::{GRANULARITY, Rtt};
use super::types::Violation;
use crate::time::Time;

/// Most records kept, outstanding and lost ones together.
const MAX_RECORDS: usize = 1 << 16;
/// Most runs kept of acknowledged numbers.
const MAX_ACKED_RUNS: usize = 512;
/// Longest time between two probes, in nanoseconds, unless the round trip is longer.
const MAX_PROBE_INTERVAL: u64 = 1_000_000_000;
/// Probe timeouts in a row after which nothing is known about the path any more (RFC 9002, section 7.6).
const PERSISTENT: u32 = 3;
/// Largest factor of the reordering window.
const MAX_REORDER_FACTOR: u64 = 8;

/// What a packet carried.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A block: its slot and number.
    Block { slot: u32, number: u64 },
    /// A segment of the control stream.
    Segment(u64),
    /// Nothing; it asked for an Ack.
    Ping,
    /// Nothing; its length was to be tried.
    Probe(Probe),
}

/// Learns what became of packets.
pub(super) trait Fate {
    /// Its packet arrived. May be told of one that was lost before, and more than once.
    fn on_acked(&mut self, content: Content);
    /// Its packet was lost.
    fn on_lost(&mut self, content: Content);
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    Outstanding,
    Acked,
    Lost,
}

#[derive(Copy, Clone, Debug)]
struct Record {
    sent_at: u64,
    content: Content,
    state: State,
}

const _: () = assert!(size_of::<Record>() <= 40);

/// Counters of a [`Recovery`].
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) lost: u64,
    pub(super) spurious: u64,
    pub(super) probes: u64,
}

/// The sending side's view of packets in flight.
#[derive(Debug)]
pub(super) struct Recovery {
    records: VecDeque<Record>,
    /// Number of the first record.
    base: u64,
    /// No number below is outstanding.
    cursor: u64,
    acked: RangeSet,
    /// One more than the largest acknowledged number.
    acked_end: u64,
    in_flight: u32,
    /// Round trip of the packet sent last among those that arrived (RACK.rtt).
    rack_rtt: u64,
    /// Factor of the reordering window, raised when a loss turned out to be none.
    reorder_factor: u64,
    /// A loss found out to be none does not raise the factor again before this number is acknowledged.
    factor_raised: u64,
    /// When the packet at the cursor is lost; it was overtaken.
    loss_deadline: Option<u64>,
    last_sent: u64,
    probe_count: u32,
    peer_ack_delay: u64,
    pub(super) rtt: Rtt,
    pub(super) controller: Aimd,
    /// The window, and not a lack of data or credit, holds the sender back.
    pub(super) limited: bool,
    pub(super) counters: Counters,
}

impl Recovery {
    /// `peer_ack_delay`: how long the peer may delay an Ack, in nanoseconds.
    pub(super) fn new(max_cwnd: u32, peer_ack_delay: u64) -> Self {
        Self {
            records: VecDeque::new(),
            base: 0,
            cursor: 0,
            acked: RangeSet::new(MAX_ACKED_RUNS),
            acked_end: 0,
            in_flight: 0,
            rack_rtt: 0,
            reorder_factor: 1,
            factor_raised: 0,
            loss_deadline: None,
            last_sent: 0,
            probe_count: 0,
            peer_ack_delay,
            rtt: Rtt::new(),
            controller: Aimd::new(max_cwnd),
            limited: false,
            counters: Counters::default(),
        }
    }

    /// Number of the next packet.
    pub(super) fn next(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    /// Packets that are neither acknowledged nor lost.
    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether the window lets a packet go. Probes go anyway.
    pub(super) fn may_send(&self) -> bool {
        self.in_flight < self.controller.window() && self.records.len() < MAX_RECORDS
    }

    /// Whether this packet was sent, and has not been acknowledged as far as is known: it is in flight or counts as lost.
    pub(super) fn is_unacknowledged(&self, number: u64) -> bool {
        number
            .checked_sub(self.base)
            .and_then(|at| self.records.get(usize::try_from(at).ok()?))
            .is_some_and(|record| record.state != State::Acked)
    }

    /// Takes note of a packet; gives its number.
    pub(super) fn on_sent(&mut self, now: Time, content: Content) -> u64 {
        let number = self.next();
        // Send times must not fall, even if the caller's clock does.
        self.last_sent = self.last_sent.max(now.as_nanos());
        self.records.push_back(Record {
            sent_at: self.last_sent,
            content,
            state: State::Outstanding,
        });
        self.in_flight += 1;
        number
    }

    /// Takes in an Ack.
    pub(super) fn on_ack(
        &mut self,
        now: Time,
        ack: &Ack<'_>,
        fate: &mut impl Fate,
    ) -> Result<(), Violation> {
        let Some(largest) = ack.largest else {
            return Ok(());
        };
        let next = self.next();
        if largest >= next {
            return Err(Violation::AckOfUnsent { largest, next });
        }
        let newly_acked = self.mark_acked(ack, fate);
        if newly_acked == 0 {
            return Ok(());
        }
        self.probe_count = 0;
        if largest >= self.acked_end {
            self.acked_end = largest + 1;
            self.sample(now, largest, ack.delay);
        }
        self.controller
            .on_ack(newly_acked, largest, next, self.limited);
        self.detect_losses(now, fate);
        self.forget(now);
        Ok(())
    }

    /// Marks what an Ack acknowledges for the first time; gives the count of those that were outstanding.
    fn mark_acked(&mut self, ack: &Ack<'_>, fate: &mut impl Fate) -> u32 {
        let mut newly_acked = 0u32;
        let mut spurious = 0u32;
        let (base, records) = (self.base, &mut self.records);
        for run in ack.runs() {
            if run.end <= base {
                break;
            }
            self.acked.insert(run, |new| {
                for number in new.start.max(base)..new.end {
                    let record = &mut records[(number - base) as usize];
                    match record.state {
                        State::Outstanding => newly_acked += 1,
                        State::Lost => spurious += 1,
                        State::Acked => continue,
                    }
                    record.state = State::Acked;
                    fate.on_acked(record.content);
                }
            });
        }
        self.in_flight -= newly_acked;
        self.counters.spurious += u64::from(spurious);
        if spurious > 0 && self.acked_end >= self.factor_raised {
            self.reorder_factor = (self.reorder_factor + 1).min(MAX_REORDER_FACTOR);
            self.factor_raised = self.next();
        }
        newly_acked
    }

    fn sample(&mut self, now: Time, number: u64, ack_delay: u64) {
        let Some(record) = self.records.get((number - self.base) as usize) else {
            return;
        };
        self.rack_rtt = now.as_nanos().saturating_sub(record.sent_at);
        self.rtt.update(self.rack_rtt, ack_delay);
    }

    /// How long after it was sent an overtaken packet is lost.
    fn loss_delay(&self) -> u64 {
        let reordering = (self.rtt.min() / 4).max(GRANULARITY) * self.reorder_factor;
        self.rack_rtt.saturating_add(reordering)
    }

    /// Moves the cursor over what is not outstanding any more.
    fn detect_losses(&mut self, now: Time, fate: &mut impl Fate) {
        let delay = self.loss_delay();
        let next = self.next();
        self.loss_deadline = None;
        self.cursor = self.cursor.max(self.base);
        while self.cursor < self.acked_end {
            let record = &mut self.records[(self.cursor - self.base) as usize];
            if record.state == State::Outstanding {
                let deadline = record.sent_at.saturating_add(delay);
                if deadline > now.as_nanos() {
                    self.loss_deadline = Some(deadline);
                    return;
                }
                record.state = State::Lost;
                self.in_flight -= 1;
                // A probe was too long; that says nothing about congestion (RFC 8899, section 3, item 7).
                if !matches!(record.content, Content::Probe(_)) {
                    self.counters.lost += 1;
                    self.controller.on_loss(self.cursor, next);
                }
                fate.on_lost(record.content);
            }
            self.cursor += 1;
        }
    }

    /// Drops records that no Ack is expected for any more. A lost packet's is kept for a while: an Ack that comes late
    /// saves its retransmission, and tells that the reordering window is too small.
    fn forget(&mut self, now: Time) {
        let patience = self.loss_delay().saturating_mul(2);
        let full = self.records.len() >= MAX_RECORDS;
        while let Some(record) = self.records.front() {
            let expired = record.sent_at.saturating_add(patience) <= now.as_nanos();
            match record.state {
                State::Acked => {}
                State::Lost if expired || full => {}
                State::Lost | State::Outstanding => break,
            }
            self.records.pop_front();
            self.base += 1;
        }
        self.acked.forget_below(self.base);
    }

    /// When [`Self::on_timeout`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let nanos = match self.loss_deadline {
            Some(deadline) => deadline,
            None if self.in_flight == 0 => return None,
            None => self.last_sent.saturating_add(self.probe_interval()),
        };
        Some(Time::from_nanos(nanos))
    }

    fn probe_interval(&self) -> u64 {
        let first = self.first_probe_interval();
        let longest = first.max(MAX_PROBE_INTERVAL);
        first
            .saturating_mul(1 << self.probe_count.min(20))
            .min(longest)
    }

    /// How long after the last packet a missing Ack calls for a probe (RFC 9002, section 6.2.1).
    pub(super) fn first_probe_interval(&self) -> u64 {
        self.rtt.probe_timeout().saturating_add(self.peer_ack_delay)
    }

    /// Probe timeouts since something was last acknowledged.
    pub(super) const fn timeouts_in_row(&self) -> u32 {
        self.probe_count
    }

    /// Finds losses whose time has come. Says whether a probe must be sent to find out about the rest.
    pub(super) fn on_timeout(&mut self, now: Time, fate: &mut impl Fate) -> bool {
        if self
            .loss_deadline
            .is_some_and(|deadline| deadline <= now.as_nanos())
        {
            self.detect_losses(now, fate);
            self.forget(now);
        }
        // Also after that: what is left may have been silent for long enough.
        let probe = self.loss_deadline.is_none() && self.deadline().is_some_and(|at| at <= now);
        if !probe {
            return false;
        }
        self.probe_count += 1;
        self.counters.probes += 1;
        if self.probe_count == PERSISTENT {
            self.controller.on_persistent_congestion();
        }
        // Counts as sent now, so that the next probe waits its turn even if this one cannot be sent at once.
        self.last_sent = self.last_sent.max(now.as_nanos());
        true
    }
}

#[cfg(test)]
mod tests;
