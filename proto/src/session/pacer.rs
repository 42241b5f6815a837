//! Spreads packets over the round trip, so that a window does not arrive at a queue in one burst.
//!
//! A token bucket, kept as the time at which it is full again (the generic cell rate algorithm of ATM): each packet
//! moves that time on by its share of a second, and a packet may go while the time is not in the future. An idle sender
//! may send a burst at once: 16 packets or 1 ms of the rate, so that a worker that polls, or sleeps for 100 us, keeps up.

/// A burst is at least so many packets.
const BURST_PACKETS: u64 = 16;
/// And so long at the sending rate.
const BURST_TIME: u64 = 1_000_000;
/// With a shorter round trip than this, a burst is a whole window: the window alone does it.
const LEAST_RTT: u64 = 1_000_000;
/// Fraction bits of the cost of a byte.
const SHIFT: u32 = 20;

/// All times in nanoseconds.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Nanoseconds that a byte takes, times 2^20; 0: not paced.
    cost: u64,
    /// Nanoseconds that may be sent at once.
    burst: u64,
    /// When all that was sent is paid for.
    paid_at: u64,
}

impl Pacer {
    pub(super) const fn new() -> Self {
        Self {
            cost: 0,
            burst: 0,
            paid_at: 0,
        }
    }

    /// `rate` in bytes a second.
    pub(super) fn set(&mut self, rate: u64, srtt: u64, packet_size: u64) {
        if srtt < LEAST_RTT {
            self.cost = 0;
            return;
        }
        self.cost = (1_000_000_000 << SHIFT) / rate.max(1);
        self.burst = self.price(BURST_PACKETS * packet_size).max(BURST_TIME);
    }

    fn price(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.cost) >> SHIFT
    }

    /// When the next packet may go, if not now.
    pub(super) fn blocked_until(&self, now: u64) -> Option<u64> {
        (self.cost != 0 && self.paid_at > now).then_some(self.paid_at)
    }

    /// A packet goes out.
    pub(super) fn on_sent(&mut self, now: u64, bytes: u64) {
        if self.cost != 0 {
            let idle_since = now.saturating_sub(self.burst);
            self.paid_at = self.paid_at.max(idle_since) + self.price(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SIZE: u64 = 1000;

    /// Packets that go out up to `end`, by a sender that looks every `step`.
    fn send(pacer: &mut Pacer, start: u64, end: u64, step: u64) -> u64 {
        let mut sent = 0;
        for now in (start..end).step_by(step as usize) {
            while pacer.blocked_until(now).is_none() {
                pacer.on_sent(now, SIZE);
                sent += 1;
            }
        }
        sent
    }

    #[test]
    fn it_keeps_the_rate() {
        let mut pacer = Pacer::new();
        // 100,000 packets a second: 100 in a burst.
        pacer.set(100_000 * SIZE, 10 * MS, SIZE);
        let first = send(&mut pacer, 1000 * MS, 1000 * MS + 1, 1);
        assert!((100..=102).contains(&first), "{first}");
        let sent = send(&mut pacer, 1000 * MS, 1100 * MS, MS / 10);
        assert!((9_950..=10_050).contains(&sent), "{sent}");
    }

    #[test]
    fn a_sleeping_sender_is_not_throttled() {
        let mut pacer = Pacer::new();
        pacer.set(100_000 * SIZE, 10 * MS, SIZE);
        let sent = send(&mut pacer, 1000 * MS, 2000 * MS, MS * 9 / 10);
        assert!(sent > 99_000, "{sent}");
    }

    #[test]
    fn a_slow_path_gets_short_bursts() {
        let mut pacer = Pacer::new();
        pacer.set(100 * SIZE, 10 * MS, SIZE);
        assert_eq!(send(&mut pacer, 10_000 * MS, 10_000 * MS + 1, 1), 17);
        assert_eq!(
            pacer.blocked_until(10_000 * MS).map(|at| at / MS),
            Some(10_010)
        );
    }

    #[test]
    fn short_round_trips_are_not_paced() {
        let mut pacer = Pacer::new();
        pacer.set(100 * SIZE, MS / 2, SIZE);
        for _ in 0..1000 {
            assert_eq!(pacer.blocked_until(0), None);
            pacer.on_sent(0, SIZE);
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut pacer = Pacer::new();
        for rate in [0, 1, u64::MAX] {
            pacer.set(rate, u64::MAX, 1 << 16);
            pacer.on_sent(u64::MAX / 2, 1 << 16);
            pacer.blocked_until(u64::MAX);
        }
    }
}
