//! VLAN interfaces: the tags that they stand for, and the interface below that their packets leave by.
//!
//! AF_XDP sockets bind to that one, and there nobody but the sender puts tags in. Addresses, routes and neighbours remain
//! those of the VLAN interface.

use blk_proto::net::{VlanTag, Vlans};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanProtocol,
};

use super::error::InterfaceError;
use super::interface::Interface;

/// What a VLAN interface stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VlanLink {
    /// Index of the interface below.
    pub lower: u32,
    /// The tag of its packets there.
    pub tag: VlanTag,
}

impl VlanLink {
    /// What a link message tells (`IFLA_LINK`, `IFLA_VLAN_ID`, `IFLA_VLAN_PROTOCOL` in `include/uapi/linux/if_link.h`); `None`
    /// for an interface of another kind, or on one in another network namespace.
    pub(super) fn of(message: &LinkMessage) -> Option<Self> {
        let (mut lower, mut id, mut service) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Link(index) => lower = Some(*index),
                LinkAttribute::LinkNetNsId(_) => return None,
                LinkAttribute::LinkInfo(information) => {
                    for item in information.iter().flat_map(vlan_items) {
                        match item {
                            InfoVlan::Id(value) => id = Some(*value),
                            InfoVlan::Protocol(protocol) => {
                                service = *protocol == VlanProtocol::Ieee8021Ad;
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let tag = if service {
            VlanTag::service(id?)
        } else {
            VlanTag::customer(id?)
        };
        Some(Self { lower: lower?, tag })
    }
}

/// What is said of a VLAN.
fn vlan_items(information: &LinkInfo) -> &[InfoVlan] {
    match information {
        LinkInfo::Data(InfoData::Vlan(items)) => items,
        _ => &[],
    }
}

/// Where the packets of an interface leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trunk {
    /// The interface that is no VLAN.
    pub interface: Interface,
    /// The tags of the packets there, the outer one first.
    pub vlans: Vlans,
}

/// Where packets of `interface` leave: by itself, without tags, when it is no VLAN; else by the one below, or below that one. A
/// VLAN in more than two others, or on an interface in another network namespace, is left as it is, and no AF_XDP works on it.
///
/// # Errors
/// [`InterfaceError`]: the interface below cannot be asked about.
pub fn trunk_of(interface: &Interface) -> Result<Trunk, InterfaceError> {
    trunk(interface, Interface::by_index)
}

fn trunk(
    interface: &Interface,
    by_index: impl Fn(u32) -> Result<Interface, InterfaceError>,
) -> Result<Trunk, InterfaceError> {
    let untagged = |interface: Interface| Trunk {
        interface,
        vlans: [None; 2],
    };
    let Some(inner) = interface.vlan else {
        return Ok(untagged(interface.clone()));
    };
    let lower = by_index(inner.lower)?;
    let Some(outer) = lower.vlan else {
        return Ok(Trunk {
            interface: lower,
            vlans: [Some(inner.tag), None],
        });
    };
    let lowest = by_index(outer.lower)?;
    if lowest.vlan.is_some() {
        return Ok(untagged(interface.clone()));
    }
    Ok(Trunk {
        interface: lowest,
        vlans: [Some(outer.tag), Some(inner.tag)],
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Parseable;

    use super::*;

    /// The link of `ip link add link IF name NAME type vlan id 101`, as Linux lists it: header, `IFLA_LINK`, `IFLA_LINKINFO`.
    const RECORDED: [u8; 72] = [
        0x00, 0x00, 0x01, 0x00, 0x22, 0x00, 0x00, 0x00, 0x43, 0x10, 0x01, 0x00, 0x00, 0x00, 0x00,
        0x00, // AF_UNSPEC, Ethernet, number 34, up and running
        0x08, 0x00, 0x05, 0x00, 0x02, 0x00, 0x00, 0x00, // IFLA_LINK: 2
        0x30, 0x00, 0x12, 0x00, // IFLA_LINKINFO
        0x09, 0x00, 0x01, 0x00, b'v', b'l', b'a', b'n', 0x00, 0x00, 0x00,
        0x00, // IFLA_INFO_KIND
        0x20, 0x00, 0x02, 0x00, // IFLA_INFO_DATA
        0x06, 0x00, 0x05, 0x00, 0x81, 0x00, 0x00, 0x00, // IFLA_VLAN_PROTOCOL
        0x06, 0x00, 0x01, 0x00, 0x65, 0x00, 0x00, 0x00, // IFLA_VLAN_ID
        0x0c, 0x00, 0x02, 0x00, 0x01, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
        0xff, // IFLA_VLAN_FLAGS
    ];
    /// Where the protocol is in it.
    const PROTOCOL_AT: usize = 48;

    fn link(bytes: &[u8]) -> Option<VlanLink> {
        VlanLink::of(&LinkMessage::parse(bytes).unwrap())
    }

    #[test]
    fn a_vlan_tells_its_tag_and_what_it_is_on() {
        let told = link(&RECORDED);
        let (lower, tag) = (2, VlanTag::customer(101));
        assert_eq!(told, Some(VlanLink { lower, tag }));
        let mut service = RECORDED;
        service[PROTOCOL_AT..PROTOCOL_AT + 2].copy_from_slice(&[0x88, 0xa8]);
        let tag = VlanTag::service(101);
        assert_eq!(link(&service), Some(VlanLink { lower, tag }));
    }

    #[test]
    fn what_is_no_vlan_here_is_none() {
        // The header alone, a veth's other end, and a VLAN whose interface is in another namespace (IFLA_LINK_NETNSID).
        assert_eq!(link(&RECORDED[..16]), None);
        assert_eq!(link(&RECORDED[..24]), None);
        let elsewhere = [0x08, 0x00, 0x25, 0x00, 0x00, 0x00, 0x00, 0x00];
        assert_eq!(link(&[&RECORDED[..], &elsewhere].concat()), None);
    }

    /// Interface 1 is a card, and every other one a VLAN with its own number on the one before.
    fn numbered(index: u32) -> Result<Interface, InterfaceError> {
        let vlan = (index > 1).then(|| VlanLink {
            lower: index - 1,
            tag: VlanTag::customer(index as u16),
        });
        Ok(Interface {
            index,
            name: format!("link{index}"),
            mac: None,
            mtu: 1500,
            up: true,
            rx_queues: 1,
            addresses: Vec::new(),
            kind: vlan.map(|_| "vlan".to_owned()),
            vlan,
            driver: None,
        })
    }

    #[test]
    fn packets_leave_by_the_lowest() {
        let tag = |id| Some(VlanTag::customer(id));
        for (index, lowest, vlans) in [
            (1, 1, [None, None]),
            (2, 1, [tag(2), None]),
            (3, 1, [tag(2), tag(3)]),
            (4, 4, [None, None]),
        ] {
            let trunk = trunk(&numbered(index).unwrap(), numbered).unwrap();
            assert_eq!((trunk.interface.index, trunk.vlans), (lowest, vlans));
        }
    }
}
