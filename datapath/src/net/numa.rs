//! Where a network card is attached.

use std::fs;

use super::ethtool::{Driver, driver};
use crate::number_list::NumberList;

/// The CPUs of the NUMA node that an interface's card is attached to; none for software devices, and where there is one
/// node only.
#[must_use]
pub fn near_cpus(interface: &str) -> Vec<usize> {
    let list = driver(interface)
        .and_then(|driver| numa_node(&driver))
        .and_then(|node| {
            let path = format!("/sys/devices/system/node/node{node}/cpulist");
            fs::read_to_string(path).ok()?.parse::<NumberList>().ok()
        });
    let list = list.unwrap_or_default();
    list.numbers().iter().map(|&cpu| cpu as usize).collect()
}

/// The directory in sysfs of an interface's PCI device; `None` for others.
#[must_use]
pub fn device_directory(interface: &str) -> Option<String> {
    pci_device(&driver(interface)?)
}

/// Drivers of PCI devices behind which there may be no card, but the host of this virtual machine.
const PARAVIRTUAL: [&str; 2] = ["virtio_net", "vmxnet3"];

/// Whether an interface is a card, which fills in the checksums of what it sends. Software devices (veth, tun) and those of virtual
/// machines (virtio, Xen, Hyper-V) hand packets on without them, as those never were on a cable.
#[must_use]
pub fn is_card(interface: &str) -> bool {
    driver(interface).is_some_and(|driver| drives_a_card(&driver))
}

fn drives_a_card(driver: &Driver) -> bool {
    pci_device(driver).is_some() && !PARAVIRTUAL.contains(&driver.name.as_str())
}

/// The NUMA node that a driver's device is attached to.
pub(crate) fn numa_node(driver: &Driver) -> Option<u32> {
    let path = format!("{}/numa_node", pci_device(driver)?);
    // -1: there is only one.
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The directory of a driver's PCI device. By its address: /sys/class/net shows the network namespace that it was mounted in.
fn pci_device(driver: &Driver) -> Option<String> {
    // A PCI address, and nothing that leads elsewhere.
    let plain = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let bus = &driver.bus;
    if bus.is_empty() || bus.starts_with('.') || !bus.bytes().all(plain) {
        return None;
    }
    Some(format!("/sys/bus/pci/devices/{bus}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, bus: &str) -> Driver {
        Driver {
            name: name.to_owned(),
            version: String::new(),
            firmware: String::new(),
            bus: bus.to_owned(),
        }
    }

    #[test]
    fn an_address_of_a_device_leads_nowhere_else() {
        let at = |bus: &str| pci_device(&named("", bus));
        let card = at("0000:00:03.0").unwrap();
        assert_eq!(card, "/sys/bus/pci/devices/0000:00:03.0");
        for other in ["", "..", "../../x", "usb-1/2", "N/A"] {
            assert_eq!(at(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_card_is_told_apart() {
        let cases = [
            ("ixgbe", "0000:01:00.0", true),
            ("mlx5_core", "0000:01:00.1", true),
            ("virtio_net", "0000:00:03.0", false),
            ("vmxnet3", "0000:0b:00.0", false),
            ("veth", "", false),
            ("tun", "tap", false),
            ("hv_netvsc", "f8615163-0000-1000-2000-00224848a1b2", false),
            ("vif", "vif-0", false),
        ];
        for (name, bus, expected) in cases {
            assert_eq!(drives_a_card(&named(name, bus)), expected, "{name}");
        }
        assert!(!is_card("lo"));
    }

    #[test]
    fn a_software_device_is_near_no_cpu() {
        assert_eq!(near_cpus("lo"), [0; 0]);
    }
}
