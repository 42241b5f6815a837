//! Blocks that go out of a range of a file.

use std::sync::Arc;

use blk_datapath::engine::{SentFile, SharedWork, TransferError};
use blk_proto::message::{ErrorCode, Failure, Reply};

use super::Ranged;
use super::check::check_within;
use crate::service::ports::{At, Ports};
use crate::service::reply::{failure, failure_of};
use crate::service::sessions::Sessions;
use crate::service::transfer::Transfer;

impl Sessions {
    pub(super) fn read_range(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        id: u32,
        file: At,
        (offset, len): (u64, u64),
    ) -> Result<(), Failure> {
        let file = self.open_file(file)?;
        let attributes = file.attributes().map_err(|error| error.to_failure())?;
        check_within(offset, len, attributes)?;
        self.check_new(at)?;
        let work = Arc::new(SharedWork::new(offset, len));
        if !ports.start_outbound(at, Arc::clone(file.blocks()), Arc::clone(&work)) {
            let message = "the server cannot start to send this range";
            return Err(failure(ErrorCode::Io, message));
        }
        let state = Ranged::Reading { request: id, work };
        self.put(at, Transfer::Ranged(state));
        Ok(())
    }

    /// Every block of a range is acknowledged, or it failed.
    pub(in crate::service) fn on_range_sent(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        sent: &Arc<SharedWork>,
        outcome: Result<SentFile, TransferError>,
    ) {
        let request = match self.transfer_mut(at) {
            Some(Transfer::Ranged(Ranged::Reading { request, work }))
                if Arc::ptr_eq(work, sent) =>
            {
                *request
            }
            _ => return,
        };
        self.take(at);
        let answer = match outcome {
            Ok(sent) => Reply::ReadDone { crc: sent.crc },
            Err(error) => Reply::Failed(failure_of(&error)),
        };
        self.reply(ports, at.session, request, answer);
    }
}
