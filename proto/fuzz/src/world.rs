//! Two sessions, what is on the way between them, and what must hold whatever happens to it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use blk_proto::net::Ecn;
use blk_proto::session::{
    BlockMeta, CloseCode, CloseReason, Config, Congestion, Event, Parameters, Session, Transmit,
};
use blk_proto::time::Time;
use blk_proto::wire::{self, HEADER_LEN, Header, Kind, Packet};
use zerocopy::IntoBytes;

use crate::{memory, reseal};

/// The side that connects.
pub const CLIENT: usize = 0;
/// The side that accepts.
pub const SERVER: usize = 1;

/// Most packets that a side may send at one point in time: it has 64 blocks, a window of control segments, Acks.
const MAX_BURST: usize = 4096;
/// Most packets on the way to a side; more are lost.
const MAX_ON_THE_WAY: usize = 512;
/// Most bytes that two sessions and their network may take: sent records and control streams are most of it.
const MAX_MEMORY: usize = 32 << 20;
/// Longest block.
const MAX_LEN: u16 = 3584;
const WINDOW: u64 = 64;
/// Longest packet that every path takes: a base payload with its header and padding.
const MIN_MTU: usize = 1200;
/// A side that has nothing to do until some time does nothing before.
const MAX_IDLE_TURNS: usize = 4;
const DELAY: Duration = Duration::from_micros(100);
const T0: Time = Time::from_nanos(1_000_000_000);

/// A block: its number is its transfer modulo 4 and its place in the file.
#[derive(Debug)]
struct Block {
    number: u64,
    len: u16,
}

impl Block {
    fn payload(number: u64, len: u16) -> Vec<u8> {
        (0..len).map(|at| (number as u8) ^ (at as u8)).collect()
    }
}

#[derive(Debug)]
struct Side {
    session: Session<Block>,
    /// Packets on the way to it.
    coming: VecDeque<Vec<u8>>,
    /// For each block that was queued, whether it came back.
    returned: Vec<bool>,
    /// Blocks of the other side that arrived.
    delivered: BTreeSet<u64>,
    messages_sent: VecDeque<Vec<u8>>,
    given: u64,
    closed: bool,
}

/// Two sessions and the network between them.
#[derive(Debug)]
pub struct World {
    now: Time,
    sides: [Side; 2],
    /// Longer packets do not get through, either way.
    mtu: usize,
    /// Somebody sent packets with a right checksum that are not what a session made of them: what arrives may be
    /// anything, and the sessions may close.
    forged: bool,
}

fn config(congestion: Congestion) -> Config {
    Config {
        congestion,
        local: Parameters {
            initial_credit: WINDOW,
            max_payload: MAX_LEN,
            ..Parameters::default()
        },
        max_queued_blocks: 64,
        max_unacked_blocks: 64,
        window_floor: 256,
        max_window: 256,
        ..Config::default()
    }
}

fn bytes(transmit: &Transmit<'_, Block>) -> Vec<u8> {
    let header = transmit.header();
    let mut packet = header.as_bytes().to_vec();
    packet.resize(usize::from(header.span.get()).max(HEADER_LEN), 0);
    match transmit {
        Transmit::Inline { payload, .. } => packet.extend_from_slice(payload),
        Transmit::Block { block, .. } => {
            packet.extend(Block::payload(block.number, block.len));
        }
    }
    packet
}

impl Side {
    fn new(session: Session<Block>) -> Self {
        Self {
            session,
            coming: VecDeque::new(),
            returned: Vec::new(),
            delivered: BTreeSet::new(),
            messages_sent: VecDeque::new(),
            given: 0,
            closed: false,
        }
    }

    fn send_all(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(transmit) = self.session.poll_transmit(now, |_| true) {
            packets.push(bytes(&transmit));
            assert!(packets.len() <= MAX_BURST, "it sends without end");
        }
        packets
    }
}

