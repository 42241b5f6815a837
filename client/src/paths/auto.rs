//! What `auto` takes on an interface, and why.

use blk_datapath::net::Interface;
use blk_datapath::probe::no_zero_copy;

use super::file::History;
use super::record::{Carrier, Purpose, Run, Site};

/// What `auto` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auto {
    /// AF_XDP, zero-copy: the driver has it, or does not say that it has not.
    ZeroCopy,
    /// One of these, for a reason.
    Instead(Carrier, String),
}

/// A put of less goes over UDP sockets where there is no zero-copy: to attach an XDP program and take it off again costs everybody on the
/// interface more than so few bytes gain.
pub const PROGRAM_MIN: u64 = 64 << 20;

/// What a data path is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Which way blocks will mostly go.
    pub purpose: Purpose,
    /// Bytes to be moved at most, where that is known before there is a connection.
    pub bytes: Option<u64>,
    /// How many flows there are to be was said: figures are about as many as blkcp takes by itself.
    pub has_flows: bool,
}

impl Wish {
    /// Why UDP sockets are taken whatever the figures are.
    fn needs_no_figures(&self) -> Option<String> {
        if self.has_flows {
            let why = "figures of blkcp measure do not count for a number of flows that was given";
            return Some(why.to_owned());
        }
        let is_small = self.bytes.is_some_and(|bytes| bytes < PROGRAM_MIN);
        (is_small && self.purpose == Purpose::Send).then(|| {
            let least = PROGRAM_MIN >> 20;
            format!("less than {least} MiB: too small to attach a program for")
        })
    }
}

/// What `auto` takes on an interface: zero-copy AF_XDP where the driver has it, else by what was measured there, where packets
/// are those of the site. It never tries anything out.
pub fn auto(interface: &Interface, site: &Site, history: &History, wish: Wish) -> Auto {
    match no_zero_copy(interface) {
        None => Auto::ZeroCopy,
        Some(why) => {
            let (taken, reason) = without_zero_copy(site, history, wish, &why);
            Auto::Instead(taken, reason)
        }
    }
}

/// What is taken where zero-copy AF_XDP is not to be had, for this reason, and why.
pub fn without_zero_copy(
    site: &Site,
    history: &History,
    wish: Wish,
    why: &str,
) -> (Carrier, String) {
    if let Some(reason) = wish.needs_no_figures() {
        return (Carrier::Udp, format!("{why}; {reason}"));
    }
    let (taken, figures) = match history.look_up(site) {
        Ok(Some(run)) => (run.choice(wish.purpose), in_words(&run, wish.purpose)),
        Ok(None) => (
            Carrier::Udp,
            "nothing measured here, and without an XDP program nobody else gets slower".to_owned(),
        ),
        Err(error) => {
            tracing::warn!("{error}");
            (Carrier::Udp, error.to_string())
        }
    };
    (taken, format!("{why}; {figures}"))
}

/// The figures that made the choice.
fn in_words(run: &Run, purpose: Purpose) -> String {
    let (taken, other) = match run.choice(purpose) {
        Carrier::Udp => (run.udp, run.copy),
        Carrier::Copy => (run.copy, run.udp),
    };
    let other_name = match run.choice(purpose) {
        Carrier::Udp => "in copy mode",
        Carrier::Copy => "over UDP sockets",
    };
    let other = other.cost(purpose);
    format!(
        "measured to {}: {} against {:.2} at {:.2} {other_name}, {}",
        run.server,
        taken.cost(purpose),
        other.rate / 1e9,
        other.cpu_per_gb,
        run.date()
    )
}

#[cfg(test)]
mod tests {
    use super::super::record::{Cost, Ways};
    use super::*;

    fn run() -> Run {
        let both = |rate, cpu_per_gb| Ways {
            sent: Cost { rate, cpu_per_gb },
            received: Cost {
                rate: rate / 2.0,
                cpu_per_gb,
            },
        };
        Run {
            at: 1_795_132_800,
            server: "storage1".to_owned(),
            bytes: 1 << 29,
            udp: both(1.2e9, 0.9),
            copy: both(0.8e9, 2.0),
        }
    }

    #[test]
    fn the_reason_has_the_figures() {
        let run = run();
        assert_eq!(
            in_words(&run, Purpose::Send),
            "measured to storage1: 1.20 GB/s at 0.90 CPU s/GB against 0.80 at 2.00 in copy mode, 2026-11-20"
        );
        let (udp, copy) = (run.copy, run.udp);
        assert_eq!(
            in_words(
                &Run {
                    udp,
                    copy,
                    ..run.clone()
                },
                Purpose::Receive
            ),
            "measured to storage1: 0.60 GB/s at 0.90 CPU s/GB against 0.40 at 2.00 over UDP sockets, 2026-11-20"
        );
    }

    #[test]
    fn what_is_known_decides_and_what_cannot_be_read_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("paths.json");
        let history = History::at(path.clone());
        let site = Site::named("eth1", "veth", 1500);
        let both = Wish {
            purpose: Purpose::Both,
            bytes: None,
            has_flows: false,
        };
        let of = || without_zero_copy(&site, &history, both, "none here");
        let (taken, reason) = of();
        assert_eq!(taken, Carrier::Udp);
        assert!(
            reason.starts_with("none here; nothing measured"),
            "{reason}"
        );
        let (udp, copy) = (run().copy, run().udp);
        let run = Run::now("storage1", 1 << 29, udp, copy);
        history.record(&site, run).unwrap();
        let (taken, reason) = of();
        assert_eq!(taken, Carrier::Copy);
        assert!(
            reason.starts_with("none here; measured to storage1: 0.80"),
            "{reason}"
        );
        let with = |purpose, bytes, has_flows| {
            let wish = Wish {
                purpose,
                bytes,
                has_flows,
            };
            without_zero_copy(&site, &history, wish, "none here")
        };
        let (taken, reason) = with(Purpose::Receive, Some(1 << 40), true);
        assert_eq!(taken, Carrier::Udp);
        assert!(reason.contains("number of flows"), "{reason}");
        let (taken, reason) = with(Purpose::Send, Some(PROGRAM_MIN - 1), false);
        assert_eq!(taken, Carrier::Udp);
        assert!(reason.contains("too small"), "{reason}");
        let enough = [
            (Purpose::Send, Some(PROGRAM_MIN)),
            (Purpose::Send, None),
            (Purpose::Receive, Some(1)),
        ];
        for (purpose, bytes) in enough {
            assert_eq!(with(purpose, bytes, false).0, Carrier::Copy, "{bytes:?}");
        }
        std::fs::write(&path, "{").unwrap();
        let (taken, reason) = of();
        assert_eq!(taken, Carrier::Udp);
        assert!(reason.contains("paths.json is damaged"), "{reason}");
    }
}
