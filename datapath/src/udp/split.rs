//! How a message of many segments lies in frames.

/// Longest message, bytes: what the length field of IP allows.
pub(super) const MESSAGE_MAX: usize = 65_535;
/// Frames that one message may fill: `UDP_MAX_SEGMENTS` since Linux 6.9 (include/linux/udp.h), `UDP_GRO_CNT_MAX` is less.
pub(super) const PIECES_MAX: usize = 128;
/// Shortest piece that is prepared for: a long message must not need more than [`PIECES_MAX`].
const PIECE_MIN: usize = MESSAGE_MAX.div_ceil(PIECES_MAX);

/// The length that the next segments are expected to have.
///
/// A message is received into pieces of that length, each in a frame; so segments of another length lie across frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    piece: usize,
    most: usize,
}

/// Where the segments of a message lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Each in its piece.
    InPlace,
    /// Across pieces: each has to be copied.
    Across,
}

impl Expected {
    /// Segments of `piece` bytes; none is longer than `most`.
    pub(super) fn new(piece: usize, most: usize) -> Self {
        Self {
            piece: piece.clamp(PIECE_MIN, most),
            most,
        }
    }

    /// Bytes of a piece.
    pub(super) fn piece(self) -> usize {
        self.piece
    }

    /// Pieces that take the longest message.
    pub(super) fn pieces(self) -> usize {
        MESSAGE_MAX.div_ceil(self.piece).min(PIECES_MAX)
    }

    /// Where a message of `len` bytes lies whose segments, but the last, have `segment` bytes.
    pub(super) fn lie(self, len: usize, segment: usize) -> Lie {
        let (one, alike) = (len <= segment, segment == self.piece);
        if one && len <= self.piece || alike && len <= self.piece * self.pieces() {
            Lie::InPlace
        } else {
            Lie::Across
        }
    }

    /// Learns from a message that lay across pieces. Not from short segments, which carry no blocks.
    pub(super) fn follow(&mut self, segment: usize) {
        if segment >= PIECE_MIN {
            self.piece = segment.min(self.most);
        }
    }
}

/// The segments of a message: where each begins, and its length.
pub(super) fn segments(len: usize, segment: usize) -> impl Iterator<Item = (usize, usize)> {
    let step = segment.max(1);
    (0..len)
        .step_by(step)
        .map(move |start| (start, step.min(len - start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_expected_lies_in_place() {
        let expected = Expected::new(1110, 3670);
        assert_eq!((expected.piece(), expected.pieces()), (1110, 60));
        assert_eq!(expected.lie(59 * 1110, 1110), Lie::InPlace);
        assert_eq!(expected.lie(2 * 1110 + 7, 1110), Lie::InPlace);
        assert_eq!(expected.lie(80, 80), Lie::InPlace, "one short datagram");
        assert_eq!(expected.lie(3 * 80, 80), Lie::Across);
        assert_eq!(expected.lie(3670, 3670), Lie::Across);
    }

    #[test]
    fn the_next_ones_are_expected_to_be_alike() {
        let mut expected = Expected::new(1110, 3670);
        expected.follow(3670);
        assert_eq!(expected.lie(17 * 3670, 3670), Lie::InPlace);
        expected.follow(20);
        assert_eq!(expected.piece(), 3670);
        expected.follow(9000);
        assert_eq!(expected.piece(), 3670, "no frame has more");
    }

    proptest! {
        #[test]
        fn pieces_take_the_longest_message(piece in 0_usize..10_000) {
            let expected = Expected::new(piece, 3670);
            prop_assert!(expected.piece() * expected.pieces() >= MESSAGE_MAX);
        }

        #[test]
        fn segments_cover_the_message_once(len in 0_usize..70_000, segment in 1_usize..70_000) {
            let mut end = 0;
            for (start, bytes) in segments(len, segment) {
                prop_assert_eq!(start, end);
                prop_assert!(bytes > 0 && bytes <= segment);
                end += bytes;
            }
            prop_assert_eq!(end, len);
        }
    }
}
