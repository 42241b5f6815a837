//! One session being driven: packets in and out, events, and what must hold at each step.

use core::time::Duration;
use std::collections::VecDeque;

use super::chat::Message;
use super::frames::{Frame, Frames};
use super::invariants::Broken;
use super::network::{Address, Datagram, Network};
use super::tally::{Count, Tally};
use crate::geometry::base_payload;
use crate::net::Ecn;
use crate::session::{BlockMeta, CloseReason, Config, Event, Parameters, Reset, Session, Transmit};
use crate::time::Time;
use crate::wire::{self, Packet};
use zerocopy::IntoBytes;

/// While a host has more to send than its NIC takes at once, it is called again after this.
pub const NIC_INTERVAL: Duration = Duration::from_micros(20);

/// A block that a session has, to send.
#[derive(Debug)]
pub struct Block {
    /// Its bytes.
    pub frame: Frame,
    /// Where it starts in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u16,
}

/// What an application learns from a session.
#[derive(Debug)]
pub enum Happening {
    /// The handshake is done.
    Connected,
    /// A message came.
    Message(Message),
    /// A block came back.
    Returned {
        /// Its transfer.
        transfer: u32,
        /// The block.
        block: Block,
        /// Whether the peer has it.
        acked: bool,
    },
    /// It is over.
    Closed(CloseReason),
}

/// How a host's NIC behaves.
#[derive(Copy, Clone, Debug, Default)]
pub struct Nic {
    /// Nanoseconds that a block sits in its queue.
    pub queued: u64,
    /// Packets that it takes at once, at most.
    pub burst: u64,
}

/// A session, the messages that wait for it, and what it has done.
#[derive(Debug)]
pub struct Pump {
    /// The session.
    pub session: Session<Block>,
    me: Address,
    peer: Address,
    nic: Nic,
    /// Most blocks that it may have.
    capacity: usize,
    /// Blocks that it may hold, received and not released; the largest window it ever had.
    window: u64,
    said: u64,
    heard: u64,
    waiting: VecDeque<Vec<u8>>,
    delivered: Numbers,
    /// Blocks that it has, to send.
    inside: usize,
    starved: bool,
    is_over: bool,
    scratch: Vec<u8>,
}

impl Pump {
    /// Drives this session, which has that configuration, between these addresses.
    #[must_use]
    pub fn new(
        session: Session<Block>,
        config: &Config,
        (me, peer): (Address, Address),
        nic: Nic,
    ) -> Self {
        Self {
            session,
            me,
            peer,
            nic,
            capacity: config.max_queued_blocks + config.max_unacked_blocks,
            window: config.local.initial_credit,
            said: 0,
            heard: 0,
            waiting: VecDeque::new(),
            delivered: Numbers::default(),
            inside: 0,
            starved: false,
            is_over: false,
            scratch: Vec::new(),
        }
    }

    /// Blocks that it has, to send.
    #[must_use]
    pub const fn inside(&self) -> usize {
        self.inside
    }

    /// Whether the last event has been fetched.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Longest block that the session takes now.
    #[must_use]
    pub const fn max_block(&self) -> u16 {
        self.session.max_block()
    }

    /// Changes how many blocks the peer may have outstanding.
    pub fn set_window(&mut self, window: u64) {
        self.window = self.window.max(window);
        self.session.set_window(window);
    }

    /// Whether this block may come back unacknowledged though nobody cancelled it.
    #[must_use]
    pub fn may_cut_anew(&self, block: &Block) -> bool {
        let fits_every_path =
            |peer: &Parameters| block.len <= base_payload(peer.payload_offset, peer.granule);
        self.session.is_closed() || !self.session.peer().is_some_and(fits_every_path)
    }

    /// Whether a packet is for this session. A Reset names it by the id of its peer.
    #[must_use]
    pub fn is_for_it(&self, packet: &Packet<'_>) -> bool {
        match Reset::read(packet) {
            Some(reset) => self.session.peer_id() == Some(reset.session),
            None => self.session.local_id() == packet.header.session.get(),
        }
    }

    /// Takes in a packet; gives what it says of a block in it.
    ///
    /// # Errors
    /// The session is wrong about the packet.
    pub fn handle(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        ecn: Ecn,
    ) -> Result<Option<BlockMeta>, Broken> {
        let Some(meta) = self.session.handle_packet(now, packet, ecn)? else {
            return Ok(None);
        };
        if usize::from(meta.len) != packet.payload.len() || meta.crc != packet.payload_crc {
            return Err(Broken::WrongMeta {
                reported: usize::from(meta.len),
                actual: packet.payload.len(),
            });
        }
        let number = packet.header.block_number.get();
        if !self.delivered.insert(number) {
            return Err(Broken::DeliveredTwice(number));
        }
        Ok(Some(meta))
    }

    /// Says something, now or as soon as there is room.
    pub fn say(&mut self, message: Message, filler: usize) {
        self.waiting.push_back(message.encode(self.said, filler));
        self.said += 1;
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(message) = self.waiting.front() {
            if self.session.send_message(message).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
    }

    /// Whether everything that was said and queued has arrived.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.session.is_drained()
    }

