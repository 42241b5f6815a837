//! How much of what the application can hold is granted: the receive window follows the bandwidth-delay product.
//!
//! A window that is larger than the path needs is no gain: its frames fall out of the CPU's cache, and they are kept
//! from other sessions. One that is smaller is a loss. So the receiver measures how many blocks come in a round trip and
//! grants twice as many, as TCP's dynamic right-sizing does (Fisk and Feng, 2001; `tcp_rcv_space_adjust` in Linux'
//! `net/ipv4/tcp_input.c`): a sender in slow start is never held back by it.
//!
//! ```text
//!   demand = blocks in the last round x (2 x round trip + 2 ms) / length of the round
//!   window = demand, at least the floor, at most the application's limit
//! ```
//!
//! The round trip is the shortest of the last few samples ([`super::rtt`]), so it grows with the path, and with the queue
//! that others keep there. When nothing comes for some rounds, the sender paused, or it sends a window at once and waits
//! for a round trip that is longer than this side knows: then what came before is taken as the blocks of one round. It
//! can raise the demand, but silence never lowers it.

use core::time::Duration;

use crate::time::Time;

/// What a sender can have on its way beyond two round trips: the delays of hosts, not of the path, and the queue that
/// its congestion control allows itself.
const SLACK: u64 = 2_000_000;
/// A round is not measured in less time, in nanoseconds.
const MIN_ROUND: u64 = 1_000_000;
/// After so many rounds without a block the sender paused.
const PAUSE: u32 = 4;

/// Watches blocks come, and says how large a window their sender can use.
#[derive(Debug)]
pub(super) struct Tuner {
    /// Blocks; no demand is smaller.
    floor: u64,
    demand: u64,
    /// `None` before the first block.
    round_start: Option<Time>,
    last_block: Time,
    /// Blocks received when the round began.
    received: u64,
}

impl Tuner {
    pub(super) const fn new(floor: u64) -> Self {
        Self {
            floor,
            demand: floor,
            round_start: None,
            last_block: Time::from_nanos(0),
            received: 0,
        }
    }

    /// The window that the sender can use, in blocks.
    pub(super) const fn demand(&self) -> u64 {
        self.demand
    }

    /// `received` blocks have come, all told, over a path with this round trip. Says whether the demand changed.
    pub(super) fn on_block(&mut self, now: Time, received: u64, rtt: u64) -> bool {
        let Some(start) = self.round_start else {
            self.begin(now, received);
            return false;
        };
        let last = core::mem::replace(&mut self.last_block, now);
        let round = Duration::from_nanos(rtt.max(MIN_ROUND));
        let paused = now.saturating_since(last) > PAUSE * round;
        // The block that ends a pause belongs to what comes after it.
        let (end, blocks) = match paused {
            true => (last, received.saturating_sub(1)),
            false => (now, received),
        };
        let elapsed = end.saturating_since(start);
        if elapsed < round && !paused {
            return false;
        }
        let blocks = blocks.saturating_sub(self.received);
        self.begin(now, received.saturating_sub(u64::from(paused)));
        let before = self.demand;
        let nanos = rtt.saturating_mul(2).saturating_add(SLACK);
        let wanted = rate_times(blocks, elapsed.max(round), nanos);
        self.demand = if wanted >= self.demand {
            wanted
        } else if paused {
            self.demand
        } else {
            // Slowly: a round may have been a bad one.
            self.demand - (self.demand - wanted) / 8
        };
        self.demand = self.demand.max(self.floor);
        self.demand != before
    }

    const fn begin(&mut self, now: Time, received: u64) {
        self.round_start = Some(now);
        self.last_block = now;
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
    fn bursts_count_even_when_the_round_trip_has_become_longer() {
        let (mut tuner, mut at, mut received) = (Tuner::new(64), 0, 0);
        for round in 0..8 {
            let window = 64u64 << round;
            for _ in 0..window {
                received += 1;
                tuner.on_block(Time::from_nanos(at), received, MS);
            }
            at += 100 * MS;
            received += 1;
            tuner.on_block(Time::from_nanos(at), received, MS);
            assert!(tuner.demand() >= 2 * window, "round {round}: {tuner:?}");
        }
    }

    #[test]
    fn a_trickle_needs_little() {
        let (mut tuner, mut at, mut received) = (Tuner::new(64), 0, 0);
        stream(&mut tuner, &mut at, &mut received, 40, 500, 50 * MS);
        assert!(tuner.demand() > 1024, "{tuner:?}");
        for _ in 0..200 {
            at += 60 * MS;
            received += 1;
            tuner.on_block(Time::from_nanos(at), received, 50 * MS);
        }
        assert_eq!(tuner.demand(), 64);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut tuner = Tuner::new(1);
        tuner.on_block(Time::from_nanos(10 * MS), 1, 1);
        tuner.on_block(Time::from_nanos(12 * MS), u64::MAX, 1 << 40);
        assert!(tuner.demand() >= 1);
    }
}
