//! The packet header: 56 bytes, little-endian, in front of every payload, and the CRC32 that covers both.
//!
//! ```text
//!   0        1        2        3        4                8                               16
//!   ┌────────┬────────┬────────┬────────┬────────────────┬────────────────────────────────┐
//!   │version │ kind   │ flags  │ack int.│ session        │ packet_number                  │
//!   ├────────┴────────┴────────┴────────┼────────┬───────┼────────────────────────────────┤ 32
//!   │ transfer                          │ length │ span  │ block_number                   │
//!   ├───────────────────────────────────┴────────┴───────┼────────────────────────────────┤
//!   │ offset                                             │ tag (16 bytes, to 56)   …      │
//!   └────────────────────────────────────────────────────┴────────────────────────────────┘
//! ```
//!
//! The CRC runs over the payload first and the header (tag zeroed) after it, so the payload's own CRC falls out
//! midway and a file's CRC is put together from those with no second pass over the data. The padding between header
//! and payload is covered by neither and ignored.
//!
//! What no version may ever change, so that versions can refuse each other in words: byte 0 is the version, byte 1 the
//! kind, bytes 4 to 8 the receiver's session id; the payload of a Hello starts at byte 56 with the sender's session id;
//! and a Refuse packet is laid out as [`REFUSE_LEN`] says, whatever its version byte is.

use crc32fast::Hasher;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version of the format that this crate speaks.
pub const VERSION: u8 = 2;
/// Length of [`Header`] in bytes.
pub const HEADER_LEN: usize = 56;
/// Default distance in bytes from the first byte of the Ethernet header to the payload of a Data packet.
pub const PAYLOAD_OFFSET: usize = 128;
/// Length of the header's tag in bytes.
pub const TAG_LEN: usize = 16;
/// Flag: which of two keys sealed the packet. Sent as 0 as long as sessions have no keys.
pub const FLAG_KEY_PHASE: u8 = 1;
/// Flag: the sender waits for the acknowledgement of this packet, which shall not be delayed.
pub const FLAG_ACK_NOW: u8 = 2;
/// The flags that a packet may carry.
pub const KNOWN_FLAGS: u8 = FLAG_KEY_PHASE | FLAG_ACK_NOW;
/// Offset of the version in a packet.
pub const VERSION_AT: usize = 0;
/// Offset of the kind in a packet.
pub const KIND_AT: usize = 1;
/// Offset of the span in a packet: two bytes, little-endian.
pub const SPAN_AT: usize = core::mem::offset_of!(Header, span);
/// Offset of the receiver's session id in a packet.
pub const SESSION_AT: usize = 4;
/// Largest payload that the header can describe.
pub const MAX_PAYLOAD: usize = u16::MAX as usize;
/// Length of a Refuse packet: header and 16 bytes. In every version byte 3 of its header is [`HEADER_LEN`], bytes 22 and
/// 23 are 0, and the rest as in [`Header`].
pub const REFUSE_LEN: usize = HEADER_LEN + 16;
/// Offset of the sender's session id in a Hello.
pub const HELLO_ID_AT: usize = HEADER_LEN;

/// Byte 3 of a Refuse.
const REFUSE_SPAN: u8 = HEADER_LEN as u8;

/// What a packet is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Client to server: asks for a session.
    Hello = 1,
    /// Server to client: the session is there.
    HelloReply = 2,
    /// Server to client: there will be no session, and why.
    Refuse = 3,
    /// A piece of the control stream; with no payload, a ping.
    Control = 4,
    /// A block of a file; with no payload, the block was cancelled.
    Data = 5,
    /// What arrived, and how many blocks may be sent.
    Ack = 6,
    /// The sender has closed the session.
    Close = 7,
    /// Server to client: say it again with this cookie, which proves that you receive at your address.
    Retry = 8,
    /// There is no such session here.
    Reset = 9,
    /// Zeros: whether a packet of this length gets through.
    Probe = 10,
}

impl Kind {
    /// The kind that this byte stands for.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::HelloReply,
            3 => Self::Refuse,
            4 => Self::Control,
            5 => Self::Data,
            6 => Self::Ack,
            7 => Self::Close,
            8 => Self::Retry,
            9 => Self::Reset,
            10 => Self::Probe,
            _ => return None,
        })
    }
}

