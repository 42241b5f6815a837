//! What is remembered of data paths, and where it holds.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use blk_datapath::net::{Interface, trunk_of};
use serde::{Deserialize, Serialize};

use super::choice::choose;
use crate::resume::machine;

/// What carries blocks where a driver has no zero-copy: `auto` has to choose between these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// AF_XDP; the kernel copies.
    Copy,
    /// UDP sockets.
    Udp,
}

impl Carrier {
    /// In a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "AF_XDP copy mode",
            Self::Udp => "UDP sockets",
        }
    }
}

/// Which way blocks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To send.
    Send,
    /// To receive.
    Receive,
    /// For both, as much one way as the other.
    Both,
}

/// Where figures hold: on another interface, or this one with another driver, MTU or kernel, others may. A home directory may be that
/// of several hosts, and an interface of the same name may be in each network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// What tells this host from others: its machine-id(5), or its name.
    pub host: String,
    /// The network namespace: the inode of `/proc/thread-self/ns/net` (namespaces(7)); 0 where that is not told.
    pub namespace: u64,
    /// Name of the interface that packets leave by and come in by: below a VLAN, the one that it stands on.
    pub interface: String,
    /// Its Ethernet address, as ip-link(8) writes it; empty where it has none. The number of a namespace that is gone becomes that of
    /// another one.
    pub mac: String,
    /// Name of its driver; empty where it does not tell.
    pub driver: String,
    /// The largest packet, in bytes from the IP header on, that both the route and the interface take.
    pub mtu: u32,
    /// The kernel's release, as `uname -r` tells it.
    pub kernel: String,
}

impl Site {
    /// Packets of at most so many bytes, from the IP header on, that are sent by an interface as it is now, or, where that is a VLAN, by the one that it
    /// stands on, in the network namespace of this thread, with the running kernel.
    pub fn of(link: &Interface, packet_max: u32) -> Self {
        let trunk = trunk_of(link).map(|trunk| trunk.interface);
        let interface = trunk.as_ref().unwrap_or(link);
        let driver = interface.driver.as_deref().unwrap_or_default();
        Self {
            mac: interface.mac.map(in_hex).unwrap_or_default(),
            ..Self::named(&interface.name, driver, packet_max.min(interface.mtu))
        }
    }

    /// An interface of this name, driver and MTU here, without an Ethernet address.
    pub fn named(interface: &str, driver: &str, mtu: u32) -> Self {
        let namespace = std::fs::metadata("/proc/thread-self/ns/net");
        Self {
            host: String::from_utf8_lossy(&machine()).into_owned(),
            namespace: namespace.map_or(0, |namespace| namespace.ino()),
            interface: interface.to_owned(),
            mac: String::new(),
            driver: driver.to_owned(),
            mtu,
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
        }
    }
}

/// An Ethernet address, as ip-link(8) writes it.
fn in_hex(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What moving blocks has cost this process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes per second.
    #[serde(rename = "bytes_per_second")]
    pub rate: f64,
    /// Seconds of this process's CPU time, in user space and in the kernel, for 10^9 bytes.
    #[serde(rename = "cpu_seconds_per_gb")]
    pub cpu_per_gb: f64,
}

impl Cost {
    /// Of so many bytes in so many seconds, with so much CPU time; `None`: these are no figures.
    pub fn of(bytes: u64, seconds: f64, cpu_seconds: f64) -> Option<Self> {
        let cost = Self {
            rate: bytes as f64 / seconds,
            cpu_per_gb: cpu_seconds * 1e9 / bytes as f64,
        };
        cost.is_sound().then_some(cost)
    }

    /// Whether both can be figures of a transfer.
    pub fn is_sound(&self) -> bool {
        self.rate.is_finite()
            && self.rate > 0.0
            && self.cpu_per_gb.is_finite()
            && self.cpu_per_gb >= 0.0
    }

    /// The medians of some; of an even number, the mean of the two in the middle. `None`: there are none.
    pub fn median(costs: &[Self]) -> Option<Self> {
        let middle = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            let upper = *values.get(values.len() / 2)?;
            Some(match values.len() % 2 {
                0 => f64::midpoint(values[values.len() / 2 - 1], upper),
                _ => upper,
            })
        };
        Some(Self {
            rate: middle(|cost| cost.rate)?,
            cpu_per_gb: middle(|cost| cost.cpu_per_gb)?,
        })
    }

    /// As much of one as of the other, one after the other.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            rate: 2.0 / (1.0 / self.rate + 1.0 / other.rate),
            cpu_per_gb: f64::midpoint(self.cpu_per_gb, other.cpu_per_gb),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, cpu_per_gb } = self;
        write!(out, "{:.2} GB/s at {cpu_per_gb:.2} CPU s/GB", rate / 1e9)
    }
}

/// What a carrier has cost in both directions, seen from this end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ways {
    /// From here.
    pub sent: Cost,
    /// To here.
    pub received: Cost,
}

