//! What Hello and HelloReply carry.
//!
//! ```text
//!   0    4        5         6        8        16       18       20       22   24               32      40
//!   │ id │ lowest │ highest │ queues │ token  │ offset │ granule│ max    │ 0  │ initial_credit │ epoch │ extensions …
//!
//!   an extension: │ type: 2 │ length: 2 │ so many bytes │     type 0: nothing but padding follows
//! ```
//!
//! Extensions of unknown types are passed over, so that a later program can say more to an earlier one. Those of a
//! Hello may take up to [`MAX_HELLO_PAYLOAD`] - 40 bytes: room for a cookie and for a first message of a Noise handshake
//! (an IK pattern needs 96 bytes and what it carries); and since a Hello is never shorter than [`MIN_HELLO_PAYLOAD`], the
//! reply, which must not be longer than it, has 216 for the second message (48 and what it carries).

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::versions::Versions;
use crate::session::config::{LongBlocks, Parameters};

/// Least payload of a Hello in bytes: the answer has room, and is never longer.
pub(in crate::session) const MIN_HELLO_PAYLOAD: usize = 256;
/// Most payload of a Hello in bytes: passes any path that IPv6 does.
pub(in crate::session) const MAX_HELLO_PAYLOAD: usize = 1024;
/// Payload of a HelloReply without extensions.
pub(in crate::session) const REPLY_PAYLOAD: usize = size_of::<Body>();
/// Longest cookie that a client keeps, in bytes.
pub(in crate::session) const MAX_COOKIE: usize = 128;

/// Nothing but padding from here on.
const EXTENSION_PADDING: u16 = 0;
/// What a Retry gave to the client.
const EXTENSION_COOKIE: u16 = 1;
/// Reserved: a message of the key exchange that will protect the session. Passed over so far.
#[cfg(test)]
const EXTENSION_KEY_EXCHANGE: u16 = 2;
/// Long blocks: their payload offset, and the most bytes of payload.
const EXTENSION_LONG_BLOCKS: u16 = 3;

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
    reserved: U16,
    initial_credit: U64,
    epoch: U64,
}

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LongBody {
    payload_offset: U16,
    max_payload: U16,
}

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ExtensionHead {
    kind: U16,
    len: U16,
}

/// A cookie and a key exchange of 200 bytes each way have room.
const _: () = {
    let cookie = size_of::<ExtensionHead>() + MAX_COOKIE;
    let exchange = size_of::<ExtensionHead>() + 200;
    let long = size_of::<ExtensionHead>() + size_of::<LongBody>();
    assert!(REPLY_PAYLOAD == 40);
    assert!(REPLY_PAYLOAD + cookie + exchange + long <= MAX_HELLO_PAYLOAD);
    assert!(REPLY_PAYLOAD + exchange + long <= MIN_HELLO_PAYLOAD);
};

/// What a Hello or a HelloReply says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Greeting<'a> {
    /// Session id of the sender, never 0.
    pub(in crate::session) id: u32,
    /// The versions that the sender speaks.
    pub(in crate::session) versions: Versions,
    /// Of a Hello: anything; of a HelloReply: that of the Hello it answers.
    pub(in crate::session) token: u64,
    pub(in crate::session) parameters: Parameters,
    /// Of a Hello: what the server gave in a Retry; empty if there was none.
    pub(in crate::session) cookie: &'a [u8],
}

impl<'a> Greeting<'a> {
    /// Writes the payload over `buffer`, at least `len` bytes of it.
    pub(in crate::session) fn write(&self, len: usize, buffer: &mut Vec<u8>) {
        let body = Body {
            id: U32::new(self.id),
            lowest_version: self.versions.lowest,
            highest_version: self.versions.highest,
            queues: U16::new(self.parameters.queues),
            token: U64::new(self.token),
            payload_offset: U16::new(self.parameters.payload_offset),
            granule: U16::new(self.parameters.granule),
            max_payload: U16::new(self.parameters.max_payload),
            reserved: U16::ZERO,
            initial_credit: U64::new(self.parameters.initial_credit),
            epoch: U64::new(self.parameters.epoch),
        };
        buffer.clear();
        buffer.extend_from_slice(body.as_bytes());
        if let Some(long) = self.parameters.long {
            let body = LongBody {
                payload_offset: U16::new(long.payload_offset),
                max_payload: U16::new(long.max_payload),
            };
            push_extension(EXTENSION_LONG_BLOCKS, body.as_bytes(), buffer);
        }
        if !self.cookie.is_empty() {
            push_extension(EXTENSION_COOKIE, self.cookie, buffer);
        }
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
    }

