//! Spreads packets over the round trip, so that a window does not arrive at a queue in one burst.
//!
//! A token bucket, kept as the time at which it is full again (the generic cell rate algorithm of ATM): each packet
//! moves that time on by its share of a second. An idle sender may send a burst at once: 16 packets or 1 ms of the rate, so
//! that a worker that polls, or sleeps for 100 us, keeps up. One that is held back goes on with a quantum at once, which is 1 ms of
//! the rate and 64 KiB at most, as TCP of Linux does (net/ipv4/tcp_output.c, `tcp_tso_autosize`), and an eighth of the round trip:
//! waking up for every packet costs more than sending it.

use super::congestion::MIN_WINDOW_PACKET;

/// A burst is at least so many packets, of no more than [`MIN_WINDOW_PACKET`] bytes.
const BURST_PACKETS: u64 = 16;
/// And so long at the sending rate.
const BURST_TIME: u64 = 1_000_000;
/// What is sent at once by one that was held back: so many bytes at most, and no more than [`BURST_TIME`].
const QUANTUM: u64 = 64 << 10;
/// And in so many parts at least a round trip's packets go: they are still spread over it.
const QUANTA: u64 = 8;
/// With a shorter round trip than this, a burst is a whole window: the window alone does it.
const LEAST_RTT: u64 = 1_000_000;
/// Nothing waits longer for probes than for so many bytes: two of the longest with a short block.
const PROBE_DEBT: u64 = 2 * MIN_WINDOW_PACKET;
/// Fraction bits of the cost of a byte.
const SHIFT: u32 = 20;

/// All times in nanoseconds.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Nanoseconds that a byte takes, times 2^20; 0: not paced.
    cost: u64,
    /// Nanoseconds that may be sent at once.
    burst: u64,
    /// Nanoseconds that may be sent ahead of time, between two rests.
    quantum: u64,
    /// It has sent its quantum, and waits until that is paid for.
    rests: bool,
    /// When all that was sent is paid for.
    paid_at: u64,
}

impl Pacer {
    pub(super) const fn new() -> Self {
        Self {
            cost: 0,
            burst: 0,
            quantum: 0,
            rests: false,
            paid_at: 0,
        }
    }

    /// `rate` in bytes a second.
    pub(super) fn set(&mut self, rate: u64, srtt: u64, packet_size: u64) {
        if srtt < LEAST_RTT {
            self.cost = 0;
            self.rests = false;
            return;
        }
        self.cost = (1_000_000_000 << SHIFT) / rate.max(1);
        let packet = packet_size.min(MIN_WINDOW_PACKET);
        self.burst = self.price(BURST_PACKETS * packet).max(BURST_TIME);
        self.quantum = self.price(QUANTUM).min(BURST_TIME).min(srtt / QUANTA);
    }

    fn price(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.cost) >> SHIFT
    }

    /// When the next packet may go, if not now.
    pub(super) fn blocked_until(&self, now: u64) -> Option<u64> {
        let ahead = if self.rests { 0 } else { self.quantum };
        (self.cost != 0 && self.paid_at > now.saturating_add(ahead)).then_some(self.paid_at)
    }

    /// A packet goes out.
    pub(super) fn on_sent(&mut self, now: u64, bytes: u64) {
        if self.cost != 0 {
            let idle_since = now.saturating_sub(self.burst - self.quantum);
            self.paid_at = self.paid_at.max(idle_since) + self.price(bytes);
            self.rests = self.paid_at > now.saturating_add(self.quantum);
        }
    }

    /// A probe of the path goes out, which pacing does not hold back. It may be many windows long, and others may follow: what has
    /// to wait until all of them are paid for would wait for many round trips.
    pub(super) fn on_probe(&mut self, now: u64, bytes: u64) {
        let most = self.paid_at.max(now.saturating_add(self.price(PROBE_DEBT)));
        self.on_sent(now, bytes);
        self.paid_at = self.paid_at.min(most);
        self.rests = self.paid_at > now.saturating_add(self.quantum);
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
        assert!((9_900..=10_050).contains(&sent), "{sent}");
    }

    #[test]
    fn a_sleeping_sender_is_not_throttled() {
        let mut pacer = Pacer::new();
        pacer.set(100_000 * SIZE, 10 * MS, SIZE);
        let sent = send(&mut pacer, 1000 * MS, 2000 * MS, MS * 9 / 10);
        assert!(sent > 99_000, "{sent}");
    }

    #[test]
    fn who_was_held_back_goes_on_with_a_quantum() {
        let mut pacer = Pacer::new();
        // 64 KiB in a bit more than half a millisecond.
        pacer.set(100_000 * SIZE, 10 * MS, SIZE);
        let mut now = 1000 * MS;
        send(&mut pacer, now, now + 1, 1);
        for _ in 0..100 {
            now = pacer.blocked_until(now).unwrap();
            let sent = send(&mut pacer, now, now + 1, 1);
            assert!((65..=67).contains(&sent), "{sent}");
        }
        assert!((1064 * MS..1068 * MS).contains(&now), "{now}");
        // A slow one goes on packet by packet.
        pacer.set(1000 * SIZE, 10 * MS, SIZE);
        for _ in 0..100 {
            now = pacer.blocked_until(now).unwrap();
            let sent = send(&mut pacer, now, now + 1, 1);
            assert!(sent <= 2, "{sent}");
        }
    }

    #[test]
    fn a_slow_path_gets_short_bursts() {
        let mut pacer = Pacer::new();
        pacer.set(100 * SIZE, 10 * MS, SIZE);
        assert_eq!(send(&mut pacer, 10_000 * MS, 10_000 * MS + 1, 1), 17);
        assert_eq!(
            pacer.blocked_until(10_000 * MS).map(|at| at / MS),
            Some(10_011)
        );
    }

    #[test]
    fn probes_keep_nobody_waiting_for_long() {
        let mut pacer = Pacer::new();
        pacer.set(100 * SIZE, 10 * MS, SIZE);
        (0..20).for_each(|_| pacer.on_probe(10_000 * MS, 54 * SIZE));
        let wait = pacer.blocked_until(10_000 * MS).unwrap() - 10_000 * MS;
        assert!(wait <= 80 * MS, "{wait}");
        // A short one costs what any packet costs.
        let mut other = Pacer::new();
        other.set(100 * SIZE, 10 * MS, SIZE);
        other.on_sent(10_000 * MS, SIZE);
        let mut pacer = Pacer::new();
        pacer.set(100 * SIZE, 10 * MS, SIZE);
        pacer.on_probe(10_000 * MS, SIZE);
        assert_eq!(pacer.paid_at, other.paid_at);
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
