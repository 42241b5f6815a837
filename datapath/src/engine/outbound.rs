//! A file (or a range of it) being sent: large reads in, blocks out, until every block is acknowledged.

use std::io;
use std::sync::Arc;

use super::checksum::FileChecksum;
use super::cutting::{Cutter, ReadPlan};
use super::{Progress, TransferError};
use crate::disk::{BlockFile, RUN_MAX};
use crate::umem::{Disk, Frame};

/// What a finished transmission amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentFile {
    /// Bytes sent and acknowledged.
    pub bytes: u64,
    /// CRC32 of the range, combined from the blocks' CRCs.
    pub crc: u32,
}

/// A range of a file being sent.
#[derive(Debug)]
pub struct Outbound {
    serial: u64,
    file: Arc<BlockFile>,
    start: u64,
    len: u64,
    cutter: Cutter,
    reads_in_flight: u32,
    /// Blocks given to the session and not yet released by it.
    unreleased: u64,
    /// Blocks read that wait for room in the session's queue.
    ready: std::collections::VecDeque<ReadyBlock>,
    checksum: FileChecksum,
    failure: Option<TransferError>,
    progress: Progress,
}

/// A block that has been read and may be queued.
#[derive(Debug)]
pub struct ReadyBlock {
    /// Byte offset in the file.
    pub offset: u64,
    /// CRC32 of the payload.
    pub crc: u32,
    /// The payload.
    pub frame: Frame<Disk>,
}

impl Outbound {
    /// Sends `len` bytes of `file` from byte `offset`.
    pub fn new(
        serial: u64,
        file: Arc<BlockFile>,
        (offset, len): (u64, u64),
        progress: Progress,
    ) -> Self {
        Self {
            serial,
            file,
            start: offset,
            len,
            cutter: Cutter::new(offset, len),
            reads_in_flight: 0,
            unreleased: 0,
            ready: std::collections::VecDeque::new(),
            checksum: FileChecksum::new(len),
            failure: None,
            progress,
        }
    }

    /// Which transfer of this engine's life it is (see [`super::Inbound::serial`]).
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The file.
    pub fn file(&self) -> &Arc<BlockFile> {
        &self.file
    }

    /// The next run to read, in blocks of at most `block_len` bytes, unless all is read or the transfer has failed.
    pub fn plan(&self, block_len: u16) -> Option<ReadPlan> {
        if self.failure.is_some() {
            return None;
        }
        self.cutter.plan(block_len)
    }

    /// The planned run was handed to the disk.
    pub fn reading(&mut self, plan: ReadPlan) {
        self.cutter.reading(plan);
        self.reads_in_flight += 1;
    }

    /// A read is over; `Ok` when it gave all the bytes that were planned.
    pub fn read_over(&mut self, plan: ReadPlan, result: io::Result<u64>) -> bool {
        self.reads_in_flight -= 1;
        let problem = match result {
            Ok(bytes) if bytes >= plan.len => None,
            Ok(_) => Some(TransferError::SourceShrank {
                offset: plan.offset,
            }),
            Err(error) => Some(TransferError::Disk(error)),
        };
        if let Some(problem) = problem {
            self.failure.get_or_insert(problem);
        }
        self.failure.is_none()
    }

    /// The CRC32 of a run that was read. What is read again counts as it was read first: should the file have changed
    /// in between, the receiver's checksum differs, and says so.
    pub fn add_checksum(&mut self, plan: ReadPlan, crc: u32) {
        if plan.again {
            return;
        }
        let end = plan.offset + plan.len - self.start;
        self.checksum.add(end, plan.len, crc);
    }

    /// A block was read.
    pub fn push_ready(&mut self, block: ReadyBlock) {
        self.ready.push_back(block);
    }

    /// Blocks read ahead, at most: on their way from the disk, or waiting for room in the session's queue.
    pub fn read_ahead(&self) -> usize {
        self.ready.len() + self.reads_in_flight as usize * RUN_MAX
    }

    /// The next block for the session's queue; the caller queues it.
    pub fn pop_ready(&mut self) -> Option<ReadyBlock> {
        let block = self.ready.pop_front()?;
        self.unreleased += 1;
        Some(block)
    }

    /// The next block, if it is longer than `limit`, that is, than the path takes by now: it is to be read again in
    /// smaller ones.
    pub fn pop_too_long(&mut self, limit: u16) -> Option<ReadyBlock> {
        let len = self.ready.front()?.frame.len();
        if len <= usize::from(limit) {
            return None;
        }
        let block = self.ready.pop_front()?;
        self.cutter.give_back(block.offset, len as u64);
        Some(block)
    }

    /// The session is done with one block: the other end has it.
    pub fn acknowledged(&mut self, len: u64) {
        self.unreleased -= 1;
        self.progress.add(len);
    }

    /// The session gave a block back: it is longer than the path takes by now. It is read again in smaller ones.
    pub fn given_back(&mut self, offset: u64, len: u64) {
        self.unreleased -= 1;
        self.cutter.give_back(offset, len);
    }

    /// The end of it, once nothing is in flight: every block acknowledged, or the first failure.
    pub fn outcome(&mut self) -> Option<Result<SentFile, TransferError>> {
        if self.reads_in_flight > 0 {
            return None;
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        if !self.cutter.is_done() || self.unreleased > 0 || !self.ready.is_empty() {
            return None;
        }
        let crc = self.checksum.finish()?;
        Some(Ok(SentFile {
            bytes: self.len,
            crc,
        }))
    }

    /// Gives up: every frame still here.
    pub fn into_frames(self) -> Vec<Frame<Disk>> {
        self.ready.into_iter().map(|block| block.frame).collect()
    }
}
