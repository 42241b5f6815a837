//! One large file from the server's disk into memory, beside the disk alone.

use super::{Bench, Work};
use crate::figures::{Measure, Sample};
use crate::measure::{self, Source, busy};
use crate::options::Amounts;
use crate::scene::{GET, Scene};
use crate::table::{Column, column};
use crate::tools::{self, Copy, Direction, Disk, Kind, Tool};

pub const COLUMNS: &[Column] = &[
    column::min("GB/s min", Measure::GigabytesPerSecond, 2),
    column::median("median", Measure::GigabytesPerSecond, 2),
    column::max("max", Measure::GigabytesPerSecond, 2),
    column::min("of fio min", Measure::OfDisk, 2),
    column::median("median", Measure::OfDisk, 2),
    column::max("max", Measure::OfDisk, 2),
    column::median("CPU s/GB", Measure::CpuSecondsPerGigabyte, 2),
    column::to_peer("rate / fastest peer", Measure::GigabytesPerSecond),
    column::to_peer("CPU / its", Measure::CpuSecondsPerGigabyte),
];

pub fn note(amounts: &Amounts) -> String {
    format!(
        "One file of {} MiB from the disk into a tmpfs, taken out of the server's page cache before each get; {} rounds. \
         fio reads the same file in each round (sequential, O_DIRECT, 1 MiB, 10 in flight), and once more, unmeasured, before each \
         measured read: virtual disks may give more than their rate for a moment after a rest. \"Of fio\" is the rate over \
         fio's in the same round.",
        amounts.size >> 20,
        amounts.runs
    )
}

pub fn run(bench: &mut Bench<'_>) {
    if !tools::is_installed("fio") {
        eprintln!(
            "bench: SKIPPED: cold-get: fio is not installed, and its rate is what the others are measured by"
        );
        return;
    }
    let room = (bench.scene.near.size >> 20) + 64;
    let memory = bench.scene.directory.memory("memory", room);
    let usual = std::mem::replace(&mut bench.scene.near.got, memory.join("got"));
    for run in 1..=bench.amounts.runs {
        round(run, bench);
    }
    bench.scene.near.got = usual;
}

fn round(run: u32, bench: &mut Bench<'_>) {
    let work = Work::ColdGet;
    bench.say(work, "", &Disk.name(), run);
    let mut disk = by_fio(bench.scene);
    let ceiling = disk[&Measure::GigabytesPerSecond];
    disk.insert(Measure::OfDisk, 1.0);
    bench.add(work, "", &Disk, disk);
    let tools = bench.tools.iter();
    for tool in tools.filter(|tool| tool.kind() != Kind::Ceiling) {
        bench.say(work, "", &tool.name(), run);
        after_a_read(bench.scene);
        let mut sample = measure::copy(*tool, Direction::Get, Source::Cold, bench.scene);
        let rate = sample[&Measure::GigabytesPerSecond];
        sample.insert(Measure::OfDisk, rate / ceiling);
        bench.add(work, "", *tool, sample);
    }
}

/// The disk is at its lasting rate, and the file not in the page cache.
fn after_a_read(scene: &Scene) {
    scene.far_files.cool(GET);
    read(scene);
    scene.far_files.cool(GET);
}

fn by_fio(scene: &Scene) -> Sample {
    after_a_read(scene);
    let before = busy(scene);
    let seconds = read(scene);
    let busy = busy(scene) - before;
    let gigabytes = scene.near.size as f64 / 1e9;
    Sample::from([
        (Measure::Seconds, seconds),
        (Measure::GigabytesPerSecond, gigabytes / seconds),
        (Measure::CpuSecondsPerGigabyte, busy / gigabytes),
    ])
}

/// Reads the file past the page cache. Seconds.
fn read(scene: &Scene) -> f64 {
    let Copy {
        mut command, told, ..
    } = Disk::read(&scene.near);
    let output = command.output().expect("cannot run fio");
    let told = told(&String::from_utf8_lossy(&output.stdout));
    let told = told.unwrap_or_else(|error| panic!("{error:#}: {command:?}"));
    told.seconds.expect("fio tells how long it took")
}