    /// What the payload of a Hello says; `None` if it is not well-formed.
    pub(in crate::session) fn read_hello(payload: &'a [u8]) -> Option<Self> {
        (payload.len() >= MIN_HELLO_PAYLOAD)
            .then(|| Self::read(payload))
            .flatten()
    }

    /// What the payload of a HelloReply says; `None` if it is not well-formed.
    pub(in crate::session) fn read_reply(payload: &'a [u8]) -> Option<Self> {
        Self::read(payload)
    }

    fn read(payload: &'a [u8]) -> Option<Self> {
        let (body, extensions) = Body::ref_from_prefix(payload).ok()?;
        if payload.len() > MAX_HELLO_PAYLOAD || body.id.get() == 0 {
            return None;
        }
        Some(Self {
            id: body.id.get(),
            versions: Versions {
                lowest: body.lowest_version,
                highest: body.highest_version,
            },
            token: body.token.get(),
            parameters: Parameters {
                payload_offset: body.payload_offset.get(),
                granule: body.granule.get(),
                max_payload: body.max_payload.get(),
                queues: body.queues.get(),
                initial_credit: body.initial_credit.get(),
                epoch: body.epoch.get(),
                long: read_long(find_extension(extensions, EXTENSION_LONG_BLOCKS)?),
            },
            cookie: find_extension(extensions, EXTENSION_COOKIE)?.unwrap_or_default(),
        })
    }
}

/// What the extension says; more bytes than are known here are passed over.
fn read_long(extension: Option<&[u8]>) -> Option<LongBlocks> {
    let (body, _) = LongBody::ref_from_prefix(extension?).ok()?;
    Some(LongBlocks {
        payload_offset: body.payload_offset.get(),
        max_payload: body.max_payload.get(),
    })
}

/// Appends an extension.
fn push_extension(kind: u16, content: &[u8], buffer: &mut Vec<u8>) {
    debug_assert!(content.len() <= MAX_HELLO_PAYLOAD);
    let head = ExtensionHead {
        kind: U16::new(kind),
        len: U16::new(content.len() as u16),
    };
    buffer.extend_from_slice(head.as_bytes());
    buffer.extend_from_slice(content);
}

