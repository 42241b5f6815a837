//! The largest MTU with a native XDP program on the interface, by driver.
//!
//! A program that takes only whole packets needs each in one page, with 256 bytes in front and the kernel's bookkeeping
//! (320 bytes) behind: on most drivers a page less 590 bytes, with the Ethernet header. blockd's program takes fragments,
//! which lifts the bound where the driver hands them over.

use super::kernel::KernelVersion;

/// A bound of the MTU.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Limit {
    /// XDP sets none; the device may.
    None,
    /// So many bytes.
    Bytes(u32),
    /// Not possible at all.
    Impossible,
}

/// What is known of a driver.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct MtuLimits {
    /// For programs that take only whole packets.
    pub whole: Limit,
    /// For programs that take fragments.
    pub fragments: Limit,
    /// Where this is known from.
    pub source: &'static str,
}

/// How a bound is computed.
#[derive(Copy, Clone)]
enum Rule {
    /// So many pages, less the room that each packet needs.
    Pages(u32),
    /// Bytes, on machines with pages of 4 KiB.
    Bytes(u32),
    Unlimited,
    Impossible,
}

struct Row {
    driver: &'static str,
    whole: Rule,
    fragments: Rule,
    /// The kernel that gave it fragments.
    since: KernelVersion,
    source: &'static str,
}

/// 256 bytes in front, `struct skb_shared_info` behind, and an Ethernet header (64-bit machines).
const ROOM: u32 = 256 + 320 + 14;
const ANY: KernelVersion = KernelVersion::new(0, 0);

/// A driver without fragments.
const fn plain(driver: &'static str, bytes: u32, source: &'static str) -> Row {
    Row {
        driver,
        whole: Rule::Bytes(bytes),
        fragments: Rule::Impossible,
        since: ANY,
        source,
    }
}

/// A driver that takes fragments without a bound.
const fn unbounded(
    driver: &'static str,
    bytes: u32,
    since: KernelVersion,
    source: &'static str,
) -> Row {
    Row {
        driver,
        whole: Rule::Bytes(bytes),
        fragments: Rule::Unlimited,
        since,
        source,
    }
}

const ROWS: &[Row] = &[
    Row {
        driver: "veth",
        whole: Rule::Pages(1),
        // MAX_SKB_FRAGS is 17 unless the kernel was built otherwise.
        fragments: Rule::Pages(18),
        since: KernelVersion::new(5, 18),
        source: "drivers/net/veth.c, veth_xdp_set()",
    },
    Row {
        driver: "virtio_net",
        whole: Rule::Pages(1),
        fragments: Rule::Unlimited,
        since: KernelVersion::new(6, 3),
        source: "drivers/net/virtio_net.c, virtnet_xdp_set()",
    },
    Row {
        driver: "i40e",
        whole: Rule::Bytes(3046),
        fragments: Rule::Bytes(9702),
        since: KernelVersion::new(6, 4),
        source: "drivers/net/ethernet/intel/i40e/i40e_main.c, i40e_xdp_setup()",
    },
    Row {
        driver: "ice",
        whole: Rule::Bytes(3046),
        fragments: Rule::Unlimited,
        since: KernelVersion::new(6, 3),
        source: "drivers/net/ethernet/intel/ice/ice_main.c, ice_xdp_setup_prog()",
    },
    unbounded(
        "mlx5_core",
        3498,
        KernelVersion::new(5, 18),
        "drivers/net/ethernet/mellanox/mlx5/core/en_main.c, mlx5e_params_validate_xdp()",
    ),
    unbounded(
        "bnxt_en",
        3502,
        KernelVersion::new(5, 19),
        "drivers/net/ethernet/broadcom/bnxt/bnxt_xdp.c, bnxt_xdp_set()",
    ),
    unbounded(
        "atlantic",
        2048,
        KernelVersion::new(5, 19),
        "drivers/net/ethernet/aquantia/atlantic/aq_main.c, aq_xdp_setup()",
    ),
    unbounded(
        "mvneta",
        3520,
        KernelVersion::new(5, 18),
        "drivers/net/ethernet/marvell/mvneta.c, mvneta_xdp_setup()",
    ),
    plain(
        "igb",
        3046,
        "drivers/net/ethernet/intel/igb/igb_main.c, igb_xdp_setup()",
    ),
    plain(
        "igc",
        1500,
        "drivers/net/ethernet/intel/igc/igc_xdp.c, igc_xdp_set_prog()",
    ),
    plain(
        "ixgbe",
        3050,
        "drivers/net/ethernet/intel/ixgbe/ixgbe_main.c, ixgbe_xdp_setup()",
    ),
    plain(
        "ixgbevf",
        3050,
        "drivers/net/ethernet/intel/ixgbevf/ixgbevf_main.c, ixgbevf_xdp_setup()",
    ),
    plain(
        "mlx4_en",
        3498,
        "drivers/net/ethernet/mellanox/mlx4/en_netdev.c, mlx4_en_check_xdp_mtu()",
    ),
    plain(
        "ena",
        3498,
        "drivers/net/ethernet/amazon/ena/ena_xdp.h, ENA_XDP_MAX_MTU",
    ),
    plain(
        "hv_netvsc",
        3506,
        "drivers/net/hyperv/netvsc_bpf.c, netvsc_xdp_set()",
    ),
    plain(
        "mana",
        3506,
        "drivers/net/ethernet/microsoft/mana/mana_bpf.c, MANA_XDP_MTU_MAX",
    ),
    plain(
        "vmxnet3",
        3494,
        "drivers/net/vmxnet3/vmxnet3_xdp.h, VMXNET3_XDP_MAX_MTU",
    ),
];

