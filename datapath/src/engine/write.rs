//! From the gather to the disk: each run is claimed, so that every byte of a file is written once, whichever flow brings it.

use std::sync::Arc;

use super::events::SessionId;
use super::storage::{Operation, Owner, next_tag};
use super::{Claim, ClaimedRun, Coverage, Engine, Inbound, Run, combine};
use crate::disk::BlockFile;
use crate::umem::{Disk, Frame, Umem};

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

    /// Of a run that another flow, or an earlier block, has brought in part: writes the blocks that are all new. One that
    /// is new in part is dropped as well; what is missing then is asked for again in the end.
    fn write_rest(&mut self, session: SessionId, transfer: u32, run: Run<Frame<Disk>>) {
        let peer = self.peers.get_mut(session);
        let Some(inbound) = peer.and_then(|peer| peer.inbound.get_mut(transfer)) else {
            return self.drop_run(session, run);
        };
        let coverage = Arc::clone(inbound.coverage());
        let is_new = |start, len| !coverage.is_claimed(start, len);
        let sifted = sift(&self.umem, run, is_new);
        self.counters.blocks_duplicate += sifted.duplicates;
        self.release_all(sifted.dropped);
        self.release_credit(session, sifted.duplicates);
        for run in sifted.new {
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
                    blocks: blocks.len() as u64,
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
        self.release_credit(session, run.blocks.len() as u64);
        self.release_all(run.frames);
    }

    fn release_credit(&mut self, session: SessionId, blocks: u64) {
        if let Some(peer) = self.peers.get_mut(session) {
            peer.session.release_credit(blocks);
        }
    }
}

/// What of a run is new.
#[derive(Default)]
struct Sifted {
    /// The blocks that are new as a whole, in contiguous runs.
    new: Vec<Run<Frame<Disk>>>,
    /// The frames of the others.
    dropped: Vec<Frame<Disk>>,
    /// How many blocks these are.
    duplicates: u64,
}

/// Parts the blocks of a run, of which `is_new` says whether the bytes from an offset on, so many, are.
fn sift(umem: &Umem, run: Run<Frame<Disk>>, is_new: impl Fn(u64, u64) -> bool) -> Sifted {
    let mut sifted = Sifted::default();
    let (mut start, mut frames) = (run.offset, run.frames.into_iter());
    for count in run.blocks {
        let mut block: Vec<_> = frames.by_ref().take(usize::from(count)).collect();
        let len: u64 = block.iter().map(|frame| frame.len() as u64).sum();
        if is_new(start, len) {
            let mut hasher = crc32fast::Hasher::new();
            block
                .iter()
                .for_each(|frame| hasher.update(umem.payload(frame)));
            let crc = hasher.finalize();
            match sifted.new.last_mut() {
                Some(run) if run.offset + run.len == start => {
                    run.crc = combine(run.crc, crc, len);
                    run.len += len;
                    run.frames.append(&mut block);
                    run.blocks.push(count);
                }
                _ => sifted.new.push(Run {
                    offset: start,
                    len,
                    crc,
                    frames: block,
                    blocks: vec![count],
                }),
            }
        } else {
            sifted.dropped.append(&mut block);
            sifted.duplicates += 1;
        }
        start += len;
    }
    sifted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_run_the_blocks_that_are_all_new_remain_with_their_credit() {
        let mut umem = Umem::anonymous(16).unwrap();
        let blocks = [1u16, 3, 2, 1, 4];
        let frames: Vec<_> = (0..11)
            .map(|number| {
                let frame = umem.allocate().unwrap();
                let mut frame = umem.free_to_disk(frame, 512);
                umem.payload_mut(&mut frame)[..512].fill(number);
                frame
            })
            .collect();
        let run = Run {
            offset: 4096,
            len: 11 * 512,
            crc: 0,
            frames,
            blocks: blocks.to_vec(),
        };
        // A byte in the middle of the third block is here already.
        let here = 4096 + 5 * 512;
        let sifted = sift(&umem, run, |start, len| {
            !(start..start + len).contains(&here)
        });
        assert_eq!((sifted.dropped.len(), sifted.duplicates), (2, 1));
        let found: Vec<_> = sifted
            .new
            .iter()
            .map(|run| (run.offset, run.len, run.frames.len(), &run.blocks[..]))
            .collect();
        assert_eq!(
            found,
            [
                (4096, 4 * 512, 4, &[1, 3][..]),
                (4096 + 6 * 512, 5 * 512, 5, &[1, 4][..])
            ]
        );
        let bytes: Vec<u8> = (6..11).flat_map(|number| [number; 512]).collect();
        assert_eq!(sifted.new[1].crc, crc32fast::hash(&bytes));
        let frames = sifted.new.into_iter().flat_map(|run| run.frames);
        frames
            .chain(sifted.dropped)
            .for_each(|frame| umem.release(frame));
    }
}
