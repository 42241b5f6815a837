//! The bytes of a received packet, in one frame or in several.

use blk_proto::net::{self, ParseError, UdpFrame};
use blk_proto::wire::{HEADER_LEN, KIND_AT, Kind, SPAN_AT};

use crate::umem::{Frame, Rx, Umem};

/// A packet's pieces, in order.
pub(super) struct Parts<'a> {
    first: &'a [u8],
    /// The others, as far as [`parse`](Parts::parse) found them to be payload.
    others: Vec<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// Of a packet in these frames, of which there is one at least.
    pub(super) fn of(umem: &'a Umem, frames: &[Frame<Rx>]) -> Self {
        Self {
            first: umem.packet(&frames[0]),
            others: frames[1..].iter().map(|frame| umem.packet(frame)).collect(),
        }
    }

    /// Of a packet in one piece.
    pub(super) fn whole(packet: &'a [u8]) -> Self {
        Self {
            first: packet,
            others: Vec::new(),
        }
    }

    /// Whether it may stay in pieces: a block or a probe, whose payload nobody reads here but for its checksum, with all
    /// headers in the first one; or it is in one piece anyway.
    pub(super) fn may_be_apart(&self) -> bool {
        if self.others.is_empty() {
            return true;
        }
        let Ok((udp, _)) = net::parse_first(self.first) else {
            return false;
        };
        let kind = udp.payload.get(KIND_AT).copied().and_then(Kind::from_byte);
        let span = match udp.payload.get(SPAN_AT..) {
            Some([low, high, ..]) => usize::from(u16::from_le_bytes([*low, *high])),
            _ => 0,
        };
        matches!(kind, Some(Kind::Data | Kind::Probe))
            && (HEADER_LEN..=udp.payload.len()).contains(&span)
    }

    /// Its headers, and of its UDP payload what lies in the first piece. What follows in the frame behind the datagram's end is
    /// no part of the packet from then on.
    pub(super) fn parse(&mut self) -> Result<UdpFrame<'a>, ParseError> {
        if self.others.is_empty() {
            return net::parse(self.first);
        }
        let (udp, mut rest) = net::parse_first(self.first)?;
        for part in &mut self.others {
            *part = &part[..part.len().min(rest)];
            rest -= part.len();
        }
        match rest {
            0 => Ok(udp),
            _ => Err(ParseError::Truncated),
        }
    }

    /// The pieces behind the first one.
    pub(super) fn rest(&self) -> &[&'a [u8]] {
        &self.others
    }
}
