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

/// What `auto` takes on an interface: zero-copy AF_XDP where the driver has it, else by what was measured there. It never
/// tries anything out.
pub fn auto(interface: &Interface, history: &History, purpose: Purpose) -> Auto {
    match no_zero_copy(interface) {
        None => Auto::ZeroCopy,
        Some(why) => {
            let site = Site::of(interface);
            let (taken, reason) = without_zero_copy(&site, history, purpose, &why);
            Auto::Instead(taken, reason)
        }
    }
}

/// What is taken where zero-copy AF_XDP is not to be had, for this reason, and why.
pub fn without_zero_copy(
    site: &Site,
    history: &History,
    purpose: Purpose,
    why: &str,
) -> (Carrier, String) {
    let (taken, figures) = match history.look_up(site) {
        Ok(Some(run)) => (run.choice(purpose), in_words(&run, purpose)),
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
        "measured {} against {:.2} at {:.2} {other_name}, {}",
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
            "measured 1.20 GB/s at 0.90 CPU s/GB against 0.80 at 2.00 in copy mode, 2026-11-20"
        );
        let (udp, copy) = (run.copy, run.udp);
        assert_eq!(
            in_words(&Run { udp, copy, ..run }, Purpose::Receive),
            "measured 0.60 GB/s at 0.90 CPU s/GB against 0.40 at 2.00 over UDP sockets, 2026-11-20"
        );
    }

    #[test]
    fn what_is_known_decides_and_what_cannot_be_read_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("paths.json");
        let history = History::at(path.clone());
        let site = Site::named("eth1", "veth", 1500);
        let of = || without_zero_copy(&site, &history, Purpose::Both, "none here");
        let (taken, reason) = of();
        assert_eq!(taken, Carrier::Udp);
        assert!(
            reason.starts_with("none here; nothing measured"),
            "{reason}"
        );
        let (udp, copy) = (run().copy, run().udp);
        history.record(&site, 1 << 29, udp, copy).unwrap();
        let (taken, reason) = of();
        assert_eq!(taken, Carrier::Copy);
        assert!(reason.starts_with("none here; measured 0.80"), "{reason}");
        std::fs::write(&path, "{").unwrap();
        let (taken, reason) = of();
        assert_eq!(taken, Carrier::Udp);
        assert!(reason.contains("paths.json is damaged"), "{reason}");
    }
}
