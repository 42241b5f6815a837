//! A range of a file in the pieces that its bytes travel in.

use blk_proto::message::{HOLE_UNIT, MAX_INLINE};

/// Ranges from this size on travel in blocks: below it, the exchange of requests around them costs more than the copies.
pub(super) const BLOCKS_MIN: usize = 128 * 1024;
/// The longest piece in blocks: enough for full speed, and little enough to wait for behind somebody else's.
pub(super) const BLOCKS_MAX: usize = 4 << 20;

/// A part of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes, not 0.
    pub len: usize,
    /// Whole pages, in blocks; else in a message.
    pub in_blocks: bool,
}

/// The pieces of `len` bytes from byte `offset` on, ascending. Pieces in messages end where pages do, so that no page is
/// touched by two of them, and those in blocks are whole pages.
pub(super) fn split(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let end = offset.saturating_add(len as u64);
    let first = offset.checked_next_multiple_of(HOLE_UNIT).unwrap_or(end);
    let last = end - end % HOLE_UNIT;
    let worth = last.saturating_sub(first) >= BLOCKS_MIN as u64;
    let (first, last) = if worth { (first, last) } else { (end, end) };
    cut(offset, first, MAX_INLINE, false)
        .chain(cut(first, last, BLOCKS_MAX, true))
        .chain(cut(last, end, MAX_INLINE, false))
}

/// From `start` to `end`, at every multiple of `unit`.
fn cut(start: u64, end: u64, unit: usize, in_blocks: bool) -> impl Iterator<Item = Piece> {
    let mut at = start;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let offset = at;
        at = (offset - offset % unit as u64)
            .saturating_add(unit as u64)
            .min(end);
        Some(Piece {
            offset,
            len: (at - offset) as usize,
            in_blocks,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_range_and_each_fits_its_way() {
        let page = HOLE_UNIT as usize;
        for offset in [0, 1, 4095, 4096, 32_767, (4 << 20) - 5, (1 << 40) + 7] {
            for len in [
                0,
                1,
                511,
                4096,
                MAX_INLINE,
                MAX_INLINE + 1,
                131_071,
                131_072,
                140_000,
                9 << 20,
            ] {
                let pieces: Vec<_> = split(offset, len).collect();
                let mut at = offset;
                for piece in &pieces {
                    assert_eq!(piece.offset, at, "{offset}+{len}: {pieces:?}");
                    assert!(piece.len > 0);
                    at += piece.len as u64;
                    if piece.in_blocks {
                        assert!(piece.len <= BLOCKS_MAX && piece.len.is_multiple_of(page));
                        assert!(piece.offset.is_multiple_of(HOLE_UNIT));
                    } else {
                        assert!(piece.len <= MAX_INLINE);
                        let ends_page = at.is_multiple_of(HOLE_UNIT) || at == offset + len as u64;
                        assert!(ends_page, "{offset}+{len}: {pieces:?}");
                    }
                }
                assert_eq!(at, offset + len as u64);
                let has_blocks = pieces.iter().any(|piece| piece.in_blocks);
                assert!(has_blocks || len < BLOCKS_MIN + 2 * page);
            }
        }
    }

    #[test]
    fn the_end_of_all_numbers_is_no_trap() {
        let pieces: usize = split(u64::MAX - 10, 100).map(|piece| piece.len).sum();
        assert_eq!(pieces, 10);
    }
}
