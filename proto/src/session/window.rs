//! How much of what the application can hold is granted: the receive window follows the bandwidth-delay product.
//!
//! A window that is larger than the path needs is no gain: its frames fall out of the CPU's cache, and they are kept
//! from other sessions. One that is smaller is a loss. So the receiver measures how many blocks come in a round trip and
//! grants twice as many, as TCP's dynamic right-sizing does (Fisk and Feng, 2001; `tcp_rcv_space_adjust` in Linux'
//! `net/ipv4/tcp_input.c`): a sender in slow start is never held back by it.
//!
//! ```text
//!   demand = blocks in the last round x (2 x shortest round trip + 2 ms) / length of the round
//!   window = demand, at least the floor, at most the application's limit
//! ```

use core::time::Duration;

use crate::time::Time;

/// What a sender can have on its way beyond two round trips: the delays of hosts, not of the path, and the queue that
/// its congestion control allows itself.
const SLACK: u64 = 2_000_000;
/// A round is not measured in less time, in nanoseconds.
const MIN_ROUND: u64 = 1_000_000;

/// Watches blocks come, and says how large a window their sender can use.
#[derive(Debug)]
pub(super) struct Tuner {
    /// Blocks; no demand is smaller.
    floor: u64,
    demand: u64,
    /// `None` before the first block.
    round_start: Option<Time>,
    /// Blocks received when the round began.
    received: u64,
}

impl Tuner {
    pub(super) const fn new(floor: u64) -> Self {
        Self {
            floor,
            demand: floor,
            round_start: None,
            received: 0,
        }
    }

    /// The window that the sender can use, in blocks.
    pub(super) const fn demand(&self) -> u64 {
        self.demand
    }

    /// `received` blocks have come, all told. Says whether the demand changed.
    pub(super) fn on_block(&mut self, now: Time, received: u64, min_rtt: u64) -> bool {
        let Some(start) = self.round_start else {
            self.begin(now, received);
            return false;
        };
        let elapsed = now.saturating_since(start);
        let round = Duration::from_nanos(min_rtt.max(MIN_ROUND));
        if elapsed < round {
            return false;
        }
        let blocks = received - self.received;
        self.begin(now, received);
        if elapsed > 4 * round {
            // The sender paused: the round says nothing about the path.
            return false;
        }
        let before = self.demand;
        let wanted = rate_times(blocks, elapsed, 2 * min_rtt + SLACK);
        self.demand = if wanted >= self.demand {
            wanted
        } else {
            // Slowly: a round may have been a bad one.
            self.demand - (self.demand - wanted) / 8
        };
        self.demand = self.demand.max(self.floor);
        self.demand != before
    }

    const fn begin(&mut self, now: Time, received: u64) {
        self.round_start = Some(now);
        self.received = received;
    }
}

/// What comes in `nanos` at the rate of `blocks` in `elapsed`.
fn rate_times(blocks: u64, elapsed: Duration, nanos: u64) -> u64 {
    let product = u128::from(blocks) * u128::from(nanos) / elapsed.as_nanos().max(1);
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Blocks come evenly at `per_ms` for so many milliseconds.
    fn stream(tuner: &mut Tuner, at: &mut u64, received: &mut u64, per_ms: u64, ms: u64, rtt: u64) {
        for _ in 0..ms * per_ms {
            *at += MS / per_ms;
            *received += 1;
            tuner.on_block(Time::from_nanos(*at), *received, rtt);
        }
    }

    #[test]
    fn a_short_path_needs_no_more_than_the_floor() {
        let (mut tuner, mut at, mut received) = (Tuner::new(1024), 0, 0);
        stream(&mut tuner, &mut at, &mut received, 400, 100, MS / 20);
        assert_eq!(tuner.demand(), 1024);
    }

    #[test]
    fn a_long_path_gets_twice_what_it_delivers_in_a_round_trip() {
        let (mut tuner, mut at, mut received) = (Tuner::new(1024), 0, 0);
        stream(&mut tuner, &mut at, &mut received, 40, 1000, 100 * MS);
        let (low, high) = (40 * 200, 40 * 210);
        assert!((low..=high).contains(&tuner.demand()), "{tuner:?}");
    }

    #[test]
    fn it_doubles_with_a_sender_that_doubles() {
        let (mut tuner, mut at, mut received) = (Tuner::new(64), 0, 0);
        for round in 0..8 {
            let window = 64u64 << round;
            // A window at once, then silence for the rest of the round trip.
            for _ in 0..window {
                received += 1;
                tuner.on_block(Time::from_nanos(at), received, 50 * MS);
            }
            at += 50 * MS;
            // The next round's first block tells that this one is over.
            received += 1;
            tuner.on_block(Time::from_nanos(at), received, 50 * MS);
            assert!(tuner.demand() >= 2 * window, "round {round}: {tuner:?}");
        }
    }

    #[test]
    fn a_pause_changes_nothing() {
        let (mut tuner, mut at, mut received) = (Tuner::new(64), 0, 0);
        stream(&mut tuner, &mut at, &mut received, 40, 500, 50 * MS);
        let before = tuner.demand();
        at += 5_000 * MS;
        received += 1;
        assert!(!tuner.on_block(Time::from_nanos(at), received, 50 * MS));
        assert_eq!(tuner.demand(), before);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut tuner = Tuner::new(1);
        tuner.on_block(Time::from_nanos(10 * MS), 1, 1);
        tuner.on_block(Time::from_nanos(12 * MS), u64::MAX, 1 << 40);
        assert!(tuner.demand() >= 1);
    }
}
