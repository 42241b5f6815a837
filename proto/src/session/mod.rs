//! A session between two hosts: handshake, blocks under credit, control messages, acknowledgements, loss recovery.
//!
//! [`Session`] is a state machine without input or output of its own. Whoever drives it does this, in this order,
//! whenever packets or a deadline have come, or it has given the session something to do:
//!
//! 1. [`Session::handle_packet`] for every packet that waits ([`crate::wire::open`] lets through what is whole);
//! 2. [`Session::handle_timeout`], if [`Session::poll_timeout`] is not in the future. After the packets: an
//!    acknowledgement that already waits must not be taken for missing;
//! 3. [`Session::poll_event`] until `None`. Messages that are not fetched stop the peer's control stream;
//! 4. [`Session::poll_transmit`] while there is room to send, until `None`. What it gives counts as sent;
//! 5. [`Session::poll_timeout`] says when to come back at the latest.
//!
//! ```text
//!            client                                             server
//!   connect ──► Greeting ── Hello ─────────────────────────► accept ──► Accepted
//!                  │  again after 100, 200, 400, 800, 1000 … ms │ one reply for each Hello, nothing else
//!                  │ ◄──────────────────────────── HelloReply ──┘ │
//!                  ▼                                              │
//!              Connected ── Control (a ping, or a message) ─────► ▼ first packet with the server's id
//!                  │ ◄────── Control, Data, Ack, both ways ───► Connected
//!                  ▼                                              ▼
//!               Closed   by close(), Close, silence, refusal or violation
//! ```
//!
//! | module | concern |
//! |---|---|
//! | `handshake`, `opening` | the packets outside of an open session, and what a session makes of them |
//! | `acceptor` | what a server makes of packets that belong to no session |
//! | `id` | session ids that name a worker |
//! | `blocks` | the sender's blocks, from queue to release |
//! | `credit`, `window` | the receiver's grant, and each block once |
//! | `control` | the stream of messages, both sides |
//! | `ack`, `ranges` | what arrived, when to say so |
//! | `recovery`, `rtt`, `fate` | what was lost |
//! | `delivery` | whether more than pings arrives |
//! | `congestion`, `pacer` | how much may be in flight, how fast it goes out |
//! | `pmtu` | how long a block may be, so that the path takes it |
//! | `receive`, `transmit`, `timers` | the session's entry points, which put those together |

mod acceptor;
mod ack;
mod blocks;
mod config;
mod congestion;
mod control;
mod credit;
mod delivery;
mod fate;
mod handshake;
mod id;
mod opening;
mod outbox;
mod pacer;
mod pmtu;
mod ranges;
mod receive;
mod recovery;
mod rtt;
mod stats;
mod timers;
mod transmit;
mod types;
mod window;

use crate::time::Time;
use crate::wire::{HEADER_LEN, Packet};

use ack::{Acknowledger, MAX_ACK_LEN};
use blocks::Blocks;
use config::nanos;
use control::{ControlReceiver, ControlSender};
use credit::Grants;
use delivery::Delivery;
use handshake::AddressBudget;
use opening::{Greeter, Waiter};
use outbox::Outbox;
use pmtu::Pmtu;
use recovery::Recovery;
use window::Tuner;

pub use acceptor::{
    Acceptor, AcceptorConfig, AcceptorCounters, Answer, Occupancy, RetryPolicy, Verdict,
};
pub use config::{Config, Congestion, LongBlocks, MIN_MAX_PAYLOAD, Parameters};
pub use fate::Watched;
pub use handshake::{Refusal, RefuseReason, Reset, Versions, hello_id, negotiate};
pub use id::{ConnectionId, Generations};
pub use stats::Stats;
pub use types::{BlockMeta, CloseCode, CloseReason, ControlFull, Event, Transmit, Violation};

/// Largest packet number (RFC 9000 has the same limit). Not reached in practice: 146 years at a billion packets a
/// second.
const MAX_PACKET_NUMBER: u64 = (1 << 62) - 1;

/// Length of a Close packet.
const CLOSE_LEN: usize = HEADER_LEN + size_of::<CloseCode>();

#[derive(Debug)]
enum State {
    /// A client that has no session yet.
    Greeting(Greeter),
    /// A server whose client has not shown that it got the reply.
    Accepted(Waiter),
    Connected,
    Closed {
        reason: CloseReason,
        /// A Close packet is to be sent.
        tell: bool,
        /// Packets that came since; the peer is told again at each power of two.
        heard: u32,
    },
}

