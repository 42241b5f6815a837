//! A file being sent, as far as one flow sends it: ranges taken from the shared work, large reads in, blocks out, until
//! every block is acknowledged.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use blk_proto::flows::{FlowId, Range};
use blk_proto::time::Time;

use super::checksum::FileChecksum;
use super::cutting::{Cutter, READ_MAX, ReadPlan};
use super::read_depth::ReadDepth;
use super::work::SharedWork;
use super::{Progress, TransferError};
use crate::chain::Chain;
use crate::disk::{BlockFile, DiskQueue, ReadChooser, ReadWay};
use crate::umem::{Disk, Frame};

/// What a finished transmission amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentFile {
    /// Bytes sent and acknowledged.
    pub bytes: u64,
    /// CRC32 of the range, combined from the blocks' CRCs.
    pub crc: u32,
}

/// A range that this flow has taken and not finished.
#[derive(Debug)]
struct Active {
    range: Range,
    cutter: Cutter,
    checksum: FileChecksum,
    /// Bytes that the other end has acknowledged.
    acknowledged: u64,
}

impl Active {
    fn new(range: Range) -> Self {
        Self {
            range,
            cutter: Cutter::new(range.offset, range.len),
            checksum: FileChecksum::new(range.len),
            acknowledged: 0,
        }
    }
}

/// A file being sent.
#[derive(Debug)]
pub struct Outbound {
    serial: u64,
    file: Arc<BlockFile>,
    work: Arc<SharedWork>,
    flow: FlowId,
    /// Few: what is read ahead, and what is in flight.
    active: Vec<Active>,
    /// There was nothing to take; from then on it is worth to look again.
    look_again: Option<Time>,
    reads_in_flight: u32,
    chooser: ReadChooser,
    depth: ReadDepth,
    /// Blocks given to the session and not yet released by it.
    unreleased: u64,
    /// Blocks read that wait for room in the session's queue.
    ready: VecDeque<ReadyBlock>,
    /// Frames that they lie in.
    ready_frames: usize,
    failure: Option<TransferError>,
    progress: Progress,
}

/// A block that has been read and may be queued.
#[derive(Debug)]
pub struct ReadyBlock {
    /// Byte offset in the file.
    pub offset: u64,
    /// Bytes of payload.
    pub len: u16,
    /// CRC32 of the payload.
    pub crc: u32,
    /// The payload.
    pub frames: Chain<Frame<Disk>>,
}

