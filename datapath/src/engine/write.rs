//! From the gather to the disk: each run is claimed, so that every byte of a file is written once, whichever flow brings it.

use std::sync::Arc;

use super::events::SessionId;
use super::storage::{Operation, Owner, next_tag};
use super::{Claim, ClaimedRun, Coverage, Engine, Inbound, Run, combine};
use crate::disk::BlockFile;
use crate::umem::{Disk, Frame};

impl Engine {
    /// Writes runs of a file being received, as far as they are not there already.
    pub(super) fn write_runs(
        &mut self,
        session: SessionId,
        transfer: u32,
        runs: &mut Vec<Run<Frame<Disk>>>,
    ) {
        for run in runs.drain(..) {
            self.write_run(session, transfer, run);
        }
        let peer = self.peers.get_mut(session);
        if let Some(inbound) = peer.and_then(|peer| peer.inbound.get_mut(transfer)) {
            inbound.settle();
        }
    }

    /// Claims and writes a run, or lets it wait with its transfer when the disk queue is full; `false` when it waits.
    pub(super) fn write_run(
        &mut self,
        session: SessionId,
        transfer: u32,
        run: Run<Frame<Disk>>,
    ) -> bool {
        let Some(inbound) = self
            .peers
            .get_mut(session)
            .and_then(|peer| peer.inbound.get_mut(transfer))
        else {
            self.drop_run(session, run);
            return true;
        };
        if !self.disk.has_room_for(inbound.file()) {
            inbound.wait(run);
            return false;
        }
        match inbound.coverage().claim(run.offset, run.len) {
            Claim::Granted => {}
            Claim::Overlap => {
                self.write_rest(session, transfer, run);
                return true;
            }
            Claim::TooScattered | Claim::Closed => {
                self.drop_run(session, run);
                return true;
            }
        }
        let of = Owner {
            session,
            transfer,
            serial: inbound.serial(),
        };
        let (file, coverage) = (Arc::clone(inbound.file()), Arc::clone(inbound.coverage()));
        let len = run.len;
        let started = self.submit_write(of, &file, coverage, run);
        let peer = self.peers.get_mut(session);
        let Some(inbound) = peer.and_then(|peer| peer.inbound.get_mut(transfer)) else {
            return true;
        };
        match started {
            Ok(()) => {
                inbound.writing(len);
                true
            }
            Err(run) => {
                inbound.wait(run);
                false
            }
        }
    }

    /// Of a run that another flow, or an earlier block, has brought in part: writes the frames that are all new. One that
    /// is new in part is dropped as well; what is missing then is asked for again in the end.
    fn write_rest(&mut self, session: SessionId, transfer: u32, run: Run<Frame<Disk>>) {
        let peer = self.peers.get_mut(session);
        let Some(inbound) = peer.and_then(|peer| peer.inbound.get_mut(transfer)) else {
            return self.drop_run(session, run);
        };
        let coverage = Arc::clone(inbound.coverage());
        let mut offset = run.offset;
        let (mut rest, mut dropped): (Vec<Run<Frame<Disk>>>, _) = (Vec::new(), Vec::new());
        for frame in run.frames {
            let (start, len) = (offset, frame.len() as u64);
            offset += len;
            if coverage.is_claimed(start, len) {
                dropped.push(frame);
                continue;
            }
            let crc = crc32fast::hash(self.umem.payload(&frame));
            match rest.last_mut() {
                Some(run) if run.offset + run.len == start => {
                    run.crc = combine(run.crc, crc, len);
                    run.len += len;
                    run.frames.push(frame);
                }
                _ => rest.push(Run {
                    offset: start,
                    len,
                    crc,
                    frames: vec![frame],
                    blocks: 0,
                }),
            }
        }
        self.counters.blocks_duplicate += dropped.len() as u64;
        self.release_all(dropped);
        // The room of its blocks is the sender's again when the last of it is written: not before all its frames are free.
        match rest.last_mut() {
            Some(last) => last.blocks = run.blocks,
            None => self.release_credit(session, run.blocks),
        }
        for run in rest {
            self.write_run(session, transfer, run);
        }
    }

    /// Hands a claimed run to the disk. `Err`: there is no room, and the claim is given back.
    fn submit_write(
        &mut self,
        of: Owner,
        file: &Arc<BlockFile>,
        coverage: Arc<Coverage>,
        run: Run<Frame<Disk>>,
    ) -> Result<(), Run<Frame<Disk>>> {
        let Run {
            offset,
            len,
            crc,
            frames,
            blocks,
        } = run;
        let count = frames.len() as u64;
        let tag = next_tag(&mut self.operations, &mut self.free_operations);
        let disk = &mut self.disk;
        match disk.write(&mut self.umem, file, offset, frames, tag as u64) {
            Ok(()) => {
                match self.peers.get_mut(of.session) {
                    Some(peer) => peer.writing += count,
                    None => self.orphaned += count,
                }
                let run = ClaimedRun::new(coverage, offset, len);
                self.operations[tag] = Some(Operation::Write {
                    of,
                    run,
                    crc,
                    blocks,
                });
                Ok(())
            }
            Err(frames) => {
                self.free_operations.push(tag);
                coverage.give_back(offset, len);
                Err(Run {
                    offset,
                    len,
                    crc,
                    frames,
                    blocks,
                })
            }
        }
    }

    /// Writes what a session that has ended left in its gather, as far as the disk queue has room.
    pub(super) fn write_last(&mut self, session: SessionId, transfer: u32, inbound: &mut Inbound) {
        let of = Owner {
            session,
            transfer,
            serial: inbound.serial(),
        };
        for run in inbound.take_runs() {
            let coverage = Arc::clone(inbound.coverage());
            let granted = self.disk.has_room_for(inbound.file())
                && coverage.claim(run.offset, run.len) == Claim::Granted;
            let left = if granted {
                self.submit_write(of, inbound.file(), coverage, run)
            } else {
                Err(run)
            };
            if let Err(run) = left {
                self.release_all(run.frames);
            }
        }
    }

    /// Frees the frames of received blocks; their room is the sender's again.
    fn drop_run(&mut self, session: SessionId, run: Run<Frame<Disk>>) {
        self.release_credit(session, run.blocks);
        self.release_all(run.frames);
    }

    fn release_credit(&mut self, session: SessionId, blocks: u64) {
        if let Some(peer) = self.peers.get_mut(session) {
            peer.session.release_credit(blocks);
        }
    }
}
