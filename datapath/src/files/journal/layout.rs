//! Which pieces a file's data falls into: what one entry of a journal stands for.

use blk_proto::geometry::GRID;
use blk_proto::message::MAX_RANGES;

use crate::engine::ByteRange;
use crate::files::{are_holes, data_between};

/// The data of a file, without its holes, cut at the bounds of the [grid](GRID). A piece is never longer than that, and
/// no run of blocks that is written crosses its ends, so it is there when runs of its length are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::files) struct Layout {
    ranges: Vec<DataRange>,
    pieces: u64,
}

/// A range of a file between two holes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct DataRange {
    start: u64,
    end: u64,
    /// Number of its first piece.
    first: u64,
}

impl Layout {
    /// The pieces of a file of `size` bytes with `holes` (offsets and lengths). `None` when the holes are not ascending,
    /// apart, within the file, in multiples of [`HOLE_UNIT`](blk_proto::message::HOLE_UNIT) but for the end of the file, and at most [`MAX_RANGES`].
    pub(in crate::files) fn new(size: u64, holes: &[ByteRange]) -> Option<Layout> {
        if holes.len() > MAX_RANGES || !are_holes(holes, 0, size) {
            return None;
        }
        let mut layout = Layout {
            ranges: Vec::new(),
            pieces: 0,
        };
        for (start, len) in data_between(size, holes) {
            layout.push(start, start + len);
        }
        Some(layout)
    }

    fn push(&mut self, start: u64, end: u64) {
        let first = self.pieces;
        self.ranges.push(DataRange { start, end, first });
        self.pieces += (end - 1) / GRID - start / GRID + 1;
    }

    /// How many pieces there are.
    pub(in crate::files) fn pieces(&self) -> u64 {
        self.pieces
    }

    /// Bytes of all pieces.
    pub(in crate::files) fn data_len(&self) -> u64 {
        self.data().map(|(start, end)| end - start).sum()
    }

    /// The ranges that have data: starts and ends.
    pub(in crate::files) fn data(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|range| (range.start, range.end))
    }

    /// Start and end of a piece, which must be one of [`pieces`](Layout::pieces).
    pub(in crate::files) fn piece(&self, number: u64) -> (u64, u64) {
        let at = self.ranges.partition_point(|range| range.first <= number) - 1;
        let range = self.ranges[at];
        let cell = range.start / GRID + (number - range.first);
        let start = range.start.max(cell * GRID);
        let end = range.end.min((cell + 1).saturating_mul(GRID));
        (start, end)
    }

    /// The piece that holds all of a run; `None` when there is none.
    pub(in crate::files) fn piece_of(&self, offset: u64, len: u64) -> Option<u64> {
        let end = offset.checked_add(len)?;
        let at = self
            .ranges
            .partition_point(|range| range.start <= offset)
            .checked_sub(1)?;
        let range = self.ranges[at];
        let one_cell = len > 0 && offset / GRID == (end - 1) / GRID;
        (one_cell && end <= range.end).then(|| range.first + offset / GRID - range.start / GRID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_without_holes_has_a_piece_for_each_cell() {
        assert_eq!(Layout::new(0, &[]).unwrap().pieces(), 0);
        let layout = Layout::new(2 * GRID + 1, &[]).unwrap();
        assert_eq!(layout.pieces(), 3);
        assert_eq!(layout.piece(1), (GRID, 2 * GRID));
        assert_eq!(layout.piece(2), (2 * GRID, 2 * GRID + 1));
        assert_eq!(layout.piece_of(GRID - 1, 1), Some(0));
        assert_eq!(layout.piece_of(GRID - 1, 2), None, "across a bound");
        assert_eq!(layout.piece_of(2 * GRID, 2), None, "beyond the end");
        assert_eq!(layout.piece_of(u64::MAX, 2), None);
    }

    #[test]
    fn holes_part_the_pieces() {
        let layout = Layout::new(3 * GRID, &[(4096, 4096), (GRID, GRID)]).unwrap();
        let pieces: Vec<_> = (0..layout.pieces()).map(|n| layout.piece(n)).collect();
        assert_eq!(pieces, [(0, 4096), (8192, GRID), (2 * GRID, 3 * GRID)]);
        assert_eq!(layout.data_len(), 2 * GRID - 4096);
        assert_eq!(layout.piece_of(4096, 1), None);
        assert_eq!(layout.piece_of(4095, 2), None);
        assert_eq!(layout.piece_of(8192, 1), Some(1));
        // A hole as large as the file, and one at its odd end.
        assert_eq!(Layout::new(5, &[(0, 5)]).unwrap().pieces(), 0);
        assert_eq!(Layout::new(4097, &[(4096, 1)]).unwrap().pieces(), 1);
    }

    #[test]
    fn holes_that_break_the_rules_are_refused() {
        for holes in [
            &[(0, 0)][..],
            &[(1, 4095)],
            &[(0, 4095)],
            &[(0, 1 << 20)],
            &[(0, 4096), (4096, 4096)],
            &[(8192, 4096), (0, 4096)],
            &[(0, 8192), (4096, 8192)],
            &[(4096, u64::MAX)],
            &vec![(0, 4096); MAX_RANGES + 1],
        ] {
            assert_eq!(Layout::new(65536, holes), None);
        }
    }

    proptest! {
        #[test]
        fn pieces_are_the_data_in_order(
            gaps in proptest::collection::vec((1u64..200, 1u64..200), 0..40),
            tail in 0u64..1_000_000,
        ) {
            let mut holes = Vec::new();
            let mut at = 0;
            for (data, hole) in gaps {
                holes.push((at + data * 4096, hole * 4096));
                at += (data + hole) * 4096;
            }
            let layout = Layout::new(at + tail, &holes).unwrap();
            let mut sum = 0;
            let mut before = 0;
            for number in 0..layout.pieces() {
                let (start, end) = layout.piece(number);
                prop_assert!(before <= start && start < end && end - start <= GRID);
                prop_assert_eq!(layout.piece_of(start, end - start), Some(number));
                prop_assert_eq!(layout.piece_of(end - 1, 1), Some(number));
                before = end;
                sum += end - start;
            }
            prop_assert_eq!(sum, layout.data_len());
            let holes: u64 = holes.iter().map(|hole| hole.1).sum();
            prop_assert_eq!(sum + holes, at + tail);
        }
    }
}
