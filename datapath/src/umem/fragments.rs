//! Received packets become payloads for the disk: where they lie, if that is on sectors, else moved.

use blk_proto::geometry::LONG_PAYLOAD_OFFSET;

use super::{
    Disk, FRAGMENT_START, Frame, PACKET_START, PAYLOAD_MAX, PAYLOAD_START, Rx, SECTOR, Umem,
};
use crate::chain::Chain;

impl Umem {
    /// The frame of a packet becomes that of its payload, `len` bytes from `at` bytes after the packet's start; and whether they
    /// had to be moved for that.
    ///
    /// # Panics
    ///
    /// When they are not in the packet.
    #[inline]
    pub fn take_payload(
        &mut self,
        mut frame: Frame<Rx>,
        at: usize,
        len: u16,
    ) -> (Frame<Disk>, bool) {
        let end = at + usize::from(len);
        assert!(end <= frame.len(), "{len} bytes at {at} of a packet");
        let start = self.packet_start + at;
        if start.is_multiple_of(SECTOR) {
            return (self.retype_at(frame, start, len), false);
        }
        self.move_payload(&mut frame, at, len);
        (self.rx_to_disk(frame, len), true)
    }

    /// The same for a packet in several frames, in their order. Frames that are not needed are free again. Only a long block at the
    /// offset that was announced stays where it is: a sender that puts its payload elsewhere, or pads a short one, would take more
    /// frames than it was promised.
    ///
    /// # Panics
    ///
    /// When the payload is not in the packet.
    pub fn take_payloads(
        &mut self,
        frames: Vec<Frame<Rx>>,
        at: usize,
        len: u16,
    ) -> (Chain<Frame<Disk>>, bool) {
        let there: usize = frames.iter().map(Frame::len).sum();
        assert!(
            at + usize::from(len) <= there,
            "{len} bytes at {at} of a packet of {there}"
        );
        let is_long = at == LONG_PAYLOAD_OFFSET && usize::from(len) > PAYLOAD_MAX;
        if is_long && self.is_on_sectors(&frames, at) {
            (self.cut(frames, at, usize::from(len)), false)
        } else {
            (self.pack(frames, at, usize::from(len)), true)
        }
    }

    /// Whether the payload begins on a sector, and all pieces but the last are whole ones.
    fn is_on_sectors(&self, frames: &[Frame<Rx>], at: usize) -> bool {
        let whole = |frame: &Frame<Rx>| (self.packet_start + frame.len()).is_multiple_of(SECTOR);
        let Some((_, before)) = frames.split_last() else {
            return false;
        };
        (self.packet_start + at).is_multiple_of(SECTOR)
            && self.packet_start.is_multiple_of(SECTOR)
            && frames.first().is_some_and(|first| at <= first.len())
            && before.iter().all(whole)
    }

    /// Each frame as it is.
    fn cut(&mut self, frames: Vec<Frame<Rx>>, at: usize, len: usize) -> Chain<Frame<Disk>> {
        let (mut skip, mut left) = (at, len);
        let mut payloads = Vec::with_capacity(frames.len());
        for frame in frames {
            let piece = (frame.len() - skip).min(left);
            if piece == 0 {
                self.release(frame);
            } else {
                let start = self.packet_start + skip;
                payloads.push(self.retype_at(frame, start, piece as u16));
            }
            skip = 0;
            left -= piece;
        }
        Chain::Many(payloads)
    }

    /// All bytes moved, to the beginnings of as many frames as they need. Each byte is copied once: it moves towards the packet's
    /// beginning, and so never over one that has not moved yet.
    fn pack(&mut self, frames: Vec<Frame<Rx>>, at: usize, len: usize) -> Chain<Frame<Disk>> {
        assert_eq!(self.packet_start, PAYLOAD_START, "a UMEM without fragments");
        let (mut skip, mut done) = (at, 0);
        for source in &frames {
            let mut from = skip.min(source.len());
            let end = source.len().min(from + len - done);
            skip -= from;
            while from < end {
                let (target, to) = (&frames[done / PAYLOAD_MAX], done % PAYLOAD_MAX);
                let count = (end - from).min(PAYLOAD_MAX - to);
                self.move_bytes(source, from, target, to, count);
                (from, done) = (from + count, done + count);
            }
        }
        let mut payloads = Vec::with_capacity(len.div_ceil(PAYLOAD_MAX));
        let mut left = len;
        for frame in frames {
            let piece = left.min(PAYLOAD_MAX);
            left -= piece;
            match piece {
                0 => self.release(frame),
                _ => payloads.push(self.rx_to_disk(frame, piece as u16)),
            }
        }
        Chain::Many(payloads)
    }

    /// A copy of a packet in one piece.
    pub fn linear(&self, frames: &[Frame<Rx>]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(frames.iter().map(Frame::len).sum());
        frames
            .iter()
            .for_each(|frame| bytes.extend_from_slice(self.packet(frame)));
        bytes
    }
}

const _: () = assert!(PACKET_START < FRAGMENT_START && PAYLOAD_START == FRAGMENT_START);
