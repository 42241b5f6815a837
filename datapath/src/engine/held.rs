//! Frames kept for (re)transmission: where each sent block's payload is until it is acknowledged.
//!
//! The session names a block by a [`HeldBlock`]; the frame itself is either here or in the NIC's TX ring, and may be
//! acknowledged while it is still in the ring (the completion ring is reaped late). The table resolves that race:
//! a frame goes back to the free list only when it is out of the ring *and* released by the session.

use crate::umem::{Frame, FrameIndex, Held, Umem};

/// A session's name for a held frame; handed back exactly once, when the block is acknowledged or cancelled.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldBlock {
    slot: u32,
    len: u16,
    transfer: u64,
    offset: u64,
}

impl HeldBlock {
    /// Bytes of payload.
    pub fn len(&self) -> u16 {
        self.len
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
    Ready(Frame<Held>),
    /// In the TX ring.
    Transmitting,
    /// In the TX ring, and already released by the session: free when the completion comes.
    Released,
}

/// One slot per frame of the UMEM.
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

    /// Keeps a frame whose payload, from byte `offset` of the file, is ready to be sent, for the transfer with that
    /// serial number.
    pub fn hold(&mut self, frame: Frame<Held>, transfer: u64, offset: u64) -> HeldBlock {
        let index = slot_of(frame.index());
        let len = frame.len() as u16;
        debug_assert!(matches!(self.slots[index], Slot::Empty));
        self.slots[index] = Slot::Ready(frame);
        HeldBlock {
            slot: index as u32,
            len,
            transfer,
            offset,
        }
    }

    /// Whether the block is out of the TX ring.
    pub fn is_ready(&self, block: &HeldBlock) -> bool {
        matches!(self.slots[block.slot as usize], Slot::Ready(_))
    }

    /// Takes the frame out for transmission; [`HeldBlocks::completed`] brings it back. `None` while it is in the ring.
    pub fn take(&mut self, block: &HeldBlock) -> Option<Frame<Held>> {
        let slot = &mut self.slots[block.slot as usize];
        match std::mem::replace(slot, Slot::Transmitting) {
            Slot::Ready(frame) => Some(frame),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// A frame came back: from the completion ring, or from a TX ring that was full.
    pub fn completed(&mut self, umem: &mut Umem, frame: Frame<Held>) {
        let slot = &mut self.slots[slot_of(frame.index())];
        match slot {
            Slot::Released => {
                *slot = Slot::Empty;
                umem.release(frame);
            }
            _ => *slot = Slot::Ready(frame),
        }
    }

    /// The session is done with the block.
    pub fn release(&mut self, umem: &mut Umem, block: HeldBlock) {
        let slot = &mut self.slots[block.slot as usize];
        match std::mem::replace(slot, Slot::Empty) {
            Slot::Ready(frame) => umem.release(frame),
            Slot::Transmitting => *slot = Slot::Released,
            other => *slot = other,
        }
    }
}

fn slot_of(index: FrameIndex) -> usize {
    index.0 as usize
}
