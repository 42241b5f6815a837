//! The CRC32 of a whole file, made from the CRCs of its pieces in any order.
//!
//! CRC32 is linear: `crc(A ‖ B) = shift(crc(A), |B|) ⊕ crc(B)`. Hence the CRC of a file is the XOR, over all its
//! pieces, of the piece's CRC shifted by the number of bytes that follow it. Pieces may arrive in any order, no
//! piece is read twice, and the state is one word.

use blk_proto::message::Extent;
use crc32fast::Hasher;

/// The CRC32 (IEEE, as in zlib) of a file of known size, accumulated piece by piece.
#[derive(Debug, Clone)]
pub struct FileChecksum {
    size: u64,
    sum: u32,
    covered: u64,
}

impl FileChecksum {
    /// Starts the checksum of a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            sum: 0,
            covered: 0,
        }
    }

    /// Adds the piece that ends at byte `end` of the file and is `len` bytes long.
    ///
    /// Each byte of the file must be covered by exactly one piece; the caller keeps that promise.
    pub fn add(&mut self, end: u64, len: u64, crc: u32) {
        debug_assert!(end <= self.size && len <= end);
        self.sum ^= shift(crc, self.size - end);
        self.covered += len;
    }

    /// Bytes covered so far.
    pub fn covered(&self) -> u64 {
        self.covered
    }

    /// The file's CRC32 once every byte is covered.
    pub fn finish(&self) -> Option<u32> {
        (self.covered == self.size).then_some(self.sum)
    }
}

/// The CRC of `first` followed by `second`, which is `len` bytes long.
pub fn combine(first: u32, second: u32, len: u64) -> u32 {
    let mut left = Hasher::new_with_initial(first);
    left.combine(&Hasher::new_with_initial_len(second, len));
    left.finalize()
}

/// `crc` moved over `bytes` bytes that follow it.
fn shift(crc: u32, bytes: u64) -> u32 {
    combine(crc, 0, bytes)
}

/// A range of zeros, as an extent of a file.
pub fn hole(offset: u64, len: u64) -> Extent {
    let crc = zeros(len);
    Extent { offset, len, crc }
}

/// The CRC32 of `len` zeros: its register starts with all ones and ends inverted, and zeros only move it.
fn zeros(len: u64) -> u32 {
    !shift(u32::MAX, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_file_has_crc_zero() {
        assert_eq!(FileChecksum::new(0).finish(), Some(crc32fast::hash(b"")));
    }

    #[test]
    fn holes_are_zeros() {
        for len in [0, 1, 2, 3, 511, 4096, 1_000_001] {
            let zeros = vec![0; len as usize];
            assert_eq!(hole(4096, len).crc, crc32fast::hash(&zeros), "{len}");
        }
        // Fast for any length.
        assert_eq!(hole(0, 1 << 62).len, 1 << 62);
    }

    #[test]
    fn an_uncovered_byte_means_no_checksum() {
        let mut sum = FileChecksum::new(3);
        sum.add(2, 2, crc32fast::hash(b"ab"));
        assert_eq!(sum.finish(), None);
        sum.add(3, 1, crc32fast::hash(b"c"));
        assert_eq!(sum.finish(), Some(crc32fast::hash(b"abc")));
    }

    proptest! {
        #[test]
        fn any_order_of_pieces_gives_the_crc_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 1..4000),
            cut in 1usize..700,
            seed in any::<u64>(),
        ) {
            let mut pieces: Vec<(usize, &[u8])> =
                bytes.chunks(cut).enumerate().map(|(i, piece)| (i * cut + piece.len(), piece)).collect();
            let count = pieces.len();
            for i in 0..count {
                pieces.swap(i, (seed as usize).wrapping_mul(i + 7) % count);
            }
            let mut sum = FileChecksum::new(bytes.len() as u64);
            for (end, piece) in pieces {
                sum.add(end as u64, piece.len() as u64, crc32fast::hash(piece));
            }
            prop_assert_eq!(sum.finish(), Some(crc32fast::hash(&bytes)));
        }
    }
}
