//! One direction of a bad network.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use blk_proto::time::Time;

use crate::random::Random;

/// How bad it is. Chances are per million packets.
#[derive(Clone, Debug)]
pub struct Faults {
    pub loss: u64,
    pub duplication: u64,
    pub corruption: u64,
    pub truncation: u64,
    pub garbage: u64,
    /// Nanoseconds.
    pub delay: u64,
    /// Up to so many nanoseconds more.
    pub jitter: u64,
    /// Nothing comes through from one time to the other.
    pub partitions: Vec<(Time, Time)>,
}

impl Faults {
    pub fn new(random: &mut Random, start: Time, cut_off: Option<Time>) -> Self {
        let delay = random.magnitude(5_000, 20_000_000);
        let mut partitions = Vec::new();
        let mut at = start;
        for _ in 0..random.pick(&[0, 0, 0, 1, 2, 3]) {
            let from = at + Duration::from_nanos(random.magnitude(1_000_000, 1_000_000_000));
            let to = from + Duration::from_nanos(random.magnitude(1_000_000, 3_000_000_000));
            partitions.push((from, to));
            at = to;
        }
        if let Some(at) = cut_off {
            partitions.push((at, Time::MAX));
        }
        Self {
            loss: random.pick(&[0, 0, 1_000, 10_000, 50_000, 200_000]),
            duplication: random.pick(&[0, 0, 10_000, 100_000]),
            corruption: random.pick(&[0, 0, 1_000, 30_000]),
            truncation: random.pick(&[0, 0, 1_000, 20_000]),
            garbage: random.pick(&[0, 0, 10_000]),
            jitter: random.pick(&[0, 0, delay / 10, delay, 4 * delay]),
            delay,
            partitions,
        }
    }
}

/// Packets on their way, in the order they arrive.
pub struct Network {
    faults: Faults,
    random: Random,
    packets: BinaryHeap<Reverse<(Time, u64, Vec<u8>)>>,
    count: u64,
}

impl Network {
    pub fn new(faults: Faults, random: Random) -> Self {
        Self {
            faults,
            random,
            packets: BinaryHeap::new(),
            count: 0,
        }
    }

    pub fn send(&mut self, now: Time, packet: Vec<u8>) {
        if self.random.chance(self.faults.garbage) {
            let len = self.random.within(0, 100);
            let garbage = (0..len).map(|_| self.random.next() as u8).collect();
            self.put(now, garbage);
        }
        let cut = |&(from, to): &(Time, Time)| (from..to).contains(&now);
        if self.faults.partitions.iter().any(cut) || self.random.chance(self.faults.loss) {
            return;
        }
        if self.random.chance(self.faults.duplication) {
            self.put(now, packet.clone());
        }
        let packet = self.damage(packet);
        self.put(now, packet);
    }

    fn damage(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        if self.random.chance(self.faults.corruption) {
            for _ in 0..self.random.within(1, 4) {
                let at = self.random.within(0, packet.len() as u64 - 1) as usize;
                packet[at] ^= self.random.within(1, 255) as u8;
            }
        }
        if self.random.chance(self.faults.truncation) {
            packet.truncate(self.random.within(0, packet.len() as u64) as usize);
        }
        packet
    }

    fn put(&mut self, now: Time, packet: Vec<u8>) {
        let jitter = self.random.within(0, self.faults.jitter);
        let at = now + Duration::from_nanos(self.faults.delay + jitter);
        self.count += 1;
        self.packets.push(Reverse((at, self.count, packet)));
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Time> {
        self.packets.peek().map(|Reverse((at, ..))| *at)
    }

    /// A packet that has arrived.
    pub fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.next_arrival()? > now {
            return None;
        }
        self.packets.pop().map(|Reverse((_, _, packet))| packet)
    }
}
