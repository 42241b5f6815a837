//! Transfers over several sessions: sharing, joining, and the mail between the workers that carry them.
//!
//! ```text
//!   owner's worker                                  member's worker
//!   Share ──► token ─ ─ ─ ─ (by the client) ─ ─ ─ ─► Join ──► blocks come, or will
//!   Read ────────────── Send: take your part ──────► blocks go
//!   Commit, ReadDone ◄─ Received, Sent, Incomplete ─ whoever sees it first
//!   Close ───────────────────── Over ──────────────► forget it
//!                      ┌─────── Yield ◄───────────── Commit, Read: the owner's session may be dead
//!   end of the session ┴─────── Adopt ─────────────► it is the owner now
//! ```

use std::sync::Arc;
use std::time::Instant;

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{
    ByteRange, Coverage, ReceivedFile, SentFile, SharedWork, TransferError,
};
use blk_proto::message::{ErrorCode, Failure, Reply, Request};

use super::ports::{At, Ports};
use super::registry::{Common, Place, PutName};
use super::reply::{failure, no_such_transfer};
use super::sessions::Sessions;
use super::transfer::Transfer;

/// What workers tell each other about a shared transfer.
pub struct FlowMail {
    /// The receiver's transfer.
    pub(super) at: At,
    /// The transfer's token: numbers are used again, tokens are not.
    pub(super) token: u64,
    pub(super) news: News,
}