/// The first extension of this kind, if there is one; `None` if they are not well-formed.
fn find_extension(mut bytes: &[u8], wanted: u16) -> Option<Option<&[u8]>> {
    let mut found = None;
    while let Ok((head, rest)) = ExtensionHead::ref_from_prefix(bytes) {
        let kind = head.kind.get();
        if kind == EXTENSION_PADDING {
            break;
        }
        let (content, next) = rest.split_at_checked(usize::from(head.len.get()))?;
        if kind == wanted && found.is_none() {
            found = Some(content);
        }
        bytes = next;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn greeting(cookie: &[u8]) -> Greeting<'_> {
        Greeting {
            id: 9,
            versions: Versions {
                lowest: 2,
                highest: 7,
            },
            token: 1 << 60,
            parameters: Parameters {
                queues: 4,
                payload_offset: 128,
                granule: 512,
                max_payload: 3584,
                initial_credit: 1 << 33,
                epoch: 12,
                long: None,
            },
            cookie,
        }
    }

    #[test]
    fn greetings_survive_the_wire() {
        let mut buffer = vec![1, 2, 3];
        for cookie in [&[][..], &[7; 24], &[7; MAX_COOKIE]] {
            let greeting = greeting(cookie);
            greeting.write(MIN_HELLO_PAYLOAD, &mut buffer);
            assert_eq!(buffer.len(), MIN_HELLO_PAYLOAD);
            assert_eq!(Greeting::read_hello(&buffer), Some(greeting));
        }
        assert_eq!(Greeting::read_hello(&buffer[..255]), None, "too short");
        buffer[..4].fill(0);
        assert_eq!(Greeting::read_hello(&buffer), None, "id 0");
        greeting(&[]).write(REPLY_PAYLOAD, &mut buffer);
        assert_eq!(buffer.len(), REPLY_PAYLOAD);
        assert_eq!(Greeting::read_reply(&buffer), Some(greeting(&[])));
        assert_eq!(Greeting::read_reply(&buffer[..39]), None);
        buffer.resize(MAX_HELLO_PAYLOAD + 1, 0);
        assert_eq!(Greeting::read_reply(&buffer), None, "too long");
    }

    #[test]
    fn long_blocks_are_announced_beside_the_others() {
        let long = LongBlocks {
            payload_offset: 512,
            max_payload: 53_760,
        };
        let mut greeting = greeting(&[7; 24]);
        greeting.parameters.long = Some(long);
        let mut buffer = Vec::new();
        greeting.write(MIN_HELLO_PAYLOAD, &mut buffer);
        assert_eq!(Greeting::read_hello(&buffer), Some(greeting));
        greeting.cookie = &[];
        greeting.write(REPLY_PAYLOAD, &mut buffer);
        assert_eq!(buffer.len(), REPLY_PAYLOAD + 8);
        assert_eq!(Greeting::read_reply(&buffer), Some(greeting));
        // One that is too short to say anything says nothing.
        buffer.truncate(REPLY_PAYLOAD);
        push_extension(EXTENSION_LONG_BLOCKS, &[0; 3], &mut buffer);
        let read = Greeting::read_reply(&buffer).unwrap();
        assert_eq!(read.parameters.long, None);
    }

    #[test]
    fn a_key_exchange_has_room_and_is_passed_over_so_far() {
        let mut hello = Vec::new();
        greeting(&[]).write(0, &mut hello);
        push_extension(EXTENSION_KEY_EXCHANGE, &[0xaa; 200], &mut hello);
        push_extension(0x7777, &[], &mut hello);
        push_extension(EXTENSION_COOKIE, &[5; 24], &mut hello);
        assert!((MIN_HELLO_PAYLOAD..MAX_HELLO_PAYLOAD).contains(&hello.len()));
        assert_eq!(Greeting::read_hello(&hello), Some(greeting(&[5; 24])));
        let mut reply = Vec::new();
        greeting(&[]).write(0, &mut reply);
        push_extension(EXTENSION_KEY_EXCHANGE, &[0xbb; 200], &mut reply);
        assert!(reply.len() <= MIN_HELLO_PAYLOAD, "not longer than a Hello");
        assert_eq!(Greeting::read_reply(&reply), Some(greeting(&[])));
    }

    #[test]
    fn an_extension_that_ends_outside_is_malformed() {
        let mut hello = Vec::new();
        greeting(&[]).write(0, &mut hello);
        let rest = MIN_HELLO_PAYLOAD - REPLY_PAYLOAD - size_of::<ExtensionHead>();
        push_extension(0x7777, &vec![0; rest], &mut hello);
        assert_eq!(hello.len(), MIN_HELLO_PAYLOAD);
        assert!(Greeting::read_hello(&hello).is_some());
        hello[REPLY_PAYLOAD + 2] += 1;
        assert_eq!(Greeting::read_hello(&hello), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
            if let Some(greeting) = Greeting::read_hello(&bytes) {
                prop_assert!(greeting.id != 0 && greeting.cookie.len() < bytes.len());
            }
            let _ = Greeting::read_reply(&bytes);
        }

        #[test]
        fn any_extensions_are_read_or_rejected(
            extensions in proptest::collection::vec((0u16..4, 0u16..70, 0usize..70), 0..8),
        ) {
            let mut bytes = Vec::new();
            greeting(&[]).write(0, &mut bytes);
            for (kind, len, actual) in extensions {
                bytes.extend(kind.to_le_bytes());
                bytes.extend(len.to_le_bytes());
                bytes.extend(std::iter::repeat_n(1, actual));
            }
            if let Some(found) = Greeting::read_reply(&bytes) {
                prop_assert!(found.cookie.len() < bytes.len());
            }
        }
    }
}
