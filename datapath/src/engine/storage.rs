//! Between the transfers and the disk queue: planned runs are read, and what is complete goes back to its transfer. How
//! gathered runs are written is in `write`.

use std::io;
use std::sync::Arc;

use blk_proto::session::BlockMeta;

use super::cutting::{READ_MAX, ReadPlan, frames_of, pieces};
use super::events::SessionId;
use super::outbound::ReadyBlock;
use super::{ClaimedRun, Engine, GATHER_PATIENCE, QUEUED_BLOCKS, reserve};
use crate::chain::Chain;
use crate::disk::{Completion, RUN_MAX, ReadWay, Ways};
use crate::umem::{Disk, Frame, Held, Umem};

/// What a disk operation was for; found again by its tag.
#[derive(Debug)]
pub(super) enum Operation {
    /// A gathered run of a file being received, claimed from its coverage.
    Write {
        of: Owner,
        run: ClaimedRun,
        crc: u32,
        /// Blocks that came to make it.
        blocks: u64,
    },
    /// A planned run of a file being sent.
    Read {
        of: Owner,
        plan: ReadPlan,
        way: ReadWay,
    },
}

/// Which transfer an operation belongs to; it may be gone when the operation is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) session: SessionId,
    pub(super) transfer: u32,
    pub(super) serial: u64,
}

