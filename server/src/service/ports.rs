//! What the state machine asks of the world around it: the engine below, the namespace thread beside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{Coverage, Engine, Progress, SessionId, SharedWork};
use blk_datapath::mailbox::MailSender;
use blk_proto::message::Reply;
use blk_proto::session::CloseCode;

use super::{FlowMail, Mail};
use crate::namespace::{Job, JobKey, NamespaceSender};

/// Names a transfer among all sessions of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) session: SessionId,
    /// The client's number.
    pub(super) transfer: u32,
}

/// The world as the state machine sees it.
pub(super) trait Ports {
    /// Has blocks received into a file; `false`: it cannot be, and no event follows.
    fn start_inbound(&mut self, at: At, file: Arc<BlockFile>, coverage: Arc<Coverage>) -> bool;
    /// Has blocks of a file sent; `false`: it cannot be, and no event follows.
    fn start_outbound(&mut self, at: At, file: Arc<BlockFile>, work: Arc<SharedWork>) -> bool;
    /// Whether blocks of this work are sent there.
    fn is_sending(&mut self, at: At, work: &Arc<SharedWork>) -> bool;
    /// Has the engine forget a transfer, if it knows it.
    fn abandon(&mut self, at: At);
    /// How long a session's client has been silent; it is asked for a sign of life. `None`: the session is gone.
    fn silence(&mut self, session: SessionId) -> Option<Duration>;
    /// Sends a control message; how many of the session's messages wait for room after that.
    fn send(&mut self, session: SessionId, message: Vec<u8>) -> usize;
    /// How many messages of a session wait for room now.
    fn waiting(&mut self, session: SessionId) -> usize;
    /// Ends the session of a client that broke the rules.
    fn close(&mut self, session: SessionId);
    /// Hands a job to the namespace thread; `false`: it was refused and dropped. A job that
    /// [disposes](Job::disposes) of a target is refused only when the daemon stops.
    fn submit(&mut self, key: JobKey, job: Job) -> bool;
    /// Workers of the daemon.
    fn workers(&self) -> u16;
    /// What this worker is.
    fn describe(&self) -> Reply;
    /// Sends mail to a worker, which may have ended.
    fn post(&mut self, worker: u32, mail: FlowMail);
}

/// The mailboxes of the daemon's workers, by number.
#[derive(Clone, Default)]
pub struct Mailboxes(Arc<Mutex<Vec<MailSender<Mail>>>>);

impl Mailboxes {
    /// Adds the next worker's.
    pub fn push(&self, mailbox: MailSender<Mail>) {
        self.boxes().push(mailbox);
    }

    /// Sends; what is for a worker that has ended is dropped.
    pub fn post(&self, worker: u32, mail: Mail) {
        let mailbox = self.boxes().get(worker as usize).cloned();
        if let Some(mailbox) = mailbox {
            let _ = mailbox.send(mail);
        }
    }

    fn len(&self) -> usize {
        self.boxes().len()
    }

    fn boxes(&self) -> MutexGuard<'_, Vec<MailSender<Mail>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The real world.
pub(super) struct Daemon<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) namespace: &'a NamespaceSender,
    pub(super) mailboxes: &'a Mailboxes,
}

impl Ports for Daemon<'_> {
    fn start_inbound(&mut self, at: At, file: Arc<BlockFile>, coverage: Arc<Coverage>) -> bool {
        let Daemon { engine, .. } = self;
        engine.start_inbound(at.session, at.transfer, file, coverage, Progress::default())
    }

    fn start_outbound(&mut self, at: At, file: Arc<BlockFile>, work: Arc<SharedWork>) -> bool {
        let Daemon { engine, .. } = self;
        engine.start_outbound(at.session, at.transfer, file, work, Progress::default())
    }

    fn is_sending(&mut self, at: At, work: &Arc<SharedWork>) -> bool {
        self.engine.is_sending(at.session, at.transfer, work)
    }

    fn abandon(&mut self, at: At) {
        self.engine.abandon(at.session, at.transfer);
    }

    fn silence(&mut self, session: SessionId) -> Option<Duration> {
        self.engine.silence(session)
    }

    fn send(&mut self, session: SessionId, message: Vec<u8>) -> usize {
        self.engine.send_message(session, message);
        self.engine.messages_waiting(session)
    }

    fn waiting(&mut self, session: SessionId) -> usize {
        self.engine.messages_waiting(session)
    }

    fn close(&mut self, session: SessionId) {
        self.engine.close(session, CloseCode::VIOLATION);
    }

    fn submit(&mut self, key: JobKey, job: Job) -> bool {
        self.namespace.submit(key, job).is_ok()
    }

    fn workers(&self) -> u16 {
        self.mailboxes.len().try_into().unwrap_or(u16::MAX)
    }

    fn describe(&self) -> Reply {
        Reply::Description {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            datapath: self.engine.link_kind().name().to_owned(),
        }
    }

    fn post(&mut self, worker: u32, mail: FlowMail) {
        self.mailboxes.post(worker, Mail::Flow(mail));
    }
}
