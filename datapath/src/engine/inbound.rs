//! A file being received: blocks in, gathered writes out, until every byte is on the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use blk_proto::time::Time;

use super::checksum::FileChecksum;
use super::gather::{Gather, Misplaced, Run};
use super::{Progress, TransferError};
use crate::disk::{BlockFile, RUN_MAX, Ways};
use crate::umem::{Disk, Frame, SECTOR};

/// What a finished reception amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedFile {
    /// Bytes received and written (not yet synced).
    pub bytes: u64,
    /// CRC32 of the whole file, combined from the blocks' CRCs.
    pub crc: u32,
    /// How the bytes reached the disk.
    pub ways: Ways,
}

/// A file being received.
#[derive(Debug)]
pub struct Inbound {
    serial: u64,
    file: Arc<BlockFile>,
    size: u64,
    gather: Gather<Frame<Disk>>,
    /// Runs that wait for room in the disk queue.
    waiting: VecDeque<Run<Frame<Disk>>>,
    checksum: FileChecksum,
    ways: Ways,
    writes_in_flight: u32,
    failure: Option<TransferError>,
    progress: Progress,
}

impl Inbound {
    /// Receives `size` bytes into `file` from blocks of `block_len` bytes.
    pub fn new(
        serial: u64,
        file: Arc<BlockFile>,
        size: u64,
        block_len: u16,
        progress: Progress,
    ) -> Self {
        let chunk_bytes = u64::from(block_len) * RUN_MAX as u64;
        Self {
            serial,
            file,
            size,
            gather: Gather::new(size, chunk_bytes, RUN_MAX),
            waiting: VecDeque::new(),
            checksum: FileChecksum::new(size),
            ways: Ways::default(),
            writes_in_flight: 0,
            failure: None,
            progress,
        }
    }

    /// Which transfer of this engine's life it is: the other end chooses transfer numbers, and may use one again while
    /// operations of the earlier one are still in flight.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The file.
    pub fn file(&self) -> &Arc<BlockFile> {
        &self.file
    }

    /// Takes a received block. The frame comes back when it is not wanted: the transfer has failed.
    pub fn receive(
        &mut self,
        now: Time,
        offset: u64,
        crc: u32,
        frame: Frame<Disk>,
        runs: &mut Vec<Run<Frame<Disk>>>,
    ) -> Result<(), Frame<Disk>> {
        if self.failure.is_some() {
            return Err(frame);
        }
        let len = frame.len() as u32;
        if self.file.is_direct() && !self.is_aligned(offset, len) {
            let text = "a block's offset or length is not a multiple of the granule";
            self.failure = Some(TransferError::Protocol(text));
            return Err(frame);
        }
        match self.gather.insert(now, offset, len, crc, frame, runs) {
            Ok(()) => {
                self.progress.add(u64::from(len));
                Ok(())
            }
            Err(misplaced) => {
                let (text, frame) = match misplaced {
                    Misplaced::PastEnd(frame) => {
                        ("a block reaches past the end of the file", frame)
                    }
                    Misplaced::Overlap(frame) => ("two blocks cover the same bytes", frame),
                };
                self.failure = Some(TransferError::Protocol(text));
                Err(frame)
            }
        }
    }

    /// Whole sectors, except at the end of the file.
    fn is_aligned(&self, offset: u64, len: u32) -> bool {
        let sector = SECTOR as u64;
        let whole = u64::from(len).is_multiple_of(sector) || offset + u64::from(len) == self.size;
        offset.is_multiple_of(sector) && whole
    }

    /// When the oldest incomplete chunk was opened.
    pub fn oldest(&self) -> Option<Time> {
        self.gather.oldest()
    }

    /// Takes out the chunks opened at or before `limit`.
    pub fn take_older(&mut self, limit: Time, runs: &mut Vec<Run<Frame<Disk>>>) {
        self.gather.take_older(limit, runs);
    }

    /// Queues a run until the disk takes it.
    pub fn wait(&mut self, run: Run<Frame<Disk>>) {
        self.waiting.push_back(run);
    }

    /// The next run that waits for the disk.
    pub fn next_waiting(&mut self) -> Option<Run<Frame<Disk>>> {
        self.waiting.pop_front()
    }

    /// A write was handed to the disk.
    pub fn writing(&mut self) {
        self.writes_in_flight += 1;
    }

    /// A write of the run [`end` - `len`, `end`) is over.
    pub fn written(&mut self, end: u64, len: u64, crc: u32, result: Result<Ways, io::Error>) {
        self.writes_in_flight -= 1;
        if self.checksum.covered() + len > self.size {
            let text = "blocks cover the same bytes twice";
            self.failure.get_or_insert(TransferError::Protocol(text));
            return;
        }
        match result {
            Ok(ways) => {
                self.checksum.add(end, len, crc);
                self.ways.direct += ways.direct;
                self.ways.copied += ways.copied;
            }
            Err(error) => {
                self.failure.get_or_insert(TransferError::Disk(error));
            }
        }
    }

    /// The end of it, once nothing is in flight: every byte written, or the first failure.
    pub fn outcome(&mut self) -> Option<Result<ReceivedFile, TransferError>> {
        if self.writes_in_flight > 0 {
            return None;
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        let crc = self.checksum.finish()?;
        Some(Ok(ReceivedFile {
            bytes: self.size,
            crc,
            ways: self.ways,
        }))
    }

    /// Gives up: every frame still here.
    pub fn into_frames(mut self) -> Vec<Frame<Disk>> {
        let mut runs: Vec<_> = self.waiting.drain(..).collect();
        self.gather.take_all(&mut runs);
        runs.into_iter().flat_map(|run| run.blocks).collect()
    }
}
