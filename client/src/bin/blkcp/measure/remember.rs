//! What is remembered of a measurement, and why not.

use blk_client::paths::{History, Run, Site};
use blk_datapath::explain::explain;
use blk_datapath::link::missing_privileges;
use tokio::task::spawn_blocking;

use super::report::Row;

/// Bytes of a file whose figures are remembered, at least: of fewer, what goes on at its begin and end is too large a part.
pub const REMEMBERED_MIN: u64 = 256 << 20;

/// What was measured, and how.
pub struct Findings<'a> {
    /// UDP sockets, AF_XDP copy mode, zero-copy.
    pub rows: &'a [Row; 3],
    /// Where packets went by.
    pub sites: &'a [Site],
    /// The host at the other end.
    pub server: &'a str,
    /// Of the file, in bytes.
    pub size: u64,
    /// How many flows there are was said.
    pub has_flows: bool,
    /// Packets do not share messages as they do in copies.
    pub has_segments: bool,
}

/// Remembers the figures of both carriers; why not, if they are not. When copy mode cannot be had any more, it must not be taken for what
/// it was.
pub async fn remember(history: History, findings: &Findings<'_>) -> Result<(), String> {
    if findings.has_flows {
        let why = "--flows was given, and copies with it do not go by figures";
        return Err(why.to_owned());
    }
    let sites = findings.sites.to_vec();
    let run = run_of(findings);
    // Who has no privileges has found out nothing about the interface.
    let copy = findings.rows[1].absent.as_ref();
    let is_gone = copy.is_some_and(|absent| !absent.is_passing) && missing_privileges().is_none();
    let keep = move || {
        if is_gone {
            let stays = |error| format!("older figures stay: {}", explain(&error));
            for site in &sites {
                history.forget(site).map_err(stays)?;
            }
        }
        let [site] = sites.as_slice() else {
            let why = "the packets did not all go by one interface, with the same MTU";
            return Err(why.to_owned());
        };
        let kept = history.record(site, run?);
        kept.map_err(|error| explain(&error))
    };
    // It may have to wait for another process.
    let kept = spawn_blocking(keep).await;
    kept.unwrap_or_else(|error| Err(error.to_string()))
}

/// The figures, if they say what copies will cost.
fn run_of(findings: &Findings<'_>) -> Result<Run, String> {
    let Findings { rows, size, .. } = findings;
    if findings.has_segments {
        return Err(
            "with BLK_UDP_SEGMENTS, UDP sockets cost what they cost nowhere else".to_owned(),
        );
    }
    if *size < REMEMBERED_MIN {
        let least = REMEMBERED_MIN >> 20;
        return Err(format!("the file has less than {least} MiB"));
    }
    match [rows[0].ways(), rows[1].ways()] {
        [Some(udp), Some(copy)] => Ok(Run::now(findings.server, *size, udp, copy)),
        _ => Err("there are no two data paths to choose between by figures".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    #[test]
    fn what_copies_do_not_cost_is_not_remembered() {
        let here = [Site::named("lo", "", 65_536)];
        let two = [here[0].clone(), Site::named("lo", "", 1500)];
        let whole = [row(0, None), row(1, None), row(2, Some("x"))];
        let directory = tempfile::tempdir().unwrap();
        let history = History::at(directory.path().join("paths.json"));
        let findings = || Findings {
            rows: &whole,
            sites: &here,
            server: "storage1",
            size: REMEMBERED_MIN,
            has_flows: false,
            has_segments: false,
        };
        let kept =
            |findings: Findings<'_>| tokio_uring::start(remember(history.clone(), &findings));
        let is_known = |site| history.look_up(site).unwrap().is_some();
        let refused = [
            (
                "256 MiB",
                Findings {
                    size: REMEMBERED_MIN - 1,
                    ..findings()
                },
            ),
            (
                "--flows",
                Findings {
                    has_flows: true,
                    ..findings()
                },
            ),
            (
                "BLK_UDP_SEGMENTS",
                Findings {
                    has_segments: true,
                    ..findings()
                },
            ),
            (
                "one interface",
                Findings {
                    sites: &two,
                    ..findings()
                },
            ),
        ];
        for (says, findings) in refused {
            let why = kept(findings).unwrap_err();
            assert!(why.contains(says), "{why}");
            assert!(!is_known(&here[0]) && !is_known(&two[1]), "{says}");
        }
        assert_eq!(kept(findings()), Ok(()));
        let run = history.look_up(&here[0]).unwrap().unwrap();
        assert_eq!(run.server, "storage1");
    }

    #[test]
    fn what_cannot_be_had_any_more_is_forgotten_wherever_packets_went() {
        let sites = [Site::named("lo", "", 65_536), Site::named("lo", "", 1500)];
        let mut half = [row(0, None), row(1, Some("x")), row(2, Some("x"))];
        let directory = tempfile::tempdir().unwrap();
        let history = History::at(directory.path().join("paths.json"));
        let ways = half[0].ways().unwrap();
        for site in &sites {
            let run = Run::now("storage1", REMEMBERED_MIN, ways, ways);
            history.record(site, run).unwrap();
        }
        let known = || {
            let known = |site| history.look_up(site).unwrap().is_some();
            sites.each_ref().map(known)
        };
        let kept = |rows: &[Row; 3], sites: &[Site], has_flows| {
            let findings = Findings {
                rows,
                sites,
                server: "storage1",
                size: REMEMBERED_MIN,
                has_flows,
                has_segments: false,
            };
            tokio_uring::start(remember(history.clone(), &findings)).unwrap_err()
        };
        // Queues that others have are free another time, and there may be enough for fewer flows.
        half[1].absent.as_mut().unwrap().is_passing = true;
        assert!(kept(&half, &sites[..1], false).contains("two data paths"));
        assert_eq!(known(), [true; 2]);
        half[1].absent.as_mut().unwrap().is_passing = false;
        assert!(kept(&half, &sites, true).contains("--flows"));
        assert_eq!(known(), [true; 2]);
        assert!(kept(&half, &sites, false).contains("one interface"));
        // Whoever may have no AF_XDP does not know whether others may.
        assert_eq!(known(), [missing_privileges().is_some(); 2]);
    }
}
