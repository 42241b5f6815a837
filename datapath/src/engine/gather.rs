//! Gathers received blocks into large contiguous writes.
//!
//! The file is cut into chunks at the bounds of the [grid](blk_proto::geometry::GRID); each open chunk collects its blocks
//! in file order, whatever the order of arrival and the lengths of the blocks. From the front of the chunk, runs of as many
//! blocks as one write takes leave at once, and the rest when the chunk is full. Chunks, not free-running runs, because
//! their ends, and where possible those of the runs in them, are aligned to the file system's blocks: ext4 and xfs
//! serialise O_DIRECT writes whose ends share a block with a neighbour.
//!
//! A chunk that stays open too long (a lost block, a slow sender) is taken out as it is, in contiguous runs, so that
//! frames never wait for a block that may never come.
//!
//! A long block comes in several frames, which stay together: runs are cut between blocks.
//!
//! Pure: `B` is whatever owns the payload (a frame in the data path, a number in the tests).

use blk_proto::geometry::GRID;
use blk_proto::time::Time;

use super::checksum::Joiner;
use crate::chain::Chain;

/// Runs within a chunk end on multiples of this where they can: pages, and blocks of most file systems.
const RUN_ALIGNMENT: u64 = 4096;

/// A contiguous piece of a file, ready to be written.
#[derive(Debug)]
pub struct Run<B> {
    /// Byte offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// CRC32 of the whole run.
    pub crc: u32,
    /// The payloads' owners, in file order: of a long block several.
    pub frames: Vec<B>,
    /// The blocks that came to make it: in how many of the frames each lies.
    pub blocks: Vec<u16>,
}

#[derive(Debug)]
struct Piece<B> {
    offset: u64,
    len: u32,
    crc: u32,
    block: Chain<B>,
}

impl<B> Piece<B> {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

#[derive(Debug)]
struct Chunk<B> {
    index: u64,
    /// The next chunk's start, or the end of the file.
    end: u64,
    /// Since when its oldest block may be waiting.
    opened: Time,
    /// Everything before it has left.
    front: u64,
    /// Blocks that follow the front without a gap, how many frames they lie in, and where they end.
    lead: usize,
    lead_frames: usize,
    lead_end: u64,
    /// Sorted by offset.
    pieces: Vec<Piece<B>>,
}

/// The open chunks of one file.
#[derive(Debug)]
pub struct Gather<B> {
    size: u64,
    run_frames: usize,
    waiting: usize,
    open: Vec<Chunk<B>>,
    joiner: Joiner,
    spare: Vec<Vec<Piece<B>>>,
}

/// Why a block was not taken; the owner comes back.
#[derive(Debug, thiserror::Error)]
pub enum Misplaced<B> {
    /// It reaches past the end of the file.
    #[error("a block reaches past the end of the file")]
    PastEnd(Chain<B>),
    /// Some of its bytes are in the same chunk already.
    #[error("two blocks cover the same bytes")]
    Overlap(Chain<B>),
}

impl<B> Gather<B> {
    /// Gathers a file of `size` bytes; no run has more than `run_frames` frames, of which a block has fewer.
    pub fn new(size: u64, run_frames: usize) -> Self {
        Self {
            size,
            run_frames: run_frames.max(1),
            waiting: 0,
            open: Vec::new(),
            joiner: Joiner::default(),
            spare: Vec::new(),
        }
    }

    /// Blocks that wait in open chunks.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// When the oldest open chunk was opened.
    pub fn oldest(&self) -> Option<Time> {
        self.open.iter().map(|chunk| chunk.opened).min()
    }

    /// Whether the chunk that a block at `offset` belongs to is open.
    pub fn is_open(&self, offset: u64) -> bool {
        let index = offset / GRID;
        self.open.iter().rev().any(|chunk| chunk.index == index)
    }

    /// Adds a block; runs that it completes are appended to `runs`.
    pub fn insert(
        &mut self,
        now: Time,
        offset: u64,
        len: u32,
        crc: u32,
        block: Chain<B>,
        runs: &mut Vec<Run<B>>,
    ) -> Result<(), Misplaced<B>> {
        match offset.checked_add(u64::from(len)) {
            Some(end) if end <= self.size && len > 0 => {}
            _ => return Err(Misplaced::PastEnd(block)),
        }
        let at = self.chunk_at(offset / GRID, now);
        let chunk = &mut self.open[at];
        let piece = Piece {
            offset,
            len,
            crc,
            block,
        };
        chunk
            .insert(piece)
            .map_err(|piece| Misplaced::Overlap(piece.block))?;
        self.waiting += 1;
        if chunk.lead_end >= chunk.end {
            let chunk = self.open.swap_remove(at);
            self.close(chunk, runs);
        } else if chunk.lead_frames >= self.run_frames {
            chunk.opened = now;
            let count = run_length(&chunk.pieces[..chunk.lead], self.run_frames);
            self.waiting -= count;
            runs.push(chunk.take_front(count, &mut self.joiner));
        }
        Ok(())
    }

