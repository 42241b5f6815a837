//! The Internet checksum (RFC 1071) of IPv4 headers and UDP datagrams.

use super::parse::{Addresses, ParseError, UDP_LEN, UdpHeaders};
use super::{PROTOCOL_UDP, frame};

/// Offset of the checksum in a UDP header (RFC 768).
const UDP_CHECKSUM: usize = 6;

/// Adds `bytes` to a one's complement sum as big-endian words; an odd last byte is padded with zero.
///
/// A `u64` cannot overflow here: it would take 2^48 words.
#[inline]
pub(super) fn sum(bytes: &[u8], mut accumulator: u64) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    for word in words {
        accumulator += u64::from(u16::from_be_bytes(*word));
    }
    if let [last] = rest {
        accumulator += u64::from(*last) << 8;
    }
    accumulator
}

/// Folds a sum to 16 bits and complements it: the value for a header's checksum field.
#[inline]
pub(super) fn finish(mut accumulator: u64) -> u16 {
    while accumulator > 0xffff {
        accumulator = (accumulator & 0xffff) + (accumulator >> 16);
    }
    !(accumulator as u16)
}

/// Computes the UDP checksum of a whole frame and writes it into the UDP header.
///
/// For packets that a kernel's stack may receive (handshake and control messages to a peer on the UDP
/// link): Linux drops IPv6 UDP with a zero checksum unless the socket asks for it. Costs a pass over the
/// payload; bulk data does without, see [`Path::write_headers`](super::Path::write_headers).
///
/// `frame` starts at the Ethernet header and holds at least the whole UDP datagram.
///
/// # Errors
/// The [`ParseError`] of [`parse`](super::parse) when `frame` is not such a packet; it is then unchanged.
pub fn fill_udp_checksum(frame: &mut [u8]) -> Result<(), ParseError> {
    fill_udp_checksum_of_two(frame, &[])
}

/// The same for a packet in two pieces of memory: the first holds all headers and ends with the packet, or with an even
/// number of bytes of the UDP payload.
///
/// # Errors
/// As [`fill_udp_checksum`], and [`ParseError::Malformed`] for an odd number of bytes.
pub fn fill_udp_checksum_of_two(first: &mut [u8], second: &[u8]) -> Result<(), ParseError> {
    let headers = frame::parse_checked(first)?;
    let start = headers.payload_offset - UDP_LEN;
    let end = headers.payload_offset + headers.payload_len;
    let (here, there) = (end.min(first.len()), end.saturating_sub(first.len()));
    let rest = second.get(..there).ok_or(ParseError::Truncated)?;
    let datagram = first.get_mut(start..here).ok_or(ParseError::Truncated)?;
    if !rest.is_empty() && !datagram.len().is_multiple_of(2) {
        return Err(ParseError::Malformed);
    }
    datagram[UDP_CHECKSUM..UDP_LEN].fill(0);
    let checksum = match finish(sum(rest, sum(datagram, pseudo_header(&headers)))) {
        // Zero means "no checksum": RFC 768 has a computed zero sent as all ones.
        0 => 0xffff,
        checksum => checksum,
    };
    datagram[UDP_CHECKSUM..UDP_LEN].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// The sum of the pseudo header: addresses, protocol and UDP length (RFC 768; RFC 8200, section 8.1).
fn pseudo_header(headers: &UdpHeaders) -> u64 {
    let addresses = match headers.addresses {
        Addresses::V4 {
            source,
            destination,
        } => sum(&destination, sum(&source, 0)),
        Addresses::V6 {
            source,
            destination,
        } => sum(&destination, sum(&source, 0)),
    };
    addresses + u64::from(PROTOCOL_UDP) + (headers.payload_len + UDP_LEN) as u64
}
