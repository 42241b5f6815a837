//! What host and guest agreed on for a virtio network device. It decides whether the driver takes programs, and whether it has
//! zero-copy, which the driver's own announcement does not show.

use std::fs;

use crate::net::Driver;

/// Feature bits of include/uapi/linux/virtio_net.h.
const GUEST_CHECKSUM: u32 = 1;
const CONTROL_GUEST_OFFLOADS: u32 = 2;
const GUEST_TSO4: u32 = 7;
const GUEST_TSO6: u32 = 8;
const GUEST_ECN: u32 = 9;
const GUEST_UFO: u32 = 10;
const GUEST_USO4: u32 = 54;
const GUEST_USO6: u32 = 55;
/// `VIRTIO_F_ACCESS_PLATFORM` of include/uapi/linux/virtio_config.h.
const ACCESS_PLATFORM: u32 = 33;

/// The features in use, one bit each.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct VirtioFeatures {
    bits: u128,
    /// A guest of Xen: there, memory is always mapped for the device.
    xen: bool,
}

impl VirtioFeatures {
    /// Those of an interface with this driver; `None`: not virtio, or not told.
    pub(super) fn of(driver: &Driver) -> Option<Self> {
        if driver.name != "virtio_net" || !is_device_name(&driver.bus) {
            return None;
        }
        let text = ["pci", "platform", "ccw"]
            .iter()
            .find_map(|bus| features_below(&format!("/sys/bus/{bus}/devices/{}", driver.bus)))?;
        let hypervisor = fs::read_to_string("/sys/hypervisor/type").unwrap_or_default();
        Self::parse(&text, hypervisor.trim() == "xen")
    }

    /// As sysfs writes them: a `0` or `1` for each bit, the lowest first.
    fn parse(text: &str, xen: bool) -> Option<Self> {
        let mut bits = 0;
        for (number, digit) in text.trim().bytes().enumerate() {
            match digit {
                b'0' => {}
                b'1' if number < 128 => bits |= 1 << number,
                _ => return None,
            }
        }
        // A device without any feature is none.
        (bits != 0).then_some(Self { bits, xen })
    }

    const fn has(self, bit: u32) -> bool {
        self.bits & (1 << bit) != 0
    }

    /// Whether the driver refuses all XDP programs: the host may hand over joined packets, or ones without a checksum, and the
    /// guest has no way to switch that off (drivers/net/virtio_net.c, `virtnet_xdp_set()`).
    #[must_use]
    pub fn refuses_programs(self) -> bool {
        let joined = [
            GUEST_CHECKSUM,
            GUEST_TSO4,
            GUEST_TSO6,
            GUEST_ECN,
            GUEST_UFO,
            GUEST_USO4,
            GUEST_USO6,
        ];
        !self.has(CONTROL_GUEST_OFFLOADS) && joined.into_iter().any(|bit| self.has(bit))
    }

    /// Whether memory can be mapped for the device, without which zero-copy is refused (drivers/net/virtio_net.c,
    /// `virtnet_xsk_pool_enable()`; drivers/virtio/virtio_ring.c, `vring_use_dma_api()`).
    #[must_use]
    pub const fn maps_memory(self) -> bool {
        self.xen || self.has(ACCESS_PLATFORM)
    }
}

/// A plain name of a device, which leads nowhere else.
fn is_device_name(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'-' | b'_');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}

/// The features of the virtio device that belongs to the device at this path.
fn features_below(path: &str) -> Option<String> {
    fs::read_dir(path).ok()?.flatten().find_map(|entry| {
        let is_virtio = entry.file_name().to_str()?.starts_with("virtio");
        let features = is_virtio.then(|| entry.path().join("features"))?;
        fs::read_to_string(features).ok()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Features of these bits.
    pub(in super::super) fn features(bits: &[u32]) -> VirtioFeatures {
        VirtioFeatures {
            bits: bits.iter().map(|bit| 1 << bit).sum(),
            xen: false,
        }
    }

    #[test]
    fn the_text_of_sysfs_is_read_from_the_lowest_bit() {
        // A microVM: checksums and TSO without a switch, no mapped memory.
        let text = format!("1100010110111011000000000000010010010{}\n", "0".repeat(91));
        let features = VirtioFeatures::parse(&text, false).unwrap();
        assert!(features.has(0) && features.has(1) && !features.has(2) && features.has(32));
        assert!(features.refuses_programs() && !features.maps_memory());
        assert!(VirtioFeatures::parse(&text, true).unwrap().maps_memory());
        for wrong in ["", "0000", "01x", &"1".repeat(129)] {
            assert_eq!(VirtioFeatures::parse(wrong, false), None, "{wrong}");
        }
    }

    #[test]
    fn offloads_that_can_be_switched_off_do_no_harm() {
        assert!(features(&[GUEST_TSO4]).refuses_programs());
        assert!(features(&[GUEST_USO6]).refuses_programs());
        assert!(
            !features(&[GUEST_TSO4, GUEST_CHECKSUM, CONTROL_GUEST_OFFLOADS]).refuses_programs()
        );
        assert!(!features(&[ACCESS_PLATFORM]).refuses_programs());
        assert!(features(&[ACCESS_PLATFORM]).maps_memory());
    }

    #[test]
    fn other_drivers_are_not_asked() {
        let driver = |name: &str, bus: &str| Driver {
            name: name.to_owned(),
            version: String::new(),
            firmware: String::new(),
            bus: bus.to_owned(),
        };
        assert_eq!(VirtioFeatures::of(&driver("igb", "0000:00:03.0")), None);
        assert_eq!(VirtioFeatures::of(&driver("virtio_net", "../..")), None);
        assert_eq!(VirtioFeatures::of(&driver("virtio_net", "")), None);
        assert!(is_device_name("0000:00:03.0") && is_device_name("virtio-mmio.1"));
        assert!(!is_device_name("a/b") && !is_device_name(".."));
    }
}
