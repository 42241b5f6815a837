//! What goes in and out of a session.

use crate::wire::Header;

use super::handshake::RefuseReason;

/// A block of a file, without its bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// The transfer it belongs to.
    pub transfer: u32,
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Bytes of payload, at least 1.
    pub len: u16,
    /// CRC32 of the payload ([`crate::wire::payload_crc`]).
    pub crc: u32,
}

/// A packet to send: the header, then zeros up to `header.span` bytes, then the payload.
#[derive(Debug)]
pub enum Transmit<'a, B> {
    /// The payload is here.
    Inline {
        /// Sealed header.
        header: Header,
        /// Payload, possibly empty.
        payload: &'a [u8],
    },
    /// The payload is that of a queued block.
    Block {
        /// Sealed header.
        header: Header,
        /// Bytes of payload.
        payload_len: u16,
        /// What was given to [`super::Session::queue_block`].
        block: &'a B,
    },
}

impl<B> Transmit<'_, B> {
    /// The packet's header.
    pub const fn header(&self) -> &Header {
        match self {
            Self::Inline { header, .. } | Self::Block { header, .. } => header,
        }
    }
}

/// What happened in a session. [`Event::Closed`] is the last one.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<B> {
    /// The handshake is done: blocks may be queued.
    Connected,
    /// The next control message from the peer.
    Message(Vec<u8>),
    /// Blocks may have so many bytes of payload from now on: the path was found to take more or less than before.
    /// Longer ones that are queued or not acknowledged come back, in [`Event::Released`]: cut them into smaller ones,
    /// each on its own, for the peer may have got some of them.
    PayloadLimit(u16),
    /// A block is the caller's again. It may still sit in a NIC queue, if its last transmission has not completed.
    Released {
        /// Its transfer.
        transfer: u32,
        /// What was given to [`super::Session::queue_block`].
        block: B,
        /// Whether the peer has it; else it was cancelled, has become too long for the path, or the session closed.
        acked: bool,
    },
    /// The session is over; nothing more comes.
    Closed(CloseReason),
}

/// Why a session is over.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// This side's application closed it.
    #[error("closed by this side: {0}")]
    Local(CloseCode),
    /// The peer closed it.
    #[error("closed by the peer: {0}")]
    ByPeer(CloseCode),
    /// The peer did not answer the handshake in time.
    #[error(
        "no answer to the handshake: check address, port and firewall, and that the server runs"
    )]
    HandshakeTimeout,
    /// The peer knows nothing of the session: it is another process than the one that had it, or it gave up before.
    #[error(
        "the other end does not know this session any more: it was restarted, or gave the session up"
    )]
    PeerRestarted,
    /// The peer fell silent.
    #[error("the peer has fallen silent")]
    TimedOut,
    /// The peer is there, but of what it was sent nothing but pings arrived for too long.
    #[error(
        "the peer answers, but what it is sent does not arrive: check the MTU of all interfaces and tunnels on the way"
    )]
    Undelivered,
    /// The server does not want a session.
    #[error("refused by the server: {0}")]
    Refused(RefuseReason),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(Violation),
}

impl CloseReason {
    /// What a peer that still sends is to be told; `None` if it knows of the end.
    #[must_use]
    pub const fn told(self) -> Option<CloseCode> {
        match self {
            Self::ByPeer(_) | Self::Refused(_) | Self::PeerRestarted => None,
            _ => Some(self.code()),
        }
    }

    /// What a Close packet tells the peer.
    pub(super) const fn code(self) -> CloseCode {
        match self {
            Self::Local(code) => code,
            Self::TimedOut | Self::HandshakeTimeout => CloseCode::TIMED_OUT,
            Self::Undelivered => CloseCode::UNDELIVERED,
            Self::Violation(Violation::Handshake) => CloseCode::PARAMETERS,
            Self::Violation(_) => CloseCode::VIOLATION,
            Self::ByPeer(_) | Self::Refused(_) | Self::PeerRestarted => CloseCode::DONE,
        }
    }
}

/// Why a session was closed, as its Close packet says. Codes from 256 on are free for applications.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u32);

impl CloseCode {
    /// All is done.
    pub const DONE: Self = Self(0);
    /// The program ends.
    pub const SHUTDOWN: Self = Self(1);
    /// The receiver of this code broke the protocol.
    pub const VIOLATION: Self = Self(2);
    /// The receiver of this code was not heard for too long.
    pub const TIMED_OUT: Self = Self(3);
    /// The sender of this code failed.
    pub const INTERNAL: Self = Self(4);
    /// The sender of this code cannot obey what the other side announced in the handshake.
    pub const PARAMETERS: Self = Self(5);
    /// The sender of this code gave the place of the session, which was not open yet, to another one.
    pub const BUSY: Self = Self(6);
    /// What the sender of this code sent did not arrive, but for pings.
    pub const UNDELIVERED: Self = Self(7);
}

impl core::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::DONE => f.write_str("done"),
            Self::SHUTDOWN => f.write_str("shutting down"),
            Self::VIOLATION => f.write_str("protocol violation"),
            Self::TIMED_OUT => f.write_str("timed out"),
            Self::INTERNAL => f.write_str("internal error"),
            Self::BUSY => f.write_str("too busy; try again"),
            Self::UNDELIVERED => f.write_str("what is sent does not arrive"),
            Self::PARAMETERS => f.write_str("parameters that cannot be obeyed"),
            Self(code) => write!(f, "code {code}"),
        }
    }
}

/// How a peer broke the protocol. Its packets had good checksums, so it is not the network's fault.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A packet number that no sender can reach.
    #[error("packet number {0} is out of range")]
    PacketNumber(u64),
    /// An Ack that is not well-formed.
    #[error("malformed Ack")]
    MalformedAck,
    /// An Ack for a packet that was never sent.
    #[error("packet {largest} was acknowledged, but {next} is the next to send")]
    AckOfUnsent {
        /// Largest acknowledged packet number.
        largest: u64,
        /// The number that the next packet gets.
        next: u64,
    },
    /// A block beyond the credit.
    #[error("block number {number} exceeds the credit of {granted} blocks")]
    CreditExceeded {
        /// The block's number.
        number: u64,
        /// Blocks that were granted so far.
        granted: u64,
    },
    /// A block longer than announced.
    #[error("payload of {len} bytes exceeds the announced {max}")]
    PayloadTooLong {
        /// Its length.
        len: u16,
        /// The announced limit.
        max: u16,
    },
    /// A block that ends beyond the largest file offset.
    #[error("block at file offset {0} ends beyond the largest file offset")]
    FileOffset(u64),
    /// Control data beyond the window.
    #[error("control data at stream offset {0} exceeds the window")]
    ControlWindow(u64),
    /// A control message longer than [`crate::message::MAX_MESSAGE`].
    #[error("control message of {0} bytes is too long")]
    MessageTooLong(u32),
    /// A control message without bytes.
    #[error("empty control message")]
    EmptyMessage,
    /// A Close that is not well-formed.
    #[error("malformed Close")]
    MalformedClose,
    /// A handshake reply that is not well-formed, or announces what no sender can obey.
    #[error("unusable handshake reply")]
    Handshake,
}

/// The control stream has no room for a message: wait until the peer has acknowledged some.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("control message of {len} bytes does not fit: room for {capacity}")]
pub struct ControlFull {
    /// Bytes of the message.
    pub len: usize,
    /// Bytes that a message may have now.
    pub capacity: usize,
}
