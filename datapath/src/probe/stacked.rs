//! Devices that stand on others: what they are, and what can be served instead.

use blk_xdp::netlink::NetlinkError;

use super::links::Links;
use crate::net::{Interface, InterfaceError};

/// Why a device that stands on others cannot be served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stacked {
    /// What it is, and what does not work.
    pub reason: String,
    /// What to serve instead.
    pub advice: String,
}

impl Stacked {
    /// What is to be said of a device of this kind (`bond`), on this one, with these as its parts; `None` for one that
    /// stands on nothing.
    #[must_use]
    pub fn of(kind: Option<&str>, lower: Option<&str>, members: &[String]) -> Option<Self> {
        let members = match members {
            [] => "it has none now".to_owned(),
            members => members.join(", "),
        };
        let lower = lower.unwrap_or("in another namespace");
        let (reason, advice) = match kind? {
            "bond" | "team" => (
                "a bond: packets arrive at its members, and AF_XDP sockets take packets only of the interface they are bound to"
                    .to_owned(),
                format!("serve on a member ({members}), with an address of its own, taken out of the bond"),
            ),
            "bridge" => (
                "a bridge: it has no driver of its own that could run programs".to_owned(),
                format!("serve on a port ({members}), with an address of its own, taken out of the bridge"),
            ),
            "vlan" => (
                format!("a VLAN on {lower}: it has no driver of its own that could run programs"),
                format!("serve on the interface below ({lower}): it takes the packets of its VLANs, whose addresses stay where they are"),
            ),
            kind @ ("macvlan" | "macvtap" | "ipvlan" | "ipvtap") => (
                format!("a {kind} on {lower}: it has no driver of its own that could run programs"),
                format!("serve on the interface below ({lower})"),
            ),
            _ => return None,
        };
        Some(Self { reason, advice })
    }
}

/// Refuses an interface that stands on others, where AF_XDP does not work or not as it seems: a program can be attached
/// to a bond, and no socket ever gets a packet.
///
/// # Errors
/// [`InterfaceError::Stacked`] for such a one.
pub fn refuse_stacked(interface: &Interface) -> Result<(), InterfaceError> {
    let kind = interface.kind.as_deref();
    if Stacked::of(kind, None, &[]).is_none() {
        return Ok(());
    }
    let links = Links::read().map_err(|source: NetlinkError| InterfaceError::Netlink {
        interface: interface.index.into(),
        source,
    })?;
    let link = links.at(interface.index);
    let lower = link
        .and_then(|link| links.at(link.lower?))
        .map(|lower| lower.name.as_str());
    let members = link.map(|link| links.members(link)).unwrap_or_default();
    match Stacked::of(kind, lower, &members) {
        Some(stacked) => Err(InterfaceError::Stacked {
            interface: interface.name.clone(),
            reason: stacked.reason,
            advice: stacked.advice,
        }),
        None => Ok(()),
    }
}
