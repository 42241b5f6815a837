//! The sending side of the control stream.
//!
//! ```text
//!          start                                    unsent               start + buffer.len()
//!   ─────────┼────────────────────────────────────────┼────────────────────┼
//!   forgotten│ in flight, or in `acked`, or in `lost` │ not sent           │
//! ```

use std::collections::VecDeque;

use super::super::ranges::{RangeSet, Run};
use super::super::types::ControlFull;
use super::{CONTROL_WINDOW, MAX_PIECES, PREFIX_LEN, slim};
use crate::message::MAX_MESSAGE;

/// Memory that is kept when all was acknowledged: what the answers to many small requests take at once, or each burst of them
/// would have to be given memory anew.
const KEPT: usize = 256 * 1024;

/// What one packet carries of the stream.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Piece {
    /// Offset of its first byte in the stream.
    pub(in crate::session) offset: u64,
    /// Bytes; at least 1.
    pub(in crate::session) len: u16,
}

impl Piece {
    fn run(self) -> Run {
        Run::new(self.offset, self.offset + u64::from(self.len))
    }
}

/// The sending side.
#[derive(Debug)]
pub(in crate::session) struct ControlSender {
    /// The stream from `start` on.
    buffer: VecDeque<u8>,
    /// Everything before was acknowledged.
    start: u64,
    /// Everything from here on was never sent.
    unsent: u64,
    /// What was acknowledged after `start`.
    acked: RangeSet,
    /// What was lost. It may have been acknowledged since.
    lost: RangeSet,
}

impl ControlSender {
    pub(in crate::session) fn new() -> Self {
        Self {
            buffer: VecDeque::new(),
            start: 0,
            unsent: 0,
            acked: RangeSet::new(MAX_PIECES),
            lost: RangeSet::new(MAX_PIECES),
        }
    }

    /// Longest message that [`Self::push`] takes now.
    pub(in crate::session) fn capacity(&self) -> usize {
        let room = CONTROL_WINDOW - self.buffer.len();
        room.saturating_sub(PREFIX_LEN).min(MAX_MESSAGE)
    }

    /// Appends a message.
    pub(in crate::session) fn push(&mut self, message: &[u8]) -> Result<(), ControlFull> {
        let (len, capacity) = (message.len(), self.capacity());
        // The peer takes no empty ones.
        if len > capacity || len == 0 {
            return Err(ControlFull { len, capacity });
        }
        self.buffer.extend((len as u32).to_le_bytes());
        self.buffer.extend(message);
        Ok(())
    }

    /// One past the last byte of the stream.
    fn end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// Whether [`Self::transmit`] may give something.
    pub(in crate::session) fn is_ready(&self) -> bool {
        !self.lost.runs().is_empty() || self.unsent < self.end()
    }

    /// What to send in a packet that has room for so many bytes, lost ones first; it counts as sent.
    pub(in crate::session) fn transmit(&mut self, most: u16) -> Option<Piece> {
        let cut = |run: Run| Piece {
            offset: run.start,
            len: (run.end - run.start).min(u64::from(most)) as u16,
        };
        while let Some(run) = self.lost.runs().first().copied() {
            let Some(gap) = self.acked.first_gap(run) else {
                self.lost.remove_below(run.end);
                continue;
            };
            let piece = cut(gap);
            self.lost.remove_below(piece.run().end);
            return Some(piece);
        }
        let rest = Run::new(self.unsent, self.end());
        if rest.start == rest.end {
            return None;
        }
        let piece = cut(rest);
        self.unsent = piece.run().end;
        Some(piece)
    }

    /// The bytes of a piece that is not acknowledged, in two parts.
    pub(in crate::session) fn bytes(&self, piece: Piece) -> (&[u8], &[u8]) {
        let run = piece.run();
        debug_assert!(self.start <= run.start && run.end <= self.end());
        // The window bounds both distances, so they fit.
        let from = run.start.saturating_sub(self.start) as usize;
        let to = run.end.saturating_sub(self.start) as usize;
        let (first, second) = self.buffer.as_slices();
        let within = |at: usize| at.min(first.len());
        let beyond = |at: usize| at.saturating_sub(first.len()).min(second.len());
        (
            &first[within(from)..within(to)],
            &second[beyond(from)..beyond(to)],
        )
    }

    pub(in crate::session) fn on_acked(&mut self, piece: Piece) {
        let run = piece.run();
        if run.start > self.start {
            if self.acked.is_too_small_for(run) {
                // It is sent once more: costs a packet in a rare case, and no memory.
                self.on_lost(piece);
            } else {
                self.acked.insert(run, |_| {});
            }
            return;
        }
        if run.end <= self.start {
            return;
        }
        let mut end = run.end;
        self.acked.forget_below(end);
        // The gap before it has closed.
        if let Some(next) = self.acked.runs().first().copied()
            && next.start == end
        {
            end = next.end;
            self.acked.forget_below(end);
        }
        self.lost.remove_below(end);
        self.buffer.drain(..(end - self.start) as usize);
        self.start = end;
        slim(&mut self.buffer, KEPT);
    }

    pub(in crate::session) fn on_lost(&mut self, piece: Piece) {
        let Run { start, end } = piece.run();
        let mut lost = Run::new(start.max(self.start), end);
        if lost.start >= lost.end {
            return;
        }
        if self.lost.is_too_small_for(lost) {
            // What lies between it and its neighbour goes again as well: costs packets in a rare case, and no memory.
            let runs = self.lost.runs();
            let next = runs.partition_point(|run| run.end < lost.start);
            match (next.checked_sub(1), runs.get(next)) {
                (Some(before), _) => lost.start = runs[before].end,
                (None, Some(after)) => lost.end = after.start,
                (None, None) => {}
            }
        }
        self.lost.insert(lost, |_| {});
    }

    /// Tells the sizes of what is kept, and their limits ([`super::super::Session::footprint`]).
    #[cfg(feature = "sim")]
    pub(in crate::session) fn footprint(&self, note: &mut impl FnMut(&'static str, usize, usize)) {
        let kept = self.buffer.len();
        note("bytes of the control stream", kept, CONTROL_WINDOW);
        let acked = self.acked.runs().len();
        note(
            "acknowledged pieces of the control stream",
            acked,
            MAX_PIECES,
        );
        let lost = self.lost.runs().len();
        note("lost pieces of the control stream", lost, MAX_PIECES);
    }

    /// Bytes of the stream that were acknowledged, and all before them.
    pub(in crate::session) const fn acked(&self) -> u64 {
        self.start
    }

    /// Whether something was sent and is not acknowledged.
    pub(in crate::session) const fn is_unacked(&self) -> bool {
        self.start < self.unsent
    }

    /// Whether everything was acknowledged.
    pub(in crate::session) fn is_drained(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
pub(in crate::session::control) mod tests;
