//! Packets in several frames, put together from their descriptors.
//!
//! In copy mode the kernel puts all descriptors of a packet on the RX ring, or none (`__xsk_rcv`, net/xdp/xsk.c). They may come in two
//! batches all the same, and a frame may turn out to be unusable: then the whole packet is.

use std::ops::Range;

use crate::umem::{Frame, Rx, Umem};

/// Frames of the longest packet that is put together: a packet of 64 KiB in frames of 3584 bytes, and some more.
const FRAMES_MAX: usize = 24;

/// The packet that is being put together, and what was counted.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// Whether packets in several frames are taken at all.
    enabled: bool,
    frames: Vec<Frame<Rx>>,
    /// The packet at hand goes on in the next descriptor.
    within: bool,
    /// It is dropped.
    broken: bool,
    fragments: u64,
    dropped: u64,
}

impl Joiner {
    /// `enabled`: packets in several frames are taken, and not dropped.
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            ..Self::default()
        }
    }

    /// Whether the next descriptor belongs to the packet at hand.
    #[inline]
    pub(super) fn is_within(&self) -> bool {
        self.within
    }

    /// Takes the next frame of a packet, `None` for one that is unusable; `more`: it is not the last. A packet that is whole by
    /// now is appended to `batch`, and where it lies there to `long`.
    pub(super) fn take(
        &mut self,
        umem: &mut Umem,
        frame: Option<Frame<Rx>>,
        more: bool,
        batch: &mut Vec<Frame<Rx>>,
        long: &mut Vec<Range<usize>>,
    ) {
        self.within = more;
        self.broken |= frame.is_none() || !self.enabled || self.frames.len() >= FRAMES_MAX;
        self.dropped += u64::from(frame.is_none());
        self.frames.extend(frame);
        if self.broken {
            self.dropped += self.frames.len() as u64;
            self.frames.drain(..).for_each(|frame| umem.release(frame));
        }
        if more {
            return;
        }
        if !std::mem::take(&mut self.broken) {
            let start = batch.len();
            self.fragments += self.frames.len() as u64;
            batch.append(&mut self.frames);
            long.push(start..batch.len());
        }
    }

    /// Frames of packets that were put together.
    pub(super) fn fragments(&self) -> u64 {
        self.fragments
    }

    /// Frames of packets that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of so many frames each; those at `unusable`, counted through, are not usable.
    fn join(enabled: bool, packets: &[usize], unusable: &[usize]) -> (Vec<usize>, Joiner, Umem) {
        let mut umem = Umem::anonymous(64).unwrap();
        let mut joiner = Joiner::new(enabled);
        let (mut batch, mut long, mut number) = (Vec::new(), Vec::new(), 0);
        for &frames in packets {
            for at in 0..frames {
                let frame = umem.allocate().map(|frame| umem.free_to_rx(frame, 100));
                let frame = match unusable.contains(&number) {
                    true => {
                        frame.into_iter().for_each(|frame| umem.release(frame));
                        None
                    }
                    false => frame,
                };
                number += 1;
                joiner.take(&mut umem, frame, at + 1 < frames, &mut batch, &mut long);
                assert_eq!(joiner.is_within(), at + 1 < frames);
            }
        }
        batch.into_iter().for_each(|frame| umem.release(frame));
        (long.iter().map(Range::len).collect(), joiner, umem)
    }

    #[test]
    fn whole_packets_come_in_order() {
        let (long, joiner, umem) = join(true, &[3, 2, 18], &[]);
        assert_eq!(long, [3, 2, 18]);
        assert_eq!((joiner.fragments(), joiner.dropped()), (23, 0));
        assert_eq!(umem.available(), 64);
    }

    #[test]
    fn a_packet_without_one_of_its_frames_is_dropped_whole_and_the_next_is_not() {
        for unusable in [2, 3, 4] {
            let (long, joiner, umem) = join(true, &[2, 3, 4], &[unusable]);
            assert_eq!(long, [2, 4], "{unusable}");
            assert_eq!((joiner.fragments(), joiner.dropped()), (6, 3));
            assert_eq!(umem.available(), 64, "no frame is kept");
        }
    }

    #[test]
    fn no_packet_is_too_long_and_none_is_taken_unasked() {
        let (long, joiner, umem) = join(true, &[FRAMES_MAX + 1, 2], &[]);
        assert_eq!((long, joiner.dropped()), (vec![2], FRAMES_MAX as u64 + 1));
        assert_eq!(umem.available(), 64);
        let (long, joiner, umem) = join(false, &[2, 3], &[]);
        assert_eq!((long, joiner.dropped()), (vec![], 5));
        assert_eq!(umem.available(), 64);
    }
}
