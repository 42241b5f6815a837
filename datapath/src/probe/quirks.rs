//! What is known to go wrong with a driver in a range of kernels. The rows are in [`quirks_table`](super::quirks_table).

use super::finding::{Finding, Level};
use super::kernel::{KernelRange, KernelVersion};
use super::quirks_table::QUIRKS;

/// When a row is worth saying.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// In any case.
    Always,
    /// When the driver has zero-copy, or it is not known.
    ZeroCopy,
    /// When the driver has none, or it is not known.
    NoZeroCopy,
}

/// A row of the table.
#[derive(Copy, Clone, Debug)]
pub struct Quirk {
    /// The driver's name, as `ethtool -i` shows it; of a disk, the kernel's name for its kind.
    pub driver: &'static str,
    /// The kernels: a [`KernelRange`].
    pub kernels: &'static str,
    /// When it is worth saying.
    pub when: When,
    /// How much it matters.
    pub level: Level,
    /// What is wrong, or has to be known.
    pub what: &'static str,
    /// Why, as far as it is known.
    pub reason: &'static str,
    /// What helps: a command, with `{IF}` for the interface; `None`: nothing but another kernel or mode.
    pub fix: Option<&'static str>,
    /// Where this is known from.
    pub source: &'static str,
}

/// The rows for a driver and a kernel.
pub fn quirks(driver: &str, kernel: KernelVersion) -> impl Iterator<Item = &'static Quirk> {
    QUIRKS.iter().filter(move |row| {
        // That each range can be read is tested.
        row.driver == driver
            && (row.kernels.parse()).is_ok_and(|range: KernelRange| range.contains(kernel))
    })
}

impl Quirk {
    /// Whether it is worth saying where it is known (or not) that the driver has zero-copy.
    pub(super) fn applies(&self, zero_copy: Option<bool>) -> bool {
        match self.when {
            When::Always => true,
            When::ZeroCopy => zero_copy != Some(false),
            When::NoZeroCopy => zero_copy != Some(true),
        }
    }

    /// As a finding about an interface or a disk of this name.
    pub(super) fn finding(&self, name: &str) -> Finding {
        let kernels = match self.kernels {
            "*" => "any kernel".to_owned(),
            range => format!("Linux {range}"),
        };
        Finding {
            fix: self.fix.map(|fix| fix.replace("{IF}", name)),
            ..Finding::new(
                "quirk",
                self.level,
                format!(
                    "{}, {kernels}: {} ({})",
                    self.driver, self.what, self.reason
                ),
            )
            .source(self.source)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(driver: &str, kernel: &str) -> String {
        quirks(driver, kernel.parse().unwrap())
            .map(|row| row.what)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn every_row_has_a_range_a_reason_and_a_source() {
        for row in QUIRKS {
            let range: Result<KernelRange, _> = row.kernels.parse();
            assert!(range.is_ok(), "{row:?}");
            assert!(!row.driver.is_empty() && row.what.len() > 10, "{row:?}");
            assert!(row.reason.len() > 10, "{row:?}");
            let from = ["https://", "drivers/"];
            assert!(
                from.iter().any(|start| row.source.starts_with(start)),
                "{row:?}"
            );
            assert!(matches!(row.level, Level::Note | Level::Warning), "{row:?}");
            // A fix can be run as it is: nothing in it is left to be filled in but the interface.
            let fix = row.fix.unwrap_or_default().replace("{IF}", "eth1");
            assert!(!fix.contains(['{', '}']), "{row:?}");
        }
    }

    #[test]
    fn queue_numbers_of_mlx5_before_6_1() {
        assert!(said("mlx5_core", "6.0.19").contains("second half"));
        assert!(!said("mlx5_core", "6.1.0").contains("second half"));
    }

    #[test]
    fn virtio_net_has_zero_copy_since_6_13() {
        assert!(said("virtio_net", "6.12.57").contains("no zero-copy"));
        assert_eq!(said("virtio_net", "6.13.0"), "");
    }

    #[test]
    fn igb_has_zero_copy_since_6_14() {
        assert!(said("igb", "6.13.0").contains("no zero-copy"));
        assert!(!said("igb", "6.14.0").contains("no zero-copy"));
        assert!(said("igb", "6.14.0").contains("the link goes down"));
    }

    #[test]
    fn joints_on_nvme_until_6_19() {
        assert!(said("nvme", "6.18.44").contains("joints"));
        assert_eq!(said("nvme", "6.19.0"), "");
    }

    #[test]
    fn unknown_drivers_have_no_rows() {
        assert_eq!(said("e1000", "6.18.0"), "");
        assert_eq!(said("", "6.18.0"), "");
    }

    #[test]
    fn rows_are_said_where_they_matter() {
        let kernel = "6.18.0".parse().unwrap();
        let row = quirks("ice", kernel)
            .find(|row| row.when == When::ZeroCopy)
            .unwrap();
        assert!(row.applies(None) && row.applies(Some(true)) && !row.applies(Some(false)));
        let earlier = "6.3.1".parse().unwrap();
        let row = quirks("mlx5_core", earlier).next().unwrap();
        let finding = row.finding("eth7");
        assert!(
            finding.text.starts_with("mlx5_core, Linux <6.4: "),
            "{finding:?}"
        );
        assert!(finding.fix.unwrap().contains(" eth7 "));
        assert!(finding.source.is_some());
    }
}
