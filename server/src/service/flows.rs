//! Transfers over several sessions: sharing, joining, and the mail between the workers that carry them.
//!
//! ```text
//!   owner's worker                                  member's worker
//!   Share ──► token ─ ─ ─ ─ (by the client) ─ ─ ─ ─► Join ──► blocks come, or will
//!   Read ────────────── Send: take your part ──────► blocks go
//!   Commit, ReadDone ◄─ Received, Sent, Incomplete ─ whoever sees it first
//!   Close, end ──────────────── Over ──────────────► forget it
//! ```

use std::sync::Arc;

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{ByteRange, ReceivedFile, SentFile, SharedWork, TransferError};
use blk_proto::message::{ErrorCode, Failure, Reply};

use super::ports::{At, Ports};
use super::registry::{Common, Place};
use super::reply::{failure, no_such_transfer};
use super::sessions::Sessions;
use super::transfer::Transfer;

/// What workers tell each other about a shared transfer.
#[derive(Debug)]
pub struct FlowMail {
    /// The receiver's transfer.
    pub(super) at: At,
    /// The transfer's token: numbers are used again, tokens are not.
    pub(super) token: u64,
    pub(super) news: News,
}

/// What there is to tell.
#[derive(Debug)]
pub(super) enum News {
    /// To a member: take part in sending this.
    Send {
        file: Arc<BlockFile>,
        work: Arc<SharedWork>,
    },
    /// To a member: what was to be sent is not wanted any more.
    Stop,
    /// To a member: the transfer is over.
    Over,
    /// To the owner: every byte is written, or a flow has failed.
    Received(Result<ReceivedFile, TransferError>),
    /// To the owner: what arrived is written, and this is missing.
    Incomplete(Vec<ByteRange>),
    /// To the owner: every block is acknowledged, or a flow has failed.
    Sent(Result<SentFile, TransferError>),
}

impl Sessions {
    /// Lets other sessions join a transfer.
    pub(super) fn share(&mut self, ports: &mut impl Ports, at: At, id: u32) {
        let owner = self.place(at);
        let registry = Arc::clone(&self.registry);
        let (token, common) = match self.transfer_mut(at) {
            Some(Transfer::Receiving {
                target,
                coverage,
                token,
                ..
            }) => {
                let file = Arc::clone(target.file());
                let coverage = Arc::clone(coverage);
                (token, Common::Target { file, coverage })
            }
            Some(Transfer::Open { source, token, .. }) => {
                let file = Arc::clone(source.file());
                (token, Common::Source { file, work: None })
            }
            _ => return self.reply(ports, at.session, id, no_such_transfer(at.transfer)),
        };
        if token.is_none() {
            *token = registry.share(owner, common);
        }
        let answer = match *token {
            Some(token) => Reply::Shared {
                token,
                queues: ports.workers(),
            },
            None => {
                let message = "the server cannot share this transfer";
                Reply::Failed(failure(ErrorCode::Busy, message))
            }
        };
        self.reply(ports, at.session, id, answer);
    }

    /// Makes a session carry blocks of another one's transfer.
    pub(super) fn join(&mut self, ports: &mut impl Ports, at: At, id: u32, token: u64) {
        let answer = match self.try_join(ports, at, token) {
            Ok(()) => Reply::Joined,
            Err(refusal) => Reply::Failed(refusal),
        };
        self.reply(ports, at.session, id, answer);
    }

    fn try_join(&mut self, ports: &mut impl Ports, at: At, token: u64) -> Result<(), Failure> {
        self.check_new(at)?;
        let place = self.place(at);
        let Some(common) = self.registry.join(token, place) else {
            let message = "there is no such transfer to join";
            return Err(failure(ErrorCode::NotFound, message));
        };
        let started = match common {
            Common::Target { file, coverage } => ports.start_inbound(at, file, coverage),
            Common::Source {
                file,
                work: Some(work),
            } => ports.start_outbound(at, file, work),
            Common::Source { work: None, .. } => true,
        };
        if !started {
            self.registry.leave(token, place);
            let message = "the server cannot start to carry this transfer";
            return Err(failure(ErrorCode::Io, message));
        }
        self.put(at, Transfer::Joined { token });
        Ok(())
    }

    /// Mail from another worker, or from this one.
    pub(super) fn on_flow_mail(&mut self, ports: &mut impl Ports, mail: FlowMail) {
        let FlowMail { at, token, news } = mail;
        // Whoever it is for may be gone, and its number in use by another transfer.
        if self.transfer_mut(at).and_then(|transfer| transfer.token()) != Some(token) {
            return;
        }
        match news {
            News::Send { file, work } => {
                if !ports.start_outbound(at, file, work) {
                    tracing::warn!(session = at.session.0, "a flow cannot take part in sending");
                }
            }
            News::Stop => ports.abandon(at),
            News::Over => {
                ports.abandon(at);
                self.take(at);
            }
            News::Received(outcome) => self.on_received(ports, at, outcome),
            News::Incomplete(missing) => self.on_incomplete(ports, at, missing),
            News::Sent(outcome) => self.on_sent(ports, at, outcome),
        }
    }

    /// Has the members of a transfer take part in sending.
    pub(super) fn send_by_members(
        &mut self,
        ports: &mut impl Ports,
        token: u64,
        file: &Arc<BlockFile>,
        work: &Arc<SharedWork>,
    ) {
        for place in self.registry.set_work(token, Some(Arc::clone(work))) {
            let (file, work) = (Arc::clone(file), Arc::clone(work));
            post(ports, place, token, News::Send { file, work });
        }
    }

    /// Nothing is to be sent any more for now; when that failed, the flows that still send shall stop.
    pub(super) fn stop_members(&mut self, ports: &mut impl Ports, token: u64, failed: bool) {
        for place in self.registry.set_work(token, None) {
            if failed {
                post(ports, place, token, News::Stop);
            }
        }
    }

    /// Tells the owner of a transfer what happened on a member's flow.
    pub(super) fn tell_owner(&mut self, ports: &mut impl Ports, token: u64, news: News) {
        if let Some(owner) = self.registry.owner(token) {
            post(ports, owner, token, news);
        }
    }

    /// A session has no more part in a transfer: for an owner it is over, a member leaves it.
    pub(super) fn part(&mut self, ports: &mut impl Ports, at: At, transfer: &Transfer) {
        match (transfer, transfer.token()) {
            (Transfer::Joined { .. }, Some(token)) => self.registry.leave(token, self.place(at)),
            (_, Some(token)) => {
                for member in self.registry.end(token) {
                    post(ports, member, token, News::Over);
                }
            }
            (_, None) => {}
        }
    }

    fn place(&self, at: At) -> Place {
        Place {
            worker: self.worker,
            at,
        }
    }
}

fn post(ports: &mut impl Ports, to: Place, token: u64, news: News) {
    let at = to.at;
    ports.post(to.worker, FlowMail { at, token, news });
}
