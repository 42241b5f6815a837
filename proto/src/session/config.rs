//! What a side of a session announces, and the limits it keeps to.

use core::time::Duration;

use super::handshake::Versions;
use crate::geometry;
use crate::wire::PAYLOAD_OFFSET;

/// Smallest [`Parameters::max_payload`] that a peer may announce: one disk sector.
pub const MIN_MAX_PAYLOAD: u16 = 512;

/// What a receiver announces in the handshake; the sender obeys.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Bytes from the start of the Ethernet header to the payload of a Data packet, without the VLAN tags that packets have
    /// when they arrive at the receiver ([`geometry::announced_offset`]).
    pub payload_offset: u16,
    /// Payload lengths in bytes are multiples of this, except the last one of a file. A rule for the application: the
    /// session passes it on and does not enforce it.
    pub granule: u16,
    /// Most bytes of payload in a Data packet.
    pub max_payload: u16,
    /// A server: receive queues, each with a worker of its own, that flows of a transfer can reach. A client: flows that
    /// it would like to have. 0 and 1 mean one.
    pub queues: u16,
    /// Blocks that may be sent before the first acknowledgement says more.
    pub initial_credit: u64,
    /// Epoch of the cluster's configuration; both sides must have the same.
    pub epoch: u64,
    /// Blocks longer than [`Self::max_payload`], if it takes any. They are sent only between two sides that both do.
    pub long: Option<LongBlocks>,
}

/// How a receiver takes blocks that are longer than those that lie in one piece of its memory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LongBlocks {
    /// As [`Parameters::payload_offset`], of the packets of long blocks.
    pub payload_offset: u16,
    /// Most bytes of payload in such a packet.
    pub max_payload: u16,
}

impl Default for Parameters {
    /// 3584-byte payloads at [`PAYLOAD_OFFSET`], no credit, epoch 0.
    fn default() -> Self {
        Self {
            payload_offset: PAYLOAD_OFFSET as u16,
            granule: geometry::PAYLOAD_GRANULE as u16,
            max_payload: geometry::MAX_FRAME_PAYLOAD as u16,
            queues: 1,
            initial_credit: 0,
            epoch: 0,
            long: None,
        }
    }
}

impl Parameters {
    /// The span of the Data packets that a sender with `l4_overhead` bytes of lower headers owes a receiver with these
    /// parameters; `None` if they make no sense or the sender cannot obey.
    pub(super) fn span_for(&self, l4_overhead: u16) -> Option<u16> {
        if self.granule == 0
            || self.max_payload < self.granule
            || self.max_payload < MIN_MAX_PAYLOAD
        {
            return None;
        }
        geometry::span(self.payload_offset, l4_overhead)
    }

    /// What it says of long blocks; what is no longer than the others is none.
    pub(super) fn long_blocks(&self) -> Option<LongBlocks> {
        self.long.filter(|long| long.max_payload > self.max_payload)
    }

    /// The span of packets with long blocks, as [`Self::span_for`]; `None` if the receiver takes none, or none that the
    /// sender can make.
    pub(super) fn long_span_for(&self, l4_overhead: u16) -> Option<u16> {
        let long = self.long_blocks()?;
        // The checksum of a packet in two pieces is made of pairs of bytes.
        let even = long.payload_offset.is_multiple_of(2) && l4_overhead.is_multiple_of(2);
        even.then(|| geometry::span(long.payload_offset, l4_overhead))?
    }
}

/// Which congestion controller a sender uses.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// By queueing delay, with ECN and loss as further signals: a short queue, and no reaction to losses that are no
    /// congestion. Beside a sender that fills the queue it does the same.
    #[default]
    Delay,
    /// By loss and ECN: CUBIC (RFC 9438).
    Cubic,
}

/// How one side of a session behaves. Start from [`Config::default`].
#[derive(Clone, Debug)]
pub struct Config {
    /// What this side announces.
    pub local: Parameters,
    /// Bytes from the start of the Ethernet header to the end of the UDP header in packets that this side sends, VLAN tags
    /// not counted ([`geometry::l4_overhead`]).
    pub l4_overhead: u16,
    /// Most bytes of payload in a Data packet that this side sends: what its interface's MTU and its memory allow.
    pub max_send_payload: u16,
    /// The versions that this side speaks; others than [`Versions::SUPPORTED`] are for tests of the negotiation.
    pub versions: Versions,
    /// Without any packet from the peer for this long, the session closes, though not before it was asked for a sign of life
    /// and had [`Self::keep_alive`] to answer.
    pub idle_timeout: Duration,
    /// Without any packet from the peer for this long while it owes an acknowledgement, the session closes; counted from the
    /// last packet that came, but the peer has this less [`Self::keep_alive`] for the first answer it owes. At least
    /// twice [`Self::keep_alive`], which makes the peer owe one.
    pub unanswered_timeout: Duration,
    /// Without any packet from the peer for this long, it is asked for a sign of life.
    pub keep_alive: Duration,
    /// If the handshake takes longer than this, the session closes.
    pub handshake_timeout: Duration,
    /// An acknowledgement is not delayed for longer than this.
    pub max_ack_delay: Duration,
    /// How this side finds out what the path can carry.
    pub congestion: Congestion,
    /// Most bytes in flight (UDP payload), whatever the congestion window would allow.
    pub max_in_flight: u64,
    /// Most blocks that wait for their first transmission.
    pub max_queued_blocks: usize,
    /// Most blocks that were transmitted and are not acknowledged.
    pub max_unacked_blocks: usize,
    /// So many blocks of what [`super::Session::set_window`] allows are granted in any case, more only to a peer whose
    /// path can use them.
    pub window_floor: u64,
    /// Most blocks that [`super::Session::set_window`] may ask for. Costs half a byte each.
    pub max_window: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            local: Parameters::default(),
            l4_overhead: geometry::L4_OVERHEAD_V4,
            max_send_payload: geometry::MAX_FRAME_PAYLOAD as u16,
            versions: Versions::SUPPORTED,
            idle_timeout: Duration::from_secs(30),
            unanswered_timeout: Duration::from_secs(8),
            keep_alive: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            max_ack_delay: Duration::from_millis(1),
            congestion: Congestion::default(),
            max_in_flight: 64 << 20,
            max_queued_blocks: 4096,
            max_unacked_blocks: 16384,
            window_floor: 1024,
            max_window: 1 << 20,
        }
    }
}

/// A duration in nanoseconds, for the arithmetic on the hot path.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