    /// Gives a block to the session; `Err` gives it back, if there is no room.
    ///
    /// # Errors
    /// The block.
    pub fn queue(&mut self, meta: BlockMeta, block: Block) -> Result<(), Block> {
        self.session.queue_block(meta, block)?;
        self.inside += 1;
        Ok(())
    }

    /// What has happened, one after the other.
    ///
    /// # Errors
    /// It must not have.
    pub fn next(&mut self, tally: &mut Tally) -> Result<Option<Happening>, Broken> {
        let mut event = self.session.poll_event();
        while let Some(Event::PayloadLimit(_)) = event {
            tally.hit(Count::PayloadLimits);
            event = self.session.poll_event();
        }
        let Some(event) = event else {
            return Ok(None);
        };
        if self.is_over {
            return Err(Broken::EventAfterClosed(format!("{event:?}")));
        }
        Ok(Some(match event {
            Event::Connected => Happening::Connected,
            // Dealt with above.
            Event::PayloadLimit(_) => return Ok(None),
            Event::Message(bytes) => {
                let message = Message::decode(&bytes, self.heard, &mut self.scratch)?;
                self.heard += 1;
                tally.hit(Count::Messages);
                Happening::Message(message)
            }
            Event::Released {
                transfer,
                block,
                acked,
            } => {
                self.inside = self
                    .inside
                    .checked_sub(1)
                    .ok_or(Broken::ReturnedTwice(block.offset))?;
                tally.add(Count::Returned, u64::from(!acked));
                Happening::Returned {
                    transfer,
                    block,
                    acked,
                }
            }
            Event::Closed(reason) => {
                self.is_over = true;
                if self.inside > 0 {
                    return Err(Broken::Leaked(self.inside));
                }
                Happening::Closed(reason)
            }
        }))
    }

    /// Lets the session do what its time demands; to be called before events are fetched.
    pub fn tick(&mut self, now: Time) {
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
    }

    /// Sends what the NIC takes; says when to come back.
    ///
    /// # Errors
    /// The session does not come to rest, or sends what it must not.
    pub fn transmit(
        &mut self,
        now: Time,
        frames: &mut Frames,
        network: &mut Network,
    ) -> Result<Option<Time>, Broken> {
        self.flush();
        for _ in 0..self.nic.burst.max(1) {
            let idle = |block: &Block| frames.has_left(now, &block.frame);
            let Some(transmit) = self.session.poll_transmit(now, idle) else {
                self.count_starvation(&mut network.tally);
                let deadline = self.session.poll_timeout();
                if deadline.is_some_and(|at| at <= now) {
                    return Err(Broken::BusyLoop);
                }
                return Ok(deadline);
            };
            let mut bytes = network.buffer();
            let header = transmit.header();
            bytes.extend_from_slice(header.as_bytes());
            bytes.resize(usize::from(header.span.get()).max(wire::HEADER_LEN), 0);
            match transmit {
                Transmit::Inline { payload, .. } => bytes.extend_from_slice(payload),
                Transmit::Block { block, .. } => {
                    bytes.extend_from_slice(frames.bytes(&block.frame));
                    let leaves = now + Duration::from_nanos(self.nic.queued);
                    frames.transmit(block.frame.index(), leaves);
                }
            }
            let packet = Datagram {
                from: self.me,
                to: self.peer,
                ecn: Ecn::Capable0,
                bytes,
            };
            network.send(now, packet)?;
        }
        Ok(Some(now + NIC_INTERVAL))
    }

    fn count_starvation(&mut self, tally: &mut Tally) {
        let starved =
            self.inside > 0 && self.session.is_connected() && self.session.stats().credit == 0;
        tally.add(Count::Starved, u64::from(starved && !self.starved));
        self.starved = starved;
    }

    /// What must hold at each step. `held`: blocks from this session that the host has.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, held: u64) -> Result<(), Broken> {
        let stats = self.session.stats();
        if stats.held != held {
            return Err(Broken::HeldCount {
                session: stats.held,
                host: held,
            });
        }
        if held > self.window {
            return Err(Broken::HeldBeyondGrant {
                held,
                window: self.window,
            });
        }
        let mut broken = None;
        self.session.footprint(|what, size, limit| {
            if size > limit {
                broken = Some(Broken::Memory { what, size, limit });
            }
        });
        if let Some(broken) = broken {
            return Err(broken);
        }
        if self.session.outstanding_credit() > self.window {
            return Err(Broken::HeldBeyondGrant {
                held: self.session.outstanding_credit(),
                window: self.window,
            });
        }
        if self.inside > self.capacity {
            return Err(Broken::Memory {
                what: "blocks in a session",
                size: self.inside,
                limit: self.capacity,
            });
        }
        Ok(())
    }

    /// Adds what the session counted.
    pub fn retire(&self, tally: &mut Tally) {
        let stats = self.session.stats();
        tally.add(Count::Retransmitted, stats.retransmitted);
        tally.add(Count::Spurious, stats.spurious);
        tally.add(Count::Probes, stats.probes);
    }
}

/// A set of block numbers.
#[derive(Debug, Default)]
struct Numbers(Vec<u64>);

impl Numbers {
    /// Adds one; says whether it is new.
    fn insert(&mut self, number: u64) -> bool {
        let (word, mask) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & mask == 0;
        self.0[word] |= mask;
        is_new
    }
}