/// What there is to tell.
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
    /// To a member: it is the owner now, and shall carry out this request.
    Adopt {
        transfer: Box<Transfer>,
        then: Option<(u32, Request)>,
    },
    /// To the owner: a member wants to be the owner, for the sake of this request.
    Yield {
        to: Place,
        id: u32,
        request: Request,
    },
    /// To a member that wanted to be the owner: it cannot be.
    Refused { id: u32 },
    /// To the owner of a put: another put of the same name has seen nothing of this one written, and asks since then
    /// whether it goes on. Asked again and again: it may pass an owner on its way.
    GiveWay { since: Instant },
    /// To the owner: every byte is written, or a flow has failed.
    Received(Result<ReceivedFile, TransferError>),
    /// To the owner: what arrived is written, and this is missing.
    Incomplete(Vec<ByteRange>),
    /// To the owner: every block is acknowledged, or a flow has failed.
    Sent {
        /// What was to be sent.
        work: Arc<SharedWork>,
        outcome: Result<SentFile, TransferError>,
    },
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
            *token = registry.share(owner, common, None);
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
            return self.return_to_sender(ports, at, token, news);
        }
        match news {
            News::Adopt { transfer, then } => {
                self.put(at, *transfer);
                if let Some((id, request)) = then {
                    self.on_request(ports, at.session, id, request);
                }
            }
            News::Yield { to, id, request } => self.give_up(ports, at, token, to, (id, request)),
            News::Refused { id } => {
                self.reply(ports, at.session, id, no_such_transfer(at.transfer));
            }
            News::Send { file, work } => {
                if !start_sending(ports, at, &file, &work) {
                    tracing::warn!(session = at.session.0, "a flow cannot take part in sending");
                }
            }
            News::Stop => ports.abandon(at),
            News::Over => {
                ports.abandon(at);
                self.take(at);
            }
            News::GiveWay { since } => self.give_way(ports, at, token, since),
            News::Received(outcome) => self.on_received(ports, at, outcome),
            News::Incomplete(missing) => self.on_incomplete(ports, at, missing),
            News::Sent { work, outcome } => self.on_sent(ports, at, work, outcome),
        }
    }

    /// Mail for a transfer that is gone: what must not be lost with it.
    fn return_to_sender(&mut self, ports: &mut impl Ports, at: At, token: u64, news: News) {
        match news {
            News::Adopt { transfer, then } => {
                if let Some((id, _)) = then {
                    self.reply(ports, at.session, id, no_such_transfer(at.transfer));
                }
                // The heir has ended too. It was the owner by then, so the rest goes on to the next, or ends here.
                self.bequeath(ports, at, *transfer);
            }
            News::Refused { id } => {
                self.reply(ports, at.session, id, no_such_transfer(at.transfer));
            }
            // For the owner, who has changed meanwhile.
            News::Yield { .. }
            | News::GiveWay { .. }
            | News::Received(_)
            | News::Incomplete(_)
            | News::Sent { .. } => self.forward(ports, at, token, news),
            News::Send { .. } | News::Stop | News::Over => {}
        }
    }

    /// Mail for the owner of a transfer that came to a place where it is not any more: it goes where it is now.
    pub(super) fn forward(&self, ports: &mut impl Ports, at: At, token: u64, news: News) {
        let owner = self.registry.owner(token);
        match (owner.filter(|owner| *owner != self.place(at)), news) {
            (Some(owner), news) => post(ports, owner, token, news),
            (None, News::Yield { to, id, .. }) => post(ports, to, token, News::Refused { id }),
            (None, _) => {}
        }
    }

    /// A member is asked for what only the owner can do: it asks the owner for the transfer.
    pub(super) fn claim(&mut self, ports: &mut impl Ports, at: At, id: u32, request: Request) {
        let token = self.transfer_mut(at).and_then(|transfer| transfer.token());
        let owner = token.and_then(|token| Some((token, self.registry.owner(token)?)));
        let Some((token, owner)) = owner else {
            return self.reply(ports, at.session, id, no_such_transfer(at.transfer));
        };
        let to = self.place(at);
        post(ports, owner, token, News::Yield { to, id, request });
    }

    /// Hands a transfer to a member that asked for it.
    fn give_up(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        token: u64,
        to: Place,
        then: (u32, Request),
    ) {
        let (id, request) = then;
        match self.take(at) {
            Some(Transfer::Joined { token }) => {
                // It was handed on before this came: its owner is asked, which may be who asks. When it is this place, the
                // transfer is in the mail.
                self.put(at, Transfer::Joined { token });
                match self.registry.owner(token) {
                    Some(owner) => post(ports, owner, token, News::Yield { to, id, request }),
                    None => post(ports, to, token, News::Refused { id }),
                }
            }
            Some(transfer) if to == self.place(at) => {
                // It was handed to who asks before this came.
                self.put(at, transfer);
                self.on_request(ports, at.session, id, request);
            }
            Some(mut transfer) => {
                self.put(at, Transfer::Joined { token });
                if let Some(waiting) = transfer.forget_request() {
                    let message = "another session has taken the transfer over";
                    let moved = Reply::Failed(failure(ErrorCode::Protocol, message));
                    self.reply(ports, at.session, waiting, moved);
                }
                let news = News::Adopt {
                    transfer: Box::new(transfer),
                    then: Some((id, request)),
                };
                // In this order: when the heir has ended, it finds itself the owner, and hands the transfer on.
                self.registry.set_owner(token, to);
                post(ports, to, token, news);
            }
            None => {}
        }
    }

    /// The session of a transfer has ended: a member gets the transfer, if it has any; else it ends too.
    pub(super) fn bequeath(&mut self, ports: &mut impl Ports, at: At, mut transfer: Transfer) {
        let owned = !matches!(transfer, Transfer::Joined { .. });
        let token = transfer.token().filter(|_| owned);
        if let Some(token) = token
            && let Some(heir) = self.registry.succeed(token)
        {
            transfer.forget_request();
            let news = News::Adopt {
                transfer: Box::new(transfer),
                then: None,
            };
            return post(ports, heir, token, news);
        }
        self.part(ports, at, &transfer);
        if let (_, Some(target)) = transfer.into_remains() {
            self.let_go(ports, at.session, target);
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
            (_, Some(token)) => self.end_shared(ports, token),
            (_, None) => {}
        }
    }

    /// A shared transfer is over.
    pub(super) fn end_shared(&mut self, ports: &mut impl Ports, token: u64) {
        for member in self.registry.end(token) {
            post(ports, member, token, News::Over);
        }
    }

    /// Shares a put from its beginning, so that another one of the same file finds it; its token.
    pub(super) fn share_put(
        &mut self,
        at: At,
        name: PutName,
        file: Arc<BlockFile>,
        coverage: &Arc<Coverage>,
    ) -> Option<u64> {
        let coverage = Arc::clone(coverage);
        let common = Common::Target { file, coverage };
        self.registry.share(self.place(at), common, Some(name))
    }

    pub(super) fn place(&self, at: At) -> Place {
        Place {
            worker: self.worker,
            at,
        }
    }
}

/// Has a session take part in sending. What it still has of an earlier range nobody waits for any more: a flow may end
/// later than the others.
pub(super) fn start_sending(
    ports: &mut impl Ports,
    at: At,
    file: &Arc<BlockFile>,
    work: &Arc<SharedWork>,
) -> bool {
    if ports.is_sending(at, work) {
        return true;
    }
    if start_outbound(ports, at, file, work) {
        return true;
    }
    ports.abandon(at);
    start_outbound(ports, at, file, work)
}

fn start_outbound(
    ports: &mut impl Ports,
    at: At,
    file: &Arc<BlockFile>,
    work: &Arc<SharedWork>,
) -> bool {
    ports.start_outbound(at, Arc::clone(file), Arc::clone(work))
}

fn post(ports: &mut impl Ports, to: Place, token: u64, news: News) {
    let at = to.at;
    ports.post(to.worker, FlowMail { at, token, news });
}
