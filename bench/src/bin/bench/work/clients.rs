//! Several blkcp at once, each with a file of its own, into one blockd.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use blk_bench::lab::{binary, files};
use blk_datapath::worker::WorkerConfig;

use super::Bench;
use crate::attempt::attempt;
use crate::cpu::Watch;
use crate::far_files::{sync, warm};
use crate::options::Amounts;
use crate::order;
use crate::process::{huge_pages, peak_memory, threads_named};
use crate::running::Running;
use crate::sample::{Measure, Sample};
use crate::scene::Scene;
use crate::table::{Column, column};
use crate::tools::{Tool, remote};

/// Clients at once.
const COUNTS: [u32; 3] = [1, 4, 16];
/// How often the server's huge pages are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of a frame.
const FRAME: f64 = 4096.0;
const MEBIBYTE: f64 = 1048576.0;

pub const COLUMNS: &[Column] = &[
    column::min("GB/s min", Measure::GigabytesPerSecond, 2),
    column::median("median", Measure::GigabytesPerSecond, 2),
    column::max("max", Measure::GigabytesPerSecond, 2),
    column::median("of one client", Measure::OfOneClient, 2),
    column::median("CPU s/GB", Measure::CpuSecondsPerGigabyte, 2),
    column::max("peak memory MiB", Measure::PeakMemoryMebibytes, 0),
    column::max("of it huge pages MiB", Measure::PeakHugePagesMebibytes, 0),
    column::max("of it frames MiB", Measure::FramesMebibytes, 0),
    column::datapath(),
];

pub fn note(amounts: &Amounts) -> String {
    format!(
        "Puts of {} MiB in all, from the page cache, in equal files, by so many blkcp at once over UDP sockets; {} runs by turns. Over \
         AF_XDP each process takes a queue of the interface for itself, so that there are as many as it has queues: that is \
         not measured. The memory is blockd's: VmHWM, the most that was resident, and the most huge pages that it had (HugetlbPages, which VmHWM leaves out, \
         looked at every {} ms); its frames are what its configuration gives to \
         its workers, {} MiB each.",
        amounts.size >> 20,
        amounts.runs,
        LOOK.as_millis(),
        frames_of_a_worker()
    )
}

pub fn run(bench: &mut Bench<'_>) {
    // All clients are on one host, whose queues are not enough for a data path that takes them.
    let tools = bench.tools.iter().copied();
    let Some(tool) = tools.into_iter().find(|tool| tool.name() == "blkcp auto") else {
        return;
    };
    for count in COUNTS {
        bench.expect(&case(count), &[tool]);
    }
    for run in 1..=bench.amounts.runs {
        let mut samples = Vec::new();
        for count in order::of(&COUNTS, run) {
            bench.say(&case(count), &tool.name(), run);
            let sample = bench.attempt(&case(count), tool, |scene| one(tool, count, scene));
            samples.extend(sample.map(|sample| (count, sample)));
        }
        let alone = samples.iter().find(|(count, _)| *count == 1);
        let alone = alone.map(|(_, sample)| sample[Measure::GigabytesPerSecond]);
        for (count, mut sample) in samples {
            let rate = sample[Measure::GigabytesPerSecond];
            sample.extend(alone.map(|alone| (Measure::OfOneClient, rate / alone)));
            bench.add(&case(count), tool, sample);
        }
    }
}

fn case(count: u32) -> String {
    format!("{count} at once")
}

fn one(tool: &dyn Tool, count: u32, scene: &Scene) -> Sample {
    let size = scene.near.size / u64::from(count);
    let source = scene.directory.join("share");
    files::write(&source, size, u64::from(count));
    sync(&source);
    let server = scene.serve(tool);
    let process = server.process().id();
    warm(&source);
    let watch = Watch::at_rest(scene);
    let mut clients: Vec<Running> = (0..count)
        .map(|number| start(number, &source, scene))
        .collect();
    let (huge, said) = with_huge_pages(process, || clients.iter_mut().map(Running::said).last());
    let spent = watch.stop();
    let memory = peak_memory(process) + huge;
    let workers = threads_named(process, "blk-server");
    drop(server);
    for number in 0..count {
        scene.far_files.assert_same(&name(number), &source);
        scene.far_files.remove(&name(number));
    }
    let gigabytes = (size * u64::from(count)) as f64 / 1e9;
    let mut sample = Sample::from([
        (Measure::Seconds, spent.seconds),
        (Measure::GigabytesPerSecond, gigabytes / spent.seconds),
        (Measure::CpuSecondsPerGigabyte, spent.cpu.busy / gigabytes),
        (Measure::PeakMemoryMebibytes, memory as f64 / MEBIBYTE),
        (Measure::PeakHugePagesMebibytes, huge as f64 / MEBIBYTE),
        (
            Measure::FramesMebibytes,
            workers as f64 * frames_of_a_worker(),
        ),
    ]);
    sample.extend(spent.load());
    sample.over(said.and_then(|said| tool.datapath(&said)))
}

fn name(number: u32) -> String {
    format!("client-{number}")
}

fn start(number: u32, source: &Path, scene: &Scene) -> Running {
    let mut client = scene.near.command(binary("blkcp"));
    client
        .args(["--json", "--ignore-times", "--datapath", "auto"])
        .arg(source)
        .arg(remote(&scene.near, &name(number)))
        .stdout(Stdio::piped());
    Running::start(&mut client)
}

/// Does it, and tells the most huge pages that the process had meanwhile: of these the kernel keeps no maximum.
fn with_huge_pages<T>(process: u32, work: impl FnOnce() -> T) -> (u64, T) {
    let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let look = || most.fetch_max(huge_pages(process), Ordering::Relaxed);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                look();
                std::thread::sleep(LOOK);
            }
        });
        let done = attempt(work);
        over.store(true, Ordering::Relaxed);
        done
    });
    look();
    let done = done.unwrap_or_else(|reason| panic!("{reason}"));
    (most.into_inner(), done)
}

/// In MiB, as blockd configures its workers.
fn frames_of_a_worker() -> f64 {
    let worker = WorkerConfig::new("", 0, 1500, 0, true);
    f64::from(worker.frames) * FRAME / MEBIBYTE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_the_look_too() {
        let process = std::process::id();
        let (_, done) = with_huge_pages(process, || 7);
        assert_eq!(done, 7);
        let failed = attempt(|| with_huge_pages(process, || panic!("blkcp failed")));
        assert_eq!(failed, Err::<(u64, ()), _>("blkcp failed".to_owned()));
    }
}
