//! Two sessions in the middle of transfers, and all that can be known about what happens to them.

use std::collections::VecDeque;
use std::time::Duration;

use blk_proto::drops::Drops;
use blk_proto::net::Ecn;
use blk_proto::session::{BlockMeta, CloseCode, CloseReason, Config, Event};
use blk_proto::session::{Parameters, Session, Transmit};
use blk_proto::time::Time;
use blk_proto::wire::{self, HEADER_LEN, Header, Kind, Packet, TAG_LEN};
use zerocopy::{FromBytes, IntoBytes};

use crate::memory;
use crate::random::Random;

/// Most memory that two sessions, what is on the way between them and what the test keeps may take.
const MAX_MEMORY: usize = 16 << 20;
const LEN: u16 = 200;
const STEP: Duration = Duration::from_micros(200);
/// Session ids of client and server.
pub const IDS: [u32; 2] = [0x1111_0001, 0x2222_0002];

pub fn payload_of(number: u64) -> Vec<u8> {
    (0..LEN).map(|at| (number as u8) ^ (at as u8)).collect()
}

fn bytes(transmit: &Transmit<'_, u64>) -> Vec<u8> {
    let header = transmit.header();
    let mut packet = header.as_bytes().to_vec();
    packet.resize(usize::from(header.span.get()).max(HEADER_LEN), 0);
    match transmit {
        Transmit::Inline { payload, .. } => packet.extend_from_slice(payload),
        Transmit::Block { block, .. } => packet.extend(payload_of(**block)),
    }
    packet
}

/// Gives a packet of any content the right checksum and length.
pub fn reseal(packet: &mut [u8]) {
    let Ok((mut header, _)) = Header::read_from_prefix(packet) else {
        return;
    };
    let mut span = HEADER_LEN;
    if header.kind != Kind::Refuse as u8 {
        span = usize::from(header.span.get()).clamp(HEADER_LEN, packet.len());
        header.span.set(span as u16);
    }
    let payload = &packet[span..];
    header.payload_len.set(payload.len() as u16);
    header.tag = [0; TAG_LEN];
    wire::seal(&mut header, wire::payload_crc(payload));
    packet[..HEADER_LEN].copy_from_slice(header.as_bytes());
}

fn config() -> Config {
    Config {
        local: Parameters {
            initial_credit: 256,
            ..Parameters::default()
        },
        max_queued_blocks: 256,
        max_unacked_blocks: 512,
        max_window: 1024,
        ..Config::default()
    }
}

/// One end, and all that can be known about what happened to it.
pub struct Side {
    pub session: Session<u64>,
    /// Whether all that gets through the checksum was made by the other side.
    trusts: bool,
    pub given: u64,
    pub wire: Drops,
    /// Blocks that came back, by number.
    pub returned: Vec<bool>,
    pub acked: u64,
    pub delivered: Vec<bool>,
    pub messages: u64,
    pub closed: Option<CloseReason>,
}

impl Side {
    fn new(session: Session<u64>, trusts: bool) -> Self {
        Self {
            session,
            trusts,
            given: 0,
            wire: Drops::default(),
            returned: Vec::new(),
            acked: 0,
            delivered: Vec::new(),
            messages: 0,
            closed: None,
        }
    }

    /// A packet arrives.
    pub fn take(&mut self, now: Time, bytes: &[u8]) {
        self.given += 1;
        let packet = match wire::open(bytes) {
            Ok(packet) => packet,
            Err(error) => return self.wire.count(&error),
        };
        match self.session.handle_packet(now, &packet, Ecn::Capable0) {
            Ok(Some(meta)) => self.on_block(meta, &packet),
            Ok(None) => {}
            Err(violation) => assert!(!self.trusts, "{violation}"),
        }
    }

    fn on_block(&mut self, meta: BlockMeta, packet: &Packet<'_>) {
        self.session.release_credit(1);
        if !self.trusts {
            return;
        }
        let number = meta.offset / u64::from(LEN);
        assert_eq!(packet.payload, payload_of(number));
        let at = number as usize;
        if self.delivered.len() <= at {
            self.delivered.resize(at + 1, false);
        }
        assert!(!std::mem::replace(&mut self.delivered[at], true), "twice");
    }

