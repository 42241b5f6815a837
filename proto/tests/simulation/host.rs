//! One host: an application that sends blocks and messages, checks what it receives, and owns a session.

use blk_proto::net::Ecn;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use blk_proto::session::{BlockMeta, CloseReason, Config, Event, Session, Transmit};
use blk_proto::time::Time;
use blk_proto::wire::{self, Packet};
use zerocopy::IntoBytes;

use crate::network::Network;
use crate::random::Random;

const BLOCK_STEP: u64 = 4096;
/// While a host has more to send than the NIC takes at once, it is called again after this.
const NIC_INTERVAL: Duration = Duration::from_micros(20);
/// While an application has more to do, it is called again after this.
const APPLICATION_INTERVAL: Duration = Duration::from_millis(1);

/// What a host does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Blocks of each transfer.
    pub transfers: Vec<u64>,
    /// Transfer that is cancelled when so many blocks have been queued in all.
    pub cancel: Option<(u32, u64)>,
    pub messages: u64,
    /// Blocks that this host grants.
    pub window: u64,
    /// Up to so many nanoseconds go by until a received block's frame is free again.
    pub disk: u64,
    /// So many nanoseconds a sent block sits in the NIC queue.
    pub nic: u64,
}

/// Owner of a block's payload; must not be lost or doubled.
#[derive(Debug)]
pub struct Block {
    id: u64,
    payload: Vec<u8>,
}

pub struct Host {
    /// 1: client, 2: server; the contents of blocks and messages depend on it.
    side: u64,
    plan: Plan,
    config: Config,
    random: Random,
    pub session: Option<Session<Block>>,
    pub closed: Option<CloseReason>,
    /// Blocks to queue, in random order.
    to_queue: VecDeque<(u32, u64)>,
    queued: u64,
    cancelled: HashSet<u32>,
    /// Blocks that the session has, and when their last transmission leaves the NIC.
    inside: HashMap<u64, Time>,
    pub acked: u64,
    pub returned: u64,
    messages_sent: u64,
    messages_received: u64,
    pub delivered: HashSet<(u32, u64)>,
    /// When received blocks are released.
    frames: VecDeque<Time>,
    credit_granted_at_once: u64,
}

/// Deterministic bytes, different for each key.
fn bytes(key: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(key);
    let first = random.next();
    (0..len)
        .map(|at| (first.rotate_left(at as u32 % 64) as u8) ^ (at as u8))
        .collect()
}

fn block_bytes(side: u64, transfer: u32, offset: u64) -> Vec<u8> {
    let key = (side << 60) ^ (u64::from(transfer) << 44) ^ offset;
    // Mostly short, for the sake of speed.
    let len = match offset / BLOCK_STEP % 16 {
        0 => 512,
        step => 1 + step * 3,
    };
    bytes(key, len as usize)
}

fn message_bytes(side: u64, index: u64) -> Vec<u8> {
    let len = match index % 50 {
        0 => 0,
        13 => 65_536,
        n => n * 37,
    };
    bytes((side << 60) ^ (1 << 59) ^ index, len as usize)
}

impl Host {
    pub fn new(side: u64, plan: Plan, mut config: Config, mut random: Random) -> Self {
        config.local.initial_credit = plan.window;
        let mut to_queue: Vec<(u32, u64)> = plan
            .transfers
            .iter()
            .zip(0u32..)
            .flat_map(|(&blocks, transfer)| (0..blocks).map(move |n| (transfer, n * BLOCK_STEP)))
            .collect();
        for at in (1..to_queue.len()).rev() {
            let other = random.within(at.saturating_sub(20) as u64, at as u64);
            to_queue.swap(at, other as usize);
        }
        Self {
            side,
            credit_granted_at_once: plan.window,
            plan,
            config,
            random,
            session: None,
            closed: None,
            to_queue: to_queue.into(),
            queued: 0,
            cancelled: HashSet::new(),
            inside: HashMap::new(),
            acked: 0,
            returned: 0,
            messages_sent: 0,
            messages_received: 0,
            delivered: HashSet::new(),
            frames: VecDeque::new(),
        }
    }

