//! Which interrupts a card's queues have: by the numbers that sysfs lists for the device, and the names that its driver gave
//! them.

use std::collections::BTreeMap;
use std::fs;

use blk_datapath::number_list::NumberList;

/// The interrupt of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// What the driver calls it.
    pub name: String,
    /// The queue that it belongs to.
    pub queue: u32,
    /// The CPUs that it may go to.
    pub cpus: NumberList,
}

/// The interrupts of the queues of the device in this directory of sysfs.
pub(super) fn of_device(directory: &str, driver: &str) -> Vec<Interrupt> {
    let numbers = fs::read_dir(format!("{directory}/msi_irqs"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect::<Vec<u32>>();
    let table = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    let names = names(&table);
    let interrupt = |number: u32| {
        let name = names.get(&number)?.clone();
        Some(Interrupt {
            queue: queue_of(driver, &name)?,
            cpus: affinity(number)?,
            number,
            name,
        })
    };
    let mut interrupts: Vec<Interrupt> = numbers.into_iter().filter_map(interrupt).collect();
    interrupts.sort_by_key(|interrupt| interrupt.number);
    interrupts
}

/// What an interrupt is called now.
pub(super) fn name(number: u32) -> Option<String> {
    names(&fs::read_to_string("/proc/interrupts").ok()?).remove(&number)
}

/// The CPUs that an interrupt may go to.
pub(super) fn affinity(number: u32) -> Option<NumberList> {
    let list = fs::read_to_string(affinity_path(number)).ok()?;
    list.parse().ok()
}

/// Where they are set.
pub(super) fn affinity_path(number: u32) -> String {
    format!("/proc/irq/{number}/smp_affinity_list")
}

/// Number and name of each interrupt in /proc/interrupts: the last word of its line.
fn names(table: &str) -> BTreeMap<u32, String> {
    let of_line = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let name = rest.split_whitespace().next_back()?;
        Some((number.trim().parse().ok()?, name.to_owned()))
    };
    table.lines().filter_map(of_line).collect()
}

/// The queue that an interrupt of this name belongs to; `None`: not that of a queue, or of a driver that is not known.
fn queue_of(driver: &str, name: &str) -> Option<u32> {
    // mlx5 has the device behind the name.
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (front, number) = name.split_at(name.len() - digits);
    let front = front.to_ascii_lowercase();
    let ends_with = |ends: &[&str]| ends.iter().any(|end| front.ends_with(end));
    let is_queue = match driver {
        "virtio_net" => ends_with(&["-input.", "-output."]),
        // Completion vectors are those of the channels, as long as nothing else of the card takes some first.
        "mlx5_core" => front == "mlx5_comp",
        // eth1-TxRx-0, i40e-eth1-TxRx-0, eth1-Tx-Rx-0; eth1-rx-0 and eth1-tx-0 where they are apart.
        "ixgbe" | "ixgbevf" | "igb" | "igbvf" | "igc" | "i40e" | "iavf" | "ice" | "ena"
        | "bnxt_en" => {
            // Flow director has one of its own.
            ends_with(&["-txrx-", "-tx-rx-", "-rx-", "-tx-"]) && !front.contains("fdir")
        }
        _ => false,
    };
    is_queue.then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "            CPU0       CPU1
   0:         21          0  IR-IO-APIC    2-edge      timer
  24:          0          0  PCI-MSIX-0000:00:03.0   0-edge      virtio0-config
  25:     123456          0  PCI-MSIX-0000:00:03.0   1-edge      virtio0-input.0
  26:          0     654321  PCI-MSIX-0000:00:03.0   2-edge      virtio0-output.0
  27:          5          7  PCI-MSIX-0000:00:03.0   3-edge      virtio0-input.1
 NMI:          0          0   Non-maskable interrupts
 ERR:          0
";

    #[test]
    fn names_are_read_from_the_kernels_table() {
        let names = names(TABLE);
        assert_eq!(names[&25], "virtio0-input.0");
        assert_eq!(names[&0], "timer");
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn drivers_name_the_interrupts_of_their_queues_each_in_its_way() {
        let cases = [
            ("virtio_net", "virtio0-input.3", Some(3)),
            ("virtio_net", "virtio10-output.12", Some(12)),
            ("virtio_net", "virtio0-config", None),
            ("ixgbe", "eth1-TxRx-7", Some(7)),
            ("ixgbe", "eth1", None),
            ("igb", "enp1s0-TxRx-2", Some(2)),
            ("igb", "enp1s0-rx-1", Some(1)),
            ("igc", "enp2s0-tx-1", Some(1)),
            ("i40e", "i40e-enp3s0f0-TxRx-15", Some(15)),
            ("i40e", "i40e-0000:3b:00.0:misc", None),
            ("i40e", "i40e-0000:3b:00.0:fdir-TxRx-0", None),
            ("ice", "ice-eth4-TxRx-63", Some(63)),
            ("ice", "ice-0000:17:00.0:misc", None),
            ("mlx5_core", "mlx5_comp5@pci:0000:03:00.0", Some(5)),
            ("mlx5_core", "mlx5_async0@pci:0000:03:00.0", None),
            ("ena", "eth0-Tx-Rx-4", Some(4)),
            ("ena", "ena-mgmnt@pci:0000:00:05.0", None),
            ("veth", "eth0-TxRx-0", None),
            ("ixgbe", "eth1-TxRx-", None),
            ("ixgbe", "", None),
        ];
        for (driver, name, queue) in cases {
            assert_eq!(queue_of(driver, name), queue, "{driver} {name}");
        }
    }

    #[test]
    fn a_device_without_interrupts_has_none() {
        assert_eq!(of_device("/sys/bus/pci/devices/none", "ixgbe"), []);
        assert_eq!(name(u32::MAX), None);
    }
}
