//! The CRC32 of a whole file, made from the CRCs of its pieces in any order.
//!
//! CRC32 is linear: `crc(A ‖ B) = shift(crc(A), |B|) ⊕ crc(B)`. Hence the CRC of a file is the XOR, over all its
//! pieces, of the piece's CRC shifted by the number of bytes that follow it. Pieces may arrive in any order, no
//! piece is read twice, and the state is one word.

use std::fmt;

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

/// The CRC of what is put together of pieces, of which many have the same length.
///
/// To move a CRC over `len` bytes takes some multiplications of polynomials; the operator of the length that comes often is
/// kept as a table, with which it takes four look-ups.
pub struct Joiner {
    len: u64,
    /// How often another length has come since `len` came.
    others: u32,
    /// The CRC with byte `k` set to `v` and the others zero, moved over `len` bytes, is `table[k][v]`.
    table: Box<[[u32; 256]; 4]>,
}

/// So often another length has to come in a row before a table is made of it: it costs some thousand times a look-up.
const WORTH: u32 = 64;

impl Default for Joiner {
    fn default() -> Self {
        Self {
            len: 0,
            others: 0,
            table: Box::new([[0; 256]; 4]),
        }
    }
}

impl Joiner {
    /// As [`combine`].
    pub fn combine(&mut self, first: u32, second: u32, len: u64) -> u32 {
        if len == 0 {
            return first;
        }
        if len != self.len {
            self.others += 1;
            if self.others < WORTH {
                return combine(first, second, len);
            }
            self.learn(len);
        }
        self.others = 0;
        let [a, b, c, d] = first.to_le_bytes().map(usize::from);
        let table = &*self.table;
        table[0][a] ^ table[1][b] ^ table[2][c] ^ table[3][d] ^ second
    }

    #[cold]
    fn learn(&mut self, len: u64) {
        self.len = len;
        for (byte, row) in self.table.iter_mut().enumerate() {
            for bit in 0..8 {
                let moved = shift(1 << (8 * byte + bit), len);
                // Linear: the entries with this bit set are those without it, and this one's.
                for value in 1 << bit..2 << bit {
                    row[value] = row[value - (1 << bit)] ^ moved;
                }
            }
        }
    }
}

impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joiner")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
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

    #[test]
    fn a_joiner_learns_the_length_that_comes_often() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.combine(5, 0, 0), 5, "nothing behind it");
        let mut learnt = Vec::new();
        for round in 0..300_u64 {
            let len = match round {
                0..100 => 3584,
                100..290 if round % 3 > 0 => 1344,
                100..290 => 7 * round,
                _ => 1344,
            };
            let (first, second) = (round as u32 ^ 0x9e37_79b9, !round as u32);
            assert_eq!(
                joiner.combine(first, second, len),
                combine(first, second, len)
            );
            learnt.push(joiner.len);
        }
        assert_eq!(learnt[WORTH as usize - 2..WORTH as usize], [0, 3584]);
        assert_eq!(learnt[299], 1344);
        assert_eq!(joiner.combine(5, 0, 0), 5, "nothing behind it");
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
