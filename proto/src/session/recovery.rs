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
use super::config::Congestion;
use super::congestion::{AckSample, Chosen, Controller, FIRST_PACKET, LossSample};
use super::fate::{Content, Fate, Watched};
use super::pacer::Pacer;
use super::ranges::RangeSet;
use super::rtt::{GRANULARITY, Rtt};
use super::types::Violation;
use crate::time::Time;

/// Most records kept, outstanding and lost ones together.
const MAX_RECORDS: usize = 1 << 16;
/// Most runs kept of acknowledged numbers.
const MAX_ACKED_RUNS: usize = 512;
/// Longest time between two probes, in nanoseconds, unless two round trips are longer.
const MAX_PROBE_INTERVAL: u64 = 1_000_000_000;
/// Probe timeouts in a row after which nothing is known about the path any more (RFC 9002, section 7.6).
const PERSISTENT: u32 = 3;
/// The peer is asked for so many Acks in a window, but for one after at most so many packets.
const ACKS_PER_WINDOW: u64 = 8;
const MAX_ACK_INTERVAL: u64 = 64;
/// Largest factor of the reordering window.
const MAX_REORDER_FACTOR: u64 = 8;
/// After so many rounds without a loss that was none, the factor falls by one. (RFC 8985, section 6.2, step 4, lets it fall
/// to the first value at once, after 16 recoveries.)
const CALM_ROUNDS: u32 = 16;

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
    /// Bytes of UDP payload.
    size: u32,
    state: State,
    /// What becomes of it is told, unless it is below [`Recovery::watched_from`].
    watched: bool,
}

const _: () = assert!(size_of::<Record>() <= 32);

/// Counters of a [`Recovery`].
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) lost: u64,
    pub(super) spurious: u64,
    pub(super) probes: u64,
    pub(super) watched: Watched,
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
    /// Packets that are neither acknowledged nor lost, and their bytes.
    outstanding: u32,
    in_flight: u64,
    /// When the first packet was sent after a time without any in flight.
    busy_since: u64,
    /// Size of the largest packet that was sent since the path's limit last fell.
    packet_size: u64,
    /// Marks of congestion that the peer has counted.
    ce_packets: u64,
    /// Packets below this number were in flight when the window was full.
    limited_until: u64,
    /// What the peer is asked for: an Ack every so many packets.
    ack_interval: u8,
    /// Round trip of the packet sent last among those that arrived (RACK.rtt).
    rack_rtt: u64,
    /// Factor of the reordering window, raised when a loss turned out to be none.
    reorder_factor: u64,
    /// A loss found out to be none does not raise the factor again before this number is acknowledged.
    factor_raised: u64,
    /// The round is over when this number is acknowledged.
    round_end: u64,
    /// Rounds since the factor was last changed or a loss turned out to be none.
    calm: u32,
    /// When the packet at the cursor is lost; it was overtaken.
    loss_deadline: Option<u64>,
    last_sent: u64,
    /// Marks of packets below this number are of earlier times.
    watched_from: u64,
    probe_count: u32,
    peer_ack_delay: u64,
    pub(super) rtt: Rtt,
    pub(super) controller: Chosen,
    pacer: Pacer,
    pub(super) counters: Counters,
}

impl Recovery {
    /// `max_in_flight`: bytes. `peer_ack_delay`: how long the peer may delay an Ack, in nanoseconds.
    pub(super) fn new(congestion: Congestion, max_in_flight: u64, peer_ack_delay: u64) -> Self {
        Self {
            records: VecDeque::new(),
            base: 0,
            cursor: 0,
            acked: RangeSet::new(MAX_ACKED_RUNS),
            acked_end: 0,
            outstanding: 0,
            in_flight: 0,
            busy_since: 0,
            packet_size: FIRST_PACKET,
            ce_packets: 0,
            limited_until: 0,
            ack_interval: 1,
            rack_rtt: 0,
            reorder_factor: 1,
            factor_raised: 0,
            round_end: 0,
            calm: 0,
            loss_deadline: None,
            last_sent: 0,
            watched_from: 0,
            probe_count: 0,
            peer_ack_delay,
            rtt: Rtt::new(),
            controller: Chosen::new(congestion, max_in_flight),
            pacer: Pacer::new(),
            counters: Counters::default(),
        }
    }

    /// Takes the round trip of the handshake, in nanoseconds.
    pub(super) fn on_handshake(&mut self, rtt: u64) {
        self.rtt.update(rtt, 0);
        self.retune();
    }