impl World {
    /// A client that has sent its Hello, and a server that has accepted it; the reply has not been sent.
    ///
    /// # Panics
    /// There is no Hello, or it is refused.
    #[must_use]
    pub fn greeting(congestion: Congestion) -> Self {
        let mut client = Side::new(Session::connect(config(congestion), 11, T0));
        let hello = client.send_all(T0).pop().expect("a Hello");
        let packet = wire::open(&hello).expect("whole");
        let server = Session::accept(config(congestion), 22, &packet, T0).expect("acceptable");
        Self {
            now: T0,
            sides: [client, Side::new(server)],
            mtu: usize::MAX,
            forged: false,
        }
    }

    /// The same, connected.
    ///
    /// # Panics
    /// The handshake fails.
    #[must_use]
    pub fn connected(congestion: Congestion) -> Self {
        let mut world = Self::greeting(congestion);
        world.clean_round();
        world.clean_round();
        assert!(world.sides.iter().all(|side| side.session.is_connected()));
        world
    }

    /// Puts what a side has to send on its way.
    pub fn transmit(&mut self, side: usize) {
        let mut packets = self.sides[side].send_all(self.now);
        packets.retain(|packet| packet.len() <= self.mtu);
        let coming = &mut self.sides[other(side)].coming;
        coming.extend(packets);
        coming.truncate(MAX_ON_THE_WAY);
    }

    /// The packet at this place on the way to `side` arrives, marked like this.
    pub fn deliver(&mut self, side: usize, place: usize, ecn: Ecn) {
        let coming = &mut self.sides[side].coming;
        if let Some(packet) = coming.remove(place % coming.len().max(1)) {
            self.arrive_marked(side, &packet, ecn);
        }
    }

    /// The same, and it stays on the way.
    pub fn duplicate(&mut self, side: usize, place: usize) {
        let coming = &self.sides[side].coming;
        if let Some(packet) = coming.get(place % coming.len().max(1)) {
            self.arrive(side, &packet.clone());
        }
    }

    /// The next packets to `side` are lost.
    pub fn lose(&mut self, side: usize, count: usize) {
        let coming = &mut self.sides[side].coming;
        coming.drain(..count.min(coming.len()));
    }

    /// The next packet to `side` arrives with a byte changed.
    pub fn corrupt(&mut self, side: usize, at: usize, by: u8) {
        if let Some(mut packet) = self.sides[side].coming.pop_front() {
            let at = at % packet.len();
            packet[at] ^= by;
            self.arrive(side, &packet);
        }
    }

    /// The next packet to `side` arrives without its end.
    pub fn truncate(&mut self, side: usize, len: usize) {
        if let Some(mut packet) = self.sides[side].coming.pop_front() {
            packet.truncate(len);
            self.arrive(side, &packet);
        }
    }

    /// The next packet to `side` arrives changed, with a checksum that is right.
    pub fn tamper(&mut self, side: usize, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(mut packet) = self.sides[side].coming.pop_front() {
            change(&mut packet);
            reseal(&mut packet);
            self.forged = true;
            self.arrive(side, &packet);
        }
    }

    /// A packet with this number and payload arrives at `side`.
    pub fn forge(&mut self, side: usize, kind: Kind, number: u64, payload: &[u8]) {
        self.forge_with(side, kind, [number, 0, 0], 0, payload);
    }

    /// A packet with this packet number, block number and offset arrives at `side`.
    pub fn forge_with(
        &mut self,
        side: usize,
        kind: Kind,
        [number, block, offset]: [u64; 3],
        transfer: u32,
        payload: &[u8],
    ) {
        let to = match kind {
            Kind::Hello | Kind::Reset => 0,
            _ => self.sides[side].session.local_id(),
        };
        let mut header = Header::new(kind, to);
        header.packet_number = number.into();
        header.block_number = block.into();
        header.offset = offset.into();
        header.transfer = transfer.into();
        let mut packet = header.as_bytes().to_vec();
        packet.extend_from_slice(payload);
        reseal(&mut packet);
        self.forged = true;
        self.arrive(side, &packet);
    }