/// The header of every packet.
#[derive(
    Copy, Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// [`VERSION`].
    pub version: u8,
    /// A [`Kind`].
    pub kind: u8,
    /// [`FLAG_KEY_PHASE`] and [`FLAG_ACK_NOW`]; other bits must be 0.
    pub flags: u8,
    /// Control, Data and Probe: the sender asks for an Ack after so many of them; 0 leaves it to the receiver.
    pub ack_interval: u8,
    /// The receiver's session id; 0 in a Hello, whose sender does not know it yet.
    pub session: U32,
    /// Control, Data and Probe: counts the packets of these kinds from 0, never reused. Ack: counts Acks. Else 0.
    pub packet_number: U64,
    /// Data: the transfer that the block belongs to. Else 0.
    pub transfer: U32,
    /// Bytes of payload.
    pub payload_len: U16,
    /// Bytes from the header's start to the payload: [`HEADER_LEN`] and padding.
    pub span: U16,
    /// Data: number of the block within the session, from 0, the same in each transmission of it. Else 0.
    pub block_number: U64,
    /// Data: byte offset in the file. Control: byte offset in the control stream. Else 0.
    pub offset: U64,
    /// CRC32, little-endian, in the first four bytes; the rest 0.
    pub tag: [u8; TAG_LEN],
}

const _: () = {
    assert!(size_of::<Header>() == HEADER_LEN);
    assert!(align_of::<Header>() == 1);
    assert!(core::mem::offset_of!(Header, session) == SESSION_AT);
    assert!(core::mem::offset_of!(Header, packet_number) == 8);
    assert!(core::mem::offset_of!(Header, span) == 22);
    assert!(core::mem::offset_of!(Header, block_number) == 24);
    assert!(core::mem::offset_of!(Header, tag) == HEADER_LEN - TAG_LEN);
};

impl Header {
    /// A header of this kind for the receiver's session `session`, without padding or payload; everything else is 0,
    /// and it is not sealed.
    #[must_use]
    pub const fn new(kind: Kind, session: u32) -> Self {
        let (ack_interval, span) = match kind {
            Kind::Refuse => (REFUSE_SPAN, 0),
            _ => (0, HEADER_LEN as u16),
        };
        Self {
            version: VERSION,
            kind: kind as u8,
            flags: 0,
            ack_interval,
            session: U32::new(session),
            packet_number: U64::ZERO,
            transfer: U32::ZERO,
            payload_len: U16::ZERO,
            span: U16::new(span),
            block_number: U64::ZERO,
            offset: U64::ZERO,
            tag: [0; TAG_LEN],
        }
    }

    /// The CRC32 that the tag carries.
    #[must_use]
    pub const fn crc(&self) -> u32 {
        u32::from_le_bytes([self.tag[0], self.tag[1], self.tag[2], self.tag[3]])
    }
}

/// Why bytes are not a packet of ours. Such packets are dropped and counted; only
/// [`WireError::UnsupportedVersion`] is worth an answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter than a header.
    #[error("packet of {len} bytes is shorter than a header ({HEADER_LEN} bytes)")]
    TooShort {
        /// Bytes there were.
        len: usize,
    },
    /// Another version of the protocol.
    #[error("protocol version {version} is not supported, this side speaks version {VERSION}")]
    UnsupportedVersion {
        /// The version in the packet.
        version: u8,
        /// The session id of the sender, which a Refuse packet is addressed to; 0 if the packet is no Hello or too
        /// short for the answer to be no longer than it.
        session: u32,
    },
    /// A kind that this version does not have.
    #[error("unknown packet kind {0}")]
    UnknownKind(u8),
    /// A flag that this version does not have.
    #[error("unknown flags {0:#04x}")]
    UnknownFlags(u8),
    /// The payload would start inside the header.
    #[error("span {0} is shorter than a header ({HEADER_LEN} bytes)")]
    BadSpan(u16),
    /// The packet is longer or shorter than the header says.
    #[error("header announces a packet of {declared} bytes, {actual} arrived")]
    BadLength {
        /// Span and payload length together.
        declared: usize,
        /// Bytes there were.
        actual: usize,
    },
    /// A field that must be 0 is not.
    #[error("a reserved field is not zero")]
    ReservedNotZero,
    /// Header or payload changed on the way.
    #[error("checksum {found:#010x} does not match the packet's {expected:#010x}")]
    BadChecksum {
        /// The CRC in the tag.
        expected: u32,
        /// The CRC of what arrived.
        found: u32,
    },
}

