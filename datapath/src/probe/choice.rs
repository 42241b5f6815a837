//! Whether an interface has the best data path.

use super::netdev::XdpFeatures;
use super::virtio::VirtioFeatures;
use crate::net::Interface;
use crate::net::ethtool::driver;

/// Why AF_XDP has no zero-copy mode on an interface, although it can be had there; `None`: it has it, or it is not known.
///
/// Without zero-copy mode the kernel copies each packet of an AF_XDP socket on its own, while one call moves up to 64 KiB
/// over a UDP socket. On veth UDP sockets have 4.5 to 7 times the rate of copy mode at MTU 1500, 1.3 to 1.4 times at 3498, and
/// 1.4 to 2.7 times above (docs/measurements.md). And a program in native mode has the interface give up segmentation for
/// everybody else's traffic as well. So `auto` takes UDP sockets then; blkcp does not where it has figures that say otherwise.
#[must_use]
pub fn no_zero_copy(interface: &Interface) -> Option<String> {
    let features = XdpFeatures::of(interface.index).ok()?;
    let driver = driver(&interface.name);
    let maps = driver
        .as_ref()
        .and_then(VirtioFeatures::of)
        .is_none_or(VirtioFeatures::maps_memory);
    let name = driver.map_or_else(|| "of this interface".to_owned(), |driver| driver.name);
    reason(features, maps, &name)
}

fn reason(features: XdpFeatures, maps: bool, driver: &str) -> Option<String> {
    let zero_copy = features.zero_copy() && maps;
    (features.native() && !zero_copy).then(|| format!("driver {driver} has no zero-copy mode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bits: u64, maps: bool) -> Option<String> {
        let features = XdpFeatures {
            bits,
            zero_copy_segments: None,
        };
        reason(features, maps, "veth")
    }

    #[test]
    fn it_is_said_where_there_is_no_zero_copy() {
        assert_eq!(of(0b1011, true), None, "all that AF_XDP wants");
        let text = "driver veth has no zero-copy mode";
        assert_eq!(of(0b0011, true).as_deref(), Some(text));
        assert!(
            of(0b1011, false).is_some(),
            "a virtio device that cannot map memory"
        );
        assert_eq!(of(0, true), None, "no native mode: AF_XDP says so itself");
    }
}
