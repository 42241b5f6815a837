//! Flows over one bottleneck, driven by events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use blk_proto::net::Ecn;
use blk_proto::time::Time;

use crate::path::{Bottleneck, Path};

/// One end of a flow.
pub trait Host {
    fn receive(&mut self, now: Time, packet: &[u8], ecn: Ecn);
    /// The next packet to send, with its size on the wire.
    fn poll(&mut self, now: Time) -> Option<(Vec<u8>, u64)>;
    fn handle_timeout(&mut self, now: Time);
    fn deadline(&self) -> Option<Time>;
    /// Bytes that came to this end's application.
    fn delivered(&self) -> u64 {
        0
    }
    /// Whether it takes part in ECN.
    fn ecn(&self) -> bool {
        true
    }
    /// How it sees the path, for messages.
    fn describe(&self) -> String {
        String::new()
    }
}

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    Sender,
    Receiver,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake,
    Arrive(Vec<u8>, u8),
}

struct Flow {
    sender: Box<dyn Host>,
    receiver: Box<dyn Host>,
    /// When the sender's NIC is free.
    nic_free: Time,
    /// When each side is woken next.
    wake: [Time; 2],
}

impl Flow {
    fn host(&mut self, side: Side) -> &mut dyn Host {
        match side {
            Side::Sender => &mut *self.sender,
            Side::Receiver => &mut *self.receiver,
        }
    }
}

type Entry = (Time, u64, usize, Side, Event);

pub struct World {
    pub now: Time,
    pub bottleneck: Bottleneck,
    flows: Vec<Flow>,
    events: BinaryHeap<Reverse<Entry>>,
    count: u64,
}

impl World {
    pub fn new(path: Path) -> Self {
        Self {
            now: Time::from_nanos(1_000_000_000),
            bottleneck: Bottleneck::new(path),
            flows: Vec::new(),
            events: BinaryHeap::new(),
            count: 0,
        }
    }

    fn push(&mut self, at: Time, flow: usize, side: Side, event: Event) {
        self.count += 1;
        self.events
            .push(Reverse((at, self.count, flow, side, event)));
    }

    /// Adds a flow, which starts now.
    pub fn join(&mut self, (sender, receiver): (Box<dyn Host>, Box<dyn Host>)) {
        self.flows.push(Flow {
            sender,
            receiver,
            nic_free: self.now,
            wake: [Time::MAX; 2],
        });
        self.pump(self.flows.len() - 1, Side::Sender);
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(Reverse((at, ..))) = self.events.peek()
            && *at <= end
            && let Some(Reverse((at, _, flow, side, event))) = self.events.pop()
        {
            self.now = at;
            match event {
                Event::Wake if self.flows[flow].wake[side as usize] != at => continue,
                Event::Wake => self.flows[flow].wake[side as usize] = Time::MAX,
                Event::Arrive(packet, ecn) => {
                    self.flows[flow]
                        .host(side)
                        .receive(at, &packet, Ecn::from_bits(ecn));
                }
            }
            self.pump(flow, side);
        }
        self.now = end;
    }

    /// Lets one side of a flow do what it has to.
    fn pump(&mut self, flow: usize, side: Side) {
        self.flows[flow].host(side).handle_timeout(self.now);
        loop {
            if side == Side::Sender && self.flows[flow].nic_free > self.now {
                self.wake_at(flow, side, self.flows[flow].nic_free);
                return;
            }
            let Some((packet, size)) = self.flows[flow].host(side).poll(self.now) else {
                break;
            };
            self.send(flow, side, packet, size);
        }
        if let Some(deadline) = self.flows[flow].host(side).deadline() {
            self.wake_at(flow, side, deadline.max(self.now + Duration::from_nanos(1)));
        }
    }

    fn send(&mut self, flow: usize, side: Side, packet: Vec<u8>, size: u64) {
        if side == Side::Receiver {
            let arrival = self.now + self.bottleneck.path.rtt / 2;
            self.push(arrival, flow, Side::Sender, Event::Arrive(packet, 0));
            return;
        }
        // A little jitter, or flows that run in step would always lose the same one's packets.
        let time = self.bottleneck.path.time_for(size);
        let jitter = self.bottleneck.random(time.as_nanos() as u64 / 4 + 1);
        let nic = time / self.bottleneck.path.nic as u32;
        self.flows[flow].nic_free = self.now + nic + Duration::from_nanos(jitter);
        let ecn = self.flows[flow].sender.ecn();
        if let Some((arrival, ecn)) = self.bottleneck.enter(self.now, size, ecn) {
            self.push(
                arrival,
                flow,
                Side::Receiver,
                Event::Arrive(packet, ecn as u8),
            );
        }
    }

    fn wake_at(&mut self, flow: usize, side: Side, at: Time) {
        let wake = &mut self.flows[flow].wake[side as usize];
        if at != *wake {
            *wake = at;
            self.push(at, flow, side, Event::Wake);
        }
    }

    /// Bytes that each flow delivers in this time, as parts of what the link could carry.
    pub fn measure(&mut self, duration: Duration) -> Vec<f64> {
        let before: Vec<u64> = self.flows.iter().map(|f| f.receiver.delivered()).collect();
        self.run(duration);
        let capacity = self.bottleneck.path.rate as f64 * duration.as_secs_f64();
        self.flows
            .iter()
            .zip(before)
            .map(|(flow, before)| (flow.receiver.delivered() - before) as f64 / capacity)
            .collect()
    }

    /// How the senders see the path.
    pub fn describe(&self) -> Vec<String> {
        self.flows.iter().map(|f| f.sender.describe()).collect()
    }
}

/// Jain's index of fairness: 1 if all are equal, 1/n if one has it all.
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}
