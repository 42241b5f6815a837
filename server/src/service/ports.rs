//! What the state machine asks of the world around it: the engine below, the namespace thread beside.

use std::sync::Arc;

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{Coverage, Engine, Progress, SessionId};
use blk_proto::session::CloseCode;

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
    fn start_inbound(&mut self, at: At, file: Arc<BlockFile>, size: u64) -> bool;
    /// Has `range` (offset, length) of a file sent; `false`: it cannot be, and no event follows.
    fn start_outbound(&mut self, at: At, file: Arc<BlockFile>, range: (u64, u64)) -> bool;
    /// Has the engine forget a transfer, if it knows it.
    fn abandon(&mut self, at: At);
    /// Sends a control message; how many of the session's messages wait for room after that.
    fn send(&mut self, session: SessionId, message: Vec<u8>) -> usize;
    /// Ends the session of a client that broke the rules.
    fn close(&mut self, session: SessionId);
    /// Hands a job to the namespace thread; `false`: it was refused and dropped. A job that
    /// [disposes](Job::disposes) of a target is refused only when the daemon stops.
    fn submit(&mut self, key: JobKey, job: Job) -> bool;
}

/// The real world.
pub(super) struct Daemon<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) namespace: &'a NamespaceSender,
}

impl Ports for Daemon<'_> {
    fn start_inbound(&mut self, at: At, file: Arc<BlockFile>, size: u64) -> bool {
        self.engine.start_inbound(
            at.session,
            at.transfer,
            file,
            Arc::new(Coverage::new(size)),
            Progress::default(),
        )
    }

    fn start_outbound(&mut self, at: At, file: Arc<BlockFile>, range: (u64, u64)) -> bool {
        self.engine
            .start_outbound(at.session, at.transfer, file, range, Progress::default())
    }

    fn abandon(&mut self, at: At) {
        self.engine.abandon(at.session, at.transfer);
    }

    fn send(&mut self, session: SessionId, message: Vec<u8>) -> usize {
        self.engine.send_message(session, message);
        self.engine.messages_waiting(session)
    }

    fn close(&mut self, session: SessionId) {
        self.engine.close(session, CloseCode::VIOLATION);
    }

    fn submit(&mut self, key: JobKey, job: Job) -> bool {
        self.namespace.submit(key, job).is_ok()
    }
}
