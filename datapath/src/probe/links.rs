//! All interfaces of this network namespace, and which is part of which.

use std::net::IpAddr;

use blk_xdp::netlink::{self, NetlinkError};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};

use crate::net::usable_address;

/// An interface as rtnetlink lists it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Interface index in this network namespace.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// What sort of software device: `veth`, `vlan`, `bond`, `bridge`; `None` for hardware.
    pub kind: Option<String>,
    /// Index of the interface below a VLAN, macvlan and the like; of a veth, the other end.
    pub lower: Option<u32>,
    /// Index of the bond or bridge that it is part of.
    pub master: Option<u32>,
    /// Packets have Ethernet headers.
    pub ethernet: bool,
    /// It is `lo`.
    pub loopback: bool,
    /// Switched on.
    pub up: bool,
    /// There is a carrier.
    pub carrier: bool,
    /// Maximum transmission unit, bytes.
    pub mtu: u32,
    /// The largest MTU that the driver takes, bytes; 0: not told.
    pub max_mtu: u32,
    /// RX queues that it was made with.
    pub rx_queues: u32,
    /// Its IP addresses that can be used.
    pub addresses: Vec<IpAddr>,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Links(pub Vec<Link>);

impl Links {
    /// Asks the kernel. Needs no privileges.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn read() -> Result<Self, NetlinkError> {
        let messages = netlink::dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let mut links: Vec<Link> = messages
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(Link::of(&link)),
                _ => None,
            })
            .collect();
        let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for message in netlink::dump(&all)? {
            if let RouteNetlinkMessage::NewAddress(message) = message
                && let Some(link) = links
                    .iter_mut()
                    .find(|link| link.index == message.header.index)
            {
                link.addresses.extend(usable_address(&message));
            }
        }
        Ok(Self(links))
    }

    /// The interface of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Link> {
        self.0.iter().find(|link| link.name == name)
    }

    /// The interface of this index.
    pub(super) fn at(&self, index: u32) -> Option<&Link> {
        self.0.iter().find(|link| link.index == index)
    }

    /// Names of the interfaces that are part of a bond or bridge.
    pub(super) fn members(&self, of: &Link) -> Vec<String> {
        let mine = self.0.iter().filter(|link| link.master == Some(of.index));
        mine.map(|link| link.name.clone()).collect()
    }
}

impl Link {
    fn of(message: &LinkMessage) -> Self {
        let flag = |flag| message.header.flags.contains(flag);
        let mut link = Self {
            index: message.header.index,
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            loopback: flag(LinkFlags::Loopback),
            up: flag(LinkFlags::Up),
            carrier: flag(LinkFlags::LowerUp),
            rx_queues: 1,
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::MaxMtu(mtu) => link.max_mtu = *mtu,
                LinkAttribute::NumRxQueues(queues) => link.rx_queues = *queues,
                LinkAttribute::Controller(master) => link.master = Some(*master),
                LinkAttribute::Link(lower) => link.lower = Some(*lower),
                LinkAttribute::LinkInfo(information) => {
                    link.kind = information.iter().find_map(|item| match item {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_loopback_interface() {
        let links = Links::read().unwrap();
        let lo = links.named("lo").unwrap();
        assert!(lo.loopback && !lo.ethernet && lo.index > 0, "{lo:?}");
        assert_eq!(links.at(lo.index), Some(lo));
        assert_eq!(links.members(lo), Vec::<String>::new());
        assert_eq!(links.named("no such interface"), None);
    }
}
