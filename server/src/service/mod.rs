//! What blockd does with the messages of its clients: one state machine per transfer, on the worker's thread.
//!
//! ```text
//!   Put ──► Creating ──TargetReady──► Receiving ──Commit and every byte written──► Committing ──► (gone)
//!   Begin ► Beginning: as Put, perhaps with a part of an earlier put, see `begin`
//!   Open ─► Opening ──SourceReady──► Open ──Read──► Open (sending) ──Sent──► Open ──Close──► (gone)
//!   OpenFile, Write, ReadRange ─► see `ranged`
//!   Join ─► Joined: blocks of a transfer that another session owns, see `flows`
//! ```
//!
//! Whatever may block (opening, syncing, listing) is a job for the namespace thread; the worker only moves blocks.
//! The state machine (`sessions`) reaches engine and namespace thread only through `ports`.
//!
//! Invariants:
//!
//! - Every request is answered once, unless its session ends first.
//! - A target that is not committed is kept when a later put can go on with it, and dropped otherwise.
//! - The outcome of a job reaches only the transfer that asked for it, also when the client has ended that one and
//!   uses its number again.
//! - Close ends a transfer at once: the request that waits on it is answered `Failed`, then the Close `Closed`. Only
//!   a commit under way cannot be called back: its own answer comes when it is over, and until then its number is in
//!   use.
//! - What a client can make a worker keep is bounded: transfers ([`MAX_TRANSFERS`]), jobs ([`MAX_JOBS`]), bytes of
//!   replies that it does not read.

mod allowance;
mod backlog;
mod begin;
mod flows;
mod outcomes;
mod ports;
mod ranged;
mod registry;
mod reply;
mod requests;
mod sessions;
mod small;
#[cfg(test)]
mod tests;
mod transfer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_datapath::engine::{Engine, EngineEvent};
use blk_datapath::worker::Service;

pub use self::flows::FlowMail;
pub use self::ports::Mailboxes;
use self::ports::{At, Daemon};
pub use self::registry::Registry;
use self::sessions::Sessions;
use crate::namespace::{JobKey, NamespaceSender, Outcome};

/// Transfers that one session may have open.
pub const MAX_TRANSFERS: usize = 64;
/// Jobs of the namespace thread that one session may have outstanding, with the replies that wait because it does not read, and
/// besides jobs that dispose of a target.
pub const MAX_JOBS: usize = 256;

/// What the namespace thread and other workers send to a worker.
pub enum Mail {
    /// A job was carried out.
    Outcome(JobKey, Outcome),
    /// About a transfer over several sessions.
    Flow(FlowMail),
    /// Nothing: it only wakes a sleeping worker.
    Wake,
}

/// What the workers of a daemon have in common.
#[derive(Clone)]
pub struct Commons {
    /// The namespace thread.
    pub namespace: NamespaceSender,
    /// The workers.
    pub mailboxes: Mailboxes,
    /// Transfers that sessions of several workers carry.
    pub registry: Arc<Registry>,
}

/// The service of one worker.
pub struct StorageService {
    namespace: NamespaceSender,
    mailboxes: Mailboxes,
    sessions: Sessions,
    stop: Arc<AtomicBool>,
}

impl StorageService {
    /// The service of worker number `worker`; it ends when `stop` is set (and the worker is woken).
    pub fn new(worker: u32, commons: Commons, stop: Arc<AtomicBool>) -> Self {
        Self {
            namespace: commons.namespace,
            mailboxes: commons.mailboxes,
            sessions: Sessions::new(worker, commons.registry),
            stop,
        }
    }
}

impl Service for StorageService {
    type Mail = Mail;

    fn on_turn(&mut self) {
        self.sessions.on_turn();
    }

    fn on_event(&mut self, engine: &mut Engine, event: EngineEvent) {
        let ports = &mut Daemon {
            engine,
            namespace: &self.namespace,
            mailboxes: &self.mailboxes,
        };
        match event {
            EngineEvent::Connected { session, remote } => {
                tracing::info!(session = session.0, %remote, "connected");
            }
            EngineEvent::Message { session, bytes } => {
                self.sessions.on_message(ports, session, &bytes);
            }
            EngineEvent::Received {
                session,
                transfer,
                outcome,
            } => {
                let at = At { session, transfer };
                self.sessions.on_received(ports, at, outcome);
            }
            EngineEvent::Incomplete {
                session,
                transfer,
                missing,
            } => {
                let at = At { session, transfer };
                self.sessions.on_incomplete(ports, at, missing);
            }
            EngineEvent::Sent {
                session,
                transfer,
                work,
                outcome,
            } => {
                let at = At { session, transfer };
                self.sessions.on_sent(ports, at, work, outcome);
            }
            EngineEvent::Closed { session, reason } => {
                tracing::info!(session = session.0, %reason, "session over");
                self.sessions.on_closed(ports, session);
            }
        }
    }

    fn on_mail(&mut self, engine: &mut Engine, mail: Mail) {
        let ports = &mut Daemon {
            engine,
            namespace: &self.namespace,
            mailboxes: &self.mailboxes,
        };
        match mail {
            Mail::Outcome(key, outcome) => self.sessions.on_outcome(ports, key, outcome),
            Mail::Flow(mail) => self.sessions.on_flow_mail(ports, mail),
            Mail::Wake => {}
        }
    }

    fn on_companion_error(&mut self, _engine: &mut Engine, error: std::io::Error) {
        tracing::debug!(%error, "the companion socket reports");
    }

    fn is_finished(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
