//! CUBIC (RFC 9438) with HyStart++ (RFC 9406): the window grows until packets are lost or marked.

use super::curve::{Curve, Growth};
use super::hystart::HyStart;
use super::{AckSample, Controller, FIRST_PACKET, INITIAL_WINDOW, LossSample, least_window, rate};

/// After a mark, the window is multiplied by this: 85 % (RFC 8511).
const MARKED: (u64, u64) = (17, 20);

/// The state before a cut, to be put back if its losses turn out to be none.
#[derive(Debug)]
struct Undo {
    window: u64,
    curve: Curve,
    slow_start: bool,
    /// The first packet of this cut's losses, and how many of them were not found to be none.
    first: u64,
    losses: u32,
}

/// Loss-based controller.
#[derive(Debug)]
pub(in super::super) struct Cubic {
    window: u64,
    max: u64,
    packet_size: u64,
    slow_start: bool,
    /// Slow start ends at this window.
    threshold: u64,
    hystart: HyStart,
    curve: Curve,
    round_end: u64,
    /// Losses of packets before this one belong to the last cut.
    recovery_start: u64,
    undo: Option<Undo>,
}

impl Cubic {
    pub(super) fn new(max: u64) -> Self {
        let max = max.max(least_window(FIRST_PACKET));
        Self {
            window: INITIAL_WINDOW.min(max),
            max,
            packet_size: FIRST_PACKET,
            slow_start: true,
            threshold: u64::MAX,
            hystart: HyStart::new(),
            curve: Curve::default(),
            round_end: 0,
            recovery_start: 0,
            undo: None,
        }
    }

    fn bound(&self, window: u64) -> u64 {
        window.min(self.max).max(least_window(self.packet_size))
    }

    fn leave_slow_start(&mut self) {
        self.slow_start = false;
        self.curve.aim(self.window);
    }

    fn on_marks(&mut self, sample: &AckSample) {
        if sample.largest < self.recovery_start {
            return;
        }
        self.slow_start = false;
        let before = self.window;
        self.curve.cut(before);
        self.window = self.bound(before / MARKED.1 * MARKED.0);
        self.recovery_start = sample.next;
        self.undo = None;
    }
}

impl Controller for Cubic {
    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self, srtt: u64) -> u64 {
        rate(self.window, srtt, if self.slow_start { 8 } else { 5 })
    }

    fn on_ack(&mut self, sample: &AckSample) {
        self.packet_size = sample.packet_size;
        if let (true, Some(rtt)) = (self.slow_start, sample.rtt) {
            self.hystart.sample(rtt);
        }
        if sample.largest >= self.round_end {
            self.round_end = sample.next;
            if self.slow_start && self.hystart.end_round() {
                self.leave_slow_start();
            }
        }
        if sample.ce_packets > 0 {
            self.on_marks(sample);
        }
        if sample.largest < self.recovery_start {
            return;
        }
        if !sample.limited {
            self.curve.pause();
        } else if self.slow_start {
            self.window = self.bound(self.window + self.hystart.growth(sample.bytes));
            if self.window >= self.threshold {
                self.leave_slow_start();
            }
        } else {
            let growth = Growth {
                now: sample.now,
                srtt: sample.srtt,
                packet_size: sample.packet_size,
                acked: sample.bytes,
            };
            let window = self.curve.grow(self.window, &growth);
            self.window = self.bound(window);
        }
    }

    fn on_loss(&mut self, sample: &LossSample) {
        if sample.number < self.recovery_start {
            if let Some(undo) = &mut self.undo {
                undo.losses += 1;
            }
            return;
        }
        self.undo = Some(Undo {
            window: self.window,
            curve: self.curve,
            slow_start: self.slow_start,
            first: sample.number,
            losses: 1,
        });
        self.slow_start = false;
        let window = self.curve.cut(self.window);
        self.window = self.bound(window);
        self.recovery_start = sample.next;
    }

    fn on_spurious_loss(&mut self, sample: &LossSample) {
        let Some(undo) = &mut self.undo else {
            return;
        };
        if sample.number < undo.first || sample.number >= self.recovery_start {
            return;
        }
        undo.losses -= 1;
        if undo.losses == 0 {
            self.window = self.window.max(undo.window);
            self.curve = undo.curve;
            self.curve.pause();
            self.slow_start = undo.slow_start;
            self.recovery_start = 0;
            self.undo = None;
        }
    }

    fn on_persistent_congestion(&mut self) {
        // Nothing is known about the path any more: search from the bottom, but carefully where it went wrong.
        self.threshold = self.curve.cut(self.window);
        self.window = self.bound(0);
        self.slow_start = true;
        self.hystart = HyStart::new();
        self.undo = None;
    }
}
