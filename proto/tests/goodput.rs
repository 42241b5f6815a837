//! How much of a link sessions use, in virtual time: with random loss, and when several share one queue.
//!
//! ```text
//!   sender 0 ──┐                                   ┌──► receiver 0
//!   sender 1 ──┼─► queue of 1000 ─► link ─► delay ─┼──► receiver 1      Acks: delay and loss only
//!   …        ──┘   (drops when full)   random loss └──► …
//! ```

use blk_proto::net::Ecn;
use std::collections::VecDeque;
use std::time::Duration;

use blk_proto::session::{BlockMeta, Config, Event, Parameters, Session, Transmit};
use blk_proto::time::Time;
use blk_proto::wire;
use zerocopy::IntoBytes;

const TICK: Duration = Duration::from_micros(10);
/// Packets that the link carries in a tick: 200,000 a second.
const LINK: usize = 2;
const QUEUE: usize = 1000;
const CREDIT: u64 = 8192;
/// A NIC takes so many packets in a tick from one sender.
const BURST: usize = 32;

struct Flow {
    sender: Session<()>,
    receiver: Session<()>,
    delivered: u64,
}

fn config(initial_credit: u64) -> Config {
    let local = Parameters {
        initial_credit,
        ..Parameters::default()
    };
    Config {
        local,
        ..Config::default()
    }
}

fn bytes(transmit: &Transmit<'_, ()>) -> Vec<u8> {
    let mut bytes = transmit.header().as_bytes().to_vec();
    bytes.resize(usize::from(transmit.header().span.get()), 0);
    match transmit {
        Transmit::Inline { payload, .. } => bytes.extend_from_slice(payload),
        Transmit::Block { .. } => bytes.push(b'x'),
    }
    bytes
}

impl Flow {
    /// Sender and receiver that have known each other for a moment.
    fn new(id: u32, now: Time, rtt: Duration) -> Self {
        let start = Time::from_nanos(now.as_nanos() - rtt.as_nanos() as u64);
        let mut sender = Session::connect(config(0), 2 * id + 1, start);
        let hello = bytes(&sender.poll_transmit(start, |_| true).expect("a Hello"));
        let hello = wire::open(&hello).expect("whole");
        let mut receiver =
            Session::accept(config(CREDIT), 2 * id + 2, &hello, now).expect("acceptable");
        let reply = bytes(&receiver.poll_transmit(now, |_| true).expect("a reply"));
        let reply = wire::open(&reply).expect("whole");
        sender
            .handle_packet(now, &reply, Ecn::Capable0)
            .expect("a good reply");
        Self {
            sender,
            receiver,
            delivered: 0,
        }
    }

    fn fill(&mut self) {
        let meta = BlockMeta {
            transfer: 1,
            offset: 0,
            len: 1,
            crc: wire::payload_crc(b"x"),
        };
        while self.sender.queue_block(meta, ()).is_ok() {}
        while let Some(event) = self.sender.poll_event() {
            assert!(!matches!(event, Event::Closed(_)), "{event:?}");
        }
    }

    fn deliver(&mut self, now: Time, packet: &[u8]) {
        let packet = wire::open(packet).expect("whole");
        let taken = self
            .receiver
            .handle_packet(now, &packet, Ecn::Capable0)
            .expect("no violation");
        if taken.is_some() {
            self.delivered += 1;
            self.receiver.release_credit(1);
        }
    }
}

/// Packets with the time they arrive and the flow they belong to.
type Pipe = VecDeque<(Time, usize, Vec<u8>)>;

struct Link {
    now: Time,
    flows: Vec<Flow>,
    queue: VecDeque<(usize, Vec<u8>)>,
    out: Pipe,
    back: Pipe,
    delay: Duration,
    loss_per_million: u64,
    random: u64,
}

impl Link {
    fn new(rtt: Duration, loss_per_million: u64) -> Self {
        Self {
            now: Time::from_nanos(1_000_000_000),
            flows: Vec::new(),
            queue: VecDeque::new(),
            out: Pipe::new(),
            back: Pipe::new(),
            delay: rtt / 2,
            loss_per_million,
            random: 1,
        }
    }