impl Engine {
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
                    way,
                    result,
                } => self.was_read(tag as usize, frames, way, result),
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
            of,
            run,
            crc,
            blocks,
        }) = self.take_operation(tag)
        else {
            return;
        };
        match &result {
            Ok(ways) => run.written(crc, *ways),
            // Whoever brings it again may write it.
            Err(_) => drop(run),
        }
        let Some(peer) = self.peers.get_mut(of.session) else {
            self.orphaned = self.orphaned.saturating_sub(count);
            return;
        };
        peer.writing = peer.writing.saturating_sub(count);
        peer.session.release_credit(blocks);
        match peer.inbound.get_mut(of.transfer) {
            Some(inbound) if inbound.serial() == of.serial => inbound.written(result),
            _ => {}
        }
    }

    fn was_read(
        &mut self,
        tag: usize,
        frames: Vec<Frame<Disk>>,
        way: ReadWay,
        result: io::Result<u64>,
    ) {
        let now = self.now;
        let Some(Operation::Read {
            of,
            plan,
            way: chosen,
        }) = self.take_operation(tag)
        else {
            return self.release_all(frames);
        };
        let found = self.peers.get_mut(of.session).and_then(|peer| {
            let queued = (QUEUED_BLOCKS - peer.session.queue_space()) * frames_of(peer.send_len());
            let hungry = queued < QUEUED_BLOCKS / 2;
            let outbound = peer.outbound.get_mut(of.transfer)?;
            (outbound.serial() == of.serial).then_some((outbound, hungry))
        });
        let Some((outbound, hungry)) = found else {
            return self.release_sending(of.session, frames);
        };
        outbound.was_read(now, plan.len, (chosen, way), hungry);
        if !outbound.read_over(plan, result) {
            return self.release_sending(of.session, frames);
        }
        let (mut offset, mut run_crc) = (plan.offset, 0);
        let mut spent = frames;
        let mut rest = spent.drain(..);
        for len in plan.blocks() {
            let frames = match frames_of(len) {
                1 => match rest.next() {
                    Some(frame) => Chain::One(frame),
                    None => break,
                },
                count => Chain::Many(rest.by_ref().take(count).collect()),
            };
            let mut hasher = crc32fast::Hasher::new();
            for frame in frames.as_slice() {
                hasher.update(self.umem.payload(frame));
            }
            let crc = hasher.finalize();
            run_crc = self.joiner.combine(run_crc, crc, u64::from(len));
            outbound.push_ready(ReadyBlock {
                offset,
                len,
                crc,
                frames,
            });
            offset += u64::from(len);
        }
        drop(rest);
        outbound.add_checksum(plan, run_crc);
        self.scratch.frames.push(spent);
    }

    /// Runs that found the disk queue, or their device's share of it, full try again, another session's first each time,
    /// until it is full again.
    fn write_waiting(&mut self) {
        let positions = self.peers.positions();
        for step in 0..positions {
            let at = (self.turn + step) % positions;
            let mut position = 0;
            while let Some((session, peer)) = self.peers.at(at) {
                let Some((transfer, inbound)) = peer.inbound.at_mut(position) else {
                    break;
                };
                match inbound.next_waiting() {
                    None => {
                        inbound.settle();
                        position += 1;
                    }
                    Some(run) => {
                        if self.write_run(session, transfer, run) {
                            continue;
                        }
                        if !self.disk.has_room() {
                            return;
                        }
                        // It is this device that is slow. Others may not be.
                        position += 1;
                    }
                }
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
                    self.write_runs(session, transfer, &mut runs);
                }
                position += 1;
            }
        }
        self.scratch.runs = runs;
    }

    /// Moves read blocks into the sessions' queues and plans further reads. Each session has an equal share of the
    /// frames for sending; an eighth is left over, so that one that stalls cannot keep them from the next that comes.
    pub(super) fn pump_outbound(&mut self) {
        let positions = self.peers.positions();
        let senders = (0..positions)
            .filter(|&at| {
                self.peers
                    .at(at)
                    .is_some_and(|(_, peer)| peer.outbound.len() > 0)
            })
            .count();
        if senders == 0 {
            return;
        }
        let frames = self.config.send_frames;
        let share = ((frames - frames / 8) / senders).max(RUN_MAX);
        for step in 0..positions {
            let at = (self.turn + step) % positions;
            let Some((session, peer)) = self.peers.at(at) else {
                continue;
            };
            let transfers = peer.outbound.len();
            for step in 0..transfers {
                let position = (self.turn + step) % transfers;
                self.queue_blocks(session, position);
                self.read_ahead(session, position, share);
            }
        }
    }

    fn queue_blocks(&mut self, session: SessionId, position: usize) {
        let Some(peer) = self.peers.get_mut(session) else {
            return;
        };
        let Some((transfer, outbound)) = peer.outbound.at_mut(position) else {
            return;
        };
        let longest = peer.session.max_block();
        // Of long blocks fewer, by the frames that they lie in.
        let most = QUEUED_BLOCKS / frames_of(longest).max(1);
        while peer.session.queue_space() + most > QUEUED_BLOCKS {
            if let Some(ReadyBlock { frames, .. }) = outbound.pop_too_long(longest) {
                self.send_frames_used -= frames.len();
                peer.sending -= frames.len();
                frames.for_each(|frame| self.umem.release(frame));
                continue;
            }
            let Some(ReadyBlock {
                offset,
                len,
                crc,
                frames,
            }) = outbound.pop_ready()
            else {
                break;
            };
            let frames = hold_all(&mut self.umem, frames);
            let count = frames.len();
            let block = self.held.hold(frames, outbound.serial(), offset);
            let meta = BlockMeta {
                transfer,
                offset,
                len,
                crc,
            };
            if let Err(block) = peer.session.queue_block(meta, block) {
                // The session is closing: its transfers end with it.
                self.held.release(&mut self.umem, block);
                self.send_frames_used -= count;
                peer.sending -= count;
                outbound.given_back(offset, u64::from(len));
                break;
            }
        }
    }

    fn read_ahead(&mut self, session: SessionId, position: usize, share: usize) {
        loop {
            let Some(peer) = self.peers.get_mut(session) else {
                return;
            };
            let block_len = peer.send_len();
            let Some((transfer, outbound)) = peer.outbound.at_mut(position) else {
                return;
            };
            if outbound.is_ahead() {
                return;
            }
            let Some(plan) = outbound.plan(self.now, block_len) else {
                return;
            };
            let count = plan.frames();
            let mine = peer.sending + count <= share;
            let all = self.send_frames_used + count <= self.config.send_frames;
            if !mine || !all || self.umem.available() < count + reserve::frames(&self.umem) {
                return;
            }
            if !self.disk.has_room_for(outbound.file()) {
                return;
            }
            let file = Arc::clone(outbound.file());
            let way = outbound.way(&mut self.disk, plan);
            let mut frames = self
                .scratch
                .frames
                .pop()
                .unwrap_or_else(|| Vec::with_capacity(READ_MAX));
            for len in plan.blocks().flat_map(pieces) {
                let Some(frame) = self.umem.allocate() else {
                    break;
                };
                frames.push(self.umem.free_to_disk(frame, len));
            }
            let tag = next_tag(&mut self.operations, &mut self.free_operations);
            let (disk, umem) = (&mut self.disk, &mut self.umem);
            match disk.read_by(umem, &file, way, plan.offset, frames, tag as u64) {
                Ok(()) => {
                    self.send_frames_used += count;
                    outbound.reading(plan);
                    let of = Owner {
                        session,
                        transfer,
                        serial: outbound.serial(),
                    };
                    peer.sending += count;
                    self.operations[tag] = Some(Operation::Read { of, plan, way });
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

    /// Frees frames of a session's outgoing transfers.
    pub(super) fn release_sending(&mut self, session: SessionId, frames: Vec<Frame<Disk>>) {
        self.send_frames_used -= frames.len();
        if let Some(peer) = self.peers.get_mut(session) {
            peer.sending -= frames.len();
        }
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

/// A block's payload, ready to be sent.
fn hold_all(umem: &mut Umem, frames: Chain<Frame<Disk>>) -> Chain<Frame<Held>> {
    let mut hold = |frame: Frame<Disk>| {
        let len = frame.len() as u16;
        umem.disk_to_held(frame, len)
    };
    match frames {
        Chain::One(frame) => Chain::One(hold(frame)),
        Chain::Many(frames) => Chain::Many(frames.into_iter().map(hold).collect()),
    }
}

/// A free place in the table of operations.
pub(super) fn next_tag(operations: &mut Vec<Option<Operation>>, free: &mut Vec<usize>) -> usize {
    free.pop().unwrap_or_else(|| {
        operations.push(None);
        operations.len() - 1
    })
}
