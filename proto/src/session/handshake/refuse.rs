//! A server's no to a Hello.
//!
//! ```text
//!   0        1        2         3             8       16
//!   │ reason │ lowest │ highest │ 0           │ epoch │
//! ```
//!
//! The layout holds for every version ([`crate::wire::REFUSE_LEN`]): it is what two sides say to each other that share
//! none.

use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::hello_id;
use super::versions::Versions;
use crate::wire::{self, HEADER_LEN, Header, Kind, Packet, REFUSE_LEN, VERSION, WireError};

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RefuseBody {
    reason: u8,
    lowest: u8,
    highest: u8,
    reserved: [u8; 5],
    epoch: U64,
}

const _: () = assert!(HEADER_LEN + size_of::<RefuseBody>() == REFUSE_LEN);

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
    /// The client's [`crate::session::Parameters`] make no sense, or the server cannot obey them.
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
    pub(super) session: u32,
}

impl Refusal {
    /// The answer to a packet that [`wire::open`] did not let through, from a server that speaks `versions`; `None` if
    /// it deserves none.
    #[must_use]
    pub const fn of_version(error: &WireError, versions: Versions) -> Option<Self> {
        let WireError::UnsupportedVersion { session, .. } = *error else {
            return None;
        };
        if session == 0 {
            return None;
        }
        let reason = RefuseReason::Version {
            lowest: versions.lowest,
            highest: versions.highest,
        };
        Some(Self { reason, session })
    }

    /// The answer to a Hello; `None` if the packet is none.
    #[must_use]
    pub fn to(hello: &Packet<'_>, reason: RefuseReason) -> Option<Self> {
        let session = hello_id(hello)?;
        Some(Self { reason, session })
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
pub(in crate::session) fn read_refuse(payload: &[u8]) -> Option<RefuseReason> {
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
        let nobody = Refusal {
            reason: RefuseReason::Busy,
            session: 0,
        };
        assert!(nobody.packet().is_none());
        assert!(read_refuse(&[1; 15]).is_none() && read_refuse(&[1; 17]).is_none());
    }
}
