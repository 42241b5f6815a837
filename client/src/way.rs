//! How packets get from and to the flows of a connection: by an XDP program and AF_XDP sockets, or by UDP sockets.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blk_datapath::engine::Hop;
use blk_datapath::link::{Datapath, missing_privileges};
use blk_datapath::mailbox::MailSender;
use blk_datapath::net::{Interface, RouteError, Trunk, resolve_neighbour, route_to, trunk_of};
use blk_datapath::probe::{busy_poll_hint, refuse_stacked};
use blk_datapath::worker::{Companion, Port, WorkerError, allowed_cpus};
use blk_proto::net::{Path, Vlans};
use blk_xdp::Program;

use crate::connection::{ConnectOptions, FLOWS_MAX};
use crate::error::ClientError;
use crate::own_queue::find_port;
use crate::paths::Site;
use crate::service::Command;
use crate::udp_ports::UdpPorts;
use crate::watcher::{Premises, Watcher};

/// How long the next hop may take to answer ARP or neighbour discovery.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(3);

/// Where packets to a host that is this one leave.
const LOOPBACK: &str = "lo";

/// What all flows share of the way.
pub(crate) enum Way {
    /// AF_XDP.
    Xdp {
        /// One for each flow there may be.
        companions: Mutex<Vec<Arc<Companion>>>,
        program: Box<Mutex<Program>>,
        /// This end's address.
        source: IpAddr,
        /// VLAN tags of the packets.
        vlans: Vlans,
        /// They were chosen, and the kernel's packets do not have them.
        chosen_vlans: bool,
        /// Follows what changes between here and the server.
        watcher: Watcher,
    },
    /// UDP, with a port for each flow there may be. What changes of routes and links is the kernel's matter.
    Udp(UdpPorts),
}

/// A way that was found.
pub(crate) struct Found {
    pub(crate) way: Way,
    pub(crate) interface: Interface,
    /// Largest packet that the route takes, in bytes, as far as is known.
    pub(crate) route_mtu: u32,
    /// Why it is UDP, or AF_XDP in copy mode, where nobody asked for it.
    pub(crate) reason: Option<String>,
}

impl Way {
    /// Finds the way to `remote` and takes ports for it. AF_XDP is tried wherever UDP was not asked for.
    pub(crate) fn find(remote: SocketAddr, options: &ConnectOptions) -> Result<Found, ClientError> {
        if options.vlans != [None; 2] {
            // The kernel would send without the tags.
            return match options.datapath {
                Datapath::Udp => Err(ClientError::VlanOverUdp),
                _ => Self::xdp(remote, options),
            };
        }
        match options.datapath {
            Datapath::Udp => Self::udp(remote, options, None),
            Datapath::ZeroCopy | Datapath::Copy | Datapath::Skb => Self::xdp(remote, options),
            Datapath::Auto | Datapath::PreferXdp => {
                if let Some(missing) = missing_privileges() {
                    let reason = format!("no AF_XDP without {missing}");
                    return Self::udp(remote, options, Some(reason));
                }
                match Self::xdp(remote, options) {
                    Err(error) if error.is_no_af_xdp() => {
                        Self::udp(remote, options, Some(format!("no AF_XDP: {error}")))
                    }
                    outcome => outcome,
                }
            }
        }
    }

