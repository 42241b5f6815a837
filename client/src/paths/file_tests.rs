//! What becomes of the file: damaged, shared, old, full.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use super::file::{AGE_MAX, Content, FILE_MAX, SITES_MAX, VERSION, beside, read};
use super::*;

const NOW: u64 = 1_800_000_000;

fn site(interface: &str) -> Site {
    Site {
        host: "0123456789abcdef0123456789abcdef".to_owned(),
        namespace: 4_026_531_840,
        interface: interface.to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        driver: "veth".to_owned(),
        mtu: 1500,
        kernel: "6.18.0".to_owned(),
    }
}

fn ways(rate: f64, cpu_per_gb: f64) -> Ways {
    let sent = Cost { rate, cpu_per_gb };
    Ways {
        sent,
        received: Cost {
            rate: rate * 2.0,
            ..sent
        },
    }
}

fn run_at(at: u64) -> Run {
    Run {
        at,
        server: "storage1".to_owned(),
        bytes: u64::MAX,
        udp: ways(1.234_567_890_123e9, 0.123_456_789_012),
        copy: ways(1.234_567_890_123e9, 0.123_456_789_012),
    }
}

fn scene() -> (tempfile::TempDir, PathBuf, History) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blkcp/paths.json");
    let history = History::at(path.clone());
    (directory, path, history)
}

fn record(history: &History, site: &Site) -> Result<(), HistoryError> {
    let run = Run::now("storage1", 1 << 30, ways(2.5e9, 1.5), ways(1e9, 1.0));
    history.record(site, run)
}

#[test]
fn what_was_recorded_is_there_for_the_next_process() {
    let (_directory, path, history) = scene();
    let here = site("eth1");
    assert_eq!(history.look_up(&here).unwrap(), None);
    record(&history, &here).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let again = History::at(path);
    let run = again.look_up(&here).unwrap().unwrap();
    assert_eq!((run.udp, run.copy), (ways(2.5e9, 1.5), ways(1e9, 1.0)));
    assert_eq!((run.bytes, run.server.as_str()), (1 << 30, "storage1"));
    let others = [
        Site {
            host: "another".to_owned(),
            ..here.clone()
        },
        Site {
            namespace: 7,
            ..here.clone()
        },
        Site {
            mac: "02:00:00:00:00:02".to_owned(),
            ..here.clone()
        },
        Site {
            mtu: 9000,
            ..here.clone()
        },
        Site {
            driver: "e1000".to_owned(),
            ..here.clone()
        },
        Site {
            kernel: "6.12.0".to_owned(),
            ..here.clone()
        },
        site("eth2"),
    ];
    for other in others {
        assert_eq!(again.look_up(&other).unwrap(), None, "{other:?}");
    }
}

#[test]
fn nothing_is_remembered_where_there_is_no_file() {
    let none = History::none();
    let here = site("eth1");
    let recorded = record(&none, &here);
    assert!(
        matches!(recorded, Err(HistoryError::NoFile)),
        "{recorded:?}"
    );
    assert_eq!(none.look_up(&here).unwrap(), None);
}

#[test]
fn figures_of_two_runs_are_never_compared() {
    let (_directory, _, history) = scene();
    let here = site("eth1");
    let record = |udp, copy| {
        let run = Run::now("storage1", 1, udp, copy);
        history.record(&here, run).unwrap();
    };
    let choices = || {
        let run = history.look_up(&here).unwrap().unwrap();
        [Purpose::Send, Purpose::Receive, Purpose::Both].map(|purpose| run.choice(purpose))
    };
    record(ways(1e9, 1.0), ways(1e9, 0.5));
    assert_eq!(choices(), [Carrier::Copy; 3]);
    // With a slow disk at the other end, both are slow; UDP sockets of then would lose to copy mode of before.
    record(ways(1e8, 1.0), ways(1e8, 1.0));
    assert_eq!(choices(), [Carrier::Udp; 3]);
    let received = Cost {
        rate: 9e9,
        cpu_per_gb: 1.0,
    };
    let copy = Ways {
        received,
        ..ways(1e9, 1.0)
    };
    record(ways(1e9, 1.0), copy);
    let both = choices();
    assert_eq!(both, [Carrier::Udp, Carrier::Copy, Carrier::Copy]);
}

#[test]
fn what_is_forgotten_does_not_count_and_the_others_do() {
    let (directory, path, history) = scene();
    let (here, there) = (site("eth1"), site("eth2"));
    history.forget(&here).unwrap();
    assert!(!path.exists(), "there was nothing to forget");
    record(&history, &here).unwrap();
    record(&history, &there).unwrap();
    history.forget(&here).unwrap();
    assert_eq!(history.look_up(&here).unwrap(), None);
    assert!(history.look_up(&there).unwrap().is_some());
    History::none().forget(&here).unwrap();
    let files = fs::read_dir(directory.path().join("blkcp")).unwrap();
    assert_eq!(files.count(), 2, "the file and its lock");
}

