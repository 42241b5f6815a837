//! The Ethernet address of a host on the link.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use blk_xdp::netlink::{self, NetlinkError};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::{InterfaceError, NeighbourError};
use super::interface::Interface;

/// How soon after the kernel has asked the link its table is looked at first. On a LAN the answer is there.
const FIRST_LOOK: Duration = Duration::from_micros(500);
/// The longest pause between two looks; pauses double.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// An entry of the neighbour table.
enum Entry {
    /// The address is known, maybe to be verified by the kernel while it is used.
    Known([u8; 6]),
    /// The kernel is asking.
    Incomplete,
    /// The kernel has asked, and got no answer.
    Failed,
    /// The interface does not ask (`NOARP`).
    NoArp,
    /// There is no entry, or one without an Ethernet address.
    Unknown,
}

/// The Ethernet address of a neighbour, if the kernel's table has it (states REACHABLE, STALE, DELAY, PROBE
/// and PERMANENT). `interface` is an interface index.
///
/// Follow changes by calling again: a host that changes its network card keeps its IP address.
///
/// # Errors
/// [`NeighbourError`] when the table cannot be read.
pub fn neighbour(interface: u32, address: IpAddr) -> Result<Option<[u8; 6]>, NeighbourError> {
    Ok(match lookup(interface, address)? {
        Entry::Known(mac) => Some(mac),
        Entry::Incomplete | Entry::Failed | Entry::NoArp | Entry::Unknown => None,
    })
}

/// The Ethernet address of a neighbour, which the kernel asks the link for when it does not know it.
///
/// Only ARP or neighbour discovery goes out, no packet to the host itself. Needs CAP_NET_ADMIN when the
/// address is not known yet. The kernel gives up after some 3 s (`mcast_solicit`, `retrans_time_ms`).
///
/// # Errors
/// [`NeighbourError`]: nobody answers, not within `timeout`, or the interface has no neighbours.
pub fn resolve_neighbour(
    interface: u32,
    address: IpAddr,
    timeout: Duration,
) -> Result<[u8; 6], NeighbourError> {
    if let Some(mac) = neighbour(interface, address)? {
        return Ok(mac);
    }
    let link = Interface::by_index(interface)?;
    if !link.up {
        return Err(not_possible(link, "the link is down"));
    }
    solicit_neighbour(interface, address)?;
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_LOOK;
    loop {
        std::thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
        match lookup(interface, address)? {
            Entry::Known(mac) => return Ok(mac),
            Entry::Failed => {
                let interface = link.name;
                return Err(NeighbourError::NoAnswer { address, interface });
            }
            Entry::NoArp => return Err(not_possible(link, "ARP is off")),
            // The kernel drops entries when the table is full, or flushed; ask again then.
            Entry::Unknown => solicit_neighbour(interface, address)?,
            Entry::Incomplete => {}
        }
        if Instant::now() >= deadline {
            return Err(NeighbourError::Timeout {
                address,
                interface: link.name,
                timeout,
            });
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A neighbour message about `address`.
fn message(interface: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = interface;
    let (family, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    let destination = NeighbourAttribute::Destination(destination);
    message.attributes.push(destination);
    message
}

/// What the table says of an address.
fn lookup(interface: u32, address: IpAddr) -> Result<Entry, NeighbourError> {
    Ok(entry(interface, address)?.map_or(Entry::Unknown, |entry| Entry::of(&entry)))
}

/// Reads one entry of the table.
fn entry(interface: u32, address: IpAddr) -> Result<Option<NeighbourMessage>, NeighbourError> {
    let request = RouteNetlinkMessage::GetNeighbour(message(interface, address));
    match netlink::request(request) {
        Ok(answers) => Ok(answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(entry) => Some(entry),
            _ => None,
        })),
        Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(None),
        Err(source) => Err(failure(interface, address, source)),
    }
}

/// Makes the kernel ask the link for an address that it does not know, as if it had a packet to send (`NTF_USE`), and
/// does not wait for the answer. Needs CAP_NET_ADMIN.
///
/// # Errors
/// [`NeighbourError`]: not allowed, or no such interface.
pub fn solicit_neighbour(interface: u32, address: IpAddr) -> Result<(), NeighbourError> {
    let mut message = message(interface, address);
    message.header.flags = NeighbourFlags::Use;
    netlink::create(RouteNetlinkMessage::NewNeighbour(message))
        .map_err(|error| refused(interface, address, error))
}

/// Has the kernel ask a neighbour that it knows whether it still has its Ethernet address, and when no answer comes
/// within `patience`, has it look for the address anew. Entries that the administrator made stay. Needs CAP_NET_ADMIN.
///
/// Other traffic goes on to the known address while the answer is awaited, and waits for the time of a look-up after.
///
/// # Errors
/// [`NeighbourError`]: not allowed, or the table cannot be read.
pub fn verify_neighbour(
    interface: u32,
    address: IpAddr,
    patience: Duration,
) -> Result<(), NeighbourError> {
    match state(interface, address)? {
        Some(NeighbourState::Permanent | NeighbourState::Noarp) => return Ok(()),
        None | Some(NeighbourState::Incomplete | NeighbourState::Failed) => {
            return solicit_neighbour(interface, address);
        }
        Some(_) => set_state(interface, address, NeighbourState::Probe)?,
    }
    let deadline = Instant::now() + patience;
    while state(interface, address)? == Some(NeighbourState::Probe) {
        if Instant::now() >= deadline {
            set_state(interface, address, NeighbourState::Failed)?;
            return solicit_neighbour(interface, address);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The state of a table's entry.
fn state(interface: u32, address: IpAddr) -> Result<Option<NeighbourState>, NeighbourError> {
    Ok(entry(interface, address)?.map(|entry| entry.header.state))
}

/// Changes the state of an entry; one that is gone by now needs no change.
fn set_state(interface: u32, address: IpAddr, state: NeighbourState) -> Result<(), NeighbourError> {
    let mut message = message(interface, address);
    message.header.state = state;
    match netlink::request(RouteNetlinkMessage::NewNeighbour(message)) {
        Err(error) if error.refusal() != Some(libc::ENOENT) => {
            Err(refused(interface, address, error))
        }
        _ => Ok(()),
    }
}

impl Entry {
    /// What an entry's message says.
    fn of(message: &NeighbourMessage) -> Self {
        let mac = || {
            message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
                    _ => None,
                })
        };
        match message.header.state {
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent => mac().map_or(Self::Unknown, Self::Known),
            NeighbourState::Incomplete => Self::Incomplete,
            NeighbourState::Failed => Self::Failed,
            NeighbourState::Noarp => Self::NoArp,
            _ => Self::Unknown,
        }
    }
}

/// The error for a request that the kernel refused.
fn failure(interface: u32, address: IpAddr, source: NetlinkError) -> NeighbourError {
    match source.refusal() {
        Some(libc::ENODEV) => InterfaceError::NotFound(interface.into()).into(),
        _ => NeighbourError::Netlink { address, source },
    }
}

/// The error for a change that the kernel refused.
fn refused(interface: u32, address: IpAddr, source: NetlinkError) -> NeighbourError {
    match source.refusal() {
        Some(libc::EPERM) => NeighbourError::NoPrivileges(address),
        _ => failure(interface, address, source),
    }
}

fn not_possible(link: Interface, reason: &'static str) -> NeighbourError {
    NeighbourError::NotPossible {
        interface: link.name,
        reason,
    }
}
