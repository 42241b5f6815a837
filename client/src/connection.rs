//! A connection with one blockd: found by route, carried by workers on the interface that leads there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use blk_datapath::dump::Taps;
use blk_datapath::link::Datapath;
use blk_datapath::udp::UdpCounters;
use blk_proto::message::{Reply, Request};
use blk_proto::net::{Path, Vlans};
use blk_proto::session::Stats;
use tokio::sync::{Mutex, oneshot};

use crate::error::{ClientError, ConnectionLost, ErrorKind};
use crate::flow::Flow;
use crate::paths::{History, Purpose, Site};
use crate::remote_file::{Limits, Link};
use crate::resolver::{more_telling, resolve};
use crate::service::Command;
use crate::setup::{Ground, instead_of_copy_mode, on_thread, prepare, restart_on_own_queue};

/// Most flows of a connection.
pub const FLOWS_MAX: u16 = 8;

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The server's UDP port.
    pub port: u16,
    /// How blocks cross the kernel.
    pub datapath: Datapath,
    /// For how long an idle worker over AF_XDP polls the driver before it sleeps; `None`: the kernel polls, by interrupts.
    pub busy_poll: Option<Duration>,
    /// The CPU for the first worker; `None` lets the scheduler choose. The others are where it puts them.
    pub cpu: Option<usize>,
    /// Without a packet from the server for so long, though it owes an answer, the session is over. A server that was
    /// restarted is found out sooner.
    pub silence: Duration,
    /// Flows for a large file, 1 to [`FLOWS_MAX`]; `None`: as many as this end has queues free, and CPUs
    /// but one, and the server has queues. Over AF_XDP there are never more than the server has queues.
    pub flows: Option<u16>,
    /// VLAN tags of the packets, the outer one first, where the route does not lead by a VLAN interface, which tells them. AF_XDP
    /// only.
    pub vlans: Vlans,
    /// Where the packets of all flows are taken down; `None`: nowhere.
    pub dump: Option<Taps>,
    /// What data paths were measured to cost, by which [`Datapath::Auto`] chooses where there is no zero-copy, unless `flows` is given. It is read; what it has
    /// of an interface is forgotten when no session comes up over AF_XDP that was chosen by it, and one does over UDP sockets.
    pub history: History,
    /// Which way the blocks will mostly go: that is the way whose cost counts.
    pub purpose: Purpose,
    /// How many bytes will be moved at most, where that is known: a put of less than [`PROGRAM_MIN`](crate::paths::PROGRAM_MIN) does not go by figures.
    pub bytes: Option<u64>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            port: 7440,
            datapath: Datapath::Auto,
            busy_poll: None,
            cpu: None,
            silence: Duration::from_secs(8),
            flows: None,
            vlans: [None; 2],
            dump: None,
            history: History::none(),
            purpose: Purpose::Both,
            bytes: None,
        }
    }
}

/// What the data path turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatapathInfo {
    /// The interface by which packets leave for the server.
    pub interface: String,
    /// The queue that the first worker took.
    pub queue: u32,
    /// `af_xdp-zerocopy`, `af_xdp-copy`, `af_xdp-skb` or `udp`.
    pub mode: &'static str,
    /// Why it is not the best one there is, or why `auto` took `af_xdp-copy`; `None` where it was asked for.
    pub reason: Option<String>,
    /// The interface's MTU.
    pub mtu: u32,
    /// Where figures about it hold.
    pub site: Site,
    /// Whether it is AF_XDP in copy mode because of figures, and of nothing that anybody asked for.
    pub by_figures: bool,
}

/// What one flow has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowInfo {
    /// The queue of this end's interface.
    pub queue: u32,
    /// The UDP port of this end.
    pub port: u16,
    /// The server's worker that it reaches.
    pub worker: u32,
    /// Bytes of blocks that it has carried, in both directions.
    pub bytes: u64,
    /// Packets that it has sent again.
    pub retransmitted: u64,
    /// Packets that came by another queue than that of its AF_XDP socket, and so by an ordinary UDP socket, which is slower.
    pub strays: u64,
    /// What its UDP sockets have counted, if it has any.
    pub udp: Option<UdpCounters>,
}

