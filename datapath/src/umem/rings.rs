//! Transitions between user space and the rings of an AF_XDP socket, in terms of xsk-rs' descriptors. These
//! are `Copy`, unlike our tokens, so they stay within this module and [`xsk`](crate::xsk).

use xsk_rs::FrameDesc;

use super::{CHUNK, Frame, Held, Rx, State, Transmittable, Umem};

/// What a descriptor of the RX ring turned out to be.
pub(crate) enum Received {
    /// A packet.
    Packet(Frame<Rx>),
    /// A packet that does not start where the UMEM's headroom puts them; its frame is free again.
    Misplaced,
}

impl Umem {
    /// Takes up to `count` free frames for the fill ring.
    pub(crate) fn fill_descriptors(&mut self, count: usize, out: &mut Vec<FrameDesc>) {
        for _ in 0..count.min(self.free.len()) {
            let Some(index) = self.free.pop() else { return };
            self.table.transition(index, State::Free, State::Fill);
            out.push(self.descriptors[index as usize]);
        }
    }

    /// Takes back a frame that the fill ring had no room for.
    pub(crate) fn unfill(&mut self, descriptor: &FrameDesc) {
        self.free_from(index_of(descriptor), State::Fill);
    }

    /// A frame that the kernel put on the RX ring.
    #[inline]
    pub(crate) fn received(&mut self, descriptor: &FrameDesc) -> Received {
        let index = index_of(descriptor);
        let len = descriptor.lengths().data();
        if descriptor.addr() % CHUNK != self.packet_start || len > self.packet_max() {
            self.free_from(index, State::Fill);
            return Received::Misplaced;
        }
        self.table.transition(index, State::Fill, State::Rx);
        Received::Packet(Frame::new(index, len as u16, self.pool))
    }

    /// The descriptor to transmit the first `packet_len` bytes of the frame's packet area.
    #[inline]
    pub(crate) fn transmit_descriptor<S: Transmittable>(
        &mut self,
        frame: &Frame<S>,
        packet_len: usize,
    ) -> FrameDesc {
        let most = self.packet_max();
        assert!(
            packet_len <= most,
            "a packet of {packet_len} bytes in a frame of {most}"
        );
        let index = self.owned(frame);
        self.table.check(index, S::STATE);
        let mut descriptor = self.descriptors[index as usize];
        if let Some(umem) = self.memory.xdp_umem() {
            // SAFETY: the descriptor is this UMEM's own, and the token proves that user space has the frame.
            unsafe { umem.data_mut(&mut descriptor) }
                .cursor()
                .set_pos(packet_len);
        }
        descriptor
    }

    /// The frame went onto the TX ring; its completion frees it.
    #[inline]
    pub(crate) fn transmitted_free(&mut self, frame: &Frame<super::Free>) {
        let index = self.owned(frame);
        self.table.transition(index, State::Free, State::TxFree);
    }

    /// The frame went onto the TX ring; its completion gives it back.
    #[inline]
    pub(crate) fn transmitted_held(&mut self, frame: &Frame<Held>) {
        let index = self.owned(frame);
        self.table.transition(index, State::Held, State::TxHeld);
        self.lengths[index as usize] = frame.len() as u16;
    }

    /// A frame that the kernel put on the completion ring: free again, or handed back.
    #[inline]
    pub(crate) fn completed(&mut self, descriptor: &FrameDesc) -> Option<Frame<Held>> {
        let index = index_of(descriptor);
        if self.table.get(index) == Some(State::TxHeld) {
            self.table.transition(index, State::TxHeld, State::Held);
            return Some(Frame::new(index, self.lengths[index as usize], self.pool));
        }
        self.free_from(index, State::TxFree);
        None
    }

    #[inline]
    fn free_from(&mut self, index: u32, state: State) {
        self.table.transition(index, state, State::Free);
        self.free.push(index);
    }
}

/// The frame that a descriptor's address lies in. An address beyond the UMEM gives an index that the state
/// table refuses.
#[inline]
fn index_of(descriptor: &FrameDesc) -> u32 {
    u32::try_from(descriptor.addr() / CHUNK).unwrap_or(u32::MAX)
}
