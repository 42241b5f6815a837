//! Frames kept for (re)transmission: where each sent block's payload is until it is acknowledged.
//!
//! The session names a block by a [`HeldBlock`]; the frames themselves are either here or in the NIC's TX ring, and the block may be
//! acknowledged while they are still in the ring (the completion ring is reaped late). The table resolves that race:
//! a frame goes back to the free list only when it is out of the ring *and* released by the session.
//!
//! A long block lies in several frames, which are one here: it is ready when the last of them is out of the ring.

use crate::chain::Chain;
use crate::umem::{Frame, FrameIndex, Held, Umem};

/// A session's name for a held block; handed back exactly once, when the block is acknowledged or cancelled.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldBlock {
    slot: u32,
    len: u16,
    frames: u16,
    transfer: u64,
    offset: u64,
}

impl HeldBlock {
    /// Bytes of payload.
    pub fn len(&self) -> u16 {
        self.len
    }

    /// Frames that it lies in.
    pub fn frames(&self) -> usize {
        usize::from(self.frames)
    }

    /// Which transfer of this engine's life it belongs to.
    pub fn transfer(&self) -> u64 {
        self.transfer
    }

    /// Where its bytes lie in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the payload is empty (never, for a block of a file).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[derive(Debug)]
enum Slot {
    /// No block is held in this frame.
    Empty,
    /// Here, out of the TX ring: may be sent (again).
    Ready(Chain<Frame<Held>>),
    /// In the TX ring.
    Transmitting(Away),
    /// In the TX ring, and already released by the session: free when the completions come.
    Released(Away),
    /// A further frame of the block in that slot, and its place there.
    PartOf(u32, u16),
}

/// The frames of a block that are in the TX ring, and those that are back.
#[derive(Debug)]
enum Away {
    One,
    /// In a box, since the table has room for the largest.
    Many(Box<Return>),
}

#[derive(Debug)]
struct Return {
    back: Vec<Option<Frame<Held>>>,
    missing: usize,
}

impl Away {
    fn new(frames: usize) -> Self {
        match frames {
            1 => Self::One,
            missing => Self::Many(Box::new(Return {
                back: (0..missing).map(|_| None).collect(),
                missing,
            })),
        }
    }

    /// Takes a frame back; all of them when it was the last.
    fn take_back(&mut self, place: usize, frame: Frame<Held>) -> Option<Chain<Frame<Held>>> {
        match self {
            Self::One => Some(Chain::One(frame)),
            Self::Many(away) => {
                debug_assert!(away.back[place].is_none());
                away.back[place] = Some(frame);
                away.missing -= 1;
                let all = away.missing == 0;
                all.then(|| Chain::Many(away.back.drain(..).flatten().collect()))
            }
        }
    }
}

/// One slot per frame of the UMEM. A block's is that of its first frame.
#[derive(Debug)]
pub struct HeldBlocks {
    slots: Vec<Slot>,
}

impl HeldBlocks {
    /// A table for a UMEM of `frames` frames.
    pub fn new(frames: u32) -> Self {
        Self {
            slots: (0..frames).map(|_| Slot::Empty).collect(),
        }
    }

    /// Keeps frames whose payload, from byte `offset` of the file, is ready to be sent, for the transfer with that
    /// serial number. A chain has at least one frame.
    pub fn hold(&mut self, frames: Chain<Frame<Held>>, transfer: u64, offset: u64) -> HeldBlock {
        let slice = frames.as_slice();
        let index = slot_of(slice[0].index());
        let len: usize = slice.iter().map(Frame::len).sum();
        let count = slice.len() as u16;
        for (place, frame) in slice.iter().enumerate() {
            let slot = &mut self.slots[slot_of(frame.index())];
            debug_assert!(matches!(slot, Slot::Empty));
            *slot = Slot::PartOf(index as u32, place as u16);
        }
        self.slots[index] = Slot::Ready(frames);
        HeldBlock {
            slot: index as u32,
            len: len as u16,
            frames: count,
            transfer,
            offset,
        }
    }

    /// Whether the block is out of the TX ring.
    pub fn is_ready(&self, block: &HeldBlock) -> bool {
        matches!(self.slots[block.slot as usize], Slot::Ready(_))
    }

