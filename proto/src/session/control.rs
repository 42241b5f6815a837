//! The control stream: bytes in order, cut into Control packets, that carry length-prefixed messages.
//!
//! Each message is a 32-bit little-endian length, at least 1, and so many bytes. At most [`CONTROL_WINDOW`] bytes are on their way,
//! so a receiver never has to store more than that out of order.

use std::collections::VecDeque;

use super::ranges::{RangeSet, Run};
use super::types::{ControlFull, Violation};
use crate::message::MAX_MESSAGE;

/// Most bytes of the stream that are sent or wait to be, and not acknowledged in order.
pub(super) const CONTROL_WINDOW: usize = 1 << 20;
/// Most bytes of the stream in one packet: fits every MTU that IPv6 allows.
const SEGMENT_LEN: usize = 1024;
/// Most segments at a time; more than a full window of full ones, so it only bounds the memory of small ones.
const MAX_SEGMENTS: usize = 2 * CONTROL_WINDOW / SEGMENT_LEN;
/// Most pieces of the stream stored out of order.
const MAX_PIECES: usize = 256;
/// Bytes of a message's length.
const PREFIX_LEN: usize = 4;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    Unsent,
    InFlight,
    Lost,
    Acked,
}

#[derive(Debug)]
struct Segment {
    state: State,
    offset: u64,
    bytes: Vec<u8>,
}

/// The sending side.
#[derive(Debug)]
pub(super) struct ControlSender {
    /// Not acknowledged, with those acknowledged out of order between.
    segments: VecDeque<Segment>,
    /// Number of the first segment; they are numbered in order.
    first: u64,
    /// Number of the first unsent segment.
    unsent: u64,
    lost: VecDeque<u64>,
    /// Bytes in all segments.
    buffered: usize,
    end: u64,
}

impl ControlSender {
    pub(super) const fn new() -> Self {
        Self {
            segments: VecDeque::new(),
            first: 0,
            unsent: 0,
            lost: VecDeque::new(),
            buffered: 0,
            end: 0,
        }
    }

    /// Longest message that [`Self::push`] takes now.
    pub(super) fn capacity(&self) -> usize {
        let segments = MAX_SEGMENTS.saturating_sub(self.segments.len() + 1);
        let bytes = (CONTROL_WINDOW - self.buffered).min(segments * SEGMENT_LEN);
        bytes.saturating_sub(PREFIX_LEN).min(MAX_MESSAGE)
    }

    /// Appends a message.
    pub(super) fn push(&mut self, message: &[u8]) -> Result<(), ControlFull> {
        let (len, capacity) = (message.len(), self.capacity());
        // The peer takes no empty ones.
        if len > capacity || len == 0 {
            return Err(ControlFull { len, capacity });
        }
        self.append(&(len as u32).to_le_bytes());
        self.append(message);
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let open = self
                .segments
                .back_mut()
                .filter(|last| last.state == State::Unsent && last.bytes.len() < SEGMENT_LEN);
            let Some(segment) = open else {
                self.segments.push_back(Segment {
                    state: State::Unsent,
                    offset: self.end,
                    bytes: Vec::new(),
                });
                continue;
            };
            let room = SEGMENT_LEN - segment.bytes.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            segment.bytes.extend_from_slice(now);
            self.end += now.len() as u64;
            self.buffered += now.len();
            bytes = later;
        }
    }

    /// Whether [`Self::transmit`] may give a segment.
    pub(super) fn is_ready(&self) -> bool {
        !self.lost.is_empty() || self.unsent < self.first + self.segments.len() as u64
    }

    /// Number of a segment to send, a lost one first; it counts as sent.
    pub(super) fn transmit(&mut self) -> Option<u64> {
        while let Some(number) = self.lost.pop_front() {
            if let Some(segment) = self.get_mut(number)
                && segment.state == State::Lost
            {
                segment.state = State::InFlight;
                return Some(number);
            }
        }
        let number = self.unsent;
        let segment = self.get_mut(number)?;
        segment.state = State::InFlight;
        self.unsent += 1;
        Some(number)
    }

    /// Stream offset and bytes of a segment that is not acknowledged.
    pub(super) fn segment(&self, number: u64) -> Option<(u64, &[u8])> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let segment = self.segments.get(index)?;
        Some((segment.offset, &segment.bytes))
    }

    pub(super) fn on_acked(&mut self, number: u64) {
        if let Some(segment) = self.get_mut(number) {
            segment.state = State::Acked;
        }
        while let Some(segment) = self.segments.front()
            && segment.state == State::Acked
        {
            self.buffered -= segment.bytes.len();
            self.segments.pop_front();
            self.first += 1;
        }
    }

    pub(super) fn on_lost(&mut self, number: u64) {
        if let Some(segment) = self.get_mut(number)
            && segment.state == State::InFlight
        {
            segment.state = State::Lost;
            self.lost.push_back(number);
        }
    }

    /// Tells the sizes of what is kept, and their limits ([`super::Session::footprint`]).
    #[cfg(feature = "sim")]
    pub(super) fn footprint(&self, note: &mut impl FnMut(&'static str, usize, usize)) {
        note(
            "segments of the control stream",
            self.segments.len(),
            MAX_SEGMENTS,
        );
        note("lost segments", self.lost.len(), 2 * MAX_SEGMENTS);
        note("bytes of the control stream", self.buffered, CONTROL_WINDOW);
    }

    /// Whether everything was acknowledged.
    pub(super) fn is_drained(&self) -> bool {
        self.segments.is_empty()
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Segment> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.segments.get_mut(index)
    }
}