    fn join(&mut self) {
        let id = self.flows.len() as u32;
        self.flows.push(Flow::new(id, self.now, 2 * self.delay));
    }

    fn lose(&mut self) -> bool {
        // Knuth's MMIX generator; its high bits are good enough here.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % 1_000_000 < self.loss_per_million
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += TICK;
            self.tick();
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        while self.out.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, flow, packet)) = self.out.pop_front() else {
                break;
            };
            self.flows[flow].deliver(now, &packet);
        }
        while self.back.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, flow, packet)) = self.back.pop_front() else {
                break;
            };
            let packet = wire::open(&packet).expect("whole");
            self.flows[flow]
                .sender
                .handle_packet(now, &packet, Ecn::Capable0)
                .expect("no violation");
        }
        for index in 0..self.flows.len() {
            // Who comes first takes turns, or the last would find the queue full.
            let flow = (index + now.as_nanos() as usize / 10_000) % self.flows.len();
            self.drive(flow);
        }
        for _ in 0..LINK {
            if let Some((flow, packet)) = self.queue.pop_front()
                && !self.lose()
            {
                self.out.push_back((now + self.delay, flow, packet));
            }
        }
    }

    fn drive(&mut self, index: usize) {
        let now = self.now;
        let flow = &mut self.flows[index];
        flow.sender.handle_timeout(now);
        flow.receiver.handle_timeout(now);
        flow.fill();
        for _ in 0..BURST {
            let Some(transmit) = flow.sender.poll_transmit(now, |_| true) else {
                break;
            };
            if self.queue.len() < QUEUE {
                self.queue.push_back((index, bytes(&transmit)));
            }
        }
        let mut acks = Vec::new();
        while let Some(transmit) = flow.receiver.poll_transmit(now, |_| true) {
            acks.push(bytes(&transmit));
        }
        for ack in acks {
            if !self.lose() {
                self.back.push_back((now + self.delay, index, ack));
            }
        }
    }

    /// Blocks that each flow delivers in this time.
    fn measure(&mut self, duration: Duration) -> Vec<u64> {
        let before: Vec<u64> = self.flows.iter().map(|flow| flow.delivered).collect();
        self.run(duration);
        self.flows
            .iter()
            .zip(before)
            .map(|(flow, before)| flow.delivered - before)
            .collect()
    }
}

fn goodput(rtt: Duration, loss_per_million: u64) -> f64 {
    let mut link = Link::new(rtt, loss_per_million);
    link.join();
    link.run(10 * rtt + Duration::from_millis(20));
    let time = Duration::from_millis(150);
    let capacity = time.as_nanos() as f64 / TICK.as_nanos() as f64 * LINK as f64;
    let share = link.measure(time)[0] as f64 / capacity;
    let stats = link.flows[0].sender.stats();
    println!("{rtt:?}, {loss_per_million} per million lost: {share:.3} of the link; {stats:?}");
    share
}

#[test]
fn loss_costs_little() {
    for rtt in [50, 1_000, 10_000].map(Duration::from_micros) {
        let clean = goodput(rtt, 0);
        assert!(clean > 0.9, "{rtt:?}: {clean} without loss");
        let (little, more) = (goodput(rtt, 1_000), goodput(rtt, 10_000));
        assert!(
            little > 0.8 * clean,
            "{rtt:?}: {little} of {clean} at 0.1 % loss"
        );
        assert!(more > 0.5 * clean, "{rtt:?}: {more} of {clean} at 1 % loss");
    }
}

#[test]
fn flows_share_a_link() {
    let mut link = Link::new(Duration::from_micros(500), 0);
    for _ in 0..4 {
        link.join();
        link.run(Duration::from_millis(50));
    }
    // It takes cuts of their windows to make them equal.
    link.run(Duration::from_millis(700));
    let shares = link.measure(Duration::from_millis(300));
    println!("{shares:?}");
    let (total, least, most) = (
        shares.iter().sum::<u64>(),
        shares.iter().min().copied().unwrap_or_default(),
        shares.iter().max().copied().unwrap_or_default(),
    );
    assert!(total > 54_000, "{total} of 60000 packets arrived");
    assert!(most < 2 * least, "{shares:?}");
}