impl Ways {
    /// What counts for a purpose.
    pub fn cost(&self, purpose: Purpose) -> Cost {
        match purpose {
            Purpose::Send => self.sent,
            Purpose::Receive => self.received,
            Purpose::Both => self.sent.with(self.received),
        }
    }
}

/// What was found when both carriers were measured by turns, with the same file and the same other end: medians.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// The host at the other end, as it was named.
    pub server: String,
    /// Size of the file.
    pub bytes: u64,
    /// UDP sockets.
    pub udp: Ways,
    /// AF_XDP copy mode.
    pub copy: Ways,
}

impl Run {
    /// One that ends now, with this host and a file of so many bytes.
    pub fn now(server: &str, bytes: u64, udp: Ways, copy: Ways) -> Self {
        Self {
            at: now(),
            server: server.to_owned(),
            bytes,
            udp,
            copy,
        }
    }

    /// The carrier to take.
    pub fn choice(&self, purpose: Purpose) -> Carrier {
        choose(self.udp.cost(purpose), self.copy.cost(purpose))
    }

    /// The day when it ended, as ISO 8601 writes it (UTC).
    pub fn date(&self) -> String {
        date(self.at)
    }

    /// Whether all its figures can be figures of transfers.
    pub fn is_sound(&self) -> bool {
        let ways = [self.udp, self.copy];
        ways.iter()
            .all(|ways| ways.sent.is_sound() && ways.received.is_sound())
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A day, as ISO 8601 writes it, of a time in seconds since 1970 (UTC).
fn date(seconds: u64) -> String {
    // Days are counted from 1 March of year 0: the leap day is the last of a year then, and 400 years have 146,097 days
    // (the proleptic Gregorian calendar).
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + next_year;
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use blk_datapath::net::VlanLink;
    use blk_proto::net::VlanTag;

    use super::*;

    #[test]
    fn days_have_their_dates() {
        let cases = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_798_761_599, "2026-12-31"),
            (4_107_542_400, "2100-03-01"),
        ];
        for (seconds, text) in cases {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn both_ways_take_the_time_of_both() {
        let cost = |rate, cpu_per_gb| Cost { rate, cpu_per_gb };
        let both = cost(1e9, 1.0).with(cost(3e9, 0.5));
        assert_eq!(both, cost(1.5e9, 0.75));
        assert_eq!(both.to_string(), "1.50 GB/s at 0.75 CPU s/GB");
    }

    #[test]
    fn medians_are_those_of_rate_and_cpu_time_apart() {
        let cost = |rate, cpu_per_gb| Cost { rate, cpu_per_gb };
        let mut costs = vec![cost(90.0, 2.0), cost(1.0, 3.0), cost(2.0, 1.0)];
        assert_eq!(Cost::median(&costs), Some(cost(2.0, 2.0)));
        costs.push(cost(4.0, 2.5));
        assert_eq!(Cost::median(&costs), Some(cost(3.0, 2.25)));
        assert_eq!(Cost::median(&[]), None);
    }

    #[test]
    fn a_site_is_of_this_host_and_namespace() {
        let here = Site::named("eth1", "veth", 1500);
        assert!(!here.host.is_empty() && !here.kernel.is_empty());
        let namespace = std::fs::metadata("/proc/self/ns/net").unwrap();
        assert_eq!(here.namespace, namespace.ino());
    }

    #[test]
    fn a_route_or_a_vlan_with_its_own_mtu_is_another_site() {
        let loopback = Interface::by_name("lo").expect("every namespace has one");
        let whole = Site::of(&loopback, loopback.mtu);
        assert_eq!((whole.interface.as_str(), whole.mtu), ("lo", loopback.mtu));
        assert_eq!(whole.mac, "00:00:00:00:00:00");
        // More than the interface takes is not sent.
        assert_eq!(Site::of(&loopback, u32::MAX), whole);
        let by_route = Site::of(&loopback, 1400);
        assert_eq!(by_route.mtu, 1400);
        let vlan = Interface {
            name: "lo.7".to_owned(),
            mtu: 1400,
            vlan: Some(VlanLink {
                lower: loopback.index,
                tag: VlanTag::customer(7),
            }),
            ..loopback
        };
        assert_eq!(Site::of(&vlan, vlan.mtu), by_route, "on the one below");
        assert_ne!(by_route, whole);
    }

    #[test]
    fn what_is_no_figure_is_none() {
        assert_eq!(
            Cost::of(2_000_000_000, 4.0, 1.0),
            Some(Cost {
                rate: 5e8,
                cpu_per_gb: 0.5
            })
        );
        for (bytes, seconds, cpu) in [
            (0, 1.0, 1.0),
            (1, 0.0, 1.0),
            (1, 1.0, -1.0),
            (1, f64::NAN, 0.0),
        ] {
            assert_eq!(
                Cost::of(bytes, seconds, cpu),
                None,
                "{bytes} {seconds} {cpu}"
            );
        }
    }
}
