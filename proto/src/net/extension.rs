//! The IPv6 extension headers in front of UDP (RFC 8200, section 4).

use super::PROTOCOL_UDP;
use super::parse::{PacketBytes, ParseError};

/// So many extension headers are followed.
const EXTENSIONS_MAX: usize = 4;
/// So many bytes of extension headers are followed.
pub(super) const EXTENSIONS_LEN_MAX: usize = 128;

/// Protocol numbers of extension headers (IANA, "IPv6 Extension Header Types").
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Bytes of the extension headers at `start`, the first of which is of type `next`, up to the UDP header.
///
/// # Errors
/// [`ParseError`]: a fragment, another protocol behind them, a route that goes on, or too many of them.
#[inline(always)]
pub(super) fn skip_extensions<P: PacketBytes + ?Sized>(
    packet: &P,
    start: usize,
    mut next: u8,
) -> Result<usize, ParseError> {
    let mut len = 0;
    // A bound that the compiler can unroll: no loop is left for the verifier.
    for _ in 0..EXTENSIONS_MAX {
        match next {
            HOP_BY_HOP if len != 0 => return Err(ParseError::Malformed),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {}
            _ => break,
        }
        let header = packet.read_far(start + len);
        let [following, words, _, segments_left] = header.ok_or(ParseError::Truncated)?;
        // RFC 8200, section 4.4: with segments left, the destination address is only the next node's.
        if next == ROUTING && segments_left != 0 {
            return Err(ParseError::Options);
        }
        // The length counts words of 8 bytes, without the first.
        len += (words as usize + 1) * 8;
        if len > EXTENSIONS_LEN_MAX {
            return Err(ParseError::Options);
        }
        next = following;
    }
    match next {
        PROTOCOL_UDP => Ok(len),
        FRAGMENT => Err(ParseError::Fragment),
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => Err(ParseError::Options),
        _ => Err(ParseError::NotUdp),
    }
}
