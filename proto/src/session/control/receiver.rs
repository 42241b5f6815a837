//! The receiving side of the control stream.

use std::collections::VecDeque;

use super::super::ranges::{RangeSet, Run};
use super::super::types::Violation;
use super::{CONTROL_WINDOW, MAX_PIECES, PREFIX_LEN, slim};
use crate::message::MAX_MESSAGE;

/// The message that is coming in.
#[derive(Debug, Default)]
struct Incoming {
    prefix: [u8; PREFIX_LEN],
    /// Bytes of the prefix that are here.
    known: usize,
    message: Vec<u8>,
    /// Bytes of the message that are to come; counts once the prefix is whole.
    missing: usize,
}

impl Incoming {
    /// Takes bytes off the front of `bytes`; gives the message when that makes it whole.
    fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, Violation> {
        if self.known < PREFIX_LEN {
            let part = split_off(bytes, PREFIX_LEN - self.known);
            self.prefix[self.known..self.known + part.len()].copy_from_slice(part);
            self.known += part.len();
            if self.known < PREFIX_LEN {
                return Ok(None);
            }
            let len = u32::from_le_bytes(self.prefix);
            // Nothing encodes to nothing, and each one takes memory here.
            if len == 0 {
                return Err(Violation::EmptyMessage);
            }
            if len as usize > MAX_MESSAGE {
                return Err(Violation::MessageTooLong(len));
            }
            self.missing = len as usize;
            self.message = Vec::with_capacity(self.missing);
        }
        let part = split_off(bytes, self.missing);
        self.message.extend_from_slice(part);
        self.missing -= part.len();
        if self.missing > 0 {
            return Ok(None);
        }
        self.known = 0;
        Ok(Some(core::mem::take(&mut self.message)))
    }
}

/// Splits at most `most` bytes off the front.
fn split_off<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    front
}

/// Memory for so many messages is kept when they are fetched.
const KEPT: usize = 256;

/// Memory for bytes that come early is kept, when there are none any more: little, since only loss brings them.
const EARLY_KEPT: usize = 64 * 1024;

/// The receiving side. What comes in order goes from the packet to its message; only what comes early is stored.
#[derive(Debug)]
pub(in crate::session) struct ControlReceiver {
    /// Up to here the stream has no gap.
    next: u64,
    incoming: Incoming,
    /// The stream from `next` on, with zeros for what is missing.
    early: VecDeque<u8>,
    /// Which bytes of `early` are here.
    received: RangeSet,
    messages: VecDeque<Vec<u8>>,
    /// Memory that `messages` takes.
    waiting: usize,
}

impl ControlReceiver {
    pub(in crate::session) fn new() -> Self {
        Self {
            next: 0,
            incoming: Incoming::default(),
            early: VecDeque::new(),
            received: RangeSet::new(MAX_PIECES),
            messages: VecDeque::new(),
            waiting: 0,
        }
    }

    /// Takes a piece of the stream. `Ok(false)` if there is no room: it must count as not received.
    pub(in crate::session) fn receive(
        &mut self,
        offset: u64,
        bytes: &[u8],
    ) -> Result<bool, Violation> {
        let piece = Run::new(offset, offset.saturating_add(bytes.len() as u64));
        if piece.end > self.next.saturating_add(CONTROL_WINDOW as u64) {
            return Err(Violation::ControlWindow(offset));
        }
        if piece.end <= self.next {
            return Ok(true);
        }
        let is_early = offset > self.next;
        let too_many_pieces =
            self.received.runs().len() + 1 >= MAX_PIECES && self.received.is_apart(piece);
        // The application does not fetch its messages, or a gap must close first.
        if self.waiting > CONTROL_WINDOW || (too_many_pieces && is_early) {
            return Ok(false);
        }
        if is_early {
            self.store(offset, bytes);
            self.received.insert(piece, |_| {});
            return Ok(true);
        }
        // The window bounds the distance, so it fits.
        let known = (self.next - offset) as usize;
        self.take(bytes.get(known..).unwrap_or_default())?;
        self.next = piece.end;
        if !self.early.is_empty() {
            self.take_early((piece.end - offset) as usize - known)?;
        }
        Ok(true)
    }

    /// The next message.
    pub(in crate::session) fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.pop_front()?;
        self.waiting -= cost(&message);
        if self.messages.is_empty() && self.messages.capacity() > KEPT {
            self.messages = VecDeque::new();
        }
        Some(message)
    }

    /// Tells the sizes of what is kept, and their limits ([`super::super::Session::footprint`]).
    #[cfg(feature = "sim")]
    pub(in crate::session) fn footprint(&self, note: &mut impl FnMut(&'static str, usize, usize)) {
        let early = self.early.len();
        note("control bytes out of order", early, CONTROL_WINDOW);
        let pieces = self.received.runs().len();
        note("pieces of the control stream", pieces, MAX_PIECES);
        // The last piece before the limit is reached may complete as many messages as the window holds: of a byte each at
        // worst.
        let smallest = PREFIX_LEN + 1;
        let most = CONTROL_WINDOW + CONTROL_WINDOW.div_ceil(smallest) * cost(&[0]) + MAX_MESSAGE;
        note("bytes of messages not fetched", self.waiting, most);
    }

    /// Takes bytes that follow those taken before.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            if let Some(message) = self.incoming.take(&mut bytes)? {
                self.waiting += cost(&message);
                self.messages.push_back(message);
            }
        }
        Ok(())
    }

    /// Keeps a piece for later.
    fn store(&mut self, offset: u64, bytes: &[u8]) {
        // The window bounds the distance, so it fits.
        let at = (offset - self.next) as usize;
        // At once: growing twice could double it.
        let end = at + bytes.len();
        self.early.reserve(end.saturating_sub(self.early.len()));
        if self.early.len() < at {
            self.early.resize(at, 0);
        }
        let over = bytes.len().min(self.early.len() - at);
        let (over, beyond) = bytes.split_at(over);
        let (first, second) = self.early.as_mut_slices();
        let (in_first, in_second) = over.split_at(first.len().saturating_sub(at).min(over.len()));
        if !in_first.is_empty() {
            first[at..at + in_first.len()].copy_from_slice(in_first);
        }
        if !in_second.is_empty() {
            let at = at.saturating_sub(first.len());
            second[at..at + in_second.len()].copy_from_slice(in_second);
        }
        self.early.extend(beyond);
    }

    /// The stream grew by so many bytes, and `next` has moved on: takes what was stored and follows without a gap.
    fn take_early(&mut self, grown: usize) -> Result<(), Violation> {
        let mut early = core::mem::take(&mut self.early);
        early.drain(..grown.min(early.len()));
        self.received.forget_below(self.next);
        if let Some(run) = self.received.runs().first().copied()
            && run.start == self.next
        {
            self.next = run.end;
            self.received.forget_below(run.end);
            let len = (run.end - run.start) as usize;
            let (first, second) = early.as_slices();
            let (first, second) = (
                &first[..len.min(first.len())],
                &second[..len.saturating_sub(first.len())],
            );
            self.take(first)?;
            self.take(second)?;
            early.drain(..len);
        }
        slim(&mut early, EARLY_KEPT);
        self.early = early;
        Ok(())
    }
}

/// Memory that a message takes while it waits.
const fn cost(message: &[u8]) -> usize {
    message.len() + size_of::<Vec<u8>>()
}

#[cfg(test)]
mod tests;