impl Outbound {
    /// Sends of `file` what it gets of `work`.
    pub fn new(
        serial: u64,
        file: Arc<BlockFile>,
        work: Arc<SharedWork>,
        progress: Progress,
    ) -> Self {
        Self {
            serial,
            file,
            flow: work.add_flow(),
            work,
            active: Vec::new(),
            look_again: None,
            reads_in_flight: 0,
            chooser: ReadChooser::default(),
            depth: ReadDepth::default(),
            unreleased: 0,
            ready: VecDeque::new(),
            ready_frames: 0,
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

    /// What it takes its ranges from.
    pub fn work(&self) -> &Arc<SharedWork> {
        &self.work
    }

    /// The next run to read, in blocks of at most `block_len` bytes, unless there is nothing to do or the transfer has
    /// failed.
    pub fn plan(&mut self, now: Time, block_len: u16) -> Option<ReadPlan> {
        if self.failure.is_some() {
            return None;
        }
        let planned = self
            .active
            .iter()
            .find_map(|active| active.cutter.plan(block_len));
        if planned.is_some() {
            self.look_again = None;
            return planned;
        }
        if self.look_again.is_some_and(|when| now < when) {
            return None;
        }
        match self.work.take(self.flow) {
            Ok(range) => {
                self.look_again = None;
                let active = Active::new(range);
                let plan = active.cutter.plan(block_len);
                self.active.push(active);
                plan
            }
            Err(wait) => {
                self.look_again = Some(now + wait);
                None
            }
        }
    }

    /// When it is worth to [plan](Outbound::plan) again, if nothing happens until then.
    pub fn look_again(&self) -> Option<Time> {
        self.look_again
    }

    /// Which way to read the planned run.
    pub fn way(&mut self, disk: &mut DiskQueue, plan: ReadPlan) -> ReadWay {
        disk.choose(&mut self.chooser, &self.file, plan.offset, plan.len)
    }

    /// The planned run was handed to the disk.
    pub fn reading(&mut self, plan: ReadPlan) {
        self.reads_in_flight += 1;
        if let Some(active) = self.active_at(plan.offset) {
            active.cutter.reading(plan);
        }
    }

    /// A run that was to be read one way was read another. `hungry`: the session could have sent more.
    pub fn was_read(
        &mut self,
        now: Time,
        bytes: u64,
        (chosen, way): (ReadWay, ReadWay),
        hungry: bool,
    ) {
        if chosen == ReadWay::Cache && way != ReadWay::Cache {
            self.chooser.missed();
        }
        let starved = way != ReadWay::Cache && hungry && self.ready.is_empty();
        self.depth.read(now, bytes, starved);
    }

    /// A read is over; `Ok` when it gave all the bytes that were planned.
    pub fn read_over(&mut self, plan: ReadPlan, result: io::Result<u64>) -> bool {
        self.reads_in_flight -= 1;
        let problem = match result {
            Ok(bytes) if bytes >= plan.len => None,
            Ok(_) => Some(TransferError::SourceShrank {
                offset: plan.offset,
            }),
            Err(source) => Some(TransferError::Read {
                offset: plan.offset,
                source,
            }),
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
        if let Some(active) = self.active_at(plan.offset) {
            let end = plan.offset + plan.len - active.range.offset;
            active.checksum.add(end, plan.len, crc);
        }
    }

    /// A block was read.
    pub fn push_ready(&mut self, block: ReadyBlock) {
        self.ready_frames += block.frames.len();
        self.ready.push_back(block);
    }

    /// Whether enough is read ahead: on its way from the disk, or waiting for room in the session's queue.
    pub fn is_ahead(&self) -> bool {
        self.ready_frames + self.reads_in_flight as usize * READ_MAX >= self.depth.runs() * READ_MAX
    }

    /// The next block for the session's queue; the caller queues it.
    pub fn pop_ready(&mut self) -> Option<ReadyBlock> {
        let block = self.pop()?;
        self.unreleased += 1;
        Some(block)
    }

    /// The next block, if it is longer than `limit`, that is, than the path takes by now: it is to be read again in
    /// smaller ones.
    pub fn pop_too_long(&mut self, limit: u16) -> Option<ReadyBlock> {
        let next = self.ready.front()?;
        if next.len <= limit {
            return None;
        }
        let block = self.pop()?;
        if let Some(active) = self.active_at(block.offset) {
            active.cutter.give_back(block.offset, u64::from(block.len));
        }
        Some(block)
    }

    fn pop(&mut self) -> Option<ReadyBlock> {
        let block = self.ready.pop_front()?;
        self.ready_frames -= block.frames.len();
        Some(block)
    }

    /// The session is done with one block: the other end has it.
    pub fn acknowledged(&mut self, offset: u64, len: u64) {
        self.unreleased -= 1;
        let Some(at) = self.position(offset) else {
            return;
        };
        let active = &mut self.active[at];
        active.acknowledged += len;
        if active.acknowledged < active.range.len {
            return;
        }
        let active = self.active.swap_remove(at);
        let Some(crc) = active.checksum.finish() else {
            return;
        };
        // Another flow may have been faster; then it has counted them.
        if self.work.done(self.flow, active.range, crc) {
            self.progress.add(active.range.len);
        }
    }

    /// The session gave a block back: it is longer than the path takes by now. It is read again in smaller ones.
    pub fn given_back(&mut self, offset: u64, len: u64) {
        self.unreleased -= 1;
        if let Some(active) = self.active_at(offset) {
            active.cutter.give_back(offset, len);
        }
    }

    /// Whether the session has blocks of it still.
    pub fn is_queued(&self) -> bool {
        self.unreleased > 0
    }

    /// The end of it: every block of the whole work acknowledged, whoever sent it, or the first failure of this flow.
    pub fn outcome(&mut self) -> Option<Result<SentFile, TransferError>> {
        if self.reads_in_flight > 0 {
            return None;
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        self.work.sent().map(Ok)
    }

    /// Gives up: every frame still here. What was taken and not finished is for the other flows.
    pub fn into_frames(self) -> Vec<Frame<Disk>> {
        self.work.dead(self.flow);
        let mut frames = Vec::with_capacity(self.ready_frames);
        for block in self.ready {
            block.frames.append_to(&mut frames);
        }
        frames
    }

    fn position(&self, offset: u64) -> Option<usize> {
        self.active
            .iter()
            .position(|active| offset.wrapping_sub(active.range.offset) < active.range.len)
    }

    fn active_at(&mut self, offset: u64) -> Option<&mut Active> {
        let at = self.position(offset)?;
        self.active.get_mut(at)
    }
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