/// One side of a session. `B` owns the payload of a block that is to be sent, and is opaque here.
#[derive(Debug)]
pub struct Session<B> {
    config: Config,
    local_id: u32,
    /// 0 until known.
    peer_id: u32,
    peer: Option<Parameters>,
    /// Of Data packets to the peer.
    span: u16,
    /// The same for long blocks, if both sides take them and the peer wants them where this side can put them.
    long_span: Option<u16>,
    state: State,
    /// What may go to the peer's address as long as nothing proves that it is the peer's.
    budget: AddressBudget,
    recovery: Recovery,
    outbox: Outbox<B>,
    acks: Acknowledger,
    inbox: ControlReceiver,
    grants: Grants,
    tuner: Tuner,
    /// What the application lets the peer have outstanding, in blocks.
    window_limit: u64,
    /// Number of the next Ack.
    next_ack: u64,
    /// Something that the peer acknowledges is to be sent, whatever the window says.
    ping_due: bool,
    /// A probe of the path was sent: a small packet is to overtake it, if it does not get through.
    overtake_due: bool,
    /// Limit of payloads that the blocks in the outbox keep to.
    payload_limit: u16,
    /// What the application knows of it.
    told_limit: u16,
    last_received: Time,
    keepalive_at: Time,
    /// When it was first asked for a sign of life since.
    asked_alive_at: Option<Time>,
    delivery: Delivery,
    /// When to ask a peer that grants nothing whether it still does not.
    starved_at: Option<Time>,
    /// How often it was asked in vain.
    starved_count: u32,
    /// When pacing lets the next packet go.
    paced_at: Option<Time>,
    /// When the peer was last asked for an Ack at once, and the packets sent since.
    asked_at: Time,
    unasked: u8,
    /// When to look again for lost blocks that could not be sent because they sat in the NIC queue.
    retry_at: Option<Time>,
    /// Payload of the packet that is being given out.
    scratch: Vec<u8>,
    tell_connected: bool,
    tell_closed: bool,
    stats: Stats,
}

impl<B> Session<B> {
    /// A client's session, which greets its server. `local_id` must not be 0, and differ from those of the program's
    /// other sessions on this address; it should be hard to guess.
    #[must_use]
    pub fn connect(config: Config, local_id: u32, now: Time) -> Self {
        let state = State::Greeting(Greeter::new(&config, now));
        Self::new(config, local_id, now, state)
    }

    /// A server's session for the client that sent this Hello; `local_id` as in [`Self::connect`].
    ///
    /// A Hello that is repeated (same source address and [`hello_id`]) belongs to the session made for the first one:
    /// give it to [`Self::handle_packet`].
    ///
    /// # Errors
    /// There can be no session; [`Refusal::packet`] is the answer to send.
    pub fn accept(
        mut config: Config,
        local_id: u32,
        hello: &Packet<'_>,
        now: Time,
    ) -> Result<Self, Refusal> {
        let (greeting, span) = handshake::judge_hello(&config, hello)?;
        // Who takes none sends none, so this side need not be prepared for them.
        let theirs = greeting.parameters.long_blocks();
        config.local.long = config.local.long.filter(|_| theirs.is_some());
        let state = State::Accepted(Waiter::new(&config, greeting.token, now));
        let mut session = Self::new(config, local_id, now, state);
        session.budget = AddressBudget::UNPROVEN;
        session.budget.on_received(HEADER_LEN + hello.payload.len());
        session.peer_id = greeting.id;
        session.meet(greeting.parameters, span);
        Ok(session)
    }

    fn new(config: Config, local_id: u32, now: Time, state: State) -> Self {
        debug_assert_ne!(local_id, 0, "0 stands for no session");
        // Both sides are expected to delay acknowledgements alike.
        let recovery = Recovery::new(
            config.congestion,
            config.max_in_flight,
            nanos(config.max_ack_delay),
        );
        let outbox = Outbox {
            blocks: Blocks::new(config.max_queued_blocks, config.max_unacked_blocks),
            control: ControlSender::new(),
            pmtu: Pmtu::closed(),
            padding: 0,
            max_control: u16::MAX,
            acked: false,
        };
        Self {
            local_id,
            peer_id: 0,
            peer: None,
            span: HEADER_LEN as u16,
            long_span: None,
            state,
            budget: AddressBudget::VALIDATED,
            recovery,
            outbox,
            acks: Acknowledger::new(config.max_ack_delay),
            inbox: ControlReceiver::new(),
            grants: Grants::new(config.local.initial_credit, config.max_window),
            tuner: Tuner::new(config.window_floor),
            window_limit: config.local.initial_credit,
            next_ack: 0,
            ping_due: false,
            overtake_due: false,
            payload_limit: 0,
            told_limit: 0,
            last_received: now,
            keepalive_at: now + config.keep_alive,
            asked_alive_at: None,
            delivery: Delivery::new(now),
            starved_at: None,
            starved_count: 0,
            paced_at: None,
            asked_at: now,
            unasked: 0,
            retry_at: None,
            scratch: Vec::with_capacity(MAX_ACK_LEN),
            tell_connected: false,
            tell_closed: false,
            stats: Stats::default(),
            config,
        }
    }

