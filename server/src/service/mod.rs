//! What blockd does with the messages of its clients: one state machine per transfer, on the worker's thread.
//!
//! ```text
//!   Put ──► Creating ──TargetReady──► Receiving ──Commit and every byte written──► Committing ──► (gone)
//!   Open ─► Opening ──SourceReady──► Open ──Read──► Open (sending) ──Sent──► Open ──Close──► (gone)
//! ```
//!
//! Whatever may block (opening, syncing, listing) is a job for the namespace thread; the worker only moves blocks.
//! The state machine (`sessions`) reaches engine and namespace thread only through `ports`.
//!
//! Invariants:
//!
//! - Every request is answered once, unless its session ends first.
//! - The outcome of a job reaches only the transfer that asked for it, also when the client has ended that one and
//!   uses its number again.
//! - Close ends a transfer at once: the request that waits on it is answered `Failed`, then the Close `Closed`. Only
//!   a commit under way cannot be called back: its own answer comes when it is over, and until then its number is in
//!   use.
//! - What a client can make a worker keep is bounded: transfers ([`MAX_TRANSFERS`]), jobs ([`MAX_JOBS`]), bytes of
//!   replies that it does not read.

mod backlog;
mod outcomes;
mod ports;
mod reply;
mod requests;
mod sessions;
#[cfg(test)]
mod tests;
mod transfer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_datapath::engine::{Engine, EngineEvent};
use blk_datapath::worker::Service;

use self::ports::{At, Daemon};
use self::sessions::Sessions;
use crate::namespace::{JobKey, NamespaceSender, Outcome};

/// Transfers that one session may have open.
pub const MAX_TRANSFERS: usize = 64;
/// Jobs of the namespace thread that one session may have outstanding, besides those that dispose of a target.
pub const MAX_JOBS: usize = 128;

/// The service of one worker.
pub struct StorageService {
    namespace: NamespaceSender,
    sessions: Sessions,
    stop: Arc<AtomicBool>,
}

impl StorageService {
    /// The service of worker number `worker`; it ends when `stop` is set (and the worker is woken).
    pub fn new(worker: u32, namespace: NamespaceSender, stop: Arc<AtomicBool>) -> Self {
        Self {
            namespace,
            sessions: Sessions::new(worker),
            stop,
        }
    }
}

impl Service for StorageService {
    type Mail = (JobKey, Outcome);

    fn on_event(&mut self, engine: &mut Engine, event: EngineEvent) {
        let namespace = &self.namespace;
        let ports = &mut Daemon { engine, namespace };
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
            // Nobody asks for it here.
            EngineEvent::Incomplete { .. } => {}
            EngineEvent::Sent {
                session,
                transfer,
                outcome,
            } => {
                let at = At { session, transfer };
                self.sessions.on_sent(ports, at, outcome);
            }
            EngineEvent::Closed { session, reason } => {
                tracing::info!(session = session.0, %reason, "session over");
                self.sessions.on_closed(ports, session);
            }
        }
    }

    fn on_mail(&mut self, engine: &mut Engine, (key, outcome): Self::Mail) {
        let namespace = &self.namespace;
        let ports = &mut Daemon { engine, namespace };
        self.sessions.on_outcome(ports, key, outcome);
    }

    fn on_companion_error(&mut self, _engine: &mut Engine, error: std::io::Error) {
        tracing::debug!(%error, "the companion socket reports");
    }

    fn is_finished(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
