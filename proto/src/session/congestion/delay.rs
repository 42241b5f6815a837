//! The default controller: it keeps a short queue, measured by delay (Swift, SIGCOMM 2020), and competes with those that
//! do not (the idea of Copa, NSDI 2018).
//!
//! ```text
//!                                               two probes in a row did not empty the queue, or
//!              delay above target, loss or mark     it overflowed before the delay could tell
//!   SlowStart ─────────────────────────────► Steady ─────────────────────────────────────────► Compete
//!                                              ▲                                                  │
//!                                              └──────────── a probe found the queue empty ───────┘
//! ```
//!
//! * The measure of a round is its *shortest* round trip less the shortest of all: noise only makes round trips longer.
//! * Steady: below the target the window grows by a packet a round, faster after some rounds; above it shrinks in
//!   proportion to the excess, at most by half, and not again before the effect could be seen.
//! * Now and then a probe: the sender takes its share of the queue away for some rounds, and those who see the queue
//!   shrink do it too. Among senders of this kind the queue runs empty, and all see the path's own round trip. With one
//!   that fills the queue it does not; that, and not a long queue alone, tells the two apart.
//! * Compete: the window grows and shrinks as CUBIC's.
//! * Losses count as congestion when they are many, or the queue is long; else they are the link's own.
//! * ECN marks shrink the window by their part of the packets (DCTCP, RFC 8257).

mod state;

use self::state::{Mode, PROBE_LEAST, PROBE_LENGTH, PROBE_MOST, PROBE_ROUNDS, Probe, Round, Undo};
use super::ambient::AmbientLoss;
use super::base::BaseRtt;
use super::curve::{Curve, Growth};
use super::{AckSample, Controller, FIRST_PACKET, INITIAL_WINDOW, LossSample, least_window, rate};

/// Queueing delay to aim at, for a large window.
const TARGET: u64 = 2_000_000;
/// The target grows by this many times itself divided by the root of the window in packets: small windows push a little
/// more, large ones yield a little more, so that they meet (flow scaling in Swift).
const SCALING: f64 = 1.0;
/// The window shrinks by this part of the excess delay's share of the round trip.
const DECREASE: f64 = 0.8;
/// It shrinks by half at most; at least by what takes half the target delay away, or 5 %: senders become equal by what
/// they give up, so it must be something.
const MOST_DECREASE: f64 = 0.5;
const LEAST_DECREASE: f64 = 0.05;
/// What is left of it after a loss that was congestion.
const AFTER_LOSS: f64 = 0.7;
/// It grows by a packet in each such time, but at least by one a round.
const INCREASE_TIME: u64 = 5_000_000;
/// After so many rounds below the target it grows faster.
const PATIENCE: u32 = 4;
/// More of them are not counted: a step is at most 17 times the first.
const MOST_BELOW: u32 = 64;
/// After so many rounds far above it, though the window shrank in each, somebody else does not yield.
const YIELDS: u32 = 5;
/// What is far above: the target of the smallest window.
const FAR_ABOVE: u64 = TARGET / 2 * 3;
/// A queue that overflows below this is too short to be kept at the target.
const SHORT_QUEUE: u64 = 2 * TARGET;
/// After so many probes in a row that did not empty the queue, too.
const STUCK: u32 = 2;
/// A truce of so many probes was one; after a shorter one the next competition lasts twice as long.
const LONG_TRUCE: u32 = 8;
const LEAST_DISTRUST: u32 = 2;
const MOST_DISTRUST: u32 = 5;
/// A probe takes this many times the sender's share of the queue away, but leaves this part of the window.
const PROBE_DEPTH: f64 = 1.1;
const LEAST_PROBE: f64 = 0.1;
/// Losses of more than 1 / 32 of a round, and more than [`HEAVY_PACKETS`], are congestion whatever the delay.
const HEAVY_PART: u64 = 32;
const HEAVY_PACKETS: u64 = 4;
/// Least queueing delay that tells anything, on two busy hosts.
const NOISE: u64 = 200_000;
/// Round trips that slow start needs to believe in a queue.
const SAMPLES: u32 = 4;

