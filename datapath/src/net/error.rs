//! What can be wrong with interfaces, routes and neighbours.

use std::net::IpAddr;
use std::time::Duration;

use blk_xdp::InterfaceId;
use blk_xdp::netlink::NetlinkError;

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// There is no such interface in this network namespace.
    #[error("no network interface {0} in this network namespace; `ip link` lists those there are")]
    NotFound(InterfaceId),
    /// The interface has no Ethernet header: a tunnel, PPP, InfiniBand.
    #[error("{0} is not an Ethernet interface, as AF_XDP needs: use --datapath udp")]
    NotEthernet(String),
    /// The interface stands on others, which are to be named instead.
    #[error("{interface} is {reason}; {advice}")]
    Stacked {
        /// Interface name.
        interface: String,
        /// What it is, and what does not work.
        reason: String,
        /// What to use instead.
        advice: String,
    },
    /// The kernel could not be asked.
    #[error("cannot read the state of interface {interface}")]
    Netlink {
        /// Interface name or number.
        interface: InterfaceId,
        /// The cause.
        source: NetlinkError,
    },
}

/// Why there is no way to an address.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The address belongs to this host; its packets do not leave it.
    #[error("{0} is this host itself")]
    ThisHost(IpAddr),
    /// A broadcast, multicast or unspecified address.
    #[error("{0} is not the address of one host")]
    NotUnicast(IpAddr),
    /// There is no route, or one that forbids (`unreachable`, `prohibit`, `blackhole`).
    #[error("no route to {0}: check `ip route get {0}`")]
    Unreachable(IpAddr),
    /// The interface that the route leads to has no address to send from.
    #[error("no source address for packets to {0}: give the interface an address")]
    NoSource(IpAddr),
    /// The kernel could not be asked.
    #[error("cannot look up the route to {address}")]
    Netlink {
        /// The destination.
        address: IpAddr,
        /// The cause.
        source: NetlinkError,
    },
}

/// Why a neighbour's Ethernet address is not known.
#[derive(Debug, thiserror::Error)]
pub enum NeighbourError {
    /// Nobody answered.
    #[error(
        "no answer from {address} on {interface} ({} failed): is the host up, and on this link?",
        protocol(*.address)
    )]
    NoAnswer {
        /// The neighbour.
        address: IpAddr,
        /// Interface name.
        interface: String,
    },
    /// Nobody has answered yet.
    #[error(
        "no answer from {address} on {interface} within {timeout:?} ({} still tries)",
        protocol(*.address)
    )]
    Timeout {
        /// The neighbour.
        address: IpAddr,
        /// Interface name.
        interface: String,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The link is down, or has no Ethernet addresses (`NOARP`).
    #[error("{interface} cannot reach neighbours: {reason}")]
    NotPossible {
        /// Interface name.
        interface: String,
        /// What the interface lacks.
        reason: &'static str,
    },
    /// The kernel lets only CAP_NET_ADMIN start a resolution.
    #[error("not allowed to resolve {0}: run as root or grant CAP_NET_ADMIN")]
    NoPrivileges(IpAddr),
    /// The interface is gone.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The kernel could not be asked.
    #[error("cannot look up the neighbour {address}")]
    Netlink {
        /// The neighbour.
        address: IpAddr,
        /// The cause.
        source: NetlinkError,
    },
}

/// The protocol that finds the Ethernet address of an IP address.
const fn protocol(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "neighbour discovery",
    }
}