    pub fn connect(&mut self, now: Time) {
        self.session = Some(Session::connect(self.config.clone(), 0xc11e, now));
    }

    /// Takes in a datagram.
    pub fn receive(&mut self, now: Time, datagram: &[u8]) {
        let Ok(packet) = wire::open(datagram) else {
            return;
        };
        if self.session.is_none() {
            // A server without a session: a Hello makes one.
            self.session = Session::accept(self.config.clone(), 0x5e4e, &packet, now).ok();
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        let taken = session
            .handle_packet(now, &packet, Ecn::Capable0)
            .expect("an honest peer commits no violation");
        if let Some(meta) = taken {
            self.deliver(now, meta, &packet);
        }
    }

    fn deliver(&mut self, now: Time, meta: BlockMeta, packet: &Packet<'_>) {
        let expected = block_bytes(3 - self.side, meta.transfer, meta.offset);
        assert_eq!(packet.payload, expected, "wrong bytes in {meta:?}");
        assert_eq!(usize::from(meta.len), expected.len());
        assert_eq!(meta.crc, wire::payload_crc(&expected));
        let first = self.delivered.insert((meta.transfer, meta.offset));
        assert!(first, "delivered twice: {meta:?}");
        let ready = now + Duration::from_nanos(self.random.within(0, self.plan.disk));
        self.frames.push_back(ready);
        let (held, window) = (self.frames.len() as u64, self.credit_granted_at_once);
        assert!(held <= window, "{held} frames held, {window} granted");
    }

    /// The application's turn: frames back, events, blocks and messages to send.
    fn work(&mut self, now: Time) {
        self.release_frames(now);
        self.fetch_events();
        let Some(session) = &mut self.session else {
            return;
        };
        if self.closed.is_some() {
            return;
        }
        while self.messages_sent < self.plan.messages && self.random.chance(300_000) {
            if session
                .send_message(&message_bytes(self.side, self.messages_sent))
                .is_err()
            {
                break;
            }
            self.messages_sent += 1;
        }
        self.queue_blocks(now);
    }

    fn queue_blocks(&mut self, now: Time) {
        let Some(session) = &mut self.session else {
            return;
        };
        while session.queue_space() > 0 {
            let Some((transfer, offset)) = self.to_queue.pop_front() else {
                break;
            };
            if self.cancelled.contains(&transfer) {
                continue;
            }
            let payload = block_bytes(self.side, transfer, offset);
            let meta = BlockMeta {
                transfer,
                offset,
                len: payload.len() as u16,
                crc: wire::payload_crc(&payload),
            };
            let id = self.queued;
            self.queued += 1;
            self.inside.insert(id, now);
            session
                .queue_block(meta, Block { id, payload })
                .expect("there is room");
            if let Some((transfer, at)) = self.plan.cancel
                && at == self.queued
            {
                session.cancel_transfer(transfer);
                self.cancelled.insert(transfer);
                self.fetch_events();
                return;
            }
        }
    }

    fn release_frames(&mut self, now: Time) {
        let held = self.frames.len();
        self.frames.retain(|ready| *ready > now);
        let freed = held - self.frames.len();
        if let Some(session) = &mut self.session
            && freed > 0
        {
            session.release_credit(freed as u64);
        }
    }

    fn fetch_events(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        while let Some(event) = session.poll_event() {
            assert!(self.closed.is_none(), "{event:?} after Closed");
            match event {
                Event::Connected | Event::PayloadLimit(_) => {}
                Event::Message(message) => {
                    let expected = message_bytes(3 - self.side, self.messages_received);
                    assert!(
                        message == expected,
                        "message {} is wrong",
                        self.messages_received
                    );
                    self.messages_received += 1;
                }
                Event::Released {
                    transfer,
                    block,
                    acked,
                } => {
                    let known = self.inside.remove(&block.id);
                    assert!(known.is_some(), "block {} came back twice", block.id);
                    self.returned += 1;
                    self.acked += u64::from(acked);
                    let expected =
                        acked || self.cancelled.contains(&transfer) || session.is_closed();
                    assert!(
                        expected,
                        "block {} of transfer {transfer} was given up",
                        block.id
                    );
                }
                Event::Closed(reason) => {
                    assert!(self.inside.is_empty(), "blocks leaked at the end");
                    self.closed = Some(reason);
                }
            }
        }
        let stats = session.stats();
        let inside = self.config.max_queued_blocks + self.config.max_unacked_blocks;
        assert!(
            self.inside.len() <= inside,
            "the session holds too many blocks"
        );
        assert!(stats.held as usize <= self.frames.len());
        assert!(stats.cwnd <= self.config.max_in_flight);
    }

    /// Sends at most so many packets. Says whether there is nothing more to send.
    fn send(&mut self, now: Time, most: u64, network: &mut Network) -> bool {
        let Some(session) = &mut self.session else {
            return true;
        };
        for _ in 0..most {
            let inside = &self.inside;
            let Some(transmit) = session.poll_transmit(now, |block| inside[&block.id] <= now)
            else {
                return true;
            };
            let header = transmit.header();
            let mut datagram = header.as_bytes().to_vec();
            datagram.resize(usize::from(header.span.get()), 0);
            match transmit {
                Transmit::Inline { payload, .. } => datagram.extend_from_slice(payload),
                Transmit::Block {
                    payload_len, block, ..
                } => {
                    assert_eq!(block.payload.len(), usize::from(payload_len));
                    datagram.extend_from_slice(&block.payload);
                    let leaves = now + Duration::from_nanos(self.plan.nic);
                    let before = self.inside.insert(block.id, leaves);
                    assert!(
                        before.is_some_and(|at| at <= now),
                        "sent while in the NIC queue"
                    );
                }
            }
            network.send(now, datagram);
        }
        false
    }

    /// All that a driver does when it wakes up; says when to wake it again.
    pub fn turn(&mut self, now: Time, most: u64, network: &mut Network) -> Option<Time> {
        if let Some(session) = &mut self.session
            && session.poll_timeout().is_some_and(|at| at <= now)
        {
            session.handle_timeout(now);
        }
        self.work(now);
        if !self.send(now, most, network) {
            return Some(now + NIC_INTERVAL);
        }
        let timeout = self.session.as_ref().and_then(Session::poll_timeout);
        if let Some(at) = timeout {
            assert!(at > now, "the session does not come to rest");
        }
        let busy = !self.is_done() && self.closed.is_none();
        let application = busy.then(|| now + APPLICATION_INTERVAL);
        let frame = self.frames.iter().min().copied();
        [timeout, application, frame].into_iter().flatten().min()
    }

    /// Whether everything was sent, and acknowledged or cancelled.
    pub fn is_done(&self) -> bool {
        self.to_queue.is_empty()
            && self.inside.is_empty()
            && self.messages_sent == self.plan.messages
            && self.session.as_ref().is_some_and(Session::is_drained)
    }

    /// Checks that what the peer sent has arrived whole.
    pub fn check_received(&self, peer: &Self) {
        assert_eq!(self.messages_received, peer.plan.messages);
        let complete = |transfer: &u32| !peer.cancelled.contains(transfer);
        for (transfer, blocks) in (0u32..).zip(&peer.plan.transfers) {
            let here = self
                .delivered
                .iter()
                .filter(|(t, _)| *t == transfer)
                .count() as u64;
            assert!(here <= *blocks);
            assert!(
                here == *blocks || !complete(&transfer),
                "transfer {transfer} is not complete"
            );
        }
        assert_eq!(peer.returned, peer.queued, "blocks leaked");
    }
}