/// Delay-based controller.
#[derive(Debug)]
pub(in super::super) struct Delay {
    window: u64,
    max: u64,
    packet_size: u64,
    srtt: u64,
    mode: Mode,
    base: BaseRtt,
    ambient: AmbientLoss,
    round: Round,
    /// The packets that this round acknowledges were sent before the last cut: they do not show what it did.
    stale: bool,
    /// Rounds in a row below the target, and above it.
    below: u32,
    above: u32,
    /// The window when it began to yield.
    before_yielding: u64,
    /// The largest window of the last ten probes or so.
    peak: u64,
    /// Queue of the last round that counted.
    last_queue: u64,
    /// Probes since the last competition.
    truce: u32,
    /// While competing, the time between probes is two to the power of this times as long.
    distrust: u32,
    /// Probes in a row that did not empty the queue.
    stuck: u32,
    probe: Option<Probe>,
    /// Longest queue of this interval and of the last one.
    high: [u64; 2],
    /// Part of the packets that are marked, smoothed (alpha of DCTCP).
    marks: f64,
    curve: Curve,
    /// Number of the first packet lost in this round.
    first_lost: u64,
    /// Losses of packets before this one belong to the last cut.
    recovery_start: u64,
    /// `None` after a cut for another reason: that one stays.
    undo: Option<Undo>,
}

impl Delay {
    pub(super) fn new(max: u64) -> Self {
        let max = max.max(least_window(FIRST_PACKET));
        Self {
            window: INITIAL_WINDOW.min(max),
            max,
            packet_size: FIRST_PACKET,
            srtt: u64::MAX,
            mode: Mode::SlowStart,
            base: BaseRtt::new(),
            ambient: AmbientLoss::default(),
            round: Round::starting(0),
            stale: false,
            below: 0,
            above: 0,
            before_yielding: 0,
            peak: 0,
            last_queue: 0,
            truce: LONG_TRUCE,
            distrust: LEAST_DISTRUST,
            stuck: 0,
            probe: None,
            high: [0; 2],
            marks: 1.0,
            curve: Curve::default(),
            first_lost: 0,
            recovery_start: 0,
            undo: None,
        }
    }

    fn set_window(&mut self, window: u64) {
        self.window = window.min(self.max).max(least_window(self.packet_size));
    }

    fn scale_window(&mut self, factor: f64) {
        self.set_window((self.window as f64 * factor) as u64);
    }

    /// Queueing delay to aim at with this window.
    fn target(&self) -> u64 {
        let packets = (self.window as f64 / self.packet_size as f64).max(1.0);
        TARGET + (TARGET as f64 * SCALING / packets.sqrt()) as u64
    }

    fn queue(&self) -> u64 {
        match self.round.samples {
            0 => 0,
            _ => self.round.min_rtt.saturating_sub(self.base.get()),
        }
    }

    /// With a queue shorter than this, a few losses are not congestion.
    fn empty(&self) -> u64 {
        let high = self.high[0].max(self.high[1]);
        (self.base.get() / 4).clamp(NOISE, TARGET / 2).max(high / 2)
    }

    /// The window has been cut: the effect shows in the round after the next Ack of a packet sent from now on.
    fn after_cut(&mut self, next: u64) {
        self.round = Round::starting(next);
        self.recovery_start = next;
        self.stale = true;
        self.below = 0;
    }

    /// Makes room for some rounds, then goes on with the window `restore`.
    fn start_probe(&mut self, restore: u64, queue: u64, next: u64) {
        self.set_window(restore);
        self.probe = Some(Probe {
            restore: self.window,
            rounds: PROBE_LENGTH,
        });
        // When all do this, the queue runs empty. When one does whose share is less than 40 %, half of it remains.
        let share = queue.max(TARGET) as f64 / (self.base.get() + queue).max(1) as f64;
        self.scale_window((1.0 - PROBE_DEPTH * share).max(LEAST_PROBE));
        self.after_cut(next);
    }

    fn end_probe(&mut self, restore: u64, sample: &AckSample) {
        let queue = self.queue();
        let competing = matches!(self.mode, Mode::Compete { .. });
        let drained = queue < TARGET / 2 && (competing || queue < self.last_queue / 5 * 2);
        self.set_window(restore);
        self.base.end_interval(sample.now);
        self.high = [0, self.high[0]];
        self.stale = true;
        self.above = 0;
        self.truce += 1;
        self.peak = self.window.max(self.peak - self.peak / 16);
        if drained {
            if competing {
                self.truce = 0;
            }
            self.mode = Mode::Steady;
            self.stuck = 0;
            self.before_yielding = self.window;
        } else if !competing {
            let yielded = self.window < self.before_yielding / 8 * 7
                || self.window < 2 * least_window(self.packet_size);
            self.stuck = if yielded { self.stuck + 1 } else { 0 };
            if self.stuck >= STUCK {
                self.compete();
            }
        }
    }