/// A connection with one blockd. Its drop blocks for the workers' farewells, some 100 ms.
pub struct Connection {
    // Dropped in this order: the XDP program outlives the workers, which still say goodbye; only then does the kernel get
    // the packets again.
    home: Flow,
    /// Opened with the first large file.
    others: Arc<OnceLock<Vec<Flow>>>,
    /// A thread is opening them; it goes on when whoever waits for it gives up.
    opening: Mutex<Option<oneshot::Receiver<()>>>,
    ground: Arc<Ground>,
    remote: SocketAddr,
    next_transfer: Arc<AtomicU32>,
    limits: Arc<Limits>,
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
        let (home, ground) = Self::begin(remote, options).await?;
        let (home, ground) = match home.statistics().await {
            Ok((_, link)) if link.strays > 0 => {
                match Self::begin_on_own_queue(home, ground).await {
                    Ok(begun) => begun,
                    Err(error) => {
                        tracing::info!(%error, "no better port");
                        Self::begin(remote, options).await?
                    }
                }
            }
            _ => (home, ground),
        };
        Ok(Self {
            home,
            others: Arc::default(),
            opening: Mutex::new(None),
            ground: Arc::new(ground),
            remote,
            next_transfer: Arc::new(AtomicU32::new(1)),
            limits: Arc::default(),
        })
    }

    /// The first flow, and its session.
    async fn begin(
        remote: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<(Flow, Ground), ClientError> {
        let wanted = options.clone();
        let (flow, path, ground) = on_thread(move || prepare(remote, &wanted)).await?;
        let DatapathInfo {
            by_figures, site, ..
        } = ground.datapath().clone();
        match Self::greet(flow, Some(path), ground).await {
            Err(error) if by_figures && may_be_the_carrier(&error) => {
                Self::begin_without(site, remote, options, error).await
            }
            outcome => outcome,
        }
    }

    /// The first flow over UDP sockets, as figures have led to a data path that brings no session; when these do, they are forgotten.
    async fn begin_without(
        site: Site,
        remote: SocketAddr,
        options: &ConnectOptions,
        error: ClientError,
    ) -> Result<(Flow, Ground), ClientError> {
        let (options, history) = (options.clone(), options.history.clone());
        let begun = move || instead_of_copy_mode(remote, &options, &error);
        let (flow, path, ground) = on_thread(begun).await?;
        let (flow, mut ground) = Self::greet(flow, Some(path), ground).await?;
        // It may have to wait for another process.
        let forgotten = on_thread(move || Ok(history.forget(&site))).await?;
        ground.add_reason(&match forgotten {
            Ok(()) => "what was measured is forgotten".to_owned(),
            Err(error) => format!("what was measured could not be forgotten: {error}"),
        });
        Ok((flow, ground))
    }

    /// The first flow again, with a port whose packets come by its queue, should there be one.
    async fn begin_on_own_queue(flow: Flow, ground: Ground) -> Result<(Flow, Ground), ClientError> {
        let restarted = on_thread(move || restart_on_own_queue(flow, ground)).await;
        let (flow, path, ground) = restarted?;
        Self::greet(flow, path, ground).await
    }

    /// Opens the session of a flow on this path, if it has none yet.
    async fn greet(
        flow: Flow,
        path: Option<Path>,
        ground: Ground,
    ) -> Result<(Flow, Ground), ClientError> {
        // Dropped before the ground, also on the way out of here.
        let mut flow = flow;
        if let Some(path) = path {
            flow.connect(path);
            flow.connected().await?;
        }
        Ok((flow, ground))
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// How blocks travel.
    pub fn datapath(&self) -> &DatapathInfo {
        self.ground.datapath()
    }

    /// The statistics of the session that carries the requests.
    pub async fn statistics(&self) -> Result<Stats, ClientError> {
        Ok(self.lead().statistics().await?.0)
    }

    /// Every flow that there has been, the first session first.
    pub async fn flows(&self) -> Vec<FlowInfo> {
        let mut infos = Vec::new();
        for flow in self.sessions().filter(|flow| flow.was_connected()) {
            // Of a flow that was lost, what it carried is not known any more.
            let (stats, link) = flow.statistics().await.unwrap_or_default();
            infos.push(FlowInfo {
                queue: flow.queue(),
                port: flow.port(),
                worker: flow.server_worker().unwrap_or(0),
                bytes: stats.block_bytes_sent + stats.block_bytes_received,
                retransmitted: stats.retransmitted,
                strays: link.strays,
                udp: link.statistics.udp,
            });
        }
        infos
    }

    /// Sends a request and waits for its reply; a failure becomes [`ClientError::Refused`], saying `what`.
    pub async fn request(&self, what: &str, request: Request) -> Result<Reply, ClientError> {
        self.lead().request(what, request).await
    }

    /// Closes the sessions and gives the interface back.
    pub fn close(self) {
        drop(self);
    }

    pub(crate) fn new_transfer(&self) -> u32 {
        self.next_transfer.fetch_add(1, Ordering::Relaxed)
    }

    /// What a file in place needs of the connection.
    pub(crate) fn link(&self, what: String) -> Link {
        let (numbers, limits) = (Arc::clone(&self.next_transfer), Arc::clone(&self.limits));
        Link::new(self.lead().line().clone(), numbers, limits, what)
    }

    /// The session that carries the requests: the first of those that live.
    pub(crate) fn lead(&self) -> &Flow {
        self.sessions()
            .find(|flow| flow.is_up())
            .unwrap_or(&self.home)
    }

    /// A session that has a part in a transfer: the one that opened it, or when that is lost another one that lives.
    pub(crate) fn part_of<'a>(&'a self, home: &'a Flow, transfer: u32) -> &'a Flow {
        let joined = |flow: &&Flow| flow.is_up() && flow.has_joined(transfer);
        if home.is_lost() {
            self.sessions().find(joined).unwrap_or(home)
        } else {
            home
        }
    }

    /// All flows that have been opened, the first session first.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Flow> {
        let others = self.others.get().map_or(&[][..], Vec::as_slice);
        std::iter::once(&self.home).chain(others)
    }

    /// Whether there can be more than one flow.
    pub(crate) fn may_spread(&self) -> bool {
        self.ground.flows() > 1
    }

    /// All flows; the others are started now if they have not been, as many as are of use with a server of so many queues.
    /// Their handshakes go on: see [`Flow::connected`].
    pub(crate) async fn open_others(&self, queues: u16) -> impl Iterator<Item = &Flow> {
        let mut opening = self.opening.lock().await;
        if self.others.get().is_none() {
            let started = match opening.take() {
                Some(started) => Ok(started),
                None => self.start_others(queues),
            };
            match started {
                Ok(started) => {
                    // Whoever gives up here leaves it to the next: queues that are being taken are not asked for twice.
                    let _ = opening.insert(started).await;
                    *opening = None;
                }
                Err(error) => tracing::warn!(%error, "over one flow only"),
            }
        }
        self.sessions()
    }

    /// Starts the other flows on a thread of their own, which does so to the end.
    fn start_others(&self, queues: u16) -> std::io::Result<oneshot::Receiver<()>> {
        let (answer, started) = oneshot::channel();
        let reached = self.home.server_worker();
        let (ground, others) = (Arc::clone(&self.ground), Arc::clone(&self.others));
        std::thread::Builder::new()
            .name("blk-flows".to_owned())
            .spawn(move || {
                match ground.start_others(queues, reached) {
                    // Only one thread at a time is here.
                    Ok(flows) => drop(others.set(flows)),
                    // The next large file may find a queue free.
                    Err(error) => tracing::info!(%error, "over one flow only"),
                }
                // In this order, should the connection be gone: the program outlives the workers.
                drop(others);
                drop(ground);
                let _ = answer.send(());
            })?;
        Ok(started)
    }
}

