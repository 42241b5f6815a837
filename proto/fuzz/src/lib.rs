//! What the fuzz targets of `blk-proto` have in common. `scripts/fuzz` builds and runs them.
//!
//! | target | input | what must hold |
//! |---|---|---|
//! | `wire` | a frame, or a UDP payload | [`check_open`] |
//! | `message` | an encoded control message | [`check_request`], [`check_reply`] |
//! | `ack` | payloads of Acks | [`world::World::finish`] |
//! | `session` | a [`script::Script`] | the same, and no wrong byte as long as no checksum was forged |
//! | `handshake` | steps of a [`door::Door`] | nobody gets more than is due, no more sessions than places |
//!
//! The seeds in `corpus/` come from `examples/corpus.rs`. A crash that was found becomes a unit test of `blk-proto`.

pub mod door;
pub mod memory;
pub mod script;
pub mod world;

use blk_proto::message::{ReplyFrame, RequestFrame, decode, encode};
use blk_proto::session::{Refusal, Versions};
use blk_proto::wire::{self, HEADER_LEN, Header, Kind, TAG_LEN, WireError};
use zerocopy::{FromBytes, IntoBytes};

/// What `open` lets through is what its header says; what it refuses for its version gets no longer an answer than
/// itself.
///
/// # Panics
/// It does not hold.
pub fn check_open(bytes: &[u8]) {
    match wire::open(bytes) {
        Ok(packet) => {
            let header = packet.header;
            assert_eq!(Kind::from_byte(header.kind), Some(packet.kind));
            assert_eq!(usize::from(header.payload_len.get()), packet.payload.len());
            assert_eq!(wire::payload_crc(packet.payload), packet.payload_crc);
            assert!(bytes.len() >= HEADER_LEN + packet.payload.len());
            assert!(bytes.ends_with(packet.payload));
            let mut again = *header;
            wire::seal(&mut again, packet.payload_crc);
            assert_eq!(again, *header, "sealing it again changes nothing");
        }
        Err(error) => {
            if let Some(answer) = Refusal::of_version(&error, Versions::SUPPORTED)
                .and_then(|refusal| refusal.packet())
            {
                assert!(answer.len() <= bytes.len());
            }
            assert!(matches!(error, WireError::TooShort { .. }) == (bytes.len() < HEADER_LEN));
        }
    }
}

/// Defines a check that what decodes can be encoded again, in no more bytes, and then decodes to the same.
macro_rules! message_check {
    ($(#[$doc:meta])* $name:ident, $message:ty) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// It is not so.
        pub fn $name(bytes: &[u8]) {
            let Ok(first) = decode::<$message>(bytes) else {
                return;
            };
            let mut encoded = Vec::new();
            encode(&first, &mut encoded).expect("what was decoded fits");
            // Integers have longer encodings than the one that is written.
            assert!(encoded.len() <= bytes.len());
            let second: $message = decode(&encoded).expect("what was encoded");
            assert_eq!(first, second);
        }
    };
}

message_check!(
    /// A request that decodes can be encoded again, in no more bytes, and then decodes to the same.
    check_request,
    RequestFrame
);
message_check!(
    /// As [`check_request`], of a reply.
    check_reply,
    ReplyFrame
);

/// Gives a packet the right checksum and lengths, as far as it is long enough to have any. What else is wrong with it
/// stays so.
pub fn reseal(bytes: &mut [u8]) {
    let len = bytes.len();
    let Ok((header, _)) = Header::read_from_prefix(bytes) else {
        return;
    };
    let mut header = header;
    let span = if header.kind == Kind::Refuse as u8 {
        HEADER_LEN
    } else {
        let span = usize::from(header.span.get()).clamp(HEADER_LEN, len.min(u16::MAX.into()));
        header.span.set(span as u16);
        span
    };
    let payload = &bytes[span..];
    header.payload_len.set(payload.len() as u16);
    header.tag = [0; TAG_LEN];
    wire::seal(&mut header, wire::payload_crc(payload));
    bytes[..HEADER_LEN].copy_from_slice(header.as_bytes());
}

/// Changes a byte, if there is one.
pub(crate) fn change(packet: &mut [u8], at: usize, by: u8) {
    let len = packet.len();
    if let Some(byte) = packet.get_mut(at % len.max(1)) {
        *byte ^= by;
    }
}