    pub fn fetch(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert_eq!(self.closed, None, "Closed is the last event");
            match event {
                Event::Released { block, acked, .. } => {
                    let back = &mut self.returned[block as usize];
                    assert!(!std::mem::replace(back, true), "it came back twice");
                    self.acked += u64::from(acked);
                }
                Event::Message(_) => self.messages += 1,
                Event::Closed(reason) => self.closed = Some(reason),
                _ => {}
            }
        }
    }

    /// Queues blocks, so many if there is room, and a message.
    pub fn fill(&mut self, blocks: usize) {
        for _ in 0..blocks.min(self.session.queue_space()) {
            let number = self.returned.len() as u64;
            let meta = BlockMeta {
                transfer: number as u32 % 4,
                offset: number * u64::from(LEN),
                len: LEN,
                crc: wire::payload_crc(&payload_of(number)),
            };
            assert!(self.session.queue_block(meta, number).is_ok());
            self.returned.push(false);
        }
        if self.session.control_capacity() > 1000 {
            self.session.send_message(&[7; 300]).expect("there is room");
        }
    }

    /// Each packet was taken in or dropped for a reason.
    pub fn assert_accounts(&self) {
        let stats = self.session.stats();
        let accounted = self.wire.total() + stats.packets_received + stats.dropped.total();
        assert_eq!(self.given, accounted, "{stats:?}");
    }
}

/// Two sessions, and the packets that their network has seen.
pub struct Pair {
    pub sides: [Side; 2],
    pub now: Time,
    /// For each side, what lately arrived there: what an enemy on the path can work with.
    pub seen: [VecDeque<Vec<u8>>; 2],
    pub random: Random,
}

impl Pair {
    pub fn new(random: Random, now: Time, trusts: bool) -> Self {
        let mut client = Session::connect(config(), IDS[0], now);
        let hello = bytes(&client.poll_transmit(now, |_| true).expect("a Hello"));
        let packet = wire::open(&hello).expect("whole");
        let server = Session::accept(config(), IDS[1], &packet, now).expect("acceptable");
        let mut pair = Self {
            sides: [Side::new(client, trusts), Side::new(server, trusts)],
            now,
            seen: [VecDeque::new(), VecDeque::from([hello])],
            random,
        };
        while !pair.sides.iter().all(|side| side.session.is_connected()) {
            pair.round(|_, _| {});
        }
        pair
    }

    /// Both sides send what they have, and it arrives, until one of them closes. Before each packet `enemy` has its turn
    /// at that side.
    pub fn round(&mut self, mut enemy: impl FnMut(&mut Self, usize)) {
        for to in [0, 1] {
            let from = &mut self.sides[1 - to];
            from.session.handle_timeout(self.now);
            let mut packets = Vec::new();
            while let Some(transmit) = from.session.poll_transmit(self.now, |_| true) {
                packets.push(bytes(&transmit));
                assert!(packets.len() < 5000, "it sends without end");
            }
            from.fetch();
            for packet in packets {
                enemy(self, to);
                self.sides[to].take(self.now, &packet);
                let seen = &mut self.seen[to];
                if seen.len() >= 100 {
                    seen.pop_front();
                }
                seen.push_back(packet);
                self.sides[to].fetch();
                if self.is_over() {
                    return;
                }
            }
        }
        self.now += STEP;
        let live = memory::live();
        assert!(live < MAX_MEMORY, "{live} bytes");
    }

    /// Whether one of them has closed.
    pub fn is_over(&self) -> bool {
        self.sides.iter().any(|side| side.closed.is_some())
    }

    pub fn sample(&mut self, to: usize) -> Vec<u8> {
        let at = self.random.below(self.seen[to].len());
        self.seen[to][at].clone()
    }

    /// Changes bytes that the checksum covers: padding is ignored.
    pub fn mutate(&mut self, packet: &mut [u8]) {
        let original = packet.to_vec();
        let span = wire::open(&original).map_or(HEADER_LEN, |p| p.header.span.get().into());
        let padding = if original[1] == Kind::Refuse as u8 {
            HEADER_LEN..HEADER_LEN
        } else {
            HEADER_LEN..span
        };
        while packet == original {
            for _ in 0..=self.random.below(4) {
                let at = self.random.below(packet.len());
                if !padding.contains(&at) {
                    packet[at] ^= self.random.next() as u8;
                }
            }
        }
    }

    /// Ends both sessions: every block has come back, every packet is accounted for.
    pub fn end(&mut self) {
        for side in &mut self.sides {
            side.session.close(CloseReason::Local(CloseCode::DONE));
            side.fetch();
            assert!(side.closed.is_some());
            assert!(side.returned.iter().all(|back| *back));
            side.assert_accounts();
        }
    }
}
