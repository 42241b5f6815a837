//! What one flow brings of a file being received: blocks in, gathered writes out, until every byte is on the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use blk_proto::time::Time;

use super::coverage::Coverage;
use super::gather::{Gather, Misplaced, Run};
use super::{Progress, TransferError};
use crate::chain::Chain;
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

/// A block that was not taken.
#[derive(Debug)]
pub struct Unwanted {
    /// Its frames.
    pub frames: Chain<Frame<Disk>>,
    /// Whether its bytes are here already, which is no fault of anybody's.
    pub duplicate: bool,
}

/// A file being received, as far as one session brings it.
#[derive(Debug)]
pub struct Inbound {
    serial: u64,
    file: Arc<BlockFile>,
    coverage: Arc<Coverage>,
    gather: Gather<Frame<Disk>>,
    /// Runs that wait for room in the disk queue.
    waiting: VecDeque<Run<Frame<Disk>>>,
    /// What the coverage was last told: whether there are blocks here that are not claimed.
    gathering: bool,
    writes_in_flight: u32,
    failure: Option<TransferError>,
    progress: Progress,
}

impl Inbound {
    /// Receives into `file` what `coverage` still lacks.
    pub fn new(
        serial: u64,
        file: Arc<BlockFile>,
        coverage: Arc<Coverage>,
        progress: Progress,
    ) -> Self {
        coverage.enter();
        Self {
            serial,
            file,
            gather: Gather::new(coverage.end(), RUN_MAX),
            coverage,
            waiting: VecDeque::new(),
            gathering: false,
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

    /// Which of its bytes are here.
    pub fn coverage(&self) -> &Arc<Coverage> {
        &self.coverage
    }

    /// Takes a received block. The frames come back when it is not wanted: its bytes are here already, or the transfer has
    /// failed. [`Inbound::settle`] must follow when the runs have been dealt with.
    pub fn receive(
        &mut self,
        now: Time,
        offset: u64,
        crc: u32,
        frames: Chain<Frame<Disk>>,
        runs: &mut Vec<Run<Frame<Disk>>>,
    ) -> Result<(), Unwanted> {
        let refused = |frames| Unwanted {
            frames,
            duplicate: false,
        };
        if self.failure.is_some() {
            return Err(refused(frames));
        }
        let len: usize = frames.as_slice().iter().map(Frame::len).sum();
        let len = len as u32;
        if offset < self.coverage.start() {
            return Err(refused(
                self.fail("a block lies before the range that it is of", frames),
            ));
        }
        if self.file.is_direct() && !self.is_aligned(offset, len) {
            return Err(refused(self.fail(
                "a block's offset or length is not a multiple of the granule",
                frames,
            )));
        }
        // The blocks of an open chunk are looked at there; so this costs once for each chunk, and for late blocks.
        if !self.gather.is_open(offset) && self.coverage.is_claimed(offset, u64::from(len)) {
            return Err(Unwanted {
                frames,
                duplicate: true,
            });
        }
        match self.gather.insert(now, offset, len, crc, frames, runs) {
            Ok(()) => {
                if !self.gathering {
                    self.set_gathering(true);
                }
                Ok(())
            }
            Err(Misplaced::PastEnd(frames)) => Err(refused(
                self.fail("a block reaches past the end of the file", frames),
            )),
            Err(Misplaced::Overlap(frames)) => Err(Unwanted {
                frames,
                duplicate: true,
            }),
        }
    }

    fn fail(&mut self, why: &'static str, frames: Chain<Frame<Disk>>) -> Chain<Frame<Disk>> {
        self.failure = Some(TransferError::Protocol(why));
        frames
    }

    /// Whole sectors, except at the end of the file.
    fn is_aligned(&self, offset: u64, len: u32) -> bool {
        let sector = SECTOR as u64;
        let end = offset.saturating_add(u64::from(len));
        let whole = u64::from(len).is_multiple_of(sector) || end == self.coverage.end();
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

    /// Tells the coverage whether blocks wait here; after runs have been claimed, queued or dropped.
    pub fn settle(&mut self) {
        let gathering = self.gather.waiting() > 0 || !self.waiting.is_empty();
        if gathering != self.gathering {
            self.set_gathering(gathering);
        }
    }

    fn set_gathering(&mut self, gathering: bool) {
        self.gathering = gathering;
        self.coverage.set_gathering(gathering);
    }

    /// A claimed run of `len` bytes was handed to the disk.
    pub fn writing(&mut self, len: u64) {
        self.writes_in_flight += 1;
        self.progress.add(len);
    }

    /// A write is over; the coverage knows it already.
    pub fn written(&mut self, result: Result<Ways, io::Error>) {
        self.writes_in_flight -= 1;
        if let Err(error) = result {
            self.failure.get_or_insert(TransferError::Disk(error));
        }
    }

    /// The end of it: every byte of the file written, by whatever flow, or the first failure of this one.
    pub fn outcome(&mut self) -> Option<Result<ReceivedFile, TransferError>> {
        if self.writes_in_flight > 0 {
            return None;
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        self.coverage.received().map(Ok)
    }

    /// Takes out all runs, whole or not.
    pub fn take_runs(&mut self) -> Vec<Run<Frame<Disk>>> {
        let mut runs: Vec<_> = self.waiting.drain(..).collect();
        self.gather.take_all(&mut runs);
        runs
    }

    /// Gives up: every frame still here, and how many blocks lie in them.
    pub fn into_frames(mut self) -> (Vec<Frame<Disk>>, u64) {
        let runs = self.take_runs();
        let blocks = runs.iter().map(|run| run.blocks.len() as u64).sum();
        let frames = runs.into_iter().flat_map(|run| run.frames).collect();
        (frames, blocks)
    }
}

impl Drop for Inbound {
    /// Also when its worker ends early: the other flows must not wait for what it held.
    fn drop(&mut self) {
        self.coverage.leave(self.gathering);
    }
}
