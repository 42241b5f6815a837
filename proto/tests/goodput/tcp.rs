//! A model of TCP as Linux speaks it: CUBIC (RFC 9438) with HyStart, selective acknowledgements, loss by three later
//! packets, a retransmission timeout of at least 200 ms, no pacing, no ECN. Written apart from the session's own CUBIC,
//! so that one does not hide the other's mistakes.

use std::collections::VecDeque;
use std::time::Duration;

use blk_proto::net::Ecn;
use blk_proto::time::Time;

use crate::world::Host;

const C: f64 = 0.4;
const BETA: f64 = 0.7;
/// Later packets that must arrive before one is lost.
const DUPLICATES: u64 = 3;

#[derive(Copy, Clone, PartialEq)]
enum State {
    Out,
    Done,
}

pub struct Sender {
    size: u64,
    /// Send time of each packet since `base`.
    packets: VecDeque<(Time, State)>,
    base: u64,
    in_flight: u64,
    window: f64,
    threshold: f64,
    w_max: f64,
    prior: f64,
    reno: f64,
    epoch: Option<(Time, f64)>,
    largest: u64,
    recovery: u64,
    round_end: u64,
    round_min: f64,
    min_rtt: f64,
    srtt: f64,
    timeout_at: Option<Time>,
}

pub struct Receiver {
    size: u64,
    delivered: u64,
    replies: VecDeque<Vec<u8>>,
}

/// Sender and receiver of packets with so many bytes.
pub fn flow(size: u64) -> (Box<dyn Host>, Box<dyn Host>) {
    let sender = Sender {
        size,
        packets: VecDeque::new(),
        base: 0,
        in_flight: 0,
        window: 10.0,
        threshold: f64::INFINITY,
        w_max: 0.0,
        prior: 0.0,
        reno: 0.0,
        epoch: None,
        largest: 0,
        recovery: 0,
        round_end: 0,
        round_min: f64::INFINITY,
        min_rtt: f64::INFINITY,
        srtt: 0.0,
        timeout_at: None,
    };
    let receiver = Receiver {
        size,
        delivered: 0,
        replies: VecDeque::new(),
    };
    (Box::new(sender), Box::new(receiver))
}

impl Sender {
    fn next(&self) -> u64 {
        self.base + self.packets.len() as u64
    }

    fn cut(&mut self) {
        self.prior = self.window;
        self.w_max = if self.window < self.w_max {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.window = (self.window * BETA).max(2.0);
        self.threshold = self.window;
        self.epoch = None;
        self.recovery = self.next();
    }

    fn grow(&mut self, now: Time) {
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        if self.epoch.is_none() {
            self.w_max = self.w_max.max(self.window);
            let k = ((self.w_max - self.window) / C).cbrt();
            self.epoch = Some((now, k));
            self.reno = self.window;
        }
        let Some((start, k)) = self.epoch else { return };
        let t = now.saturating_since(start).as_secs_f64() + self.srtt - k;
        let goal = (C * t * t * t + self.w_max).clamp(self.window, 1.5 * self.window);
        let alpha = if self.reno < self.prior {
            3.0 * (1.0 - BETA) / (1.0 + BETA)
        } else {
            1.0
        };
        self.reno += alpha / self.window;
        self.window = (self.window + (goal - self.window) / self.window).max(self.reno);
    }

    /// HyStart's delay rule.
    fn watch_delay(&mut self, number: u64, rtt: f64) {
        self.min_rtt = self.min_rtt.min(rtt);
        self.srtt = if self.srtt == 0.0 {
            rtt
        } else {
            self.srtt + (rtt - self.srtt) / 8.0
        };
        self.round_min = self.round_min.min(rtt);
        if number >= self.round_end {
            let slack = (self.min_rtt / 8.0).clamp(0.004, 0.016);
            if self.window < self.threshold && self.round_min > self.min_rtt + slack {
                self.threshold = self.window;
            }
            self.round_end = self.next();
            self.round_min = f64::INFINITY;
        }
    }

    fn set_timer(&mut self, now: Time) {
        let timeout = Duration::from_secs_f64((2.0 * self.srtt).max(0.2));
        self.timeout_at = (self.in_flight > 0).then(|| now + timeout);
    }
}

impl Host for Sender {
    fn receive(&mut self, now: Time, packet: &[u8], _: Ecn) {
        let number = u64::from_le_bytes(packet.try_into().expect("a number"));
        let Some(entry) = number
            .checked_sub(self.base)
            .and_then(|index| self.packets.get_mut(index as usize))
        else {
            return;
        };
        if entry.1 == State::Out {
            entry.1 = State::Done;
            self.in_flight -= 1;
            let rtt = now.saturating_since(entry.0).as_secs_f64();
            self.watch_delay(number, rtt);
            if number >= self.recovery {
                self.grow(now);
            }
        }
        self.largest = self.largest.max(number);
        while let Some(&(_, state)) = self.packets.front()
            && (state == State::Done || self.base + DUPLICATES <= self.largest)
        {
            if state == State::Out {
                self.in_flight -= 1;
                if self.base >= self.recovery {
                    self.cut();
                }
            }
            self.packets.pop_front();
            self.base += 1;
        }
        self.set_timer(now);
    }

    fn poll(&mut self, now: Time) -> Option<(Vec<u8>, u64)> {
        if self.in_flight as f64 >= self.window {
            return None;
        }
        let number = self.next();
        self.packets.push_back((now, State::Out));
        self.in_flight += 1;
        if self.timeout_at.is_none() {
            self.set_timer(now);
        }
        Some((number.to_le_bytes().to_vec(), self.size))
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.timeout_at.is_some_and(|at| at <= now) {
            self.cut();
            self.window = 1.0;
            self.base += self.packets.len() as u64;
            self.packets.clear();
            self.in_flight = 0;
            self.timeout_at = None;
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.timeout_at
    }

    fn ecn(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!(
            "TCP: window {} KB, srtt {:.2} ms",
            (self.window * self.size as f64) as u64 >> 10,
            self.srtt * 1e3
        )
    }
}

impl Host for Receiver {
    fn receive(&mut self, _: Time, packet: &[u8], _: Ecn) {
        self.delivered += self.size;
        self.replies.push_back(packet.to_vec());
    }

    fn poll(&mut self, _: Time) -> Option<(Vec<u8>, u64)> {
        Some((self.replies.pop_front()?, 40))
    }

    fn handle_timeout(&mut self, _: Time) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn delivered(&self) -> u64 {
        self.delivered
    }
}
