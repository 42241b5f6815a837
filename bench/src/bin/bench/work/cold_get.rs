//! One large file from the server's disk into memory, beside the disk alone.

use super::Bench;
use crate::cpu::Watch;
use crate::held;
use crate::measure::{self, Source};
use crate::options::Amounts;
use crate::order;
use crate::sample::{Measure, Sample};
use crate::scene::{GET, Near, Scene};
use crate::table::{Column, column};
use crate::tools::{self, Copy, Direction, Disk, Kind, READS, Tool};

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
    column::datapath(),
];

pub fn note(amounts: &Amounts) -> String {
    format!(
        "One file of {} MiB from the disk into a tmpfs, taken out of the server's page cache before each get; {} rounds. \
         fio reads the same file in each round (sequential, O_DIRECT, 1 MiB, {READS} in flight), and once more, unmeasured, before each \
         measured read: virtual disks may give more than their rate for a moment after a rest. The memory that the copy takes is \
         touched before each, since the host of a virtual machine may have to find it first. \"Of fio\" is the rate over \
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
    let room = (held::held_for(bench.scene.near.size) >> 20) + 64;
    let memory = bench.scene.directory.memory("memory", room);
    bench.scene.near.got = memory.join("got");
    let all = bench.tools.iter().copied();
    let mut tools: Vec<&dyn Tool> = vec![&Disk];
    tools.extend(all.filter(|tool| tool.kind() != Kind::Ceiling));
    bench.expect("", &tools);
    for run in 1..=bench.amounts.runs {
        round(run, &tools, bench);
    }
}

/// By turns; what fio gave is known at the end.
fn round(run: u32, tools: &[&dyn Tool], bench: &mut Bench<'_>) {
    let mut samples = Vec::new();
    for tool in order::of(tools, run) {
        bench.say("", &tool.name(), run);
        let one = |scene: &Scene| {
            let at_rest = scene.settle();
            let Near { got, size, .. } = &scene.near;
            held::hold(got, *size);
            after_a_read(scene);
            let mut sample = match tool.kind() {
                Kind::Ceiling => by_fio(scene),
                Kind::Ours | Kind::Peer => measure::copy(tool, Direction::Get, Source::Cold, scene),
            };
            if !at_rest {
                sample.insert(Measure::DiskBusyBefore, 1.0);
            }
            sample
        };
        if let Some(sample) = bench.attempt("", tool, one) {
            samples.push((tool, sample));
        }
    }
    let of_fio = samples
        .iter()
        .find(|(tool, _)| tool.kind() == Kind::Ceiling);
    let ceiling = of_fio.map(|(_, sample)| sample[Measure::GigabytesPerSecond]);
    for (tool, mut sample) in samples {
        if let Some(ceiling) = ceiling {
            let rate = sample[Measure::GigabytesPerSecond];
            sample.insert(Measure::OfDisk, rate / ceiling);
        }
        bench.add("", tool, sample);
    }
}

/// The disk is at its lasting rate, and the file not in the page cache.
fn after_a_read(scene: &Scene) {
    scene.far_files.cool(GET);
    read(scene);
    scene.far_files.cool(GET);
}

fn by_fio(scene: &Scene) -> Sample {
    let watch = Watch::at_once(scene);
    let seconds = read(scene);
    let spent = watch.stop();
    let gigabytes = scene.near.size as f64 / 1e9;
    let mut sample = Sample::from([
        (Measure::Seconds, seconds),
        (Measure::GigabytesPerSecond, gigabytes / seconds),
        (Measure::CpuSecondsPerGigabyte, spent.cpu.busy / gigabytes),
    ]);
    sample.extend(spent.load());
    sample
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