/// The bounds for a driver on a kernel with pages of so many bytes; `None`: not known.
#[must_use]
pub fn mtu_limits(driver: &str, kernel: KernelVersion, page: u32) -> Option<MtuLimits> {
    let row = ROWS.iter().find(|row| row.driver == driver)?;
    let limit = |rule| match rule {
        Rule::Pages(pages) => {
            let bytes = pages.checked_mul(page)?.checked_sub(ROOM)?;
            Some(Limit::Bytes(bytes.min(65_535)))
        }
        Rule::Bytes(bytes) => (page == 4096).then_some(Limit::Bytes(bytes)),
        Rule::Unlimited => Some(Limit::None),
        Rule::Impossible => Some(Limit::Impossible),
    };
    Some(MtuLimits {
        whole: limit(row.whole)?,
        fragments: match kernel < row.since {
            true => Limit::Impossible,
            false => limit(row.fragments)?,
        },
        source: row.source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(driver: &str, kernel: &str, page: u32) -> Option<(Limit, Limit)> {
        let limits = mtu_limits(driver, kernel.parse().unwrap(), page)?;
        Some((limits.whole, limits.fragments))
    }

    #[test]
    fn bounds_of_common_drivers() {
        use Limit::{Bytes, Impossible, None as Unbounded};
        let now = "6.18.44";
        assert_eq!(
            limits("veth", now, 4096),
            Some((Bytes(3506), Bytes(65_535)))
        );
        assert_eq!(
            limits("virtio_net", now, 4096),
            Some((Bytes(3506), Unbounded))
        );
        assert_eq!(
            limits("virtio_net", "6.1.0", 4096),
            Some((Bytes(3506), Impossible))
        );
        assert_eq!(limits("igb", now, 4096), Some((Bytes(3046), Impossible)));
        assert_eq!(limits("i40e", now, 4096), Some((Bytes(3046), Bytes(9702))));
        assert_eq!(
            limits("i40e", "6.3.0", 4096),
            Some((Bytes(3046), Impossible))
        );
        assert_eq!(limits("e1000e", now, 4096), None);
    }

    #[test]
    fn larger_pages_hold_larger_packets() {
        use Limit::Bytes;
        let (whole, _) = limits("veth", "6.18.0", 65_536).unwrap();
        assert_eq!(whole, Bytes(64_946));
        assert_eq!(limits("igb", "6.18.0", 65_536), None, "not known there");
    }

    #[test]
    fn every_driver_has_one_row_and_a_source() {
        for (number, row) in ROWS.iter().enumerate() {
            assert!(!row.source.is_empty());
            assert!(
                ROWS[..number]
                    .iter()
                    .all(|other| other.driver != row.driver),
                "{}",
                row.driver
            );
        }
    }
}
