//! What became of the work that requests started: outcomes of jobs, ends of transfers.

use std::sync::Arc;

use blk_datapath::engine::{
    ByteRange, Coverage, ReceivedFile, SentFile, SessionId, SharedWork, TransferError,
};
use blk_datapath::files::{PendingTarget, SourceFile};
use blk_proto::message::{ErrorCode, Failure, Reply};

use super::flows::News;
use super::ports::{At, Ports};
use super::registry::PutName;
use super::reply::{failure, failure_of};
use super::sessions::Sessions;
use super::transfer::{Reading, Transfer};
use crate::namespace::{Asker, JobKey, Outcome, RangedOutcome};

impl Sessions {
    /// The namespace thread has carried out a job.
    pub(super) fn on_outcome(&mut self, ports: &mut impl Ports, key: JobKey, outcome: Outcome) {
        let session = SessionId(key.session);
        self.job_over(session);
        match key.asker {
            Asker::Nobody => {
                if let Outcome::Failed(failure) = outcome {
                    tracing::warn!(%failure, "an incomplete file could not be given back");
                }
            }
            Asker::Request(request) => {
                self.reply(ports, session, request, answer_about_name(outcome));
            }
            Asker::Transfer { transfer, .. } => {
                self.on_step(ports, At { session, transfer }, key.job, outcome);
            }
        }
    }

    /// A step of a transfer is over; the transfer may be gone, and its number in use by another one.
    fn on_step(&mut self, ports: &mut impl Ports, at: At, job: u64, outcome: Outcome) {
        let waiting = self
            .transfer_mut(at)
            .and_then(|transfer| transfer.pending())
            .filter(|pending| pending.job == job);
        let Some(pending) = waiting else {
            // The request was answered when the transfer was closed. A source closes by itself.
            if let Outcome::TargetReady(target) = outcome {
                self.let_go(ports, at.session, target);
            }
            return;
        };
        let answer = match (self.take(at), outcome) {
            (
                Some(Transfer::Waiting {
                    begin, wait_for, ..
                }),
                Outcome::Waited,
            ) => return self.waited(ports, at, pending.request, begin, wait_for),
            (Some(Transfer::Beginning { begin, looks, .. }), outcome) => {
                return self.created(ports, at, (begin, looks, pending), outcome);
            }
            (Some(Transfer::Creating { size, .. }), Outcome::TargetReady(target)) => self
                .receive(ports, at, target, Coverage::new(size), None)
                .map_or_else(Reply::Failed, |()| Reply::PutReady),
            (Some(Transfer::Opening { .. }), Outcome::SourceReady(source)) => {
                self.opened(at, source)
            }
            (Some(Transfer::Committing { received, .. }), Outcome::Committed) => Reply::Committed {
                zero_copy_bytes: received.ways.direct,
                copied_bytes: received.ways.copied,
            },
            (Some(Transfer::Ranged(ranged)), Outcome::Ranged(outcome)) => {
                self.on_ranged_step(ports, at, ranged, outcome)
            }
            (_, Outcome::Failed(failure)) => Reply::Failed(failure),
            (_, outcome) => Reply::Failed(misplaced(&outcome)),
        };
        self.reply(ports, at.session, pending.request, answer);
    }

    /// The target is there: blocks may come. A put that can be resumed is found by its name.
    pub(super) fn receive(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        mut target: PendingTarget,
        coverage: Coverage,
        name: Option<PutName>,
    ) -> Result<(), Failure> {
        let coverage = Arc::new(coverage);
        target.written_by(Arc::clone(&coverage));
        let file = Arc::clone(target.file());
        if !ports.start_inbound(at, Arc::clone(&file), Arc::clone(&coverage)) {
            self.let_go(ports, at.session, target);
            let message = "the server cannot start to receive this transfer";
            return Err(failure(ErrorCode::Io, message));
        }
        let token = name.and_then(|name| self.share_put(at, name, file, &coverage));
        self.put(
            at,
            Transfer::Receiving {
                target,
                coverage,
                received: None,
                commit: None,
                token,
            },
        );
        Ok(())
    }

    /// The source is open.
    fn opened(&mut self, at: At, source: SourceFile) -> Reply {
        let attributes = *source.attributes();
        self.put(
            at,
            Transfer::Open {
                source,
                reading: None,
                token: None,
            },
        );
        Reply::Opened { attributes }
    }

