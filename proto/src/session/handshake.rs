//! Hello, HelloReply and Refuse: what they carry and how they are judged.
//!
//! ```text
//!   Hello (padded to 256) and HelloReply (40)
//!   0    4        5         6        8        16       18       20       22   24               32       40
//!   │ id │ lowest │ highest │ queues │ token  │ offset │ granule│ max    │ 0  │ initial_credit │ epoch  │ 0 …
//!
//!   Refuse (16)
//!   0      1      2       3                 8       16
//!   │reason│lowest│highest│ 0               │ epoch │
//! ```
//!
//! No answer is longer than its question, so a server cannot be used to amplify traffic; and a server's session sends
//! nothing but replies until a packet with its own id has proved that the client receives at its address.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::config::{Config, Parameters};
use crate::wire::{self, HEADER_LEN, Header, Kind, Packet, REFUSE_LEN, VERSION, WireError};

/// Payload of a Hello in bytes.
pub(super) const HELLO_PAYLOAD: usize = 256;
/// Payload of a HelloReply in bytes.
pub(super) const REPLY_PAYLOAD: usize = size_of::<Body>();

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Body {
    id: U32,
    lowest_version: u8,
    highest_version: u8,
    queues: U16,
    token: U64,
    payload_offset: U16,
    granule: U16,
    max_payload: U16,
    reserved_too: U16,
    initial_credit: U64,
    epoch: U64,
}

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RefuseBody {
    reason: u8,
    lowest: u8,
    highest: u8,
    reserved: [u8; 5],
    epoch: U64,
}

const _: () = {
    assert!(REPLY_PAYLOAD == 40 && HELLO_PAYLOAD >= REPLY_PAYLOAD + 64);
    assert!(HEADER_LEN + size_of::<RefuseBody>() == REFUSE_LEN);
};

/// What a Hello or a HelloReply says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Session id of the sender, never 0.
    pub(super) id: u32,
    /// Of a Hello: anything; of a HelloReply: that of the Hello it answers.
    pub(super) token: u64,
    pub(super) parameters: Parameters,
}

impl Greeting {
    /// Writes the payload of `len` bytes over `buffer`.
    pub(super) fn write(&self, len: usize, buffer: &mut Vec<u8>) {
        let body = Body {
            id: U32::new(self.id),
            lowest_version: VERSION,
            highest_version: VERSION,
            queues: U16::new(self.parameters.queues),
            token: U64::new(self.token),
            payload_offset: U16::new(self.parameters.payload_offset),
            granule: U16::new(self.parameters.granule),
            max_payload: U16::new(self.parameters.max_payload),
            reserved_too: U16::ZERO,
            initial_credit: U64::new(self.parameters.initial_credit),
            epoch: U64::new(self.parameters.epoch),
        };
        buffer.clear();
        buffer.extend_from_slice(body.as_bytes());
        buffer.resize(len, 0);
    }

    /// `None` if it is not a payload of `len` bytes with a session id.
    pub(super) fn read(payload: &[u8], len: usize) -> Option<Self> {
        let (body, _) = Body::ref_from_prefix(payload).ok()?;
        if payload.len() != len || body.id.get() == 0 {
            return None;
        }
        Some(Self {
            id: body.id.get(),
            token: body.token.get(),
            parameters: Parameters {
                queues: body.queues.get(),
                payload_offset: body.payload_offset.get(),
                granule: body.granule.get(),
                max_payload: body.max_payload.get(),
                initial_credit: body.initial_credit.get(),
                epoch: body.epoch.get(),
            },
        })
    }
}

/// The client's session id in a Hello; `None` if the packet is no well-formed Hello.
///
/// With the source address it tells a Hello that was sent again, which belongs to the session that
/// [`super::Session::accept`] made for it, from that of a new client.
#[must_use]
pub fn hello_id(packet: &Packet<'_>) -> Option<u32> {
    if packet.kind != Kind::Hello {
        return None;
    }
    Greeting::read(packet.payload, HELLO_PAYLOAD).map(|greeting| greeting.id)
}

/// Judges a Hello. Gives what it says and the span of Data packets to its sender.
pub(super) fn judge_hello(
    config: &Config,
    packet: &Packet<'_>,
) -> Result<(Greeting, u16), Refusal> {
    let refuse = |session, reason| Refusal { session, reason };
    if packet.kind != Kind::Hello {
        return Err(refuse(0, RefuseReason::Parameters));
    }
    let Some(greeting) = Greeting::read(packet.payload, HELLO_PAYLOAD) else {
        // Not addressable, or not worth an answer.
        return Err(refuse(0, RefuseReason::Parameters));
    };
    let expected = config.local.epoch;
    if greeting.parameters.epoch != expected {
        return Err(refuse(greeting.id, RefuseReason::Epoch { expected }));
    }
    match greeting.parameters.span_for(config.l4_overhead) {
        Some(span) => Ok((greeting, span)),
        None => Err(refuse(greeting.id, RefuseReason::Parameters)),
    }
}