/// A packet that [`open`] found whole.
#[derive(Copy, Clone, Debug)]
pub struct Packet<'a> {
    /// Its header.
    pub header: &'a Header,
    /// The header's kind.
    pub kind: Kind,
    /// Its payload.
    pub payload: &'a [u8],
    /// CRC32 of the payload alone.
    pub payload_crc: u32,
}

/// CRC32 (IEEE 802.3, as in zlib) of `payload`.
#[must_use]
pub fn payload_crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

/// The packet's CRC: that of the payload, continued over the header with its tag zeroed.
fn packet_crc(header: &Header, payload_crc: u32) -> u32 {
    let untagged = Header {
        tag: [0; TAG_LEN],
        ..*header
    };
    let payload_len = u64::from(header.payload_len.get());
    let mut hasher = Hasher::new_with_initial_len(payload_crc, payload_len);
    hasher.update(untagged.as_bytes());
    hasher.finalize()
}

/// Writes the tag of a header that is otherwise complete, for a payload with this CRC32.
pub fn seal(header: &mut Header, payload_crc: u32) {
    let crc = packet_crc(header, payload_crc);
    header.tag = [0; TAG_LEN];
    header.tag[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Checks what came in a UDP datagram: length, version, kind, flags, span, checksum.
///
/// # Errors
/// Says which of them is wrong, in that order. Nothing in a packet may be believed unless this returned `Ok`, except
/// the version and session of [`WireError::UnsupportedVersion`].
pub fn open(udp_payload: &[u8]) -> Result<Packet<'_>, WireError> {
    open_parts(udp_payload, &[])
}

/// As [`open`], of a datagram that lies in several pieces of memory, of which the first holds all of the header and its
/// padding. The packet's `payload` is what the first one has of it.
///
/// # Errors
/// As [`open`].
pub fn open_parts<'a>(udp_payload: &'a [u8], rest: &[&[u8]]) -> Result<Packet<'a>, WireError> {
    let len = udp_payload.len() + rest.iter().map(|part| part.len()).sum::<usize>();
    let Ok((header, _)) = Header::ref_from_prefix(udp_payload) else {
        return Err(WireError::TooShort { len });
    };
    if header.version != VERSION && header.kind != Kind::Refuse as u8 {
        return Err(WireError::UnsupportedVersion {
            version: header.version,
            session: foreign_hello_session(udp_payload),
        });
    }
    let kind = Kind::from_byte(header.kind).ok_or(WireError::UnknownKind(header.kind))?;
    if header.flags & !KNOWN_FLAGS != 0 {
        return Err(WireError::UnknownFlags(header.flags));
    }
    let span = span_of(header, kind)?;
    let declared = span + usize::from(header.payload_len.get());
    if declared != len {
        return Err(WireError::BadLength {
            declared,
            actual: len,
        });
    }
    if header.tag[4..] != [0; TAG_LEN - 4] {
        return Err(WireError::ReservedNotZero);
    }
    let Some(payload) = udp_payload.get(span..) else {
        return Err(WireError::BadSpan(header.span.get()));
    };
    let payload_crc = match rest {
        [] => payload_crc(payload),
        rest => {
            let mut hasher = Hasher::new();
            hasher.update(payload);
            rest.iter().for_each(|part| hasher.update(part));
            hasher.finalize()
        }
    };
    let found = packet_crc(header, payload_crc);
    let expected = header.crc();
    if found != expected {
        return Err(WireError::BadChecksum { expected, found });
    }
    Ok(Packet {
        header,
        kind,
        payload,
        payload_crc,
    })
}

/// Where the payload starts.
fn span_of(header: &Header, kind: Kind) -> Result<usize, WireError> {
    let span = header.span.get();
    if kind == Kind::Refuse {
        // The layout of all versions: the span stands where version 1 had it.
        return match (header.ack_interval, span) {
            (REFUSE_SPAN, 0) => Ok(HEADER_LEN),
            _ => Err(WireError::BadSpan(span)),
        };
    }
    let is_padded = matches!(kind, Kind::Data | Kind::Probe);
    match usize::from(span) {
        HEADER_LEN => Ok(HEADER_LEN),
        longer if longer > HEADER_LEN && is_padded => Ok(longer),
        _ => Err(WireError::BadSpan(span)),
    }
}

/// The sender's session id in a Hello of another version; 0 if there is nobody to answer.
fn foreign_hello_session(packet: &[u8]) -> u32 {
    if packet.len() < REFUSE_LEN || packet[KIND_AT] != Kind::Hello as u8 {
        return 0;
    }
    match packet.get(HELLO_ID_AT..HELLO_ID_AT + 4) {
        Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
