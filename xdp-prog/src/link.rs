//! What the kernel says about an interface and the XDP program on it.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

use crate::netlink::{self, NetlinkError};

/// How an XDP program is attached to an interface.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// Run by the driver.
    Native,
    /// Run by the network stack on socket buffers ("skb mode").
    Generic,
    /// Offloaded to the device, or programs in several modes at once.
    Other,
}

/// A network interface as rtnetlink describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// Interface index in this network namespace.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Maximum transmission unit, bytes above the Ethernet header.
    pub mtu: u32,
    /// RX queues that the device was created with; fewer may be in use.
    pub rx_queues: u32,
    /// The XDP program on the interface and its mode, if there is one.
    pub xdp: Option<(Attachment, u32)>,
}

/// Which interface: by name or by index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InterfaceId {
    /// An interface name.
    Name(String),
    /// An interface index.
    Index(u32),
}

impl From<&str> for InterfaceId {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<u32> for InterfaceId {
    fn from(index: u32) -> Self {
        Self::Index(index)
    }
}

impl std::fmt::Display for InterfaceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => write!(f, "number {index}"),
        }
    }
}

/// Asks the kernel about an interface of the calling thread's network namespace. Needs no privileges.
///
/// # Errors
/// [`NetlinkError::Refused`] with `ENODEV` when there is no such interface.
pub fn link_state(interface: &InterfaceId) -> Result<LinkState, NetlinkError> {
    let mut message = LinkMessage::default();
    match interface {
        InterfaceId::Name(name) => message.attributes.push(LinkAttribute::IfName(name.clone())),
        InterfaceId::Index(index) => message.header.index = *index,
    }
    netlink::request(RouteNetlinkMessage::GetLink(message))?
        .into_iter()
        .find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(LinkState::of(&link)),
            _ => None,
        })
        .ok_or_else(|| NetlinkError::Decode("no link in the answer".to_owned()))
}

impl LinkState {
    /// Picks out of a link message what is of interest here.
    fn of(link: &LinkMessage) -> Self {
        let mut state = Self {
            index: link.header.index,
            name: String::new(),
            mtu: 0,
            rx_queues: 1,
            xdp: None,
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => state.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
                LinkAttribute::NumRxQueues(queues) => state.rx_queues = *queues,
                LinkAttribute::Xdp(xdp) => state.xdp = attachment(xdp),
                _ => {}
            }
        }
        state
    }
}

/// Mode and program id from the attributes of IFLA_XDP (if_link.h, `XDP_ATTACHED_*`).
fn attachment(attributes: &[LinkXdp]) -> Option<(Attachment, u32)> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(XdpAttached::Driver) => Some(Attachment::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Attachment::Generic),
        LinkXdp::Attached(_) => Some(Attachment::Other),
        _ => None,
    })?;
    let program = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    // Without a program id (several modes at once) the interface is still taken.
    Some((mode, program.unwrap_or(0)))
}
