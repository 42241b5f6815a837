//! Reset: there is no such session here. The answer of a process that was restarted, to a packet for its earlier life.
//!
//! ```text
//!   0         4      5   8        16
//!   │ session │ kind │ 0 │ number │
//! ```
//!
//! The process keeps nothing, so all it can say is what it has read: the session id, kind and packet number of the
//! packet that it answers. Who receives it believes it only if the id is its peer's, and the number is one that it has
//! sent and that may still be unanswered:
//!
//! * Control, Data and Probe share one sequence: a number that is not acknowledged, be it in flight or counted as lost.
//! * Acks have a sequence of their own, and nobody acknowledges them: one of the last [`RECENT_ACKS`].
//!
//! Both together are no secret to who can read the packets, but neither is anything else as long as packets carry a
//! checksum and no key. Who cannot read them has to guess the port, the id and a number in flight.
//!
//! A Reset is never answered, and answers none of Hello, HelloReply, Refuse, Retry, Close and Reset, so two sides cannot
//! send them to each other for ever; and at 72 bytes it is less than 1.3 times as long as the shortest packet that it
//! answers.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::wire::{self, HEADER_LEN, Header, Kind, Packet};

/// Length of a Reset packet.
pub(in crate::session) const RESET_LEN: usize = HEADER_LEN + size_of::<ResetBody>();
/// So many Acks, the newest, may be named by a Reset that is believed: more than are sent within a round trip.
pub(in crate::session) const RECENT_ACKS: u64 = 4096;

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ResetBody {
    session: U32,
    kind: u8,
    reserved: [u8; 3],
    number: U64,
}

const _: () = assert!(RESET_LEN <= 3 * HEADER_LEN, "no amplification");

/// What a Reset says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The session id that is not known: the one that the receiver of the Reset has for its peer.
    pub session: u32,
    /// Kind of the packet that it answers.
    pub kind: Kind,
    /// Number of that packet.
    pub number: u64,
}

impl Reset {
    /// The answer to a packet of an unknown session; `None` if its kind deserves none.
    #[must_use]
    pub fn answering(packet: &Packet<'_>) -> Option<Self> {
        is_answered(packet.kind).then_some(Self {
            session: packet.header.session.get(),
            kind: packet.kind,
            number: packet.header.packet_number.get(),
        })
    }

    /// What a Reset packet says; `None` if it is none, or not well-formed.
    #[must_use]
    pub fn read(packet: &Packet<'_>) -> Option<Self> {
        if packet.kind != Kind::Reset || packet.header.session.get() != 0 {
            return None;
        }
        let body = ResetBody::ref_from_bytes(packet.payload).ok()?;
        let kind = Kind::from_byte(body.kind)?;
        is_answered(kind).then_some(Self {
            session: body.session.get(),
            kind,
            number: body.number.get(),
        })
    }

    /// The whole packet: the UDP payload.
    #[must_use]
    pub fn packet(&self) -> [u8; RESET_LEN] {
        let body = ResetBody {
            session: U32::new(self.session),
            kind: self.kind as u8,
            reserved: [0; 3],
            number: U64::new(self.number),
        };
        // The sender's id for its side of the session is not known here.
        let mut header = Header::new(Kind::Reset, 0);
        header.payload_len = U16::new(size_of::<ResetBody>() as u16);
        wire::seal(&mut header, wire::payload_crc(body.as_bytes()));
        let mut packet = [0; RESET_LEN];
        packet[..HEADER_LEN].copy_from_slice(header.as_bytes());
        packet[HEADER_LEN..].copy_from_slice(body.as_bytes());
        packet
    }
}

/// Whether a Reset may answer a packet of this kind: those that are sent in an open session.
const fn is_answered(kind: Kind) -> bool {
    matches!(kind, Kind::Data | Kind::Control | Kind::Probe | Kind::Ack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_survive_the_wire() {
        for kind in [Kind::Data, Kind::Control, Kind::Probe, Kind::Ack] {
            let reset = Reset {
                session: 0x1234_5678,
                kind,
                number: 1 << 50,
            };
            let bytes = reset.packet();
            let packet = wire::open(&bytes).unwrap();
            assert_eq!(Reset::read(&packet), Some(reset));
            assert_eq!(Reset::answering(&packet), None, "no answer to a Reset");
        }
    }

    #[test]
    fn it_echoes_what_it_answers_and_answers_only_what_an_open_session_sends() {
        for kind in (1..=10).filter_map(Kind::from_byte) {
            let mut header = Header::new(kind, 77);
            header.packet_number = U64::new(5);
            wire::seal(&mut header, wire::payload_crc(&[]));
            let packet = wire::open(header.as_bytes()).unwrap();
            let echo = Reset {
                session: 77,
                kind,
                number: 5,
            };
            let expected = [Kind::Data, Kind::Control, Kind::Probe, Kind::Ack]
                .contains(&kind)
                .then_some(echo);
            assert_eq!(Reset::answering(&packet), expected);
            let bytes = echo.packet();
            let read = Reset::read(&wire::open(&bytes).unwrap());
            assert_eq!(read, expected, "{kind:?}");
        }
    }
}
