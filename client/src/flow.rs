//! One session of a connection, and the worker that carries it on its own queue of the interface.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_datapath::mailbox::MailSender;
use blk_datapath::worker::WorkerHandle;
use blk_proto::message::{Reply, Request};
use blk_proto::net::Path;
use blk_proto::session::Stats;
use tokio::sync::oneshot;

use crate::error::{ClientError, ConnectionLost};
use crate::service::Command;

/// One session with its worker. Dropped, both end.
pub(crate) struct Flow {
    worker: Option<WorkerHandle<Command>>,
    mail: MailSender<Command>,
    remote: SocketAddr,
    queue: u32,
    port: u16,
    /// The session is known to be over.
    lost: AtomicBool,
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
            mail: worker.mail().clone(),
            worker: Some(worker),
            remote,
            queue,
            port,
            lost: AtomicBool::new(false),
        }
    }

    /// Whether the session is known to be over.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The queue of the interface that it took.
    pub(crate) fn queue(&self) -> u32 {
        self.queue
    }

    /// The UDP port of this end.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Opens the session.
    pub(crate) async fn connect(&self, path: Path) -> Result<(), ClientError> {
        self.ask(|answer| Command::Connect {
            path: Box::new(path),
            answer,
        })
        .await
    }

    /// The session's statistics.
    pub(crate) async fn statistics(&self) -> Result<Stats, ClientError> {
        self.ask(|answer| Command::Statistics { answer }).await
    }

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

    /// Asks the worker something and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ConnectionLost>>) -> Command,
    ) -> Result<T, ClientError> {
        let (answer, waiting) = oneshot::channel();
        let lost = |source| {
            self.lost.store(true, Ordering::Relaxed);
            ClientError::Lost {
                remote: self.remote,
                source,
            }
        };
        if self.mail.send(command(answer)).is_err() {
            return Err(lost(ConnectionLost::Closed));
        }
        waiting
            .await
            .unwrap_or(Err(ConnectionLost::Closed))
            .map_err(lost)
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
