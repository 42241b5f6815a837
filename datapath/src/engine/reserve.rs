//! Frames that are left alone for packets to be sent.
//!
//! What the session sends next is not known before it is taken, and then counts as sent. So there must be room for the longest
//! packet, even if an Ack comes; and since Acks let the other end go on, reading ahead and the fill ring must not take all.

use blk_proto::geometry::{FRAGMENT_LEN, MAX_LONG_PAYLOAD};

use crate::umem::Umem;

/// Frames of the longest packet: that of the headers, and those of the longest payload.
const PARTS_MAX: usize = 1 + MAX_LONG_PAYLOAD / FRAGMENT_LEN;

/// Free frames without which nothing is sent, and which nothing else takes.
pub(super) fn frames(umem: &Umem) -> usize {
    match umem.has_fragments() {
        true => PARTS_MAX,
        false => 1,
    }
}

/// How many frames may be with the kernel for reception, of `target` that are wanted there.
pub(super) fn fill_target(umem: &Umem, target: usize) -> usize {
    if !umem.has_fragments() {
        return target;
    }
    let spare = umem.available().saturating_sub(PARTS_MAX);
    target.min(umem.counts().fill + spare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fill_ring_leaves_room_for_the_longest_packet() {
        let mut umem = Umem::anonymous(64).unwrap();
        assert_eq!((frames(&umem), fill_target(&umem, 64)), (1, 64));
        umem.pretend_fragments();
        assert_eq!(frames(&umem), 16);
        assert_eq!(fill_target(&umem, 40), 40);
        assert_eq!(fill_target(&umem, 64), 48);
        let taken: Vec<_> = (0..60).filter_map(|_| umem.allocate()).collect();
        assert_eq!(fill_target(&umem, 64), 0, "nothing is spare");
        taken.into_iter().for_each(|frame| umem.release(frame));
    }
}