    /// Takes out every chunk that was opened at or before `limit`, as contiguous runs.
    pub fn take_older(&mut self, limit: Time, runs: &mut Vec<Run<B>>) {
        let mut at = 0;
        while at < self.open.len() {
            if self.open[at].opened <= limit {
                let chunk = self.open.swap_remove(at);
                self.close(chunk, runs);
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
        let start = index * GRID;
        self.open.push(Chunk {
            index,
            end: start.saturating_add(GRID).min(self.size),
            opened: now,
            front: start,
            lead: 0,
            lead_frames: 0,
            lead_end: start,
            pieces: self.spare.pop().unwrap_or_default(),
        });
        self.open.len() - 1
    }

    /// All that a chunk holds, in runs.
    fn close(&mut self, mut chunk: Chunk<B>, runs: &mut Vec<Run<B>>) {
        self.waiting -= chunk.pieces.len();
        while !chunk.pieces.is_empty() {
            let contiguous = 1 + chunk
                .pieces
                .windows(2)
                .take_while(|pair| pair[0].end() == pair[1].offset)
                .count();
            let pieces = &chunk.pieces[..contiguous];
            let frames: usize = pieces.iter().map(|piece| piece.block.len()).sum();
            let count = if frames <= self.run_frames {
                contiguous
            } else {
                run_length(pieces, self.run_frames)
            };
            runs.push(chunk.take_front(count, &mut self.joiner));
        }
        if self.spare.len() < 8 {
            self.spare.push(chunk.pieces);
        }
    }
}

impl<B> Chunk<B> {
    /// Adds a piece, unless it covers bytes that are, or have been, here.
    fn insert(&mut self, piece: Piece<B>) -> Result<(), Piece<B>> {
        let place = match self.pieces.last() {
            Some(last) if last.offset < piece.offset => self.pieces.len(),
            _ => self
                .pieces
                .partition_point(|before| before.offset < piece.offset),
        };
        let free_from = match place {
            0 => self.front,
            _ => self.pieces[place - 1].end(),
        };
        let free_to = self.pieces.get(place).map_or(u64::MAX, |next| next.offset);
        if piece.offset < free_from || piece.end() > free_to {
            return Err(piece);
        }
        self.pieces.insert(place, piece);
        // Only a piece at the end of the lead makes it longer.
        while let Some(next) = self.pieces.get(self.lead)
            && next.offset == self.lead_end
        {
            self.lead += 1;
            self.lead_frames += next.block.len();
            self.lead_end = next.end();
        }
        Ok(())
    }

    /// The first `count` pieces, which follow each other.
    fn take_front(&mut self, count: usize, joiner: &mut Joiner) -> Run<B> {
        let offset = self.pieces.first().map_or(self.front, |piece| piece.offset);
        let mut run = Run {
            offset,
            len: 0,
            crc: 0,
            frames: Vec::with_capacity(count),
            blocks: Vec::with_capacity(count),
        };
        for piece in self.pieces.drain(..count) {
            let len = u64::from(piece.len);
            run.crc = if run.len == 0 {
                piece.crc
            } else {
                joiner.combine(run.crc, piece.crc, len)
            };
            run.len += len;
            run.blocks.push(piece.block.len() as u16);
            piece.block.append_to(&mut run.frames);
        }
        self.front = run.offset + run.len;
        self.lead = self.lead.saturating_sub(count);
        self.lead_frames = self.lead_frames.saturating_sub(run.frames.len());
        self.lead_end = self.lead_end.max(self.front);
        run
    }
}

/// How many of these pieces, which follow each other, make the next run: as many as fit into `limit` frames, at least one, or
/// somewhat fewer when the run then ends well; of long blocks, which seldom end well, down to half.
fn run_length<B>(pieces: &[Piece<B>], limit: usize) -> usize {
    let (mut frames, mut most, mut aligned) = (0, 0, None);
    for (piece, count) in pieces.iter().zip(1..) {
        frames += piece.block.len();
        if frames > limit && most > 0 {
            break;
        }
        most = count;
        let least = match piece.block {
            Chain::One(_) => limit - limit / 16,
            Chain::Many(_) => limit / 2,
        };
        if frames >= least && piece.end().is_multiple_of(RUN_ALIGNMENT) {
            aligned = Some(count);
        }
    }
    aligned.unwrap_or(most)
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