    /// Packets of more than `len` bytes are lost from now on, if they are longer than every path must take.
    pub fn set_mtu(&mut self, len: usize) {
        self.mtu = len.max(MIN_MTU);
    }

    /// Time passes.
    pub fn advance(&mut self, nanos: u64) {
        self.now += Duration::from_nanos(nanos);
    }

    /// Time passes to the next deadline of a side, which does what it demands.
    ///
    /// # Panics
    /// It comes back with the same deadline without end.
    pub fn sleep(&mut self, side: usize) {
        if let Some(at) = self.sides[side].session.poll_timeout() {
            self.now = self.now.max(at);
            self.timeout(side);
        }
    }

    /// A side looks at the time.
    ///
    /// # Panics
    /// It has sent all it may, and still wants to be called at once.
    pub fn timeout(&mut self, side: usize) {
        for _ in 0..MAX_IDLE_TURNS {
            self.sides[side].session.handle_timeout(self.now);
            self.transmit(side);
            self.fetch(side);
            let deadline = self.sides[side].session.poll_timeout();
            if deadline.is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("deadline {:?} never passes", self.sides[side].session);
    }

    /// The application queues blocks.
    pub fn queue(&mut self, side: usize, count: usize, len: u16) {
        let side = &mut self.sides[side];
        let len = len % side.session.max_block().max(1) + 1;
        for _ in 0..count {
            let number = side.returned.len() as u64;
            let meta = BlockMeta {
                transfer: number as u32 % 4,
                offset: number * u64::from(MAX_LEN),
                len,
                crc: wire::payload_crc(&Block::payload(number, len)),
            };
            if side.session.queue_space() == 0 {
                return;
            }
            if side
                .session
                .queue_block(meta, Block { number, len })
                .is_ok()
            {
                side.returned.push(false);
            }
        }
    }

    /// It sends a message, if there is room.
    pub fn send_message(&mut self, side: usize, len: usize) {
        let side = &mut self.sides[side];
        let message: Vec<u8> = (0..len).map(|at| at as u8).collect();
        if side.session.send_message(&message).is_ok() {
            side.messages_sent.push_back(message);
        }
    }

    /// It cancels a transfer.
    pub fn cancel(&mut self, side: usize, transfer: u32) {
        self.sides[side].session.cancel_transfer(transfer % 4);
    }

    /// It has dealt with so many blocks.
    pub fn release(&mut self, side: usize, blocks: u64) {
        self.sides[side].session.release_credit(blocks);
    }

    /// It can hold so many blocks.
    pub fn set_window(&mut self, side: usize, blocks: u64) {
        self.sides[side].session.set_window(blocks);
    }

    /// It closes the session.
    pub fn close(&mut self, side: usize, code: u32) {
        let reason = CloseReason::Local(CloseCode(code));
        self.sides[side].session.close(reason);
    }

    /// What must hold at each point.
    ///
    /// # Panics
    /// It does not.
    pub fn check(&self) {
        assert!(memory::live() < MAX_MEMORY, "{} bytes", memory::live());
        for side in &self.sides {
            let stats = side.session.stats();
            assert_eq!(side.given, stats.packets_received + stats.dropped.total());
            assert!(stats.held <= 256, "{stats:?}");
            assert!(side.session.queue_space() <= 64);
            assert!(stats.lost >= stats.spurious);
        }
    }

    /// Ends it all: what the network does not touch any more arrives, and each block has come back.
    ///
    /// # Panics
    /// It is not so.
    pub fn finish(&mut self) {
        if !self.forged {
            self.settle();
        }
        for side in [CLIENT, SERVER] {
            self.close(side, 0);
            self.fetch(side);
            assert!(self.sides[side].closed, "Closed is the last event");
            assert!(self.sides[side].returned.iter().all(|back| *back));
            self.sides[side].send_all(self.now);
            assert!(self.sides[side].session.poll_timeout().is_none());
        }
        self.check();
    }

    /// A clean network until nothing is left to do.
    fn settle(&mut self) {
        for side in [CLIENT, SERVER] {
            self.fetch(side);
            self.set_window(side, WINDOW);
        }
        for _ in 0..4000 {
            let [client, server] = &self.sides;
            if client.session.is_closed() || server.session.is_closed() {
                return;
            }
            let connected = client.session.is_connected() && server.session.is_connected();
            if connected && client.session.is_drained() && server.session.is_drained() {
                assert!(client.messages_sent.is_empty() && server.messages_sent.is_empty());
                return;
            }
            self.clean_round();
        }
        panic!("no progress on a clean network: {self:#?}");
    }

    /// What is on the way arrives; if nothing was, time passes to the next deadline.
    fn clean_round(&mut self) {
        for side in [CLIENT, SERVER] {
            self.release(side, u64::MAX);
            self.timeout(side);
        }
        let deadlines = self.sides.iter().map(|side| side.session.poll_timeout());
        let next = deadlines.flatten().min();
        self.now += DELAY;
        if self.sides.iter().all(|side| side.coming.is_empty()) {
            self.now = self.now.max(next.unwrap_or(self.now));
        }
        for side in [CLIENT, SERVER] {
            for packet in std::mem::take(&mut self.sides[side].coming) {
                self.arrive(side, &packet);
            }
        }
        for side in [CLIENT, SERVER] {
            self.timeout(side);
        }
    }

    fn arrive(&mut self, side: usize, bytes: &[u8]) {
        self.arrive_marked(side, bytes, Ecn::Capable0);
    }

    fn arrive_marked(&mut self, side: usize, bytes: &[u8], ecn: Ecn) {
        let Ok(packet) = wire::open(bytes) else {
            return;
        };
        let here = &mut self.sides[side];
        here.given += 1;
        let was_closed = here.session.is_closed();
        match here.session.handle_packet(self.now, &packet, ecn) {
            Ok(Some(meta)) => self.on_block(side, meta, &packet),
            Ok(None) => {}
            Err(violation) => {
                assert!(self.forged, "a session broke the protocol: {violation}");
                assert!(!was_closed && here.session.is_closed());
            }
        }
        self.fetch(side);
    }

    fn on_block(&mut self, side: usize, meta: BlockMeta, packet: &Packet<'_>) {
        assert_eq!(usize::from(meta.len), packet.payload.len());
        if self.forged {
            return;
        }
        let number = meta.offset / u64::from(MAX_LEN);
        assert_eq!(packet.payload, Block::payload(number, meta.len));
        assert!(self.sides[side].delivered.insert(number), "twice");
    }

    /// Takes the events of a side.
    fn fetch(&mut self, side: usize) {
        while let Some(event) = self.sides[side].session.poll_event() {
            assert!(!self.sides[side].closed, "{event:?} after Closed");
            match event {
                Event::Message(message) if !self.forged => {
                    let sent = self.sides[other(side)].messages_sent.pop_front();
                    assert_eq!(Some(message), sent);
                }
                Event::Released { block, acked, .. } => self.on_released(side, &block, acked),
                Event::Closed(_) => self.sides[side].closed = true,
                _ => {}
            }
        }
    }

    fn on_released(&mut self, side: usize, block: &Block, acked: bool) {
        let back = &mut self.sides[side].returned[block.number as usize];
        assert!(!std::mem::replace(back, true), "a block came back twice");
        if acked && !self.forged {
            let delivered = &self.sides[other(side)].delivered;
            assert!(delivered.contains(&block.number), "acknowledged, not there");
        }
    }
}

const fn other(side: usize) -> usize {
    1 - side
}