    /// Takes the frames out for transmission; [`HeldBlocks::completed`] brings them back. `None` while they are in the ring.
    pub fn take(&mut self, block: &HeldBlock) -> Option<Chain<Frame<Held>>> {
        let slot = &mut self.slots[block.slot as usize];
        let away = Slot::Transmitting(Away::new(block.frames()));
        match std::mem::replace(slot, away) {
            Slot::Ready(frames) => Some(frames),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// A frame came back: from the completion ring, or from a TX ring that was full.
    pub fn completed(&mut self, umem: &mut Umem, frame: Frame<Held>) {
        let mut index = slot_of(frame.index());
        let mut place = 0;
        if let Slot::PartOf(first, at) = self.slots[index] {
            (index, place) = (first as usize, usize::from(at));
        }
        let slot = &mut self.slots[index];
        match slot {
            Slot::Transmitting(away) => {
                if let Some(frames) = away.take_back(place, frame) {
                    *slot = Slot::Ready(frames);
                }
            }
            Slot::Released(away) => {
                if let Some(frames) = away.take_back(place, frame) {
                    *slot = Slot::Empty;
                    self.free(umem, frames);
                }
            }
            // Held by nobody: that cannot be, and if it is, no frame is lost for it.
            Slot::Empty | Slot::Ready(_) | Slot::PartOf(..) => umem.release(frame),
        }
    }

    /// The session is done with the block.
    pub fn release(&mut self, umem: &mut Umem, block: HeldBlock) {
        let slot = &mut self.slots[block.slot as usize];
        match std::mem::replace(slot, Slot::Empty) {
            Slot::Ready(frames) => self.free(umem, frames),
            Slot::Transmitting(away) => *slot = Slot::Released(away),
            other => *slot = other,
        }
    }

    fn free(&mut self, umem: &mut Umem, frames: Chain<Frame<Held>>) {
        frames.for_each(|frame| {
            self.slots[slot_of(frame.index())] = Slot::Empty;
            umem.release(frame);
        });
    }
}

fn slot_of(index: FrameIndex) -> usize {
    index.0 as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(umem: &mut Umem, held: &mut HeldBlocks, frames: usize) -> HeldBlock {
        let frames: Vec<_> = (0..frames)
            .map(|_| {
                let frame = umem.allocate().unwrap();
                umem.free_to_held(frame, 1000)
            })
            .collect();
        held.hold(Chain::Many(frames), 1, 0)
    }

    fn sent(held: &mut HeldBlocks, block: &HeldBlock) -> Vec<Frame<Held>> {
        let mut frames = Vec::new();
        held.take(block).unwrap().append_to(&mut frames);
        frames
    }

    #[test]
    fn a_long_block_is_ready_when_all_of_it_is_back_in_whatever_order() {
        let mut umem = Umem::anonymous(8).unwrap();
        let mut held = HeldBlocks::new(8);
        let block = block(&mut umem, &mut held, 3);
        assert_eq!((block.len(), block.frames()), (3000, 3));
        let mut frames = sent(&mut held, &block);
        let order: Vec<_> = frames.iter().map(Frame::index).collect();
        for at in [1, 1, 0] {
            assert!(!held.is_ready(&block) && held.take(&block).is_none());
            let frame = frames.remove(at);
            held.completed(&mut umem, frame);
        }
        assert!(held.is_ready(&block));
        let again = sent(&mut held, &block);
        let same: Vec<_> = again.iter().map(Frame::index).collect();
        assert_eq!(same, order, "the payload's pieces keep their order");
        again
            .into_iter()
            .for_each(|frame| held.completed(&mut umem, frame));
        held.release(&mut umem, block);
        assert_eq!(umem.available(), 8);
    }

    #[test]
    fn what_is_released_in_the_ring_is_free_with_its_last_completion() {
        let mut umem = Umem::anonymous(8).unwrap();
        let mut held = HeldBlocks::new(8);
        let block = block(&mut umem, &mut held, 2);
        let mut frames = sent(&mut held, &block);
        held.completed(&mut umem, frames.remove(0));
        held.release(&mut umem, block);
        assert_eq!(umem.available(), 6);
        held.completed(&mut umem, frames.remove(0));
        assert_eq!(umem.available(), 8);
        // The slots are as good as new.
        let next = self::block(&mut umem, &mut held, 8);
        held.release(&mut umem, next);
        assert_eq!(umem.available(), 8);
    }
}
