//! The UDP sockets of a connection's flows.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use blk_datapath::udp::{UdpError, UdpPort};

use crate::even::Wish;
use crate::scout::workers_reached;

/// Ports that are tried in all. Each takes a handshake, and so do the flows in the end: any server allows a source 32 at once.
const TRIES_MAX: usize = 24;
/// So long the answers of a round are waited for, in which the first flow carries alone.
const PATIENCE: Duration = Duration::from_millis(250);

/// One for each flow; those of the other flows are made when they are wanted.
pub(crate) struct UdpPorts {
    remote: SocketAddr,
    home: Arc<UdpPort>,
    others: OnceLock<Vec<Arc<UdpPort>>>,
    flows: u16,
}

impl UdpPorts {
    /// The port of the first flow, and room for `flows` in all.
    pub(crate) fn open(remote: SocketAddr, flows: u16) -> Result<Self, UdpError> {
        Ok(Self {
            remote,
            home: Arc::new(UdpPort::connect(remote)?),
            others: OnceLock::new(),
            flows,
        })
    }

    /// Flows there may be, the first one included.
    pub(crate) fn flows(&self) -> u16 {
        match self.others.get() {
            Some(others) => 1 + others.len() as u16,
            None => self.flows,
        }
    }

    /// The port of a flow: the first one, or one that [`spread`](Self::spread) has made; of others, the first one's.
    pub(crate) fn port(&self, flow: u16) -> &Arc<UdpPort> {
        let other = |at: u16| self.others.get()?.get(usize::from(at));
        flow.checked_sub(1).and_then(other).unwrap_or(&self.home)
    }

    /// Makes the ports of the other flows, once: so that `count` flows, the first one included, are spread evenly over the
    /// server's workers. `first` is the worker of the first flow, where it is known.
    pub(crate) fn spread(&self, count: u16, workers: u16, first: Option<u32>) {
        let flows = usize::from(count.saturating_sub(1));
        self.others.get_or_init(|| match first {
            Some(first) if workers > 1 => self.try_ports(Wish {
                flows,
                workers: workers.into(),
                first,
            }),
            _ => self.some_ports(flows),
        });
    }

    /// So many ports, or as many as there are.
    fn some_ports(&self, count: usize) -> Vec<Arc<UdpPort>> {
        let connect = |_| match UdpPort::connect(self.remote) {
            Ok(port) => Some(Arc::new(port)),
            Err(error) => {
                tracing::info!(%error, "no more ports");
                None
            }
        };
        (0..count).map_while(connect).collect()
    }

    /// The best of those that were tried. All are kept until then, so that none is tried twice.
    fn try_ports(&self, wish: Wish) -> Vec<Arc<UdpPort>> {
        let mut ports = Vec::new();
        let mut reached = Vec::new();
        loop {
            // More than are misplaced, since any of them may get anywhere. All are where they should be: none.
            let more = match ports.len() {
                0 => wish.flows,
                _ => 3 * wish.misplaced(&reached),
            };
            let more = self.some_ports(more.min(TRIES_MAX - ports.len()));
            if more.is_empty() {
                break;
            }
            let sockets: Vec<&UdpSocket> =
                more.iter().filter_map(|port| port.connected()).collect();
            reached.extend(workers_reached(&sockets, PATIENCE));
            ports.extend(more);
        }
        let chosen = wish.choose(&reached);
        tracing::info!(
            tried = ports.len(),
            misplaced = wish.misplaced(&reached),
            workers = wish.workers,
            "source ports by the server's workers"
        );
        chosen
            .into_iter()
            .map(|at| Arc::clone(&ports[at]))
            .collect()
    }
}