    /// Whether to make room: it is time to, others seem to do it, or the queue does not get shorter.
    fn is_probe_due(&self, now: u64, queue: u64) -> bool {
        let (age, interval) = (self.base.age(now), self.probe_interval());
        let others =
            queue < self.last_queue / 10 * 9 && age >= interval / 8 && self.mode == Mode::Steady;
        let trouble = self.above >= YIELDS && age >= interval / 4;
        age >= interval || others || trouble
    }

    fn probe_interval(&self) -> u64 {
        let interval = (PROBE_ROUNDS * self.base.get()).clamp(PROBE_LEAST, PROBE_MOST);
        match self.mode {
            Mode::Compete { .. } => interval << self.distrust,
            _ => interval,
        }
    }

    fn leave_slow_start(&mut self, window: u64, next: u64) {
        let queue = self.queue();
        self.mode = Mode::Steady;
        self.start_probe(window, queue, next);
    }

    /// Too much was lost, or something while the queue was long.
    fn on_congestion_loss(&mut self, queue: u64, next: u64) {
        self.undo = Some(Undo {
            window: self.window,
            mode: self.mode,
            curve: self.curve,
            first: self.first_lost,
            lost: self.round.lost,
        });
        if let Some(probe) = self.probe.take() {
            self.set_window(probe.restore);
        }
        if self.mode == Mode::SlowStart {
            self.leave_slow_start(self.window / 2, next);
            return;
        }
        let window = self.curve.cut(self.window);
        self.set_window(window);
        if self.mode == Mode::Steady && queue < SHORT_QUEUE {
            self.mode = Mode::Compete { short_queue: true };
        }
        self.after_cut(next);
    }

    fn on_marks(&mut self, next: u64) {
        let part = self.round.marked as f64 / self.round.packets.max(1) as f64;
        self.marks += (part.min(1.0) - self.marks) / 16.0;
        self.scale_window(1.0 - self.marks / 2.0);
        if self.mode == Mode::SlowStart {
            self.mode = Mode::Steady;
        }
        self.curve.aim(self.window);
        self.undo = None;
        self.after_cut(next);
    }

    fn compete(&mut self) {
        // Who proves right twice in short time may be trusted for longer.
        self.distrust = match self.truce {
            0..LONG_TRUCE => (self.distrust + 1).min(MOST_DISTRUST),
            _ => LEAST_DISTRUST,
        };
        self.mode = Mode::Compete { short_queue: false };
        let peak = self.peak.max(self.window);
        self.curve.aim(peak);
        self.set_window((peak as f64 * AFTER_LOSS) as u64);
        (self.above, self.stuck, self.undo) = (0, 0, None);
    }

    fn end_round(&mut self, sample: &AckSample) {
        let queue = self.queue();
        if let Some(probe) = &mut self.probe {
            probe.rounds -= 1;
            if probe.rounds == 0 {
                let restore = probe.restore;
                self.probe = None;
                self.end_probe(restore, sample);
            }
            return;
        }
        if core::mem::take(&mut self.stale) {
            return;
        }
        self.high[0] = self.high[0].max(queue);
        if self.round.marked > 0 {
            self.on_marks(sample.next);
            return;
        }
        self.marks -= self.marks / 16.0;
        let (lost, acked) = (self.round.lost, self.round.acked);
        if queue <= self.empty() {
            self.ambient.learn(lost, acked);
        } else if lost > 0 && !self.ambient.explains(lost, acked) {
            self.on_congestion_loss(queue, sample.next);
            return;
        }
        let due = self.is_probe_due(sample.now, queue);
        self.last_queue = queue;
        if due && self.mode != Mode::SlowStart {
            self.start_probe(self.window, queue, sample.next);
            return;
        }
        match self.mode {
            Mode::SlowStart => {}
            Mode::Steady => self.steer(queue, sample),
            Mode::Compete { short_queue } => {
                if queue > SHORT_QUEUE {
                    self.mode = Mode::Compete { short_queue: false };
                }
                self.below = if queue < TARGET / 4 {
                    self.below.saturating_add(1).min(MOST_BELOW)
                } else {
                    0
                };
                if self.below >= 2 && !short_queue {
                    self.mode = Mode::Steady;
                    self.below = 0;
                }
            }
        }
    }

