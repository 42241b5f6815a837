//! Which bytes of one run go which way. Pure.

use super::plan::{Ends, Rules};
use crate::umem::{PAYLOAD_START, SECTOR};

/// The ways of a run's bytes, by positions in it:
///
/// ```text
/// 0 ......... head ............ gathered ............ copied ............ end
/// | page cache | straight between | through a copy     | page cache        |
/// |            | file and frames  | buffer             |                   |
/// ```
///
/// What lies between `head` and `copied` goes direct, and starts and ends at [units](Rules::unit) of the file. `end` is
/// the run's length; with padding ([`Ends::Padded`]) that rounded up, and then so is `copied`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Up to here through the page cache.
    pub head: u64,
    /// From there to here from (or to) the frames' own memory.
    pub gathered: u64,
    /// From there to here through copy buffers.
    pub copied: u64,
    /// From there to here through the page cache.
    pub end: u64,
}

/// A run that cannot be: it starts within a sector, in a file whose runs do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unaligned;

impl Layout {
    /// All of a run of `total` bytes through the page cache.
    pub fn buffered(total: u64) -> Self {
        Self {
            head: total,
            gathered: total,
            copied: total,
            end: total,
        }
    }

    /// A run at `offset` with frames of these lengths, gathered as far as alignment allows.
    pub fn direct(
        rules: &Rules,
        offset: u64,
        lengths: impl Iterator<Item = usize> + Clone,
    ) -> Result<Self, Unaligned> {
        let unit = u64::from(rules.unit);
        let total = lengths.clone().map(|len| len as u64).sum::<u64>();
        let (head, copied, end) = match rules.ends {
            Ends::Padded if !offset.is_multiple_of(unit) => return Err(Unaligned),
            Ends::Padded => {
                let padded = total.next_multiple_of(unit);
                (0, padded, padded)
            }
            Ends::Shared => {
                let first = offset.next_multiple_of(unit) - offset;
                let last = (offset + total) / unit * unit;
                if last <= offset + first {
                    return Ok(Self::buffered(total));
                }
                (first, last - offset, total)
            }
        };
        let gathered = gatherable(rules, offset, head, copied, lengths);
        Ok(Self {
            head,
            gathered,
            copied,
            end,
        })
    }

    /// The same with nothing gathered.
    pub fn coalesced(self) -> Self {
        Self {
            gathered: self.head,
            ..self
        }
    }

    /// The same when the page cache has given what is before `done`, which counts to the head then.
    pub(super) fn after(self, done: u64) -> Self {
        Self {
            head: self.head.max(done),
            gathered: self.gathered.max(done),
            copied: self.copied.max(done),
            end: self.end,
        }
    }

    /// Bytes that are gathered.
    pub fn gathered_bytes(&self) -> u64 {
        self.gathered - self.head
    }
}

/// Up to where the bytes from `head` on can be gathered: each piece of a frame starts and ends at a joint, and the whole
/// at a unit of the file.
fn gatherable(
    rules: &Rules,
    offset: u64,
    head: u64,
    copied: u64,
    lengths: impl Iterator<Item = usize>,
) -> u64 {
    let (unit, joint) = (u64::from(rules.unit), u64::from(rules.joint));
    let (mut start, mut reached) = (0, head);
    let mut lengths = lengths.peekable();
    while let Some(len) = lengths.next() {
        let mut end = start + len as u64;
        if lengths.peek().is_none() && rules.ends == Ends::Padded {
            end = copied;
        }
        let (from, to) = (start.max(head), end.min(copied));
        if from < to {
            let memory = PAYLOAD + (from - start);
            if !memory.is_multiple_of(joint) || !(to - from).is_multiple_of(joint) {
                break;
            }
            reached = to;
        }
        start = end;
    }
    // A frame may end within a unit that its successor fails to fill.
    head.max(((offset + reached) / unit * unit).saturating_sub(offset))
}

/// Where a payload starts in its frame: what its address is aligned to.
const PAYLOAD: u64 = PAYLOAD_START as u64;
const _: () = assert!(PAYLOAD_START.is_multiple_of(SECTOR));

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
