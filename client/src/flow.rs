//! One session of a connection, and the worker that carries it on its own queue of the interface.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use blk_datapath::mailbox::MailSender;
use blk_datapath::worker::WorkerHandle;
use blk_proto::message::{Reply, Request};
use blk_proto::net::Path;
use blk_proto::session::Stats;
use tokio::sync::oneshot;

use crate::error::{ClientError, ConnectionLost};
use crate::service::{Command, FlowLink};

/// One session with its worker. Dropped, both end.
pub(crate) struct Flow {
    worker: Option<WorkerHandle<Command>>,
    line: Line,
    queue: u32,
    port: u16,
    /// The answer to the handshake, until somebody has waited for it.
    handshake: tokio::sync::Mutex<Option<oneshot::Receiver<Result<u32, ConnectionLost>>>>,
    /// There has been a session, with this worker of the server.
    reached: OnceLock<u32>,
    /// Transfers that it has joined.
    joined: Mutex<HashSet<u32>>,
}

impl Flow {
    /// A worker on `queue` whose packets come to `port`. No session yet.
    pub(crate) fn new(
        worker: WorkerHandle<Command>,
        remote: SocketAddr,
        queue: u32,
        port: u16,
    ) -> Self {
        Self {
            line: Line {
                mail: worker.mail().clone(),
                remote,
                lost: Arc::default(),
            },
            worker: Some(worker),
            queue,
            port,
            handshake: tokio::sync::Mutex::new(None),
            reached: OnceLock::new(),
            joined: Mutex::default(),
        }
    }

    /// Whether there has been a session.
    pub(crate) fn was_connected(&self) -> bool {
        self.reached.get().is_some()
    }

    /// The server's worker that has, or had, the session.
    pub(crate) fn server_worker(&self) -> Option<u32> {
        self.reached.get().copied()
    }

    /// Whether there is a session, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.was_connected() && !self.is_lost()
    }

    /// Whether the session is known to be over.
    pub(crate) fn is_lost(&self) -> bool {
        self.line.lost.load(Ordering::Relaxed)
    }

    /// The queue of the interface that it took.
    pub(crate) fn queue(&self) -> u32 {
        self.queue
    }

    /// The UDP port of this end.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Begins to open the session, once in a flow's life; [`Flow::connected`] tells what comes of it.
    pub(crate) fn connect(&mut self, path: Path) {
        let (answer, waiting) = oneshot::channel();
        self.handshake = tokio::sync::Mutex::new(Some(waiting));
        // When the worker has ended, so has the other end of `waiting`.
        self.tell(Command::Connect {
            path: Box::new(path),
            answer,
        });
    }

    /// Waits until the session is open. Whoever gives up waiting leaves the answer to the next.
    pub(crate) async fn connected(&self) -> Result<(), ClientError> {
        let mut handshake = self.handshake.lock().await;
        if let Some(waiting) = handshake.as_mut() {
            let outcome = waiting.await.unwrap_or(Err(ConnectionLost::Closed));
            *handshake = None;
            let worker = outcome.map_err(|source| self.line.failed(source))?;
            // A flow has one handshake.
            let _ = self.reached.set(worker);
        }
        if self.is_up() {
            Ok(())
        } else {
            Err(self.line.failed(ConnectionLost::Closed))
        }
    }

    /// It carries blocks of this transfer.
    pub(crate) fn join(&self, transfer: u32) {
        self.joined().insert(transfer);
    }

    /// Whether it carries, or has carried, blocks of this transfer.
    pub(crate) fn has_joined(&self, transfer: u32) -> bool {
        self.joined().contains(&transfer)
    }

    /// The transfer is over.
    pub(crate) fn forget(&self, transfer: u32) {
        self.joined().remove(&transfer);
    }

    fn joined(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The statistics of the session and of its link.
    pub(crate) async fn statistics(&self) -> Result<(Stats, FlowLink), ClientError> {
        self.ask(|answer| Command::Statistics { answer }).await
    }

    /// The way to its worker, for who may outlive it.
    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// As [`Line::request`].
    pub(crate) async fn request(&self, what: &str, request: Request) -> Result<Reply, ClientError> {
        self.line.request(what, request).await
    }

    pub(crate) fn tell(&self, command: Command) {
        self.line.tell(command);
    }

    /// As [`Line::ask`].
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ConnectionLost>>) -> Command,
    ) -> Result<T, ClientError> {
        self.line.ask(command).await
    }
}

/// The way to the worker of a session. When that has ended, everything asked fails.
#[derive(Clone)]
pub(crate) struct Line {
    mail: MailSender<Command>,
    remote: SocketAddr,
    /// The session is known to be over.
    lost: Arc<AtomicBool>,
}

impl Line {
    /// Sends a request and waits for its reply; a failure becomes [`ClientError::Refused`], saying `what`.
    pub(crate) async fn request(&self, what: &str, request: Request) -> Result<Reply, ClientError> {
        match self
            .ask(|answer| Command::Request { request, answer })
            .await?
        {
            Reply::Failed(failure) => Err(ClientError::Refused {
                what: what.to_owned(),
                failure,
            }),
            reply => Ok(reply),
        }
    }

    pub(crate) fn tell(&self, command: Command) {
        // A worker that has ended has nothing left to be told.
        let _ = self.mail.send(command);
    }

    /// Asks the worker something, now; the answer is for whoever waits for the result.
    pub(crate) fn ask<T, C>(&self, command: C) -> impl Future<Output = Result<T, ClientError>>
    where
        C: FnOnce(oneshot::Sender<Result<T, ConnectionLost>>) -> Command,
    {
        let (answer, waiting) = oneshot::channel();
        let sent = self.mail.send(command(answer)).is_ok();
        async move {
            if !sent {
                return Err(self.failed(ConnectionLost::Closed));
            }
            waiting
                .await
                .unwrap_or(Err(ConnectionLost::Closed))
                .map_err(|source| self.failed(source))
        }
    }

    /// What the worker says went wrong, and what that means for the session.
    fn failed(&self, source: ConnectionLost) -> ClientError {
        if ends_session(&source) {
            self.lost.store(true, Ordering::Relaxed);
        }
        ClientError::Lost {
            remote: self.remote,
            source,
        }
    }
}

impl Drop for Flow {
    /// Blocks for the worker's farewell, some 100 ms.
    fn drop(&mut self) {
        self.tell(Command::Finish);
        if let Some(worker) = self.worker.take()
            && let Err(error) = worker.join()
        {
            tracing::error!(%error, "a worker did not end well");
        }
    }
}

/// Whether the session is over. A request that cannot be sent leaves it as it was.
fn ends_session(reason: &ConnectionLost) -> bool {
    !matches!(reason, ConnectionLost::Request(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_cannot_be_sent_ends_no_session() {
        assert!(!ends_session(&ConnectionLost::Request(
            "too long".to_owned()
        )));
        assert!(ends_session(&ConnectionLost::Closed));
        assert!(ends_session(&ConnectionLost::DaemonGone));
    }
}
