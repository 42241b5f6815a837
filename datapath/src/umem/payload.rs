//! The bytes of payloads: where they lie, and how they are moved.

use std::slice;

use super::state::State;
use super::{
    CHUNK, Frame, FrameState, HasPayload, PAYLOAD_START, PayloadWritable, Rx, Transmittable, Umem,
};

impl Umem {
    /// Moves `len` bytes of a received packet, which begin `at` bytes after its start, to where payloads lie.
    ///
    /// # Panics
    ///
    /// When they are not in the packet, or too many for a frame.
    pub fn move_payload(&mut self, frame: &mut Frame<Rx>, at: usize, len: u16) {
        let end = at + usize::from(len);
        assert!(end <= frame.len(), "{len} bytes at {at} of a packet");
        let start = self.address(frame, self.packet_start);
        // SAFETY: as in `packet_mut`: the token proves that user space owns the frame, and the area ends with the chunk.
        let packet = unsafe { slice::from_raw_parts_mut(start, self.packet_max()) };
        packet.copy_within(at..end, PAYLOAD_START - self.packet_start);
    }

    /// Moves bytes from one place in a received packet to another, in the same frame or in another one. Places are counted from
    /// where the packets start.
    ///
    /// # Panics
    ///
    /// When either place does not lie in its frame.
    pub(super) fn move_bytes(
        &mut self,
        source: &Frame<Rx>,
        from: usize,
        target: &Frame<Rx>,
        to: usize,
        len: usize,
    ) {
        assert!(
            from + len <= self.packet_max() && to + len <= self.packet_max(),
            "{len} bytes from {from} to {to} of a packet"
        );
        let (from, to) = (
            self.address(source, self.packet_start + from),
            self.address(target, self.packet_start + to),
        );
        // SAFETY: both tokens are current, so user space owns both frames; both places end within their chunks by the check above;
        // and `&mut self` keeps every other reader and writer out. They may overlap.
        unsafe { std::ptr::copy(from, to, len) };
    }

    /// Copies the payload of one frame into the packet area of another, `at` bytes after its start.
    ///
    /// # Panics
    ///
    /// When it does not fit there.
    pub fn copy_payload<A: HasPayload, B: Transmittable>(
        &mut self,
        from: &Frame<A>,
        to: &mut Frame<B>,
        at: usize,
    ) {
        let len = from.len();
        assert!(
            at + len <= self.packet_max(),
            "{len} bytes at {at} of a packet"
        );
        let (source, target) = (
            self.address(from, self.payload_start(from)),
            self.address(to, self.packet_start + at),
        );
        // SAFETY: both tokens are current, so user space owns both frames, and there is one token for a frame, so they
        // are two: the areas do not overlap. Both end within their chunks: the source as in `payload`, the target by the
        // assertion.
        unsafe { source.copy_to_nonoverlapping(target, len) };
    }

    /// The payload: as many bytes as the frame says.
    #[inline]
    pub fn payload<S: HasPayload>(&self, frame: &Frame<S>) -> &[u8] {
        let start = self.address(frame, self.payload_start(frame));
        // SAFETY: as in `packet`; payload start and `len` were checked to end with the chunk when the token was made.
        unsafe { slice::from_raw_parts(start, frame.len()) }
    }

    /// The whole payload area: [`PAYLOAD_MAX`](super::PAYLOAD_MAX) bytes, unless the frame holds the beginning of a packet in several.
    #[inline]
    pub fn payload_mut<S: PayloadWritable>(&mut self, frame: &mut Frame<S>) -> &mut [u8] {
        let offset = self.payload_start(frame);
        let start = self.address(frame, offset);
        // SAFETY: as in `packet_mut`; the range ends with the chunk.
        unsafe { slice::from_raw_parts_mut(start, CHUNK - offset) }
    }

    /// Where the frame's payload lies in its chunk.
    #[inline]
    pub(super) fn payload_start<S: FrameState>(&self, frame: &Frame<S>) -> usize {
        match S::STATE {
            // Of account only where there is a payload; a free frame's is wherever the last one's was.
            State::Disk | State::Held => {
                usize::from(self.payload_starts[self.owned(frame) as usize])
            }
            _ => PAYLOAD_START,
        }
    }
}
