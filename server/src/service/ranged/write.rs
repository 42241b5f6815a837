//! Blocks that come into a range of a file.

use std::sync::Arc;

use blk_datapath::engine::{ByteRange, Coverage, ReceivedFile, TransferError};
use blk_proto::message::{ErrorCode, Failure, Reply};

use super::check::check_pages;
use super::{Ranged, not_open};
use crate::namespace::{Job, OpenFile, RangeGuard, RangedJob};
use crate::service::ports::{At, Ports};
use crate::service::reply::{failure, failure_of};
use crate::service::sessions::Sessions;
use crate::service::transfer::{Commit, Transfer};

impl Sessions {
    /// A write begins: with the lock of its range.
    pub(super) fn lock(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        id: u32,
        file: At,
        range: (u64, u64),
    ) -> Result<(), Failure> {
        let file = self.open_file(file)?;
        let (offset, len) = range;
        check_pages(offset, len)?;
        file.check_intact().map_err(|error| error.to_failure())?;
        self.check_new(at)?;
        let job = RangedJob::lock(Arc::clone(&file), offset, len);
        let pending = self.submit_for(ports, at, id, Job::Ranged(job))?;
        let state = Ranged::Locking {
            file,
            range,
            pending,
        };
        self.put(at, Transfer::Ranged(state));
        Ok(())
    }

    /// The range is this transfer's: blocks may come.
    pub(super) fn start_write(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        file: &OpenFile,
        (offset, len): (u64, u64),
        guard: RangeGuard,
    ) -> Reply {
        let coverage = Arc::new(Coverage::range(offset, len, &[]).observed(Arc::new(guard)));
        if !ports.start_inbound(at, Arc::clone(file.blocks()), Arc::clone(&coverage)) {
            let message = "the server cannot start to receive this range";
            return Reply::Failed(failure(ErrorCode::Io, message));
        }
        let state = Ranged::Writing {
            coverage,
            received: None,
            done: None,
        };
        self.put(at, Transfer::Ranged(state));
        Reply::WriteReady
    }

    /// The client has sent every block of a range.
    pub(super) fn write_done(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        wanted: Commit,
    ) -> Result<(), Failure> {
        match self.transfer_mut(at) {
            Some(Transfer::Ranged(Ranged::Writing { coverage, done, .. })) if done.is_none() => {
                *done = Some(wanted);
                coverage.settle();
                self.try_end_write(ports, at);
                Ok(())
            }
            _ => Err(not_open(at.transfer)),
        }
    }

    /// Every byte of a range is written, or it failed.
    pub(in crate::service) fn on_range_received(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        outcome: Result<ReceivedFile, TransferError>,
    ) {
        if let Some(Transfer::Ranged(Ranged::Writing { received, .. })) = self.transfer_mut(at)
            && received.is_none()
        {
            *received = Some(outcome);
            self.try_end_write(ports, at);
        }
    }

    /// What has arrived of a range is written, and it is not whole.
    pub(in crate::service) fn on_range_incomplete(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        missing: Vec<ByteRange>,
    ) {
        if let Some(Transfer::Ranged(Ranged::Writing {
            done,
            received: None,
            ..
        })) = self.transfer_mut(at)
            && let Some(waiting) = done.take()
        {
            let answer = Reply::Missing { ranges: missing };
            self.reply(ports, at.session, waiting.request, answer);
        }
    }

    /// Ends a write when the client has said that it sent all, and the last byte is written, whichever comes later.
    fn try_end_write(&mut self, ports: &mut impl Ports, at: At) {
        let Some(Transfer::Ranged(Ranged::Writing { received, done, .. })) = self.transfer_mut(at)
        else {
            return;
        };
        let Some(done) = *done else { return };
        let Some(received) = received.take() else {
            return;
        };
        self.take(at);
        let answer = match received {
            Ok(received) if received.crc == done.crc => Reply::Written {
                zero_copy_bytes: received.ways.direct,
                copied_bytes: received.ways.copied,
            },
            Ok(received) => {
                let message = format!(
                    "the range's CRC32 is {:08x} here and {:08x} at the sender; what the range holds now is undefined",
                    received.crc, done.crc
                );
                Reply::Failed(failure(ErrorCode::ChecksumMismatch, message))
            }
            Err(error) => Reply::Failed(failure_of(&error)),
        };
        self.reply(ports, at.session, done.request, answer);
    }
}
