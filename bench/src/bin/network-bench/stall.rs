//! A disk that stands still in the middle of a transfer.

use std::time::Duration;

use blk_bench::lab::Directory;
use blk_bench::lab::disk::Frozen;
use blk_bench::lab::hosts::Host;
use blk_bench::lab::trace::monotonic_ms;

use super::row::{Row, Sample, repeat};
use super::scene::{Scene, megabits};

const STALL: Duration = Duration::from_secs(5);

/// Slow enough that network and not disk sets the pace before and after.
const WIRE: [&str; 6] = ["--rate", "500mbit", "--queue", "250kb", "--delay", "500us"];

/// Megabytes of the transfer: ten seconds of the link.
const SIZE: u64 = 600;

/// The rate in the second second after the stall against that in the last two before it.
pub fn measure(runs: u32) -> Vec<Row> {
    let [samples] = repeat("disk stall", runs, || [one()]);
    let name = "rate from 1 to 3 s after a stall of 5 s / rate before it, 500 Mb/s, 1 ms";
    vec![Row::ratio(name, 0.8, samples)]
}

fn one() -> Sample {
    let mut directory = Directory::new();
    let export = directory.small_disk("export", SIZE + 200);
    let scene = Scene::on(directory, export, 1, &WIRE);
    let file = scene.file(SIZE);
    let copy = scene.start(1, &file);
    std::thread::sleep(Duration::from_secs(4));
    let memory = scene.daemon.memory();
    let stalled = monotonic_ms();
    let frozen = Frozen::freeze(&scene.export);
    std::thread::sleep(STALL);
    let grown = scene.daemon.memory().saturating_sub(memory);
    let thawed = monotonic_ms();
    frozen.thaw();
    let outcome = copy.outcome();
    outcome.ok();
    let counters = scene.daemon.statistics();
    let count = |name| counters.get(name).copied().unwrap_or_default();
    let sent = scene.trace().of(Host::Client);
    let before = megabits(sent.bytes(stalled - 2_000, stalled), 2_000);
    let after = megabits(sent.bytes(thawed + 1_000, thawed + 3_000), 2_000);
    let first = megabits(sent.bytes(thawed, thawed + 1_000), 1_000);
    let details = format!(
        "{before:.0} Mb/s before, {first:.0} in the first second after, {after:.0} then; {} kB came in the stall; blockd \
         grew {} kB; rx_dropped {} rx_ring_full {} rx_fill_ring_empty {}; {} packets sent again",
        sent.bytes(stalled, thawed) / 1_000,
        grown / 1_000,
        count("rx_dropped"),
        count("rx_ring_full"),
        count("rx_fill_ring_empty"),
        outcome.number("retransmitted"),
    );
    (after / before, details)
}