    /// The peer's parameters are known.
    fn meet(&mut self, parameters: Parameters, span: u16) {
        self.outbox.blocks.grant(parameters.initial_credit);
        self.long_span = parameters
            .long_span_for(self.config.l4_overhead)
            .filter(|_| self.config.local.long_blocks().is_some());
        let long = self.long_span.and(parameters.long);
        let longest = long.map(|long| long.max_payload);
        self.outbox.pmtu = Pmtu::new(&parameters, longest, self.config.max_send_payload);
        self.outbox.max_control = parameters.max_payload;
        self.payload_limit = self.outbox.pmtu.limit();
        self.told_limit = self.payload_limit;
        self.peer = Some(parameters);
        self.span = span;
        self.outbox.padding = span.saturating_sub(HEADER_LEN as u16);
    }

    fn become_connected(&mut self, now: Time) {
        self.state = State::Connected;
        self.tell_connected = true;
        self.keepalive_at = now + self.config.keep_alive;
    }

    /// This side's session id: what [`crate::wire::Header::session`] says in packets for this session.
    #[must_use]
    pub const fn local_id(&self) -> u32 {
        self.local_id
    }

    /// The peer's session id, once known.
    #[must_use]
    pub const fn peer_id(&self) -> Option<u32> {
        match self.peer_id {
            0 => None,
            id => Some(id),
        }
    }

