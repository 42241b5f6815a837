//! A session with one blockd: found by route, carried by one worker on the interface that leads there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use blk_datapath::mailbox::MailSender;
use blk_datapath::worker::WorkerHandle;
use blk_datapath::xsk::BindMode;
use blk_proto::message::{Reply, Request};
use blk_proto::session::Stats;
use blk_xdp::{Program, SlotError};
use tokio::sync::oneshot;

use crate::error::{ClientError, ConnectionLost};
use crate::service::Command;
use crate::setup::{more_telling, on_thread, prepare, resolve};

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The server's UDP port.
    pub port: u16,
    /// How the AF_XDP socket binds.
    pub mode: BindMode,
    /// The CPU for the worker; `None` lets the scheduler choose.
    pub cpu: Option<usize>,
    /// Without a packet from the server for so long, though it owes an answer, the session is over. A server that was
    /// restarted is found out sooner.
    pub silence: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            port: 7440,
            mode: BindMode::Auto,
            cpu: None,
            silence: Duration::from_secs(8),
        }
    }
}

/// What the data path turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatapathInfo {
    /// The interface that leads to the server.
    pub interface: String,
    /// The queue that this connection took.
    pub queue: u32,
    /// `af_xdp-zerocopy` or `af_xdp-copy`.
    pub mode: &'static str,
    /// The interface's MTU.
    pub mtu: u32,
}

/// A session with one blockd.
pub struct Connection {
    /// Outlives the worker, which still says goodbye: only then does the kernel get the packets again.
    program: Option<Program>,
    worker: Option<WorkerHandle<Command>>,
    mail: MailSender<Command>,
    remote: SocketAddr,
    datapath: DatapathInfo,
    next_transfer: AtomicU32,
}

impl Connection {
    /// Finds the host and the way to it, takes a queue of that interface, and opens a session.
    ///
    /// The host's addresses are tried one after the other. When none answers, the failure of the attempt that got
    /// furthest is told. Dropping the future gives up at once; what it has begun is undone in the background.
    pub async fn open(host: &str, options: &ConnectOptions) -> Result<Self, ClientError> {
        let (name, port) = (host.to_owned(), options.port);
        let addresses = on_thread(move || resolve(&name, port)).await?;
        let mut failure = None;
        for remote in addresses {
            match Self::open_address(remote, options).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    tracing::info!(%remote, %error, "no connection by this address");
                    failure = Some(more_telling(failure, error));
                }
            }
        }
        Err(failure.unwrap_or_else(|| ClientError::NoSuchHost {
            host: host.to_owned(),
            reason: "the name has no address".to_owned(),
        }))
    }

    async fn open_address(
        remote: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<Self, ClientError> {
        let options = options.clone();
        let (connection, path) = on_thread(move || prepare(remote, &options)).await?;
        connection
            .ask(|answer| Command::Connect {
                path: Box::new(path),
                answer,
            })
            .await?;
        Ok(connection)
    }

    /// Directs the program's packets to the worker. No session yet.
    pub(crate) fn new(
        program: Program,
        worker: WorkerHandle<Command>,
        remote: SocketAddr,
        datapath: DatapathInfo,
    ) -> Result<Self, SlotError> {
        let mut connection = Self {
            mail: worker.mail().clone(),
            program: None,
            worker: Some(worker),
            remote,
            datapath,
            next_transfer: AtomicU32::new(1),
        };
        // When this fails, the drop of `connection` ends the worker.
        let program = connection.program.insert(program);
        if let Some(worker) = &connection.worker {
            program.register(connection.datapath.queue, 0, worker.xsk_fd())?;
        }
        Ok(connection)
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// How blocks travel.
    pub fn datapath(&self) -> &DatapathInfo {
        &self.datapath
    }

    /// The session's statistics.
    pub async fn statistics(&self) -> Result<Stats, ClientError> {
        self.ask(|answer| Command::Statistics { answer }).await
    }

    /// Sends a request and waits for its reply; a failure becomes [`ClientError::Refused`], saying `what`.
    pub async fn request(&self, what: &str, request: Request) -> Result<Reply, ClientError> {
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

    /// Closes the session and gives the interface back.
    pub fn close(mut self) {
        self.shut();
    }

    pub(crate) fn new_transfer(&self) -> u32 {
        self.next_transfer.fetch_add(1, Ordering::Relaxed)
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
        let lost = |source| ClientError::Lost {
            remote: self.remote,
            source,
        };
        if self.mail.send(command(answer)).is_err() {
            return Err(lost(ConnectionLost::Closed));
        }
        waiting
            .await
            .unwrap_or(Err(ConnectionLost::Closed))
            .map_err(lost)
    }

    /// Ends the worker, then takes the program off the interface. Blocks for the worker's farewell, some 100 ms.
    fn shut(&mut self) {
        self.tell(Command::Finish);
        if let Some(worker) = self.worker.take()
            && let Err(error) = worker.join()
        {
            tracing::error!(%error, "the worker did not end well");
        }
        self.program = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shut();
    }
}
