//! A disk that stands still in the middle of a copy.

use std::time::Duration;

use super::support::client::start;
use super::support::daemon::Daemon;
use super::support::disk::Frozen;
use super::support::hosts::{Host, Hosts, Link};
use super::support::trace::{Trace, monotonic_ms};
use super::support::{Directory, files, ready};

/// How long the disk stands still.
const STALL: Duration = Duration::from_secs(5);

/// What a put over 200 Mb/s needs nine seconds for.
const SIZE: u64 = 200 << 20;

/// Growth of the daemon that is no growth: allocators and lazily touched pages.
const NOISE: u64 = 4 << 20;

/// More than a worker has frames for.
const ALL_FRAMES: u64 = 64 << 20;

#[test]
fn a_stalled_disk_slows_the_sender_and_nothing_is_dropped() {
    if !ready("a_stalled_disk_slows_the_sender_and_nothing_is_dropped") {
        return;
    }
    let mut directory = Directory::new();
    let export = directory.small_disk("export", 320);
    let source = directory.join("file");
    files::write(&source, SIZE, 1);
    let trace = directory.join("trace");
    let path = |path: &std::path::Path| path.to_str().expect("a plain path").to_owned();
    let (rate, trace_path) = ("200mbit", path(&trace));
    let wire = ["--rate", rate, "--queue", "250kb", "--delay", "200us"];
    let hosts = Hosts::up(Link {
        mtu: 3498,
        wire: &[&wire[..], &["--trace", &trace_path]].concat(),
    });
    let daemon = Daemon::start(&hosts, &export, &directory);
    let mut copy = start(&hosts, &directory, &[&path(&source), "10.77.0.1:data/file"]);
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        copy.is_running(),
        "the copy was over before the disk stood still"
    );
    let memory = daemon.memory();
    let stalled = monotonic_ms();
    let frozen = Frozen::freeze(&export);
    let begun = monotonic_ms();
    std::thread::sleep(STALL);
    let during = daemon.statistics();
    let grown = daemon.memory().saturating_sub(memory);
    let thawed = monotonic_ms();
    frozen.thaw();
    copy.outcome().ok();
    files::assert_same(&source, &export.join("file"));

    for counter in ["rx_dropped", "rx_ring_full", "rx_fill_ring_empty"] {
        assert_eq!(during[counter], 0, "{counter} in {during:?}");
        assert_eq!(daemon.statistics()[counter], 0, "{counter} after the stall");
    }
    assert!(grown < NOISE, "blockd grew by {grown} bytes");
    let sent = Trace::read(&trace).of(Host::Client);
    let taken = sent.bytes(begun, thawed);
    assert!(taken < ALL_FRAMES, "{taken} bytes came in during the stall");
    let before = sent.bytes(stalled - 1_000, stalled);
    let after = sent.bytes(thawed + 1_000, thawed + 2_000);
    println!(
        "{taken} bytes in the stall, blockd grew by {grown}; rate before {before}, a second after it {after} bytes/s"
    );
    assert!(
        3 * after >= before,
        "{after} bytes in the second second after the stall, {before} in the last one before it"
    );
}
