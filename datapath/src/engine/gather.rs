//! Gathers received blocks into large contiguous writes.
//!
//! The file is cut into chunks of a fixed size; each open chunk collects its blocks in file order, whatever the order
//! of arrival. A full chunk is one write. Chunks, not free-running runs, because a chunk's ends are aligned to the
//! file system's blocks: ext4 and xfs serialise O_DIRECT writes whose ends share a block with a neighbour.
//!
//! A chunk that stays open too long (a lost block, a slow sender) is taken out as it is, in contiguous runs, so that
//! frames never wait for a block that may never come.
//!
//! Pure: `B` is whatever owns the payload (a frame in the data path, a number in the tests).

use blk_proto::time::Time;

use super::checksum::combine;

/// A contiguous piece of a file, ready to be written.
#[derive(Debug)]
pub struct Run<B> {
    /// Byte offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// CRC32 of the whole run.
    pub crc: u32,
    /// The payloads' owners, in file order.
    pub blocks: Vec<B>,
}

#[derive(Debug)]
struct Piece<B> {
    offset: u64,
    len: u32,
    crc: u32,
    block: B,
}

#[derive(Debug)]
struct Chunk<B> {
    index: u64,
    opened: Time,
    bytes: u64,
    /// Sorted by offset.
    pieces: Vec<Piece<B>>,
}

/// The open chunks of one file.
#[derive(Debug)]
pub struct Gather<B> {
    size: u64,
    chunk_bytes: u64,
    run_blocks: usize,
    open: Vec<Chunk<B>>,
    spare: Vec<Vec<Piece<B>>>,
}

/// Why a block was not taken; the owner comes back.
#[derive(Debug, thiserror::Error)]
pub enum Misplaced<B> {
    /// It reaches past the end of the file.
    #[error("a block reaches past the end of the file")]
    PastEnd(B),
    /// Another block of the same chunk covers some of its bytes.
    #[error("two blocks cover the same bytes")]
    Overlap(B),
}

