//! A network interface and its addresses.

use std::net::IpAddr;

use blk_xdp::InterfaceId;
use blk_xdp::netlink::{self, NetlinkError};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

use super::error::InterfaceError;
use super::ethtool;
use super::vlan::VlanLink;

/// A network interface as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Interface index in this network namespace.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Ethernet address; zero for `lo`, `None` for a tunnel, which has no Ethernet header.
    pub mac: Option<[u8; 6]>,
    /// Maximum transmission unit: bytes of a packet behind its Ethernet header.
    pub mtu: u32,
    /// Whether it is switched on and has a carrier.
    pub up: bool,
    /// RX queues in use, at least 1.
    pub rx_queues: u32,
    /// Its IP addresses that can be used: not those whose uniqueness is still, or was not, verified.
    pub addresses: Vec<IpAddr>,
    /// What sort of software device it is: `veth`, `vlan`, `bond`; `None` for hardware.
    pub kind: Option<String>,
    /// What it stands for when it is a VLAN.
    pub vlan: Option<VlanLink>,
    /// Name of its driver, where it tells.
    pub driver: Option<String>,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// [`InterfaceError`]: there is none, or the kernel could not be asked.
    pub fn by_name(name: &str) -> Result<Self, InterfaceError> {
        Self::get(name.into())
    }

    /// The interface of this index.
    ///
    /// # Errors
    /// [`InterfaceError`]: there is none, or the kernel could not be asked.
    pub fn by_index(index: u32) -> Result<Self, InterfaceError> {
        Self::get(index.into())
    }

    fn get(id: InterfaceId) -> Result<Self, InterfaceError> {
        let mut message = LinkMessage::default();
        match &id {
            InterfaceId::Name(name) => {
                let name = LinkAttribute::IfName(name.clone());
                message.attributes.push(name);
            }
            InterfaceId::Index(index) => message.header.index = *index,
        }
        let answers = netlink::request(RouteNetlinkMessage::GetLink(message));
        let answers = match answers {
            Ok(answers) => answers,
            Err(source) => return Err(not_found_or(id, source)),
        };
        let link = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        });
        let Some(link) = link else {
            return Err(InterfaceError::NotFound(id));
        };
        let mut interface = Self::of(&link);
        interface.addresses = match addresses(interface.index) {
            Ok(addresses) => addresses,
            Err(source) => return Err(not_found_or(id, source)),
        };
        Ok(interface)
    }

    /// What a link message and the driver say.
    fn of(link: &LinkMessage) -> Self {
        let (mut name, mut mac, mut mtu, mut queues) = (String::new(), None, 0, 1);
        let mut kind = None;
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(value) => name.clone_from(value),
                LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
                LinkAttribute::Mtu(value) => mtu = *value,
                LinkAttribute::NumRxQueues(value) => queues = *value,
                LinkAttribute::LinkInfo(information) => {
                    kind = information.iter().find_map(|item| match item {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Self {
            index: link.header.index,
            mac,
            mtu,
            up: link
                .header
                .flags
                .contains(LinkFlags::Up | LinkFlags::LowerUp),
            // The number in the message is what the device was made with; fewer may be in use.
            rx_queues: ethtool::rx_queues(&name).unwrap_or(queues).max(1),
            addresses: Vec::new(),
            kind,
            vlan: VlanLink::of(link),
            driver: ethtool::driver(&name).map(|driver| driver.name),
            name,
        }
    }

    /// Its Ethernet address, which AF_XDP cannot do without.
    ///
    /// # Errors
    /// [`InterfaceError::NotEthernet`].
    pub fn ethernet_address(&self) -> Result<[u8; 6], InterfaceError> {
        self.mac
            .ok_or_else(|| InterfaceError::NotEthernet(self.name.clone()))
    }
}

/// The error for an interface that could not be read.
fn not_found_or(interface: InterfaceId, source: NetlinkError) -> InterfaceError {
    match source.refusal() {
        // EINVAL and ERANGE: a name, or number, that no interface can have.
        Some(libc::ENODEV | libc::EINVAL | libc::ERANGE) => InterfaceError::NotFound(interface),
        _ => InterfaceError::Netlink { interface, source },
    }
}

/// The usable addresses of an interface.
fn addresses(index: u32) -> Result<Vec<IpAddr>, NetlinkError> {
    let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let messages = netlink::dump(&all)?.into_iter();
    Ok(messages
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(address) if address.header.index == index => {
                usable(&address)
            }
            _ => None,
        })
        .collect())
}

/// The address in a message, unless duplicate address detection (RFC 4862) has not cleared it.
pub(crate) fn usable(message: &AddressMessage) -> Option<IpAddr> {
    let has = |flag| message.header.flags.contains(flag);
    let tentative = has(AddressHeaderFlags::Tentative) && !has(AddressHeaderFlags::Optimistic);
    if tentative || has(AddressHeaderFlags::Dadfailed) {
        return None;
    }
    // Of a point-to-point address, "address" is the peer's and "local" ours; IPv6 mostly has no "local".
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => return Some(*address),
            AddressAttribute::Address(address) => found = Some(*address),
            _ => {}
        }
    }
    found
}
