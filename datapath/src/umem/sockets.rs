//! Transitions between user space and the queues of a UDP socket. The kernel has such a frame only during a system call,
//! so the tokens stay with the socket all the time; the state table counts them as those in an AF_XDP socket's rings.

use std::slice;

use super::{
    Fill, Frame, FrameState, Free, Held, PACKET_MAX, PACKET_START, Rx, State, TxFree, TxHeld, Umem,
};

impl Umem {
    /// Puts a frame aside for reception.
    #[inline]
    pub(crate) fn put_aside(&mut self, frame: Frame<Free>) -> Frame<Fill> {
        self.retype(frame, 0)
    }

    /// The whole area of a packet, [`PACKET_MAX`] bytes, to receive into.
    #[inline]
    pub(crate) fn aside_mut(&mut self, frame: &mut Frame<Fill>) -> &mut [u8] {
        let start = self.address(frame, PACKET_START);
        // SAFETY: `address` checked that the token is current, and no ring has the frame: a `Fill` token exists only of
        // frames that `put_aside` made. The range ends with the chunk, and `&mut self` makes it exclusive.
        unsafe { slice::from_raw_parts_mut(start, PACKET_MAX) }
    }

    /// A packet of `packet_len` bytes was received into the frame.
    ///
    /// # Panics
    ///
    /// When the token is stale or foreign, or `packet_len` is above [`PACKET_MAX`].
    #[inline]
    pub(crate) fn aside_to_rx(&mut self, frame: Frame<Fill>, packet_len: usize) -> Frame<Rx> {
        assert!(packet_len <= PACKET_MAX, "a packet of {packet_len} bytes");
        let index = self.owned(&frame);
        self.table.transition(index, State::Fill, State::Rx);
        Frame::new(index, packet_len as u16, self.pool)
    }

    /// A packet of `packet_len` bytes was written into the frame here: one that came another way than through the link.
    ///
    /// # Panics
    ///
    /// When the token is stale or foreign, or `packet_len` is above [`packet_max`](Self::packet_max).
    #[inline]
    pub(crate) fn free_to_rx(&mut self, frame: Frame<Free>, packet_len: usize) -> Frame<Rx> {
        assert!(
            packet_len <= self.packet_max(),
            "a packet of {packet_len} bytes"
        );
        let index = self.owned(&frame);
        self.table.transition(index, State::Free, State::Rx);
        Frame::new(index, packet_len as u16, self.pool)
    }

    /// The frame waits for the socket and is free once sent.
    #[inline]
    pub(crate) fn queue_free(&mut self, frame: Frame<Free>) -> Frame<TxFree> {
        self.retype(frame, 0)
    }

    /// The frame waits for the socket and is held once sent.
    #[inline]
    pub(crate) fn queue_held(&mut self, frame: Frame<Held>) -> Frame<TxHeld> {
        let len = frame.len() as u16;
        self.retype(frame, len)
    }

    /// A queued frame was sent.
    #[inline]
    pub(crate) fn sent_held(&mut self, frame: Frame<TxHeld>) -> Frame<Held> {
        let len = frame.len() as u16;
        self.retype(frame, len)
    }

    /// The first `packet_len` bytes of a queued frame's packet.
    ///
    /// # Panics
    ///
    /// When the token is stale or foreign, or `packet_len` is above [`PACKET_MAX`].
    #[inline]
    pub(crate) fn queued_packet<S: FrameState>(
        &self,
        frame: &Frame<S>,
        packet_len: usize,
    ) -> &[u8] {
        assert!(packet_len <= PACKET_MAX, "a packet of {packet_len} bytes");
        let start = self.address(frame, PACKET_START);
        // SAFETY: `address` checked that the token is current; a frame queued for an AF_XDP socket has no token. The range
        // ends with the chunk, and the borrow of `self` keeps every writer out.
        unsafe { slice::from_raw_parts(start, packet_len) }
    }
}
