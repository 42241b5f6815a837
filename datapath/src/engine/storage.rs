//! Between the transfers and the disk queue: gathered runs are written, planned runs are read.

use std::io;
use std::sync::Arc;

use blk_proto::session::BlockMeta;

use super::events::SessionId;
use super::outbound::{ReadPlan, ReadyBlock};
use super::{Engine, GATHER_PATIENCE, Run, combine};
use crate::disk::{Completion, RUN_MAX, Ways};
use crate::umem::{Disk, Frame};

/// Runs that one outgoing transfer may have read ahead: in flight on the disk or waiting for the session.
const READ_AHEAD_RUNS: usize = 4;

/// What a disk operation was for; found again by its tag.
#[derive(Debug)]
pub(super) enum Operation {
    /// A gathered run of a file being received.
    Write {
        session: SessionId,
        transfer: u32,
        end: u64,
        len: u64,
        crc: u32,
    },
    /// A planned run of a file being sent.
    Read {
        session: SessionId,
        transfer: u32,
        plan: ReadPlan,
    },
}

impl Engine {
    /// Writes a run, or lets it wait with its transfer when the disk queue is full.
    pub(super) fn write_run(&mut self, session: SessionId, transfer: u32, run: Run<Frame<Disk>>) {
        let Some(peer) = self.peers.get_mut(session) else {
            return self.release_all(run.blocks);
        };
        let Some(inbound) = peer.inbound.get_mut(transfer) else {
            return self.release_all(run.blocks);
        };
        let file = Arc::clone(inbound.file());
        let Run {
            offset,
            len,
            crc,
            blocks,
        } = run;
        let tag = next_tag(&mut self.operations, &mut self.free_operations);
        match self
            .disk
            .write(&mut self.umem, &file, offset, blocks, tag as u64)
        {
            Ok(()) => {
                inbound.writing();
                let end = offset + len;
                self.operations[tag] = Some(Operation::Write {
                    session,
                    transfer,
                    end,
                    len,
                    crc,
                });
            }
            Err(blocks) => {
                inbound.wait(Run {
                    offset,
                    len,
                    crc,
                    blocks,
                });
                self.free_operations.push(tag);
            }
        }
    }

    /// Submits what is queued and takes what is complete; `true` when anything was.
    pub(super) fn run_disk(&mut self) -> bool {
        if self.disk.in_flight() == 0 && !self.slept {
            return false;
        }
        self.slept = false;
        if let Err(error) = self.disk.submit() {
            tracing::error!(%error, "io_uring refused a submission");
        }
        let mut completions = std::mem::take(&mut self.scratch.completions);
        self.disk.completions(&mut self.umem, &mut completions);
        let busy = completions
            .iter()
            .any(|completion| !matches!(completion, Completion::Wakeup { .. }));
        for completion in completions.drain(..) {
            match completion {
                Completion::Wakeup { tag } => self.wakeups.push(tag),
                Completion::Written {
                    tag,
                    frames,
                    result,
                } => self.written(tag as usize, frames, result),
                Completion::Read {
                    tag,
                    frames,
                    result,
                } => self.was_read(tag as usize, frames, result),
            }
        }
        self.scratch.completions = completions;
        if busy {
            self.write_waiting();
        }
        busy
    }

    fn written(&mut self, tag: usize, frames: Vec<Frame<Disk>>, result: io::Result<Ways>) {
        let count = frames.len() as u64;
        self.release_all(frames);
        let Some(Operation::Write {
            session,
            transfer,
            end,
            len,
            crc,
        }) = self.take_operation(tag)
        else {
            return;
        };
        let Some(peer) = self.peers.get_mut(session) else {
            return;
        };
        peer.session.release_credit(count);
        if let Some(inbound) = peer.inbound.get_mut(transfer) {
            inbound.written(end, len, crc, result);
        }
    }

    fn was_read(&mut self, tag: usize, frames: Vec<Frame<Disk>>, result: io::Result<u64>) {
        let Some(Operation::Read {
            session,
            transfer,
            plan,
        }) = self.take_operation(tag)
        else {
            return self.release_sending(frames);
        };
        let Some(outbound) = self
            .peers
            .get_mut(session)
            .and_then(|peer| peer.outbound.get_mut(transfer))
        else {
            return self.release_sending(frames);
        };
        if !outbound.read_over(plan, result) {
            return self.release_sending(frames);
        }
        let (mut offset, mut run_crc) = (plan.offset, 0);
        let mut spent = frames;
        for frame in spent.drain(..) {
            let len = frame.len() as u64;
            let crc = crc32fast::hash(self.umem.payload(&frame));
            run_crc = combine(run_crc, crc, len);
            outbound.push_ready(ReadyBlock { offset, crc, frame });
            offset += len;
        }
        outbound.add_checksum(plan, run_crc);
        self.scratch.frames.push(spent);
    }