/// Why a server refuses a session.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefuseReason {
    /// The server does not speak the client's version.
    #[error(
        "the server speaks protocol versions {lowest} to {highest}, this side version {VERSION}"
    )]
    Version {
        /// Lowest version that the server speaks.
        lowest: u8,
        /// Highest version that it speaks.
        highest: u8,
    },
    /// The client's epoch is not the server's.
    #[error("the server is at epoch {expected}")]
    Epoch {
        /// The server's.
        expected: u64,
    },
    /// The client's [`Parameters`] make no sense, or the server cannot obey them.
    #[error(
        "the server cannot send what this side's payload offset, granule or payload limit ask for"
    )]
    Parameters,
    /// The server has no room for another session now.
    #[error("the server has no room for another session, try again later")]
    Busy,
    /// A reason that this version does not know.
    #[error("unknown reason {0}")]
    Unknown(u8),
}

/// A server's no to a Hello.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefuseReason,
    /// The client's session id; 0 if there is nobody to answer.
    session: u32,
}

impl Refusal {
    /// The answer to a packet that [`wire::open`] did not let through; `None` if it deserves none.
    #[must_use]
    pub const fn of_version(error: &WireError) -> Option<Self> {
        let WireError::UnsupportedVersion { session, .. } = *error else {
            return None;
        };
        if session == 0 {
            return None;
        }
        let reason = RefuseReason::Version {
            lowest: VERSION,
            highest: VERSION,
        };
        Some(Self { reason, session })
    }

    /// The answer to a Hello when there is no room for a session; `None` if the packet is no Hello.
    #[must_use]
    pub fn busy(hello: &Packet<'_>) -> Option<Self> {
        let session = hello_id(hello)?;
        Some(Self {
            reason: RefuseReason::Busy,
            session,
        })
    }

    /// The whole Refuse packet (the UDP payload), never longer than the Hello; `None` if there is nobody to answer.
    #[must_use]
    pub fn packet(&self) -> Option<[u8; REFUSE_LEN]> {
        if self.session == 0 {
            return None;
        }
        let (reason, (lowest, highest), epoch) = match self.reason {
            RefuseReason::Version { lowest, highest } => (1, (lowest, highest), 0),
            RefuseReason::Epoch { expected } => (2, (0, 0), expected),
            RefuseReason::Parameters => (3, (0, 0), 0),
            RefuseReason::Busy => (4, (0, 0), 0),
            RefuseReason::Unknown(reason) => (reason, (0, 0), 0),
        };
        let body = RefuseBody {
            reason,
            lowest,
            highest,
            reserved: [0; 5],
            epoch: U64::new(epoch),
        };
        let mut header = Header::new(Kind::Refuse, self.session);
        header.payload_len = U16::new(size_of::<RefuseBody>() as u16);
        wire::seal(&mut header, wire::payload_crc(body.as_bytes()));
        let mut packet = [0; REFUSE_LEN];
        packet[..HEADER_LEN].copy_from_slice(header.as_bytes());
        packet[HEADER_LEN..].copy_from_slice(body.as_bytes());
        Some(packet)
    }
}

/// What the payload of a Refuse packet says; `None` if it is not well-formed.
pub(super) fn read_refuse(payload: &[u8]) -> Option<RefuseReason> {
    let body = RefuseBody::ref_from_bytes(payload).ok()?;
    Some(match body.reason {
        1 => RefuseReason::Version {
            lowest: body.lowest,
            highest: body.highest,
        },
        2 => RefuseReason::Epoch {
            expected: body.epoch.get(),
        },
        3 => RefuseReason::Parameters,
        4 => RefuseReason::Busy,
        reason => RefuseReason::Unknown(reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_survive_the_wire() {
        for reason in [
            RefuseReason::Version {
                lowest: 1,
                highest: 3,
            },
            RefuseReason::Epoch { expected: 7 },
            RefuseReason::Parameters,
            RefuseReason::Busy,
            RefuseReason::Unknown(99),
        ] {
            let bytes = Refusal { reason, session: 5 }.packet().unwrap();
            let packet = wire::open(&bytes).unwrap();
            assert_eq!(
                (packet.kind, packet.header.session.get()),
                (Kind::Refuse, 5)
            );
            assert_eq!(read_refuse(packet.payload), Some(reason));
        }
        assert!(
            Refusal {
                reason: RefuseReason::Busy,
                session: 0
            }
            .packet()
            .is_none()
        );
        assert!(read_refuse(&[1; 15]).is_none() && read_refuse(&[1; 17]).is_none());
    }

    #[test]
    fn greetings_survive_the_wire() {
        let greeting = Greeting {
            id: 9,
            token: 1 << 60,
            parameters: Parameters {
                queues: 4,
                payload_offset: 128,
                granule: 512,
                max_payload: 3584,
                initial_credit: 1 << 33,
                epoch: 12,
            },
        };
        let mut buffer = vec![1, 2, 3];
        greeting.write(HELLO_PAYLOAD, &mut buffer);
        assert_eq!(Greeting::read(&buffer, HELLO_PAYLOAD), Some(greeting));
        assert_eq!(Greeting::read(&buffer[..255], HELLO_PAYLOAD), None);
        assert_eq!(Greeting::read(&buffer, REPLY_PAYLOAD), None);
        buffer[..4].fill(0);
        assert_eq!(Greeting::read(&buffer, HELLO_PAYLOAD), None, "id 0");
    }
}
