//! What can be read of a network interface.

use blk_xdp::{Attachment, ProgramInfo, link_state, program_info};

use super::ethtool::{Offloads, Queues, Rings, Steering, speed};
use super::links::{Link, Links};
use super::netdev::{BusyPoll, XdpFeatures};
use super::virtio::VirtioFeatures;
use crate::net::Driver;
use crate::net::ethtool::driver;
use crate::net::numa::numa_node;

/// A program on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XdpProgram {
    /// Its id, as `bpftool prog` lists it.
    pub id: u32,
    /// By driver or kernel.
    pub attachment: Attachment,
    /// Name and tag, or why they are not known.
    pub info: Result<ProgramInfo, String>,
}

/// An interface, without judgement. `None` and `Err`: it is not told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceFacts {
    /// What rtnetlink lists.
    pub link: Link,
    /// Name and kind of the interface below it; of a veth, none.
    pub lower: Option<String>,
    /// Name and kind of what it is part of.
    pub master: Option<(String, Option<String>)>,
    /// Names of the interfaces that are part of it.
    pub members: Vec<String>,
    /// Its driver.
    pub driver: Option<Driver>,
    /// Megabits per second.
    pub speed: Option<u32>,
    /// NUMA node that the device is attached to.
    pub numa_node: Option<u32>,
    /// What the driver announces about XDP, or why that is not known.
    pub features: Result<XdpFeatures, String>,
    /// Of a virtio device, what host and guest agreed on.
    pub virtio: Option<VirtioFeatures>,
    /// The program that is on it now.
    pub program: Option<XdpProgram>,
    /// Queues in use.
    pub queues: Option<Queues>,
    /// Descriptors of each queue.
    pub rings: Option<Rings>,
    /// How packets find their queue.
    pub steering: Steering,
    /// What is done to packets on their way.
    pub offloads: Offloads,
    /// How queues are polled.
    pub busy_poll: Option<BusyPoll>,
}

impl InterfaceFacts {
    /// Reads what there is about one of the interfaces.
    #[must_use]
    pub fn read(link: &Link, links: &Links) -> Self {
        let driver = driver(&link.name);
        let is_veth = link.kind.as_deref() == Some("veth");
        let lower = link.lower.filter(|_| !is_veth);
        Self {
            lower: lower.and_then(|lower| Some(links.at(lower)?.name.clone())),
            master: link
                .master
                .and_then(|master| links.at(master))
                .map(|master| (master.name.clone(), master.kind.clone())),
            members: links.members(link),
            speed: speed(&link.name),
            numa_node: driver.as_ref().and_then(numa_node),
            virtio: driver.as_ref().and_then(VirtioFeatures::of),
            driver,
            features: XdpFeatures::of(link.index),
            program: program(link.index),
            queues: Queues::of(&link.name),
            rings: Rings::of(&link.name),
            steering: Steering::of(&link.name),
            offloads: Offloads::of(&link.name),
            busy_poll: BusyPoll::of(link.index),
            link: link.clone(),
        }
    }

    /// Whether the driver takes programs as the interface is now; `None`: not known.
    #[must_use]
    pub fn native_xdp(&self) -> Option<bool> {
        let refused = self.virtio.is_some_and(VirtioFeatures::refuses_programs);
        match &self.features {
            _ if refused => Some(false),
            Ok(features) => Some(features.native()),
            Err(_) => None,
        }
    }

    /// Whether AF_XDP has zero-copy mode as the interface is now; `None`: not known.
    #[must_use]
    pub fn zero_copy(&self) -> Option<bool> {
        let maps = self.virtio.is_none_or(VirtioFeatures::maps_memory);
        match (self.native_xdp(), &self.features) {
            (Some(false), _) => Some(false),
            (_, Ok(features)) => Some(features.zero_copy() && maps),
            (_, Err(_)) => None,
        }
    }
}

/// The program on an interface.
fn program(index: u32) -> Option<XdpProgram> {
    let (attachment, id) = link_state(&index.into()).ok()?.xdp?;
    let info = program_info(id).map_err(|error| error.to_string());
    Some(XdpProgram {
        id,
        attachment,
        info,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_can_be_read() {
        let links = Links::read().unwrap();
        let lo = InterfaceFacts::read(links.named("lo").unwrap(), &links);
        assert_eq!(lo.lower, None);
        assert_eq!(lo.numa_node, None);
        assert!(lo.program.is_none());
        // Kernels before 6.3 do not tell; those that do know that `lo` has no native XDP.
        assert!(lo.features.is_err() || !lo.features.unwrap().native());
    }
}
