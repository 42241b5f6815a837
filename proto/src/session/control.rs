//! The control stream: bytes in order, cut into Control packets, that carry length-prefixed messages.
//!
//! Each message is a 32-bit little-endian length, at least 1, and so many bytes. At most [`CONTROL_WINDOW`] bytes are on their way,
//! so a receiver never has to store more than that out of order.
//!
//! The packets have no bounds of their own: as in QUIC (RFC 9000, sections 2.2 and 13.3), each is cut when it is sent, to what the
//! path takes then, and what was acknowledged or lost are ranges of the stream.

mod receiver;
mod sender;

use std::collections::VecDeque;

pub(super) use receiver::ControlReceiver;
pub(super) use sender::{ControlSender, Piece};

/// Most bytes of the stream that are sent or wait to be, and not acknowledged in order.
const CONTROL_WINDOW: usize = 1 << 20;
/// Most pieces of the stream stored out of order, and known to be.
const MAX_PIECES: usize = 256;
/// Bytes of a message's length.
const PREFIX_LEN: usize = 4;

/// Gives memory back that a burst took, but for `kept` bytes. The buffer has to grow by far more than is copied here before it
/// happens again.
fn slim(buffer: &mut VecDeque<u8>, kept: usize) {
    if buffer.capacity() > kept && buffer.len() < buffer.capacity() / 8 {
        buffer.shrink_to((2 * buffer.len()).max(kept));
    }
}

#[cfg(test)]
mod tests;
