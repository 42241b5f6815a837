//! How many packets may be in flight.

/// A congestion controller. Counts are packets; a round is a round trip, told by packet numbers.
pub(super) trait Controller {
    /// Packets that may be in flight.
    fn window(&self) -> u32;

    /// `acked` packets arrived, of which `largest` has the largest number; `next` is the number of the next packet to
    /// be sent. `limited`: the window, and not a lack of data or credit, has held the sender back.
    fn on_ack(&mut self, acked: u32, largest: u64, next: u64, limited: bool);

    /// The packet with this number was lost; `next` is the number of the next packet to be sent.
    fn on_loss(&mut self, number: u64, next: u64);

    /// Nothing at all came through for several probe timeouts.
    fn on_persistent_congestion(&mut self);
}

const INITIAL_WINDOW: u32 = 128;
const MIN_WINDOW: u32 = 16;
/// Fewer losses than this in a round are never congestion.
const MIN_LOSSES: u32 = 4;
/// One loss in so many packets is not congestion either.
const TOLERANCE: u32 = 50;
/// The window grows by so many packets a round when it is no longer in slow start.
const INCREASE: u32 = 4;

/// Additive increase, multiplicative decrease, with a tolerance for losses that are no sign of congestion.
///
/// The window grows by the packets acknowledged (slow start), later by 4 packets a round, and only while it is what
/// limits the sender. It shrinks to 0.7 of itself, at most once a round, when a round has lost more than 2 % of the
/// window and at least 4 packets.
///
/// Why the tolerance: a window that is cut at every loss is proportional to 1/sqrt(loss), which at 0.1 % is 40
/// packets, a small part of what a storage network holds. Links lose packets for reasons that are no congestion (bit
/// errors, a NIC ring that overran once), while a full queue loses far more than 2 % in the round in which slow start
/// or several senders overrun it. The price: beside a sender that yields at each loss, this one takes more than its
/// share of a queue that drops less than 2 %. BBR version 2 and 3 chose the same threshold.
///
/// Why 4 packets: sessions only become fair to each other by cuts, and those are rare under the tolerance. In the
/// shared queue of `tests/goodput.rs` four sessions come within a factor of 1.5 in a second instead of four, for which
/// 0.3 % of the packets are lost instead of 0.1 %; with 8 packets 0.8 % are.
#[derive(Debug)]
pub(super) struct Aimd {
    window: u32,
    max: u32,
    slow_start: bool,
    /// Acknowledged since the window last grew, in congestion avoidance.
    acked: u32,
    /// Lost in this round.
    lost: u32,
    /// The round ends when a packet with at least this number is acknowledged.
    round_end: u64,
    /// Losses of packets before this one belong to the last decrease.
    recovery_start: u64,
}

impl Aimd {
    pub(super) fn new(max: u32) -> Self {
        let max = max.max(MIN_WINDOW);
        Self {
            window: INITIAL_WINDOW.min(max),
            max,
            slow_start: true,
            acked: 0,
            lost: 0,
            round_end: 0,
            recovery_start: 0,
        }
    }

    fn shrink(&mut self, window: u32, next: u64) {
        self.window = window.max(MIN_WINDOW);
        self.slow_start = false;
        self.acked = 0;
        self.lost = 0;
        self.recovery_start = next;
        self.round_end = next;
    }
}

impl Controller for Aimd {
    fn window(&self) -> u32 {
        self.window
    }

    fn on_ack(&mut self, acked: u32, largest: u64, next: u64, limited: bool) {
        if largest >= self.round_end {
            self.round_end = next;
            self.lost = 0;
        }
        if !limited {
            return;
        }
        if self.slow_start {
            self.window = self.window.saturating_add(acked).min(self.max);
            return;
        }
        self.acked = self.acked.saturating_add(acked);
        if self.acked >= self.window {
            self.acked -= self.window;
            self.window = self.window.saturating_add(INCREASE).min(self.max);
        }
    }

    fn on_loss(&mut self, number: u64, next: u64) {
        if number < self.recovery_start {
            return;
        }
        self.lost += 1;
        if self.lost >= MIN_LOSSES.max(self.window / TOLERANCE + 1) {
            self.shrink(self.window - self.window / 10 * 3, next);
        }
    }

    fn on_persistent_congestion(&mut self) {
        let next = self.round_end;
        self.shrink(MIN_WINDOW, next);
        // Nothing is known about the path any more: search from the bottom.
        self.slow_start = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds in which the window is used up and `lose` packets of each are lost.
    fn rounds(controller: &mut Aimd, count: u32, next: &mut u64, lose: impl Fn(u32) -> u32) {
        for _ in 0..count {
            let window = controller.window();
            let first = *next;
            *next += u64::from(window);
            let lost = lose(window).min(window);
            for number in first..first + u64::from(lost) {
                controller.on_loss(number, *next);
            }
            controller.on_ack(window - lost, *next - 1, *next, true);
        }
    }

    #[test]
    fn slow_start_doubles_up_to_the_limit() {
        let (mut aimd, mut next) = (Aimd::new(1000), 0);
        rounds(&mut aimd, 1, &mut next, |_| 0);
        assert_eq!(aimd.window(), 256);
        rounds(&mut aimd, 5, &mut next, |_| 0);
        assert_eq!(aimd.window(), 1000);
    }

    #[test]
    fn heavy_loss_shrinks_once_a_round() {
        let (mut aimd, mut next) = (Aimd::new(8192), 0);
        rounds(&mut aimd, 3, &mut next, |_| 0);
        assert_eq!(aimd.window(), 1024);
        rounds(&mut aimd, 1, &mut next, |window| window / 2);
        assert_eq!(aimd.window(), 718);
        rounds(&mut aimd, 1, &mut next, |_| 0);
        assert_eq!(aimd.window(), 722, "additive increase");
    }

    #[test]
    fn incidental_loss_does_not() {
        let (mut aimd, mut next) = (Aimd::new(8192), 0);
        rounds(&mut aimd, 20, &mut next, |window| window / 100);
        assert!(aimd.window() > 8000, "{aimd:?}");
    }

    #[test]
    fn never_below_the_minimum() {
        let (mut aimd, mut next) = (Aimd::new(8192), 0);
        rounds(&mut aimd, 50, &mut next, |window| window);
        assert_eq!(aimd.window(), MIN_WINDOW);
    }

    #[test]
    fn an_idle_sender_does_not_grow_its_window() {
        let mut aimd = Aimd::new(8192);
        aimd.on_ack(100, 99, 100, false);
        assert_eq!(aimd.window(), INITIAL_WINDOW);
    }

    #[test]
    fn an_outage_starts_over() {
        let (mut aimd, mut next) = (Aimd::new(8192), 0);
        rounds(&mut aimd, 6, &mut next, |_| 0);
        aimd.on_persistent_congestion();
        assert_eq!(aimd.window(), MIN_WINDOW);
        rounds(&mut aimd, 2, &mut next, |_| 0);
        assert_eq!(aimd.window(), 4 * MIN_WINDOW);
    }
}
