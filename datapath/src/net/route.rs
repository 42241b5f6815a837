//! The way to an address.

use std::net::{IpAddr, Ipv4Addr};

use blk_xdp::netlink;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::RouteError;

/// How the kernel would send a packet to an address.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Index of the interface it leaves by.
    pub interface: u32,
    /// The address it is sent from.
    pub source: IpAddr,
    /// The router it is sent to, unless the destination is on the link. Of the other family where an IPv4
    /// route goes through an IPv6 router (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// The largest packet that the route takes, in bytes from the IP header on, where that is known: from the route
    /// itself, or from what ICMP said of the path. `None`: what the interface takes.
    pub mtu: Option<u32>,
}

impl Route {
    /// The neighbour whose Ethernet address packets to `destination` carry: the gateway, or itself.
    #[must_use]
    pub fn next_hop(&self, destination: IpAddr) -> IpAddr {
        self.gateway.unwrap_or(destination)
    }
}

/// Asks the kernel for the route to `destination`, with the rules and tables of an ordinary packet. Of an
/// IPv6 link-local address, which is on every link, the kernel picks one.
///
/// # Errors
/// [`RouteError`]: there is no route, the address is this host's own ([`RouteError::ThisHost`]), or not one
/// host's.
pub fn route_to(destination: IpAddr) -> Result<Route, RouteError> {
    // Depending on its routes, the kernel might take one of these for a host.
    let broadcast = destination == IpAddr::V4(Ipv4Addr::BROADCAST);
    if broadcast || destination.is_multicast() || destination.is_unspecified() {
        return Err(RouteError::NotUnicast(destination));
    }
    let mut message = RouteMessage::default();
    let (family, bits) = match destination {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = bits;
    let address = RouteAttribute::Destination(destination.into());
    message.attributes.push(address);
    let answers = netlink::request(RouteNetlinkMessage::GetRoute(message)).map_err(|source| {
        match source.refusal() {
            // The kernel's words for no route, and for unreachable, prohibit and blackhole routes
            // (include/net/ip_fib.h, fib_props).
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL) => {
                RouteError::Unreachable(destination)
            }
            _ => RouteError::Netlink {
                address: destination,
                source,
            },
        }
    })?;
    answers
        .iter()
        .find_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(of(route, destination)),
            _ => None,
        })
        .unwrap_or(Err(RouteError::Unreachable(destination)))
}

/// What a route message says.
fn of(message: &RouteMessage, destination: IpAddr) -> Result<Route, RouteError> {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err(RouteError::ThisHost(destination)),
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => {
            return Err(RouteError::NotUnicast(destination));
        }
        _ => return Err(RouteError::Unreachable(destination)),
    }
    let (mut interface, mut source, mut gateway, mut mtu) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::Metrics(metrics) => mtu = metrics.iter().find_map(mtu_of),
            _ => {}
        }
    }
    Ok(Route {
        interface: interface.ok_or(RouteError::Unreachable(destination))?,
        source: source.ok_or(RouteError::NoSource(destination))?,
        gateway,
        mtu,
    })
}

/// The MTU among a route's metrics.
fn mtu_of(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(bytes) if *bytes > 0 => Some(*bytes),
        _ => None,
    }
}

/// The IP address in a route attribute.
fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
