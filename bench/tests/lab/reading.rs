//! Which way files are read: told by the counters of blockd (a get) and of blkcp (a put).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::support::client::{Outcome, blkcp};
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files, ready};

/// Many runs, and a bit that is no whole sector.
const SIZE: u64 = (64 << 20) + 777;

/// Takes the file out of the page cache.
fn cool(path: &Path) {
    let file = File::open(path).expect("the test's own file");
    file.sync_all().expect("cannot sync a test file");
    fadvise(&file, 0, None, Advice::DontNeed).expect("fadvise");
}

/// Reads the file into the page cache.
fn warm(path: &Path) {
    let mut file = File::open(path).expect("the test's own file");
    let read = std::io::copy(&mut file, &mut std::io::sink()).expect("cannot read a test file");
    assert_eq!(read, SIZE);
}

/// What a get added to the daemon's counters.
fn get(hosts: &Hosts, directory: &Directory, daemon: &Daemon) -> BTreeMap<String, u64> {
    let before = daemon.statistics();
    let target = directory.join("back");
    let arguments = [Path::new("10.77.0.1:data/file"), &target];
    blkcp(hosts, directory, &arguments).ok();
    let mut grown = daemon.statistics();
    for (name, value) in &mut grown {
        *value -= before.get(name).copied().unwrap_or(0).min(*value);
    }
    grown
}

/// Under a name of its own each time: the same put again would find all of it there.
fn put(hosts: &Hosts, directory: &Directory, source: &Path, name: &str) -> Outcome {
    let outcome = blkcp(
        hosts,
        directory,
        &[source, Path::new(&format!("10.77.0.1:data/{name}"))],
    );
    outcome.ok();
    outcome
}

#[test]
fn hot_files_come_from_the_cache_and_cold_ones_stay_cold() {
    if !ready("hot_files_come_from_the_cache_and_cold_ones_stay_cold") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let file = export.join("file");
    files::write(&file, SIZE, 1);
    let hosts = Hosts::up(Link::of(3498));
    let daemon = Daemon::start(&hosts, &export, &directory);

    cool(&file);
    // Twice: the first get does not make it hot.
    for _ in 0..2 {
        let cold = get(&hosts, &directory, &daemon);
        // A range that one flow takes over from another is read twice.
        assert!(cold["bytes_direct"] >= SIZE, "{cold:?}");
        assert_eq!(cold["bytes_cache"] + cold["bytes_buffered"], 0, "{cold:?}");
        assert!(cold["cachestat_calls"] < cold["reads_direct"], "{cold:?}");
    }
    files::assert_same(&file, &directory.join("back"));

    // The comparison has read it, but say so.
    warm(&file);
    let hot = get(&hosts, &directory, &daemon);
    let all = hot["bytes_direct"] + hot["bytes_cache"] + hot["bytes_buffered"];
    assert!(all >= SIZE, "{hot:?}");
    // The kernel may take some of it at any time; single pages are filled in again.
    assert!(
        hot["bytes_cache"] + hot["bytes_buffered"] >= SIZE / 10 * 8,
        "{hot:?}"
    );
    files::assert_same(&file, &directory.join("back"));
}

#[test]
fn a_put_tells_how_its_source_was_read() {
    if !ready("a_put_tells_how_its_source_was_read") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let source = directory.join("source");
    files::write(&source, SIZE, 2);
    let hosts = Hosts::up(Link::of(9000));
    let _daemon = Daemon::start(&hosts, &export, &directory);

    cool(&source);
    for name in ["cold", "still-cold"] {
        let cold = put(&hosts, &directory, &source, name);
        assert!(cold.number("direct_bytes") >= SIZE, "{}", cold.stdout);
        assert_eq!(cold.number("cache_bytes"), 0, "{}", cold.stdout);
    }
    warm(&source);
    let hot = put(&hosts, &directory, &source, "hot");
    let through_cache = hot.number("cache_bytes") + hot.number("buffered_bytes");
    assert!(through_cache >= SIZE / 10 * 8, "{}", hot.stdout);
    files::assert_same(&source, &export.join("hot"));
}