    /// The window's step after a round.
    fn steer(&mut self, queue: u64, sample: &AckSample) {
        let target = self.target();
        if queue > target {
            self.shrink(queue, target, sample.next);
            return;
        }
        if queue < target / 2 {
            self.above = 0;
        }
        if !self.round.limited {
            return;
        }
        self.below = self.below.saturating_add(1).min(MOST_BELOW);
        let step = self.packet_size as f64 * (sample.srtt as f64 / INCREASE_TIME as f64).max(1.0);
        let haste = match self.below.saturating_sub(PATIENCE) {
            0 => 0.0,
            rounds if queue < target / 2 => 0.5f64.min(f64::from(1u32 << rounds.min(8)) / 16.0),
            _ => 0.0,
        };
        let step = step * (1.0 + f64::from(self.below) / 4.0);
        let grown = self.window as f64 * (1.0 + haste) + step;
        self.set_window(grown as u64);
    }

    fn shrink(&mut self, queue: u64, target: u64, next: u64) {
        self.before_yielding = self.before_yielding.max(self.window);
        self.above += u32::from(queue > FAR_ABOVE);
        let rtt = self.round.min_rtt as f64;
        let excess = DECREASE * (queue - target) as f64 / rtt;
        let least = (TARGET as f64 / 2.0 / rtt).clamp(LEAST_DECREASE, MOST_DECREASE);
        self.scale_window(1.0 - excess.clamp(least, MOST_DECREASE));
        self.undo = None;
        self.after_cut(next);
    }

    fn grow(&mut self, sample: &AckSample) {
        match self.mode {
            _ if self.probe.is_some() => {}
            _ if !sample.limited => self.curve.pause(),
            Mode::SlowStart => {
                self.set_window(self.window + sample.bytes);
                if self.round.samples >= SAMPLES && self.queue() > self.target() {
                    // The Acks are of packets sent with half of this window.
                    self.leave_slow_start(self.window / 2, sample.next);
                }
            }
            Mode::Steady => {}
            Mode::Compete { .. } => {
                let growth = Growth {
                    now: sample.now,
                    srtt: sample.srtt,
                    packet_size: sample.packet_size,
                    acked: sample.bytes,
                };
                let window = self.curve.grow(self.window, &growth);
                self.set_window(window);
            }
        }
    }
}

impl Controller for Delay {
    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self, srtt: u64) -> u64 {
        let quarters = match self.mode {
            Mode::SlowStart => 8,
            _ if self.below > PATIENCE => 8,
            _ => 5,
        };
        rate(self.window, srtt, quarters)
    }

    fn on_ack(&mut self, sample: &AckSample) {
        self.packet_size = sample.packet_size;
        self.srtt = sample.srtt;
        let round = &mut self.round;
        round.acked += sample.bytes;
        round.packets += sample.packets;
        round.marked += sample.ce_packets;
        round.limited |= sample.limited;
        if let Some(rtt) = sample.rtt {
            self.base.sample(sample.now, rtt);
            round.min_rtt = round.min_rtt.min(rtt);
            round.samples += 1;
        }
        self.grow(sample);
        if sample.largest >= self.round.end {
            self.end_round(sample);
            self.round = Round::starting(sample.next);
        }
    }

    fn on_loss(&mut self, sample: &LossSample) {
        if sample.number < self.recovery_start {
            if let Some(undo) = &mut self.undo
                && sample.number >= undo.first
            {
                undo.lost += sample.bytes;
            }
            return;
        }
        if self.round.lost == 0 {
            self.first_lost = sample.number;
        }
        self.round.lost += sample.bytes;
        let heavy = (self.window / HEAVY_PART).max(HEAVY_PACKETS * self.packet_size);
        if self.round.lost > heavy {
            let queue = self.queue();
            self.on_congestion_loss(queue, sample.next);
        }
    }

    fn on_spurious_loss(&mut self, sample: &LossSample) {
        if sample.number >= self.recovery_start {
            // A loss of an earlier round is not in this round's sum.
            if self.round.lost > 0 && sample.number >= self.first_lost {
                self.round.lost = self.round.lost.saturating_sub(sample.bytes);
            }
            return;
        }
        let Some(undo) = &mut self.undo else {
            return;
        };
        if sample.number < undo.first {
            return;
        }
        undo.lost = undo.lost.saturating_sub(sample.bytes);
        if undo.lost == 0 {
            (self.mode, self.curve) = (undo.mode, undo.curve);
            let window = self.window.max(undo.window);
            self.undo = None;
            self.probe = None;
            self.curve.pause();
            self.set_window(window);
            self.recovery_start = 0;
        }
    }

    fn on_persistent_congestion(&mut self) {
        // Nothing is known about the path any more: search from the bottom.
        self.set_window(0);
        self.mode = Mode::SlowStart;
        self.probe = None;
        self.undo = None;
    }
}

#[cfg(test)]
mod tests;