    /// Whether the handshake is done and the session not closed.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected)
    }

    /// Whether the session is over. It can be dropped once [`Self::poll_event`] and [`Self::poll_transmit`] give
    /// nothing any more.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether the session is over, and a Close is still to be fetched by [`Self::poll_transmit`].
    #[must_use]
    pub const fn has_close_to_send(&self) -> bool {
        matches!(self.state, State::Closed { tell: true, .. })
    }

    /// When the last valid packet of the peer came.
    #[must_use]
    pub const fn last_received(&self) -> Time {
        self.last_received
    }

    /// Asks the peer for a sign of life with the next packet.
    pub fn ping(&mut self) {
        if self.is_connected() {
            self.ping_due = true;
        }
    }

    /// Whether all messages and blocks given to the session were acknowledged.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.outbox.control.is_drained() && self.outbox.blocks.is_drained()
    }

    /// What the peer announced, once known.
    #[must_use]
    pub const fn peer(&self) -> Option<&Parameters> {
        self.peer.as_ref()
    }

    /// Sends a control message of 1 to [`crate::message::MAX_MESSAGE`] bytes, after all those before it.
    ///
    /// # Errors
    /// There is no room for it now: too much waits to be acknowledged. Also when the session is closed, or the message
    /// empty.
    pub fn send_message(&mut self, message: &[u8]) -> Result<(), ControlFull> {
        if self.is_closed() {
            return Err(ControlFull {
                len: message.len(),
                capacity: 0,
            });
        }
        self.outbox.control.push(message)
    }

    /// Longest message that [`Self::send_message`] takes now.
    #[must_use]
    pub fn control_capacity(&self) -> usize {
        match self.state {
            State::Closed { .. } => 0,
            _ => self.outbox.control.capacity(),
        }
    }

    /// Queues a block. It comes back in an [`Event::Released`]. `meta.crc` must be that of the payload: the peer drops
    /// the packet otherwise, each time.
    ///
    /// # Errors
    /// Gives the block back if there is no room ([`Self::queue_space`]), it is empty, or longer than
    /// [`Self::max_block`].
    pub fn queue_block(&mut self, meta: BlockMeta, block: B) -> Result<(), B> {
        if self.queue_space() == 0 || meta.len == 0 || meta.len > self.max_block() {
            return Err(block);
        }
        self.outbox.blocks.push(meta, block);
        Ok(())
    }

    /// Bytes of payload that a block may have now: what the peer, this side and the path take. 0 until the peer is known.
    /// Changes are told by [`Event::PayloadLimit`]; at first it is what every path takes
    /// ([`crate::geometry::base_payload`]).
    #[must_use]
    pub const fn max_block(&self) -> u16 {
        self.payload_limit
    }

    /// Whether blocks longer than [`Parameters::max_payload`] may come: both sides have announced that they take some. Whether this
    /// side can send them is another question.
    #[must_use]
    pub fn has_long_blocks(&self) -> bool {
        self.long_received().is_some()
    }

    fn long_received(&self) -> Option<LongBlocks> {
        let theirs = self.peer.as_ref().and_then(Parameters::long_blocks);
        self.config.local.long_blocks().filter(|_| theirs.is_some())
    }

    /// The span of a Data packet with so many bytes of payload.
    fn span_of(&self, payload: u16) -> u16 {
        match (self.long_span, &self.peer) {
            (Some(span), Some(peer)) if payload > peer.max_payload => span,
            _ => self.span,
        }
    }

    /// Most bytes of payload in a Data packet from the peer.
    fn max_received(&self) -> u16 {
        match self.long_received() {
            Some(long) => long.max_payload,
            None => self.config.local.max_payload,
        }
    }

    /// Takes over what was learnt about the path. When less fits, what is too long comes back.
    fn heed_path(&mut self) {
        let limit = self.outbox.pmtu.limit();
        if limit < self.payload_limit {
            self.outbox.blocks.give_back_longer(limit);
            let longest = u64::from(limit) + u64::from(self.span_of(limit));
            self.recovery.on_shorter_packets(longest);
        }
        self.payload_limit = limit;
    }

    /// How many blocks [`Self::queue_block`] takes: none unless connected. Blocks in events that were not fetched take
    /// up room.
    #[must_use]
    pub fn queue_space(&self) -> usize {
        match self.state {
            State::Connected => self.outbox.blocks.space(),
            _ => 0,
        }
    }

    /// So many delivered blocks have been dealt with and their memory is free: the peer may send as many more.
    pub fn release_credit(&mut self, blocks: u64) {
        self.grants.release(blocks);
    }

    /// Sets how many blocks the peer may have outstanding here at most, received or not, until they are released; of
    /// those above [`Config::window_floor`] it gets what the path's bandwidth and delay call for. What has been granted
    /// is not taken back. At first it is [`Parameters::initial_credit`].
    pub fn set_window(&mut self, blocks: u64) {
        self.window_limit = blocks;
        self.size_window();
    }

    /// Grants what the peer can use, within the application's limit.
    fn size_window(&mut self) {
        self.grants
            .set_window(self.window_limit.min(self.tuner.demand()));
    }

    /// Blocks that the peer was granted and that are not yet released: received or still to come.
    #[must_use]
    pub const fn outstanding_credit(&self) -> u64 {
        self.grants.outstanding()
    }

    /// Gives back all queued and unacknowledged blocks of a transfer; none of them is sent any more, though some may
    /// still arrive.
    pub fn cancel_transfer(&mut self, transfer: u32) {
        self.outbox.blocks.cancel(transfer);
    }

    /// Ends the session at once; the peer is told. Unacknowledged blocks come back, unacknowledged messages may be
    /// lost ([`Self::is_drained`]). Does nothing if the session is closed.
    pub fn close(&mut self, reason: CloseReason) {
        let tell = match self.state {
            State::Closed { .. } => return,
            // Nobody, or somebody forged, waits for it.
            State::Greeting(_) => self.peer_id != 0,
            State::Accepted(_) if reason == CloseReason::HandshakeTimeout => {
                self.budget.is_validated()
            }
            State::Accepted(_) | State::Connected => !matches!(
                reason,
                CloseReason::ByPeer(_) | CloseReason::Refused(_) | CloseReason::PeerRestarted
            ),
        };
        self.state = State::Closed {
            reason,
            tell,
            heard: 0,
        };
        self.tell_closed = true;
        self.outbox.blocks.cancel_all();
    }

    /// What has happened since the last call; `None` if nothing has.
    pub fn poll_event(&mut self) -> Option<Event<B>> {
        if core::mem::take(&mut self.tell_connected) {
            return Some(Event::Connected);
        }
        if self.told_limit != self.payload_limit {
            self.told_limit = self.payload_limit;
            return Some(Event::PayloadLimit(self.told_limit));
        }
        if let Some(message) = self.inbox.pop() {
            return Some(Event::Message(message));
        }
        if let Some(released) = self.outbox.blocks.pop_released() {
            return Some(Event::Released {
                transfer: released.transfer,
                block: released.block,
                acked: released.acked,
            });
        }
        match self.state {
            State::Closed { reason, .. } if core::mem::take(&mut self.tell_closed) => {
                Some(Event::Closed(reason))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