    /// Tells the sizes of what is kept, and their limits ([`super::Session::footprint`]).
    #[cfg(feature = "sim")]
    pub(super) fn footprint(&self, note: &mut impl FnMut(&'static str, usize, usize)) {
        // A probe is sent whatever the limit says.
        note(
            "records of sent packets",
            self.records.len(),
            2 * MAX_RECORDS,
        );
        note(
            "runs of acknowledged packets",
            self.acked.runs().len(),
            MAX_ACKED_RUNS,
        );
    }

    /// Number of the next packet.
    pub(super) fn next(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    /// Bytes that are neither acknowledged nor lost.
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Since when something has been in flight all the time; `None` if nothing is.
    pub(super) fn busy_since(&self) -> Option<Time> {
        (self.in_flight > 0).then(|| Time::from_nanos(self.busy_since))
    }

    /// After how many packets an Ack is wanted: about eight times a window.
    pub(super) const fn ack_interval(&self) -> u8 {
        self.ack_interval
    }

    /// Whether so little is in flight that the peer may wait for more before it sends an Ack.
    pub(super) fn is_shallow(&self) -> bool {
        self.outstanding < 2 * u32::from(self.ack_interval)
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

    /// The window holds the sender back.
    pub(super) fn on_window_full(&mut self) {
        self.limited_until = self.next();
    }

    /// When pacing lets the next packet go, if not now. Probes go anyway.
    pub(super) fn paced_until(&self, now: Time) -> Option<Time> {
        self.pacer
            .blocked_until(now.as_nanos())
            .map(Time::from_nanos)
    }

    /// Takes note of a packet with `size` bytes of UDP payload; gives its number.
    pub(super) fn on_sent(&mut self, now: Time, content: Content, size: u32) -> u64 {
        let number = self.next();
        // Send times must not fall, even if the caller's clock does.
        self.last_sent = self.last_sent.max(now.as_nanos());
        self.records.push_back(Record {
            sent_at: self.last_sent,
            content,
            size,
            state: State::Outstanding,
            watched: false,
        });
        if self.in_flight == 0 {
            self.busy_since = self.last_sent;
        }
        self.outstanding += 1;
        self.in_flight += u64::from(size);
        if matches!(content, Content::Probe(_)) {
            self.pacer.on_probe(self.last_sent, u64::from(size));
        } else {
            self.packet_size = self.packet_size.max(u64::from(size));
            self.pacer.on_sent(self.last_sent, u64::from(size));
        }
        number
    }

    /// From now on packets have at most so many bytes of UDP payload, fewer than before.
    pub(super) fn on_shorter_packets(&mut self, size: u64) {
        self.packet_size = self.packet_size.min(size).max(FIRST_PACKET);
        self.retune();
    }

    /// From now on [`Counters::watched`] tells of those of these packets that are outstanding, and of no others. They were sent after
    /// those that were watched before.
    pub(super) fn watch(&mut self, numbers: impl IntoIterator<Item = u64>) {
        self.counters.watched = Watched::default();
        self.watched_from = self.next();
        for number in numbers {
            let at = number.checked_sub(self.base);
            let record = at.and_then(|at| self.records.get_mut(usize::try_from(at).ok()?));
            if let Some(record) = record.filter(|record| record.state == State::Outstanding) {
                record.watched = true;
                self.watched_from = self.watched_from.min(number);
            }
        }
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
        let (packets, bytes) = self.mark_acked(ack, fate);
        if packets == 0 {
            return Ok(());
        }
        self.probe_count = 0;
        let mut rtt = None;
        if largest >= self.acked_end {
            self.acked_end = largest + 1;
            rtt = self.sample(now, largest, ack.delay);
            if largest >= self.round_end {
                self.round_end = next;
                self.on_round();
            }
        }
        let ce_packets = ack.ce_packets.max(self.ce_packets);
        self.controller.on_ack(&AckSample {
            now: now.as_nanos(),
            bytes,
            packets,
            ce_packets: (ce_packets - self.ce_packets).min(packets),
            largest,
            next,
            rtt,
            srtt: self.rtt.smoothed(),
            packet_size: self.packet_size,
            limited: largest < self.limited_until,
        });
        self.ce_packets = ce_packets;
        self.detect_losses(now, fate);
        self.forget(now);
        self.retune();
        Ok(())
    }

    /// A round is over: the reordering window narrows if it has been wide enough for long.
    fn on_round(&mut self) {
        self.calm += 1;
        if self.calm >= CALM_ROUNDS {
            self.calm = 0;
            self.reorder_factor = (self.reorder_factor - 1).max(1);
        }
    }

    /// What follows from the window.
    fn retune(&mut self) {
        let window = self.controller.window() / self.packet_size;
        self.ack_interval = (window / ACKS_PER_WINDOW).clamp(1, MAX_ACK_INTERVAL) as u8;
        let srtt = self.rtt.smoothed();
        let rate = self.controller.pacing_rate(srtt);
        self.pacer.set(rate, srtt, self.packet_size);
    }

    /// Marks what an Ack acknowledges for the first time; gives the packets and bytes of what was outstanding.
    fn mark_acked(&mut self, ack: &Ack<'_>, fate: &mut impl Fate) -> (u64, u64) {
        let (mut packets, mut bytes, mut spurious) = (0u32, 0u64, 0u64);
        let mut overtaken = false;
        let next = self.next();
        let (base, records) = (self.base, &mut self.records);
        let controller = &mut self.controller;
        for run in ack.runs() {
            if run.end <= base {
                break;
            }
            self.acked.insert(run, |new| {
                for number in new.start.max(base)..new.end {
                    let record = &mut records[(number - base) as usize];
                    let watched = u64::from(record.watched && number >= self.watched_from);
                    match record.state {
                        State::Outstanding => {
                            packets += 1;
                            bytes += u64::from(record.size);
                        }
                        State::Lost => {
                            overtaken = true;
                            self.counters.watched.lost -= watched;
                            // As a probe's loss neither counted nor went to the controller, it is not taken back.
                            if !matches!(record.content, Content::Probe(_)) {
                                spurious += 1;
                                controller.on_spurious_loss(&LossSample {
                                    number,
                                    bytes: u64::from(record.size),
                                    next,
                                });
                            }
                        }
                        State::Acked => continue,
                    }
                    record.state = State::Acked;
                    self.counters.watched.arrived += watched;
                    fate.on_acked(record.content);
                }
            });
        }
        self.outstanding -= packets;
        self.in_flight -= bytes;
        self.counters.spurious += spurious;
        if overtaken {
            self.calm = 0;
        }
        if overtaken && self.acked_end >= self.factor_raised {
            self.reorder_factor = (self.reorder_factor + 1).min(MAX_REORDER_FACTOR);
            self.factor_raised = self.next();
        }
        (u64::from(packets), bytes)
    }

    /// Takes the round trip of this packet; gives it without the peer's delay.
    fn sample(&mut self, now: Time, number: u64, ack_delay: u64) -> Option<u64> {
        let record = self.records.get((number - self.base) as usize)?;
        self.rack_rtt = now.as_nanos().saturating_sub(record.sent_at);
        self.rtt.update(self.rack_rtt, ack_delay);
        // Unlike in RFC 9002, a delay is believed that leads below the minimum, for that one has delays in it, too.
        Some(self.rack_rtt.saturating_sub(ack_delay).max(1))
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
                self.outstanding -= 1;
                self.in_flight -= u64::from(record.size);
                let watched = record.watched && self.cursor >= self.watched_from;
                self.counters.watched.lost += u64::from(watched);
                // A probe was too long; that says nothing about congestion (RFC 8899, section 3, item 7).
                if !matches!(record.content, Content::Probe(_)) {
                    self.counters.lost += 1;
                    self.controller.on_loss(&LossSample {
                        number: self.cursor,
                        bytes: u64::from(record.size),
                        next,
                    });
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
            None if self.outstanding == 0 => return None,
            None => self.last_sent.saturating_add(self.probe_interval()),
        };
        Some(Time::from_nanos(nanos))
    }

    fn probe_interval(&self) -> u64 {
        self.first_probe_interval()
            .saturating_mul(1 << self.probe_count.min(20))
            .min(self.longest_probe_interval())
    }

    /// The variation does not count: after a single long pause it is several times the pause, and the peer would be taken
    /// for dead after one probe.
    fn longest_probe_interval(&self) -> u64 {
        MAX_PROBE_INTERVAL.max(self.rtt.smoothed().saturating_mul(2))
    }

    /// How long after the last packet a missing Ack calls for a probe (RFC 9002, section 6.2.1).
    pub(super) fn first_probe_interval(&self) -> u64 {
        self.rtt
            .probe_timeout()
            .saturating_add(self.peer_ack_delay)
            .min(self.longest_probe_interval())
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
            self.retune();
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
            self.retune();
        }
        // Counts as sent now, so that the next probe waits its turn even if this one cannot be sent at once.
        self.last_sent = self.last_sent.max(now.as_nanos());
        true
    }
}

#[cfg(test)]
mod tests;
