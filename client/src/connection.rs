//! A session with one blockd: found by route, carried by one worker on the interface that leads there.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use blk_datapath::mailbox::MailSender;
use blk_datapath::net::{Interface, resolve_neighbour, route_to};
use blk_datapath::worker::{Companion, WorkerConfig, WorkerError, WorkerHandle, spawn};
use blk_datapath::xsk::{BindMode, XskError};
use blk_proto::message::{Reply, Request};
use blk_proto::net::Path;
use blk_proto::session::Stats;
use blk_xdp::{AttachMode, PortRange, Program};
use tokio::sync::oneshot;

use crate::error::{ClientError, ConnectionLost};
use crate::service::{ClientService, Command};

/// How long the next hop may take to answer ARP or neighbour discovery.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(3);

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The server's UDP port.
    pub port: u16,
    /// How the AF_XDP socket binds.
    pub mode: BindMode,
    /// The CPU for the worker; `None` lets the scheduler choose.
    pub cpu: Option<usize>,
    /// Without a packet from the server for so long, the session is over.
    pub idle_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            port: 7440,
            mode: BindMode::Auto,
            cpu: None,
            idle_timeout: Duration::from_secs(20),
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
    // Dropped first: from then on the kernel has the packets again.
    program: Option<Program>,
    worker: Option<WorkerHandle<Command>>,
    mail: MailSender<Command>,
    remote: SocketAddr,
    datapath: DatapathInfo,
    next_transfer: AtomicU32,
}

impl Connection {
    /// Finds the host and the way to it, takes a queue of that interface, and opens a session.
    pub async fn open(host: &str, options: &ConnectOptions) -> Result<Self, ClientError> {
        let remote = resolve(host, options.port)?;
        let route =
            route_to(remote.ip()).map_err(|source| ClientError::Route { remote, source })?;
        let interface = Interface::by_index(route.interface)?;
        let next_hop = route.next_hop(remote.ip());
        let destination_mac = resolve_neighbour(interface.index, next_hop, NEIGHBOUR_PATIENCE)
            .map_err(|source| ClientError::Neighbour { remote, source })?;
        let companion = Arc::new(Companion::connect(route.source, remote)?);
        let port = companion.port();
        let source = SocketAddr::new(route.source, port);
        let path = Path::new(interface.mac, destination_mac, source, remote);
        let mut program = Program::attach(
            interface.name.as_str(),
            PortRange::new(port, 1)?,
            AttachMode::Native,
        )?;
        let (worker, queue) = start_worker(&interface, port, options, &companion)?;
        program.register(queue, 0, worker.xsk_fd())?;
        let datapath = DatapathInfo {
            interface: interface.name.clone(),
            queue,
            mode: if worker.is_zero_copy() {
                "af_xdp-zerocopy"
            } else {
                "af_xdp-copy"
            },
            mtu: interface.mtu,
        };
        let mail = worker.mail().clone();
        let connection = Self {
            program: Some(program),
            worker: Some(worker),
            mail,
            remote,
            datapath,
            next_transfer: AtomicU32::new(1),
        };
        connection
            .ask(|answer| Command::Connect {
                path: Box::new(path),
                answer,
            })
            .await?;
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

fn resolve(host: &str, port: u16) -> Result<SocketAddr, ClientError> {
    let no_such_host = |reason: String| ClientError::NoSuchHost {
        host: host.to_owned(),
        reason,
    };
    let mut addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| no_such_host(error.to_string()))?;
    addresses
        .next()
        .ok_or_else(|| no_such_host("the name has no address".to_owned()))
}

/// Starts the worker on the first queue that nobody else has.
fn start_worker(
    interface: &Interface,
    port: u16,
    options: &ConnectOptions,
    companion: &Arc<Companion>,
) -> Result<(WorkerHandle<Command>, u32), ClientError> {
    let mut queue = 0;
    loop {
        let mut config = WorkerConfig::new(&interface.name, queue, interface.mtu, port, false);
        config.mode = options.mode;
        config.cpu = options.cpu;
        config.engine.idle_timeout = options.idle_timeout;
        match spawn(config, Arc::clone(companion), ClientService::default) {
            Ok(worker) => return Ok((worker, queue)),
            Err(WorkerError::Xsk(XskError::QueueBusy { .. }))
                if queue + 1 < interface.rx_queues =>
            {
                queue += 1
            }
            Err(error) => return Err(error.into()),
        }
    }
}