/// Whether another data path may bring a session where one has not. A server that has answered would say the same again.
fn may_be_the_carrier(error: &ClientError) -> bool {
    let is_silent = matches!(
        error,
        ClientError::Lost {
            source: ConnectionLost::NoAnswer | ConnectionLost::PortClosed,
            ..
        }
    );
    is_silent || error.kind() == ErrorKind::Datapath
}

impl Drop for Connection {
    fn drop(&mut self) {
        // All at once; their own drops wait for them.
        for flow in self.sessions() {
            flow.tell(Command::Finish);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_leads_to_another_data_path() {
        let remote = "192.0.2.1:7440".parse().unwrap();
        let lost = |source| ClientError::Lost { remote, source };
        let others = [
            ConnectionLost::NoAnswer,
            ConnectionLost::PortClosed,
            ConnectionLost::InterfaceGone("eth1".to_owned()),
        ];
        for source in others {
            assert!(may_be_the_carrier(&lost(source.clone())), "{source}");
        }
        let said = [
            ConnectionLost::Busy,
            ConnectionLost::Refused("another version".to_owned()),
            ConnectionLost::Broken("nonsense".to_owned()),
        ];
        for source in said {
            assert!(!may_be_the_carrier(&lost(source.clone())), "{source}");
        }
    }
}