    /// Runs that found the disk queue full try again.
    fn write_waiting(&mut self) {
        for at in 0..self.peers.positions() {
            let Some((session, peer)) = self.peers.at(at) else {
                continue;
            };
            let mut waiting = Vec::new();
            for position in 0..peer.inbound.len() {
                let Some((transfer, inbound)) = peer.inbound.at_mut(position) else {
                    break;
                };
                while let Some(run) = inbound.next_waiting() {
                    waiting.push((transfer, run));
                }
            }
            for (transfer, run) in waiting {
                self.write_run(session, transfer, run);
            }
        }
    }

    /// Writes what has waited too long in incomplete chunks.
    pub(super) fn flush_old_chunks(&mut self) {
        let mut runs = std::mem::take(&mut self.scratch.runs);
        for at in 0..self.peers.positions() {
            let mut position = 0;
            loop {
                let now = self.now;
                let Some((session, peer)) = self.peers.at(at) else {
                    break;
                };
                let Some((transfer, inbound)) = peer.inbound.at_mut(position) else {
                    break;
                };
                if inbound
                    .oldest()
                    .is_some_and(|opened| opened + GATHER_PATIENCE <= now)
                {
                    let age = GATHER_PATIENCE.as_nanos() as u64;
                    let limit =
                        blk_proto::time::Time::from_nanos(now.as_nanos().saturating_sub(age));
                    inbound.take_older(limit, &mut runs);
                    for run in runs.drain(..) {
                        self.write_run(session, transfer, run);
                    }
                }
                position += 1;
            }
        }
        self.scratch.runs = runs;
    }

    /// Moves read blocks into the sessions' queues and plans further reads.
    pub(super) fn pump_outbound(&mut self) {
        let positions = self.peers.positions();
        for step in 0..positions {
            let at = (self.turn + step) % positions;
            let mut position = 0;
            while let Some((session, peer)) = self.peers.at(at) {
                if position >= peer.outbound.len() {
                    break;
                }
                self.queue_blocks(session, position);
                self.read_ahead(session, position);
                position += 1;
            }
        }
        self.turn = self.turn.wrapping_add(1);
    }

    fn queue_blocks(&mut self, session: SessionId, position: usize) {
        let Some(peer) = self.peers.get_mut(session) else {
            return;
        };
        let Some((transfer, outbound)) = peer.outbound.at_mut(position) else {
            return;
        };
        while peer.session.queue_space() > 0 {
            let Some(ReadyBlock { offset, crc, frame }) = outbound.pop_ready() else {
                break;
            };
            let len = frame.len() as u16;
            let block = self.held.hold(self.umem.disk_to_held(frame, len));
            let meta = BlockMeta {
                transfer,
                offset,
                len,
                crc,
            };
            if let Err(block) = peer.session.queue_block(meta, block) {
                // The session is closing: its transfers end with it.
                self.held.release(&mut self.umem, block);
                self.send_frames_used -= 1;
                outbound.released(u64::from(len), false);
                break;
            }
        }
    }

    fn read_ahead(&mut self, session: SessionId, position: usize) {
        loop {
            let Some(peer) = self.peers.get_mut(session) else {
                return;
            };
            let Some((transfer, outbound)) = peer.outbound.at_mut(position) else {
                return;
            };
            if outbound.read_ahead() >= READ_AHEAD_RUNS * RUN_MAX {
                return;
            }
            let Some(plan) = outbound.plan() else { return };
            let block_len = outbound.block_len();
            let count = plan.blocks(block_len);
            if self.send_frames_used + count > self.config.send_frames
                || self.umem.available() < count
            {
                return;
            }
            let file = Arc::clone(outbound.file());
            let mut frames = self
                .scratch
                .frames
                .pop()
                .unwrap_or_else(|| Vec::with_capacity(RUN_MAX));
            let mut left = plan.len;
            while left > 0 {
                let len = left.min(u64::from(block_len)) as u16;
                let Some(frame) = self.umem.allocate() else {
                    break;
                };
                frames.push(self.umem.free_to_disk(frame, len));
                left -= u64::from(len);
            }
            let tag = next_tag(&mut self.operations, &mut self.free_operations);
            match self
                .disk
                .read(&mut self.umem, &file, plan.offset, frames, tag as u64)
            {
                Ok(()) => {
                    self.send_frames_used += count;
                    outbound.reading(plan);
                    self.operations[tag] = Some(Operation::Read {
                        session,
                        transfer,
                        plan,
                    });
                }
                Err(frames) => {
                    self.free_operations.push(tag);
                    return self.release_all(frames);
                }
            }
        }
    }

    pub(super) fn release_all(&mut self, frames: Vec<Frame<Disk>>) {
        frames
            .into_iter()
            .for_each(|frame| self.umem.release(frame));
    }

    pub(super) fn release_sending(&mut self, frames: Vec<Frame<Disk>>) {
        self.send_frames_used -= frames.len();
        self.release_all(frames);
    }

    fn take_operation(&mut self, tag: usize) -> Option<Operation> {
        let operation = self.operations.get_mut(tag)?.take();
        if operation.is_some() {
            self.free_operations.push(tag);
        }
        operation
    }
}

/// A free place in the table of operations.
fn next_tag(operations: &mut Vec<Option<Operation>>, free: &mut Vec<usize>) -> usize {
    free.pop().unwrap_or_else(|| {
        operations.push(None);
        operations.len() - 1
    })
}