    /// Every byte of a file is written, or it failed.
    pub(super) fn on_received(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        outcome: Result<ReceivedFile, TransferError>,
    ) {
        match self.transfer_mut(at) {
            // Each flow tells the end: the first failure stands.
            Some(Transfer::Receiving { received, .. }) if !matches!(received, Some(Err(_))) => {
                *received = Some(outcome);
                self.try_commit(ports, at);
            }
            Some(Transfer::Joined { token }) => {
                let token = *token;
                self.tell_owner(ports, token, News::Received(outcome));
            }
            Some(Transfer::Ranged(_)) => self.on_range_received(ports, at, outcome),
            _ => {}
        }
    }

    /// What has arrived of a file is written, and it is not whole: who wants to commit is told what is missing.
    pub(super) fn on_incomplete(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        missing: Vec<ByteRange>,
    ) {
        match self.transfer_mut(at) {
            Some(Transfer::Receiving {
                commit,
                received: None,
                ..
            }) => {
                if let Some(commit) = commit.take() {
                    let answer = Reply::Missing { ranges: missing };
                    self.reply(ports, at.session, commit.request, answer);
                }
            }
            Some(Transfer::Joined { token }) => {
                let token = *token;
                self.tell_owner(ports, token, News::Incomplete(missing));
            }
            Some(Transfer::Ranged(_)) => self.on_range_incomplete(ports, at, missing),
            _ => {}
        }
    }

    /// Every block of a range is acknowledged, or it failed. Each flow tells the end, and the first one is answered; the
    /// end of an earlier range is nobody's answer.
    pub(super) fn on_sent(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        work: Arc<SharedWork>,
        outcome: Result<SentFile, TransferError>,
    ) {
        let registry = Arc::clone(&self.registry);
        let (source, reading, token) = match self.transfer_mut(at) {
            Some(Transfer::Open {
                source,
                reading,
                token,
            }) => (source, reading, *token),
            Some(Transfer::Joined { token }) => {
                let token = *token;
                return self.tell_owner(ports, token, News::Sent { work, outcome });
            }
            Some(Transfer::Ranged(_)) => return self.on_range_sent(ports, at, &work, outcome),
            _ => return,
        };
        let failed = outcome.is_err();
        let waiting = reading.take_if(|reading| Arc::ptr_eq(&reading.work, &work));
        let Some(Reading { request, .. }) = waiting else {
            // Nobody waits, because the owner is a new one: who asks for the same range again must not wait for what has
            // failed.
            let current = token.filter(|_| reading.is_none()).filter(|token| {
                registry
                    .work(*token)
                    .is_some_and(|now| Arc::ptr_eq(&now, &work))
            });
            if failed && let Some(token) = current {
                self.stop_members(ports, token, failed);
                ports.abandon(at);
            }
            return;
        };
        let answer = match outcome.map(|sent| (sent, source.unchanged())) {
            Ok((sent, Ok(true))) => Reply::ReadDone { crc: sent.crc },
            Ok((_, Ok(false))) => {
                let message = "the file changed while it was read";
                Reply::Failed(failure(ErrorCode::Io, message))
            }
            Ok((_, Err(error))) => Reply::Failed(failure(ErrorCode::Io, error.to_string())),
            Err(error) => Reply::Failed(failure_of(&error)),
        };
        if let Some(token) = token {
            self.stop_members(ports, token, failed);
            if failed {
                // The flow of this session may not be the one that failed.
                ports.abandon(at);
            }
        }
        self.reply(ports, at.session, request, answer);
    }
}

/// The answer to a request that has no transfer.
fn answer_about_name(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Attributes(attributes) => Reply::Attributes(attributes),
        Outcome::Entries { entries, next } => Reply::Entries { entries, next },
        Outcome::Made => Reply::Made,
        Outcome::Removed | Outcome::Renamed | Outcome::Changed => Reply::Done,
        Outcome::Link(target) => Reply::Link { target },
        Outcome::Ranged(RangedOutcome::Answer(reply)) => reply,
        Outcome::Stored { failures } => Reply::Stored { failures },
        Outcome::Fetched { files } => Reply::Fetched { files },
        Outcome::Failed(failure) => Reply::Failed(failure),
        outcome => Reply::Failed(misplaced(&outcome)),
    }
}

/// An outcome that does not belong to the job: a bug, which must not leave the client waiting.
pub(super) fn misplaced(outcome: &Outcome) -> Failure {
    tracing::error!(?outcome, "an outcome that its job cannot have");
    failure(
        ErrorCode::Io,
        "internal error of the server, see its log".to_owned(),
    )
}
