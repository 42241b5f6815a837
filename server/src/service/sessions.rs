//! The sessions of a worker: their transfers, jobs and replies, and the bounds of each.

use std::collections::HashMap;
use std::sync::Arc;

use blk_datapath::engine::SessionId;
use blk_datapath::files::PendingTarget;
use blk_proto::message::{self, ErrorCode, Failure, Reply, ReplyFrame, RequestFrame};

use super::MAX_JOBS;
use super::allowance::Allowance;
use super::backlog::{Backlog, MUCH};
use super::ports::{At, Ports};
use super::registry::Registry;
use super::reply::failure;
use super::transfer::{Pending, Transfer};
use crate::namespace::{Asker, Job, JobKey};

/// All sessions of a worker that have asked for something.
pub(super) struct Sessions {
    pub(super) worker: u32,
    pub(super) registry: Arc<Registry>,
    /// Number of the job submitted last.
    last_job: u64,
    /// Number of the worker's turn.
    turn: u64,
    sessions: HashMap<SessionId, Session>,
}

/// One of them.
#[derive(Default)]
pub(super) struct Session {
    /// By the client's number.
    pub(super) transfers: HashMap<u32, Transfer>,
    /// Jobs that the namespace thread has not answered yet.
    jobs: usize,
    backlog: Backlog,
    allowance: Allowance,
    /// It is being closed for a violation: nothing is taken from it or told to it any more.
    cut_off: bool,
}

impl Sessions {
    /// Of worker number `worker`; none yet.
    pub(super) fn new(worker: u32, registry: Arc<Registry>) -> Self {
        Self {
            worker,
            registry,
            last_job: 0,
            turn: 0,
            sessions: HashMap::new(),
        }
    }

    /// A turn of the worker begins.
    pub(super) fn on_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Whether the worker itself may read `len` bytes for a session now: not for one that has had its share of this turn, or that
    /// does not read what it was sent.
    pub(super) fn may_serve_at_once(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        len: usize,
    ) -> bool {
        let waiting = ports.waiting(session);
        let turn = self.turn;
        self.get_mut(session).is_some_and(|session| {
            session.backlog.bytes(waiting) < MUCH && session.allowance.take(turn, len)
        })
    }

    /// A control message arrived.
    pub(super) fn on_message(&mut self, ports: &mut impl Ports, session: SessionId, bytes: &[u8]) {
        if self.sessions.entry(session).or_default().cut_off {
            return;
        }
        match message::decode::<RequestFrame>(bytes) {
            Ok(RequestFrame { id, request }) => self.on_request(ports, session, id, request),
            Err(error) => self.cut_off(ports, session, &error.to_string()),
        }
    }

    /// The session is over, and its transfers with it; the engine has forgotten them already.
    pub(super) fn on_closed(&mut self, ports: &mut impl Ports, session: SessionId) {
        let Some(over) = self.sessions.remove(&session) else {
            return;
        };
        for (number, transfer) in over.transfers {
            let at = At {
                session,
                transfer: number,
            };
            self.bequeath(ports, at, transfer);
        }
    }

    /// The session, while it lasts.
    pub(super) fn get_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&session)
    }

    /// The transfer, if there is one of this number.
    pub(super) fn transfer_mut(&mut self, at: At) -> Option<&mut Transfer> {
        self.get_mut(at.session)?.transfers.get_mut(&at.transfer)
    }

    /// Takes the transfer out.
    pub(super) fn take(&mut self, at: At) -> Option<Transfer> {
        self.get_mut(at.session)?.transfers.remove(&at.transfer)
    }

    /// Puts the transfer into its next state, which is dropped when the session is over.
    pub(super) fn put(&mut self, at: At, transfer: Transfer) {
        if let Some(session) = self.get_mut(at.session) {
            session.transfers.insert(at.transfer, transfer);
        }
    }

    /// Hands over a job for a step of a transfer.
    ///
    /// # Errors
    ///
    /// What to tell the client when the job was refused; it is dropped then.
    pub(super) fn submit_for(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        request: u32,
        job: Job,
    ) -> Result<Pending, Failure> {
        let transfer = at.transfer;
        let asker = Asker::Transfer { transfer, request };
        let job = self.submit(ports, at.session, asker, job)?;
        Ok(Pending { job, request })
    }

    /// Hands over a job; its number.
    ///
    /// # Errors
    ///
    /// As [`submit_for`](Self::submit_for).
    pub(super) fn submit(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        asker: Asker,
        job: Job,
    ) -> Result<u64, Failure> {
        // A reply that waits is one that the client has not got.
        let waiting = ports.waiting(session);
        let jobs = self.get_mut(session).map_or(0, |session| session.jobs);
        let outstanding = jobs + waiting;
        if outstanding >= MAX_JOBS && !job.disposes() {
            let message = format!("more than {MAX_JOBS} requests at once; try again");
            return Err(failure(ErrorCode::Busy, message));
        }
        self.last_job += 1;
        let key = JobKey {
            worker: self.worker,
            session: session.0,
            job: self.last_job,
            asker,
        };
        if !ports.submit(key, job) {
            let message = "the server is busy or stopping; try again";
            return Err(failure(ErrorCode::Busy, message));
        }
        if let Some(session) = self.get_mut(session) {
            session.jobs += 1;
        }
        Ok(self.last_job)
    }

    /// A job of the session was answered.
    pub(super) fn job_over(&mut self, session: SessionId) {
        if let Some(session) = self.get_mut(session) {
            session.jobs = session.jobs.saturating_sub(1);
        }
    }

    /// The namespace thread keeps the target for a later put, if it can be, and drops it otherwise.
    pub(super) fn let_go(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        target: PendingTarget,
    ) {
        target.close();
        if !target.is_resumable() {
            return self.drop_target(ports, session, target);
        }
        // Refused when the daemon stops: then the target is dropped here and now, and what its journal has counts.
        let _ = self.submit(ports, session, Asker::Nobody, Job::Keep { target });
    }

    /// The namespace thread drops the target: freeing a large file's blocks takes time.
    pub(super) fn drop_target(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        target: PendingTarget,
    ) {
        target.close();
        // Refused when the daemon stops: then the target is dropped here and now.
        let _ = self.submit(ports, session, Asker::Nobody, Job::Abandon { target });
    }

    /// Answers request `id`.
    pub(super) fn reply(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        id: u32,
        reply: Reply,
    ) {
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        if state.cut_off {
            return;
        }
        let mut bytes = Vec::new();
        if let Err(error) = message::encode(&ReplyFrame { id, reply }, &mut bytes) {
            return self.cut_off(ports, session, &error.to_string());
        }
        let len = bytes.len();
        let waiting = ports.send(session, bytes);
        if !state.backlog.add(len, waiting) {
            self.cut_off(ports, session, "it does not read its replies");
        }
    }

    /// Ends a session that cannot go on.
    fn cut_off(&mut self, ports: &mut impl Ports, session: SessionId, reason: &str) {
        tracing::warn!(session = session.0, reason, "session closed");
        if let Some(session) = self.get_mut(session) {
            session.cut_off = true;
        }
        ports.close(session);
    }
}