    fn xdp(remote: SocketAddr, options: &ConnectOptions) -> Result<Found, ClientError> {
        let route =
            route_to(remote.ip()).map_err(|source| ClientError::Route { remote, source })?;
        // Addresses and neighbours are those of the interface that the route leads to, sockets and the program of the one
        // that packets leave by.
        let link = Interface::by_index(route.interface)?;
        let Trunk { interface, vlans } = trunk_of(&link)?;
        let vlans = match (vlans, options.vlans) {
            (vlans, [None, _]) => vlans,
            ([None, _], vlans) => vlans,
            _ => return Err(ClientError::VlanTwice(link.name)),
        };
        refuse_stacked(&interface)?;
        let source_mac = link.ethernet_address()?;
        let flows = flows_of(&interface, options)?;
        let next_hop = route.next_hop(remote.ip());
        let destination_mac = resolve_neighbour(link.index, next_hop, NEIGHBOUR_PATIENCE)
            .map_err(|source| ClientError::Neighbour { remote, source })?;
        let companions = (0..flows)
            .map(|_| Companion::connect(route.source, remote).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let program = Program::attach(interface.name.as_str(), options.datapath.attach_mode())?;
        if options.busy_poll.is_some()
            && let Some(hint) = busy_poll_hint(&interface.name, interface.index)
        {
            tracing::warn!("{hint}");
        }
        let premises = Premises {
            interface: link.index,
            name: link.name.clone(),
            source: route.source,
            remote: remote.ip(),
        };
        let hop = Hop {
            source_mac,
            destination_mac,
        };
        let watcher = Watcher::start(premises, hop).map_err(WorkerError::Io)?;
        Ok(Found {
            way: Self::Xdp {
                companions: Mutex::new(companions),
                program: Box::new(Mutex::new(program)),
                source: route.source,
                vlans,
                chosen_vlans: options.vlans != [None; 2],
                watcher,
            },
            route_mtu: packet_max(route.mtu, &link),
            interface,
            reason: None,
        })
    }

    pub(crate) fn udp(
        remote: SocketAddr,
        options: &ConnectOptions,
        reason: Option<String>,
    ) -> Result<Found, ClientError> {
        if options.busy_poll.is_some() {
            tracing::warn!("--busy-poll does nothing over UDP sockets");
        }
        let (interface, route_mtu) = match route_to(remote.ip()) {
            Ok(route) => (Interface::by_index(route.interface)?, route.mtu),
            Err(RouteError::ThisHost(_)) => (Interface::by_name(LOOPBACK)?, None),
            Err(source) => return Err(ClientError::Route { remote, source }),
        };
        let flows = match options.flows {
            Some(flows) => flows.clamp(1, FLOWS_MAX),
            None => flows_for(FLOWS_MAX, allowed_cpus().len()),
        };
        Ok(Found {
            way: Self::Udp(UdpPorts::open(remote, flows)?),
            route_mtu: packet_max(route_mtu, &interface),
            interface,
            reason,
        })
    }

    /// Flows there may be, the first one included.
    pub(crate) fn flows(&self) -> u16 {
        match self {
            Self::Xdp { companions, .. } => locked(companions).len() as u16,
            Self::Udp(ports) => ports.flows(),
        }
    }

    /// Gets ready for the flows that are of use with a server of so many workers, of which the first one has reached one: how
    /// many there may be now. Over UDP as many as were asked for, where that was so, each where the server has least; over
    /// AF_XDP each flow has a queue at either end.
    pub(crate) fn spread(&self, workers: u16, asked: bool, reached: Option<u32>) -> u16 {
        let flows = self.flows();
        match self {
            Self::Udp(ports) => {
                let count = if asked { flows } else { flows.min(workers) };
                ports.spread(count, workers, reached);
                count.min(ports.flows())
            }
            Self::Xdp { .. } => flows.min(workers),
        }
    }

    /// Whether each flow needs a queue of the interface.
    pub(crate) fn has_queues(&self) -> bool {
        matches!(self, Self::Xdp { .. })
    }

    /// What the worker of a flow sends and receives through.
    pub(crate) fn port(&self, flow: u16) -> Port {
        match self {
            Self::Xdp { companions, .. } => {
                Port::Companion(Arc::clone(&locked(companions)[usize::from(flow)]))
            }
            Self::Udp(ports) => Port::Udp(Arc::clone(ports.port(flow))),
        }
    }

    /// This end's port of a flow.
    pub(crate) fn source_port(&self, flow: u16) -> u16 {
        match self {
            Self::Xdp { companions, .. } => locked(companions)[usize::from(flow)].port(),
            Self::Udp(ports) => ports.port(flow).port(),
        }
    }

    /// Takes another port for a flow whose worker is not there any more, or not yet.
    pub(crate) fn change_port(&self, flow: u16, remote: SocketAddr) -> Result<(), ClientError> {
        if let Self::Xdp {
            companions, source, ..
        } = self
        {
            let other = Companion::connect(*source, remote)?;
            locked(companions)[usize::from(flow)] = Arc::new(other);
        }
        Ok(())
    }

    /// A port for a flow by which the server's packets come by this queue of an interface, if there is one.
    pub(crate) fn port_of_queue(
        &self,
        interface: &Interface,
        queue: u32,
        remote: SocketAddr,
    ) -> Option<Arc<Companion>> {
        match self {
            // The kernel would ask without the tags that were chosen.
            Self::Xdp {
                source,
                chosen_vlans: false,
                ..
            } => find_port(interface, queue, || {
                Ok(Companion::connect(*source, remote)?)
            }),
            _ => None,
        }
    }

    /// Has packets to a flow's port on a queue go to the kernel again.
    pub(crate) fn unregister(&self, queue: u32, flow: u16) -> Result<(), ClientError> {
        if let Self::Xdp { program, .. } = self {
            locked(program).unregister(queue, self.source_port(flow))?;
        }
        Ok(())
    }

    /// Gives a flow that has no worker now this port.
    pub(crate) fn set_port(&self, flow: u16, port: Arc<Companion>) {
        if let Self::Xdp { companions, .. } = self {
            locked(companions)[usize::from(flow)] = port;
        }
    }

    /// From now on the worker of a flow is told what changes of the way.
    pub(crate) fn follow(&self, worker: &MailSender<Command>) {
        if let Self::Xdp { watcher, .. } = self {
            watcher.add(worker);
        }
    }

    /// The way of a flow's packets as it is now. The Ethernet addresses of UDP packets are the kernel's matter.
    pub(crate) fn path(&self, flow: u16, remote: SocketAddr) -> Path {
        match self {
            Self::Xdp {
                source,
                vlans,
                watcher,
                ..
            } => {
                let source = SocketAddr::new(*source, self.source_port(flow));
                let hop = watcher.hop();
                let untagged = Path::new(hop.source_mac, hop.destination_mac, source, remote);
                Path {
                    vlans: *vlans,
                    ..untagged
                }
            }
            Self::Udp(ports) => {
                // A connected port has an address.
                let source = ports.port(flow).local().unwrap_or(remote);
                Path::new([0; 6], [0; 6], source, remote)
            }
        }
    }

    /// Directs the packets of a flow from a queue of the interface to its AF_XDP socket, if it has one.
    pub(crate) fn register(
        &self,
        queue: u32,
        flow: u16,
        xsk: Option<RawFd>,
    ) -> Result<(), ClientError> {
        if let (Self::Xdp { program, .. }, Some(xsk)) = (self, xsk) {
            locked(program).register(queue, self.source_port(flow), xsk)?;
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The interface that packets to `remote` leave by, below VLANs, and where figures about them hold.
pub(crate) fn site_to(remote: SocketAddr) -> Option<(Interface, Site)> {
    let route = route_to(remote.ip()).ok()?;
    let link = Interface::by_index(route.interface).ok()?;
    let site = Site::of(&link, packet_max(route.mtu, &link));
    Some((trunk_of(&link).ok()?.interface, site))
}

/// The largest packet that a route takes, in bytes from the IP header on: what it says itself, or what the interface that it leads to
/// takes.
fn packet_max(route_mtu: Option<u32>, link: &Interface) -> u32 {
    route_mtu.unwrap_or(link.mtu)
}

/// How many AF_XDP flows there may be.
fn flows_of(interface: &Interface, options: &ConnectOptions) -> Result<u16, ClientError> {
    let queues = u16::try_from(interface.rx_queues).unwrap_or(u16::MAX);
    match options.flows {
        Some(flows) if flows > queues => Err(ClientError::Flows {
            flows,
            interface: interface.name.clone(),
            queues,
        }),
        Some(flows) => Ok(flows.clamp(1, FLOWS_MAX)),
        None => Ok(flows_for(queues, allowed_cpus().len())),
    }
}

/// Flows where nobody says how many: each keeps a CPU busy, and one is left for the kernel's part and the program's. On two
/// CPUs two flows are slower than one.
fn flows_for(queues: u16, cpus: usize) -> u16 {
    let cpus = u16::try_from(cpus.saturating_sub(1)).unwrap_or(u16::MAX);
    queues.min(cpus).clamp(1, FLOWS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_leave_a_cpu_free() {
        let cases = [
            (1, 8, 1),
            (4, 1, 1),
            (4, 2, 1),
            (4, 4, 3),
            (2, 8, 2),
            (64, 64, 8),
        ];
        for (queues, cpus, flows) in cases {
            assert_eq!(flows_for(queues, cpus), flows, "{queues} {cpus}");
        }
        assert_eq!(flows_for(0, 0), 1);
    }
}
