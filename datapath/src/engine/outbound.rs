//! A file (or a range of it) being sent: large reads in, blocks out, until every block is acknowledged.

use std::io;
use std::sync::Arc;

use blk_proto::geometry::GRID;

use super::checksum::FileChecksum;
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

/// Where a read run starts and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPlan {
    /// Byte offset in the file.
    pub offset: u64,
    /// Bytes wanted.
    pub len: u64,
}

impl ReadPlan {
    /// Blocks of `block_len` bytes in the run.
    pub fn blocks(&self, block_len: u16) -> usize {
        self.len.div_ceil(u64::from(block_len)) as usize
    }
}

/// A range of a file being sent.
#[derive(Debug)]
pub struct Outbound {
    serial: u64,
    file: Arc<BlockFile>,
    start: u64,
    next: u64,
    end: u64,
    block_len: u16,
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
    /// Sends `len` bytes of `file` from byte `offset` in blocks of `block_len`.
    pub fn new(
        serial: u64,
        file: Arc<BlockFile>,
        (offset, len): (u64, u64),
        block_len: u16,
        progress: Progress,
    ) -> Self {
        Self {
            serial,
            file,
            start: offset,
            next: offset,
            end: offset + len,
            block_len,
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

    /// Bytes of payload in each block but the last.
    pub fn block_len(&self) -> u16 {
        self.block_len
    }

    /// The next run to read, unless all is read or the transfer has failed. Runs end on the bounds of the
    /// [grid](blk_proto::geometry::GRID), so that no block crosses one.
    pub fn plan(&self) -> Option<ReadPlan> {
        if self.failure.is_some() || self.next >= self.end {
            return None;
        }
        let longest = u64::from(self.block_len) * RUN_MAX as u64;
        let boundary = (self.next / GRID + 1) * GRID;
        let len = (boundary.min(self.end) - self.next).min(longest);
        Some(ReadPlan {
            offset: self.next,
            len,
        })
    }

    /// The planned run was handed to the disk.
    pub fn reading(&mut self, plan: ReadPlan) {
        self.next = plan.offset + plan.len;
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

    /// The CRC32 of a run that was read.
    pub fn add_checksum(&mut self, plan: ReadPlan, crc: u32) {
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

    /// The session is done with one block.
    pub fn released(&mut self, len: u64, acknowledged: bool) {
        self.unreleased -= 1;
        if acknowledged {
            self.progress.add(len);
        }
    }

    /// The end of it, once nothing is in flight: every block acknowledged, or the first failure.
    pub fn outcome(&mut self) -> Option<Result<SentFile, TransferError>> {
        if self.reads_in_flight > 0 {
            return None;
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        if self.next < self.end || self.unreleased > 0 || !self.ready.is_empty() {
            return None;
        }
        let crc = self.checksum.finish()?;
        Some(Ok(SentFile {
            bytes: self.end - self.start,
            crc,
        }))
    }

    /// Gives up: every frame still here.
    pub fn into_frames(self) -> Vec<Frame<Disk>> {
        self.ready.into_iter().map(|block| block.frame).collect()
    }
}
