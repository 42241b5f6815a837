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

    #[test]
    fn an_address_of_a_device_leads_nowhere_else() {
        let at = |bus: &str| {
            pci_device(&Driver {
                name: String::new(),
                version: String::new(),
                firmware: String::new(),
                bus: bus.to_owned(),
            })
        };
        let card = at("0000:00:03.0").unwrap();
        assert_eq!(card, "/sys/bus/pci/devices/0000:00:03.0");
        for other in ["", "..", "../../x", "usb-1/2", "N/A"] {
            assert_eq!(at(other), None, "{other}");
        }
    }

    #[test]
    fn a_software_device_is_near_no_cpu() {
        assert_eq!(near_cpus("lo"), [0; 0]);
    }
}
