//! How a range of a file is cut into blocks, when the longest block that the path takes changes on the way.
//!
//! ```text
//!   start                                    next                              end
//!     │  cut and read        ┌──────┐          │  not read yet: cut as long as    │
//!     │                      │again │          │  the path takes by then          │
//!     └──────────────────────┴──────┴──────────┴──────────────────────────────────┘
//!          a block that became too long: read again, and cut within its own bounds
//! ```
//!
//! The peer may have got a block that came back, and drops every block of which it has some bytes. So a piece must
//! never reach beyond the block that it comes from: its other bytes would be dropped with it, and acknowledged.
//!
//! No block crosses a bound of the [grid](GRID), by which the receiver gathers.
//!
//! Pure: offsets and lengths in bytes, no file.

use std::collections::BTreeMap;

use blk_proto::geometry::GRID;

use crate::disk::RUN_MAX;
use crate::umem::PAYLOAD_MAX;

/// Most blocks that are read at once: half of what is written at once, since the network waits while a run is copied out of
/// the page cache.
pub const READ_MAX: usize = RUN_MAX / 2;
/// Reads do not cross multiples of this, 420 KiB, either.
const READ_GRID: u64 = GRID / 2;

/// A run to be read in one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPlan {
    /// Byte offset in the file.
    pub offset: u64,
    /// Bytes wanted.
    pub len: u64,
    /// Bytes of payload in a block, but the last of each unit.
    block_len: u16,
    /// Bytes within whose multiples, from the run's start, blocks stay.
    unit: u64,
    /// These bytes have been read before.
    pub again: bool,
}

impl ReadPlan {
    /// Lengths of the run's blocks, in file order.
    pub fn blocks(&self) -> impl Iterator<Item = u16> {
        let (plan, mut done) = (*self, 0);
        std::iter::from_fn(move || {
            let unit_end = (done / plan.unit + 1) * plan.unit;
            let len = (unit_end.min(plan.len) - done).min(u64::from(plan.block_len));
            done += len;
            (len > 0).then_some(len as u16)
        })
    }

    /// How many frames they lie in.
    pub fn frames(&self) -> usize {
        let of = |len: u64| {
            let block = u64::from(self.block_len);
            let rest = (len % block) as u16;
            len / block * frames_of(self.block_len) as u64 + frames_of(rest) as u64
        };
        (self.len / self.unit * of(self.unit) + of(self.len % self.unit)) as usize
    }
}

/// Frames that a block with so many bytes of payload lies in.
pub fn frames_of(payload: u16) -> usize {
    usize::from(payload).div_ceil(PAYLOAD_MAX)
}

/// Bytes in each of its frames.
pub fn pieces(payload: u16) -> impl Iterator<Item = u16> {
    let mut left = payload;
    std::iter::from_fn(move || {
        let piece = left.min(PAYLOAD_MAX as u16);
        left -= piece;
        (piece > 0).then_some(piece)
    })
}

/// Most blocks of this length that are read at once: of long ones no more than a run has frames.
fn most_blocks(block_len: u16) -> usize {
    READ_MAX.min(RUN_MAX / frames_of(block_len))
}

/// What of a range is still to be read.
#[derive(Debug)]
pub struct Cutter {
    next: u64,
    end: u64,
    /// Lengths of blocks that came back, by offset.
    again: BTreeMap<u64, u64>,
}

impl Cutter {
    /// All of `len` bytes from byte `offset` of the file.
    pub fn new(offset: u64, len: u64) -> Self {
        Self {
            next: offset,
            end: offset + len,
            again: BTreeMap::new(),
        }
    }

    /// Whether nothing is to be read.
    pub fn is_done(&self) -> bool {
        self.next >= self.end && self.again.is_empty()
    }

    /// A block is to be read and cut again; it was longer than the path takes.
    pub fn give_back(&mut self, offset: u64, len: u64) {
        self.again.insert(offset, len);
    }

    /// The next run, in blocks of at most `block_len` bytes; [`Self::reading`] takes it out.
    pub fn plan(&self, block_len: u16) -> Option<ReadPlan> {
        let block_len = block_len.max(1);
        self.plan_again(block_len)
            .or_else(|| self.plan_next(block_len))
    }

    /// The first block that came back, with those that follow it without a gap and are as long; a shorter one ends the run.
    fn plan_again(&self, block_len: u16) -> Option<ReadPlan> {
        let mut blocks = self.again.iter();
        let (&offset, &unit) = blocks.next()?;
        let most = (most_blocks(block_len) / unit.div_ceil(u64::from(block_len)) as usize).max(1);
        let mut len = unit;
        for (&next, &more) in blocks.take(most - 1) {
            if next != offset + len || more > unit {
                break;
            }
            len += more;
            if more < unit {
                break;
            }
        }
        Some(ReadPlan {
            offset,
            len,
            block_len,
            unit,
            again: true,
        })
    }

    fn plan_next(&self, block_len: u16) -> Option<ReadPlan> {
        if self.next >= self.end {
            return None;
        }
        let longest = u64::from(block_len) * most_blocks(block_len) as u64;
        let boundary = (self.next / READ_GRID + 1) * READ_GRID;
        let len = (boundary.min(self.end) - self.next).min(longest);
        Some(ReadPlan {
            offset: self.next,
            len,
            block_len,
            unit: len,
            again: false,
        })
    }

    /// The planned run is being read.
    pub fn reading(&mut self, plan: ReadPlan) {
        if !plan.again {
            self.next = plan.offset + plan.len;
            return;
        }
        let end = plan.offset + plan.len;
        while let Some(entry) = self.again.first_entry()
            && *entry.key() < end
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
#[path = "cutting_tests.rs"]
mod tests;