impl<B> Gather<B> {
    /// Gathers a file of `size` bytes into chunks of `chunk_bytes`; no run has more than `run_blocks` blocks.
    pub fn new(size: u64, chunk_bytes: u64, run_blocks: usize) -> Self {
        Self {
            size,
            chunk_bytes: chunk_bytes.max(1),
            run_blocks,
            open: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Blocks that wait in open chunks.
    pub fn waiting(&self) -> usize {
        self.open.iter().map(|chunk| chunk.pieces.len()).sum()
    }

    /// When the oldest open chunk was opened.
    pub fn oldest(&self) -> Option<Time> {
        self.open.iter().map(|chunk| chunk.opened).min()
    }

    /// Adds a block; when it completes its chunk, the chunk's runs (one, unless the sender cuts blocks oddly) are
    /// appended to `runs`.
    pub fn insert(
        &mut self,
        now: Time,
        offset: u64,
        len: u32,
        crc: u32,
        block: B,
        runs: &mut Vec<Run<B>>,
    ) -> Result<(), Misplaced<B>> {
        let end = match offset.checked_add(u64::from(len)) {
            Some(end) if end <= self.size && len > 0 => end,
            _ => return Err(Misplaced::PastEnd(block)),
        };
        let at = self.chunk_at(offset / self.chunk_bytes, now);
        let chunk = &mut self.open[at];
        let place = chunk.pieces.partition_point(|piece| piece.offset < offset);
        let clear_before = place == 0 || {
            let before = &chunk.pieces[place - 1];
            before.offset + u64::from(before.len) <= offset
        };
        let clear_after = chunk
            .pieces
            .get(place)
            .is_none_or(|after| end <= after.offset);
        if !(clear_before && clear_after) {
            return Err(Misplaced::Overlap(block));
        }
        chunk.pieces.insert(
            place,
            Piece {
                offset,
                len,
                crc,
                block,
            },
        );
        chunk.bytes += u64::from(len);
        let start = chunk.index * self.chunk_bytes;
        let full = self.chunk_bytes.min(self.size - start);
        if chunk.bytes >= full {
            let chunk = self.open.swap_remove(at);
            self.split(chunk, runs);
        }
        Ok(())
    }

    /// Takes out every chunk that was opened at or before `limit`, as contiguous runs.
    pub fn take_older(&mut self, limit: Time, runs: &mut Vec<Run<B>>) {
        let mut at = 0;
        while at < self.open.len() {
            if self.open[at].opened <= limit {
                let chunk = self.open.swap_remove(at);
                self.split(chunk, runs);
            } else {
                at += 1;
            }
        }
    }

    /// Takes out everything.
    pub fn take_all(&mut self, runs: &mut Vec<Run<B>>) {
        self.take_older(Time::from_nanos(u64::MAX), runs);
    }

    fn chunk_at(&mut self, index: u64, now: Time) -> usize {
        if let Some(at) = self.open.iter().rposition(|chunk| chunk.index == index) {
            return at;
        }
        let pieces = self.spare.pop().unwrap_or_default();
        self.open.push(Chunk {
            index,
            opened: now,
            bytes: 0,
            pieces,
        });
        self.open.len() - 1
    }

    fn split(&mut self, mut chunk: Chunk<B>, runs: &mut Vec<Run<B>>) {
        let mut run: Option<Run<B>> = None;
        let count = chunk.pieces.len();
        for piece in chunk.pieces.drain(..) {
            let len = u64::from(piece.len);
            match &mut run {
                Some(run)
                    if run.offset + run.len == piece.offset
                        && run.blocks.len() < self.run_blocks =>
                {
                    run.crc = combine(run.crc, piece.crc, len);
                    run.len += len;
                    run.blocks.push(piece.block);
                }
                _ => {
                    let mut blocks = Vec::with_capacity(count.min(self.run_blocks));
                    blocks.push(piece.block);
                    let next = Run {
                        offset: piece.offset,
                        len,
                        crc: piece.crc,
                        blocks,
                    };
                    runs.extend(run.replace(next));
                }
            }
        }
        runs.extend(run);
        if self.spare.len() < 8 {
            self.spare.push(chunk.pieces);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Time = Time::from_nanos(5);

    #[test]
    fn blocks_in_any_order_fill_a_chunk_into_one_run() {
        let mut gather = Gather::new(4096, 2048, 128);
        let mut runs = Vec::new();
        for offset in [1024, 0, 1536, 512] {
            assert!(runs.is_empty());
            gather
                .insert(NOW, offset, 512, 0, offset, &mut runs)
                .unwrap();
        }
        assert_eq!(runs.len(), 1);
        assert_eq!((runs[0].offset, runs[0].len), (0, 2048));
        assert_eq!(runs[0].blocks, [0, 512, 1024, 1536]);
        assert_eq!(gather.waiting(), 0);
    }

    #[test]
    fn the_last_chunk_is_full_at_the_end_of_the_file() {
        let mut gather = Gather::new(2048 + 7, 2048, 128);
        let mut runs = Vec::new();
        gather.insert(NOW, 2048, 7, 0, (), &mut runs).unwrap();
        assert_eq!((runs[0].offset, runs[0].len), (2048, 7));
    }

    #[test]
    fn a_gap_splits_an_old_chunk() {
        let mut gather = Gather::new(4096, 4096, 128);
        let mut runs = Vec::new();
        for offset in [0, 512, 2048] {
            gather.insert(NOW, offset, 512, 0, (), &mut runs).unwrap();
        }
        gather.take_older(Time::from_nanos(4), &mut runs);
        assert!(runs.is_empty());
        gather.take_older(NOW, &mut runs);
        assert_eq!(
            runs.iter()
                .map(|run| (run.offset, run.len))
                .collect::<Vec<_>>(),
            [(0, 1024), (2048, 512)]
        );
    }

    #[test]
    fn overlaps_and_blocks_past_the_end_come_back() {
        let mut gather = Gather::new(4096, 4096, 128);
        let mut runs = Vec::new();
        gather.insert(NOW, 512, 1024, 0, 1, &mut runs).unwrap();
        for (offset, len) in [(512, 512), (1024, 512), (0, 1024), (511, 2)] {
            let result = gather.insert(NOW, offset, len, 0, 2, &mut runs);
            assert!(
                matches!(result, Err(Misplaced::Overlap(2))),
                "{offset} {len}"
            );
        }
        for (offset, len) in [(4096, 1), (4000, 97), (u64::MAX, 2), (0, 0)] {
            let result = gather.insert(NOW, offset, len, 0, 3, &mut runs);
            assert!(
                matches!(result, Err(Misplaced::PastEnd(3))),
                "{offset} {len}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_byte_comes_out_once_with_the_right_crc(
            data in proptest::collection::vec(any::<u8>(), 1..20_000),
            block in 1usize..700,
            blocks_in_chunk in 1usize..9,
            run_blocks in 1usize..12,
            shuffle in any::<u64>(),
            flush_each in 1usize..50,
        ) {
            let mut order: Vec<usize> = (0..data.len().div_ceil(block)).collect();
            let count = order.len();
            for i in 0..count {
                order.swap(i, (shuffle as usize).wrapping_add(i * 31) % count);
            }
            let mut gather = Gather::new(data.len() as u64, (block * blocks_in_chunk) as u64, run_blocks);
            let mut runs = Vec::new();
            for (step, at) in order.into_iter().enumerate() {
                let piece = &data[at * block..data.len().min((at + 1) * block)];
                let (offset, len) = ((at * block) as u64, piece.len() as u32);
                gather.insert(NOW, offset, len, crc32fast::hash(piece), piece.to_vec(), &mut runs).unwrap();
                if step % flush_each == 0 {
                    gather.take_all(&mut runs);
                }
            }
            gather.take_all(&mut runs);
            prop_assert_eq!(gather.waiting(), 0);
            let mut out = vec![None; data.len()];
            for run in runs {
                prop_assert!(run.blocks.len() <= run_blocks);
                let bytes = run.blocks.concat();
                prop_assert_eq!(bytes.len() as u64, run.len);
                prop_assert_eq!(crc32fast::hash(&bytes), run.crc);
                for (i, byte) in bytes.into_iter().enumerate() {
                    prop_assert!(out[run.offset as usize + i].replace(byte).is_none());
                }
            }
            prop_assert_eq!(out.into_iter().collect::<Option<Vec<u8>>>(), Some(data));
        }
    }
}
