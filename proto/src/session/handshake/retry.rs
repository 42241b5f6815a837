//! Retry: a server that keeps nothing asks the client to prove that it receives at its address.
//!
//! ```text
//!   0    4    8       16
//!   │ id │ 0  │ token │ cookie, to the end of the packet
//! ```
//!
//! Id and token are those of the Hello it answers, so only who has seen the Hello can make a client repeat it. The
//! cookie means something to the server alone; the client puts it into its next Hello as it is.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::body::{MAX_COOKIE, MIN_HELLO_PAYLOAD};
use crate::wire::{self, HEADER_LEN, Header, Kind};

/// Length in bytes of the cookies that this implementation makes.
pub(in crate::session) const COOKIE_LEN: usize = 24;
/// Length of this implementation's Retry packets.
pub(in crate::session) const RETRY_LEN: usize = HEADER_LEN + size_of::<RetryHead>() + COOKIE_LEN;

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RetryHead {
    id: U32,
    reserved: U32,
    token: U64,
}

const _: () = assert!(COOKIE_LEN <= MAX_COOKIE && RETRY_LEN <= HEADER_LEN + MIN_HELLO_PAYLOAD);

/// What a Retry says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Retry<'a> {
    /// Session id of the client.
    pub(in crate::session) id: u32,
    /// Token of the Hello.
    pub(in crate::session) token: u64,
    /// To be put into the next Hello.
    pub(in crate::session) cookie: &'a [u8],
}

impl<'a> Retry<'a> {
    /// What the payload of a Retry says; `None` if it is not well-formed.
    pub(in crate::session) fn read(payload: &'a [u8]) -> Option<Self> {
        let (head, cookie) = RetryHead::ref_from_prefix(payload).ok()?;
        let is_cookie = (1..=MAX_COOKIE).contains(&cookie.len());
        (is_cookie && head.id.get() != 0).then_some(Self {
            id: head.id.get(),
            token: head.token.get(),
            cookie,
        })
    }
}

/// The whole Retry packet: the UDP payload.
pub(in crate::session) fn retry_packet(
    id: u32,
    token: u64,
    cookie: &[u8; COOKIE_LEN],
) -> [u8; RETRY_LEN] {
    let head = RetryHead {
        id: U32::new(id),
        reserved: U32::ZERO,
        token: U64::new(token),
    };
    let mut packet = [0; RETRY_LEN];
    let (start, payload) = packet.split_at_mut(HEADER_LEN);
    payload[..size_of::<RetryHead>()].copy_from_slice(head.as_bytes());
    payload[size_of::<RetryHead>()..].copy_from_slice(cookie);
    let mut header = Header::new(Kind::Retry, id);
    header.payload_len = U16::new(payload.len() as u16);
    wire::seal(&mut header, wire::payload_crc(payload));
    start.copy_from_slice(header.as_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_survive_the_wire() {
        let bytes = retry_packet(7, 99, &[3; COOKIE_LEN]);
        let packet = wire::open(&bytes).unwrap();
        assert_eq!((packet.kind, packet.header.session.get()), (Kind::Retry, 7));
        let retry = Retry::read(packet.payload).unwrap();
        assert_eq!((retry.id, retry.token, retry.cookie), (7, 99, &[3; 24][..]));
    }

    #[test]
    fn what_is_no_retry_is_rejected() {
        let mut payload = vec![1; size_of::<RetryHead>()];
        assert_eq!(Retry::read(&payload), None, "no cookie");
        payload.resize(size_of::<RetryHead>() + MAX_COOKIE, 1);
        assert!(Retry::read(&payload).is_some());
        payload.push(1);
        assert_eq!(Retry::read(&payload), None, "too long");
        payload.truncate(40);
        payload[..4].fill(0);
        assert_eq!(Retry::read(&payload), None, "nobody's");
        assert_eq!(Retry::read(&payload[..15]), None);
    }
}