/// The receiving side.
#[derive(Debug)]
pub(super) struct ControlReceiver {
    /// The stream from `start` on, with zeros for what is missing.
    buffer: VecDeque<u8>,
    /// Stream offset of the first message that is not complete.
    start: u64,
    received: RangeSet,
    messages: VecDeque<Vec<u8>>,
    /// Memory that `messages` takes.
    waiting: usize,
}

impl ControlReceiver {
    pub(super) fn new() -> Self {
        Self {
            buffer: VecDeque::new(),
            start: 0,
            received: RangeSet::new(MAX_PIECES),
            messages: VecDeque::new(),
            waiting: 0,
        }
    }

    /// Takes a piece of the stream. `Ok(false)` if there is no room: it must count as not received.
    pub(super) fn receive(&mut self, offset: u64, bytes: &[u8]) -> Result<bool, Violation> {
        let piece = Run::new(offset, offset.saturating_add(bytes.len() as u64));
        let in_order = self.contiguous_end();
        if piece.end > in_order.saturating_add(CONTROL_WINDOW as u64) {
            return Err(Violation::ControlWindow(offset));
        }
        if piece.end <= in_order {
            return Ok(true);
        }
        let too_many_pieces =
            self.received.runs().len() + 1 >= MAX_PIECES && self.received.is_apart(piece);
        // The application does not fetch its messages, or a gap must close first.
        if self.waiting > CONTROL_WINDOW || (too_many_pieces && offset > in_order) {
            return Ok(false);
        }
        self.store(offset, bytes);
        self.received.insert(piece, |_| {});
        self.extract_messages()?;
        Ok(true)
    }

    /// The next message.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.pop_front()?;
        self.waiting -= cost(&message);
        Some(message)
    }

    /// Tells the sizes of what is kept, and their limits ([`super::Session::footprint`]).
    #[cfg(feature = "sim")]
    pub(super) fn footprint(&self, note: &mut impl FnMut(&'static str, usize, usize)) {
        // The last piece before the limit is reached may complete many messages.
        let most = 2 * CONTROL_WINDOW;
        note("control bytes out of order", self.buffer.len(), most);
        note(
            "pieces of the control stream",
            self.received.runs().len(),
            MAX_PIECES,
        );
        note(
            "bytes of messages not fetched",
            self.waiting,
            CONTROL_WINDOW + most,
        );
    }

    /// Up to here the stream has no gap.
    fn contiguous_end(&self) -> u64 {
        match self.received.runs().first() {
            Some(run) if run.start <= self.start => run.end,
            _ => self.start,
        }
    }

    fn store(&mut self, offset: u64, bytes: &[u8]) {
        // The window bounds the distance, so it fits.
        let known = self.start.saturating_sub(offset) as usize;
        let bytes = bytes.get(known..).unwrap_or_default();
        let at = offset.saturating_sub(self.start) as usize;
        if at == self.buffer.len() {
            self.buffer.extend(bytes);
            return;
        }
        let end = at + bytes.len();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        for (place, byte) in self.buffer.range_mut(at..end).zip(bytes) {
            *place = *byte;
        }
    }

    fn extract_messages(&mut self) -> Result<(), Violation> {
        let mut available = (self.contiguous_end() - self.start) as usize;
        while available >= PREFIX_LEN {
            let mut prefix = [0; PREFIX_LEN];
            for (place, byte) in prefix.iter_mut().zip(&self.buffer) {
                *place = *byte;
            }
            let len = u32::from_le_bytes(prefix);
            // Nothing encodes to nothing, and each one takes memory here.
            if len == 0 {
                return Err(Violation::EmptyMessage);
            }
            if len as usize > MAX_MESSAGE {
                return Err(Violation::MessageTooLong(len));
            }
            let whole = PREFIX_LEN + len as usize;
            if available < whole {
                break;
            }
            let message: Vec<u8> = self.buffer.drain(..whole).skip(PREFIX_LEN).collect();
            self.waiting += cost(&message);
            self.messages.push_back(message);
            self.start += whole as u64;
            available -= whole;
        }
        self.received.forget_below(self.start);
        Ok(())
    }
}

/// Memory that a message takes while it waits.
const fn cost(message: &[u8]) -> usize {
    message.len() + size_of::<Vec<u8>>()
}

#[cfg(test)]
mod tests;