#[test]
fn figures_age() {
    let here = site("eth1");
    let mut content = Content::default();
    content.add(&here, run_at(NOW));
    let counts = |now| content.newest(&here, now).is_some();
    assert!(counts(NOW) && counts(NOW + AGE_MAX));
    assert!(!counts(NOW + AGE_MAX + 1), "too old");
    assert!(!counts(NOW - 1), "not written yet");
}

#[test]
fn a_full_file_loses_the_oldest_and_stays_readable() {
    let (_directory, path, history) = scene();
    let long = |number| Site {
        kernel: "x".repeat(60),
        ..site(&format!("eth{number}"))
    };
    history
        .change(|content| {
            for number in 0..SITES_MAX + 10 {
                content.add(&long(number), run_at(NOW));
                content.add(&long(number), run_at(NOW + 1));
            }
        })
        .unwrap();
    assert!(fs::metadata(&path).unwrap().len() < FILE_MAX / 2);
    let content = read(&path).unwrap();
    let known = |number| content.newest(&long(number), NOW + 1).map(|run| run.at);
    assert_eq!((known(9), known(10)), (None, Some(NOW + 1)));
    assert_eq!(known(SITES_MAX + 9), Some(NOW + 1));
    assert_eq!(content.runs.len(), SITES_MAX);
}

#[test]
fn what_is_damaged_counts_as_empty_and_is_replaced() {
    let (_directory, path, history) = scene();
    let here = site("eth1");
    record(&history, &here).unwrap();
    let whole = fs::read(&path).unwrap();
    let other = String::from_utf8_lossy(&whole).replace("\"format\":2", "\"format\":1");
    let long = vec![b' '; FILE_MAX as usize + 1];
    let contents = [
        &whole[..whole.len() / 2],
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"{\"format\":2}",
        other.as_bytes(),
        &long,
    ];
    for bytes in contents {
        fs::write(&path, bytes).unwrap();
        let error = history.look_up(&here).unwrap_err();
        assert!(matches!(error, HistoryError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains("paths.json"), "{error}");
        history.forget(&here).unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            bytes,
            "there is nothing to forget"
        );
        record(&history, &here).unwrap();
        assert!(history.look_up(&here).unwrap().is_some(), "replaced");
    }
}

#[test]
fn figures_that_cannot_be_do_not_count() {
    let (_directory, path, history) = scene();
    let here = site("eth1");
    record(&history, &here).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("2500000000.0", "-1.0"),
        ("2500000000.0", "0.0"),
        ("1.5", "-1.5"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        fs::write(&path, changed).unwrap();
        assert_eq!(history.look_up(&here).unwrap(), None, "{to}");
    }
}

#[test]
fn figures_of_another_version_do_not_count() {
    let (_directory, path, history) = scene();
    let here = site("eth1");
    record(&history, &here).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let own = format!("\"version\":\"{VERSION}\"");
    let changed = text.replace(&own, "\"version\":\"0.0.0-other\"");
    assert_ne!(changed, text);
    fs::write(&path, changed).unwrap();
    assert_eq!(history.look_up(&here).unwrap(), None);
    record(&history, &here).unwrap();
    assert!(history.look_up(&here).unwrap().is_some(), "replaced");
    assert_eq!(read(&path).unwrap().runs.len(), 1);
}

#[test]
fn what_is_no_file_is_an_error_and_nothing_more() {
    let (directory, path, _) = scene();
    let here = site("eth1");
    fs::create_dir_all(&path).unwrap();
    let beneath_a_file = directory.path().join("file");
    fs::write(&beneath_a_file, "").unwrap();
    for path in [path, beneath_a_file.join("paths.json")] {
        let history = History::at(path);
        let recorded = record(&history, &here);
        assert!(
            matches!(recorded, Err(HistoryError::Io { .. })),
            "{recorded:?}"
        );
        assert!(history.look_up(&here).is_err());
    }
}

#[test]
fn a_link_in_the_place_of_the_lock_is_not_followed() {
    let (directory, path, history) = scene();
    fs::create_dir(path.parent().unwrap()).unwrap();
    let elsewhere = directory.path().join("elsewhere");
    symlink(&elsewhere, beside(&path, ".lock")).unwrap();
    let recorded = record(&history, &site("eth1"));
    assert!(
        matches!(recorded, Err(HistoryError::Io { .. })),
        "{recorded:?}"
    );
    assert!(!elsewhere.exists() && !path.exists());
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    let (_directory, path, mut history) = scene();
    // A busy machine is no reason to fail.
    history.patience = Duration::from_secs(600);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let history = &history;
            scope.spawn(move || {
                for number in 0..EACH {
                    let here = site(&format!("eth{writer}-{number}"));
                    record(history, &here).unwrap();
                    // Whoever reads without the lock sees a whole file.
                    history.look_up(&here).unwrap();
                }
            });
        }
    });
    assert_eq!(read(&path).unwrap().runs.len(), WRITERS * EACH);
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the file and its lock: {names:?}");
}
