//! Several blkcp at once, each with a file of its own, into one blockd.

use std::process::{Command, Stdio};
use std::time::Instant;

use blk_bench::lab::{binary, files};
use blk_datapath::worker::WorkerConfig;

use super::{Bench, Work};
use crate::far_files::{sync, warm};
use crate::figures::{Measure, Sample};
use crate::measure::busy;
use crate::options::Amounts;
use crate::process::{peak_memory, threads_named};
use crate::scene::Scene;
use crate::table::{Column, column};
use crate::tools::{Tool, remote};

/// Clients at once.
const COUNTS: [u32; 3] = [1, 4, 16];
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
    column::max("of it frames MiB", Measure::FramesMebibytes, 0),
];

pub fn note(amounts: &Amounts) -> String {
    format!(
        "Puts of {} MiB in all, from the page cache, in equal files, by so many blkcp at once over UDP sockets; {} runs by turns. Over \
         AF_XDP each process takes a queue of the interface for itself, so that there are as many as it has queues: that is \
         not measured. The memory is blockd's (VmHWM: the most that was resident); its frames are what its configuration gives to \
         its workers, {} MiB each.",
        amounts.size >> 20,
        amounts.runs,
        frames_of_a_worker()
    )
}

pub fn run(bench: &mut Bench<'_>) {
    let tools = bench.tools.iter();
    // All clients are on one host, whose queues are not enough for a data path that takes them.
    let over_udp: Vec<&dyn Tool> = tools
        .copied()
        .filter(|tool| tool.name() == "blkcp auto")
        .collect();
    for run in 1..=bench.amounts.runs {
        for tool in &over_udp {
            let mut alone = None;
            for count in COUNTS {
                let case = format!("{count} at once");
                bench.say(Work::Clients, &case, &tool.name(), run);
                let mut sample = one(*tool, count, bench.scene);
                let rate = sample[&Measure::GigabytesPerSecond];
                let of_one = rate / *alone.get_or_insert(rate);
                sample.insert(Measure::OfOneClient, of_one);
                bench.add(Work::Clients, &case, *tool, sample);
            }
        }
    }
}

fn one(tool: &dyn Tool, count: u32, scene: &Scene) -> Sample {
    let size = scene.near.size / u64::from(count);
    let source = scene.directory.join("share");
    files::write(&source, size, u64::from(count));
    sync(&source);
    warm(&source);
    let server = scene.serve(tool).expect("blockd is started here");
    let (before, started) = (busy(scene), Instant::now());
    let clients: Vec<_> = (0..count)
        .map(|number| {
            let mut client: Command = scene.near.command(binary("blkcp"));
            client
                .args(["--quiet", "--datapath", "auto"])
                .arg(&source)
                .arg(remote(&scene.near, &format!("client-{number}")))
                .stdin(Stdio::null());
            client.spawn().expect("cannot run blkcp")
        })
        .collect();
    for mut client in clients {
        let status = client.wait().expect("cannot wait for blkcp");
        assert!(status.success(), "blkcp failed: {status}");
    }
    let seconds = started.elapsed().as_secs_f64();
    let busy = busy(scene) - before;
    let (memory, workers) = (
        peak_memory(server.id()),
        threads_named(server.id(), "blk-server"),
    );
    drop(server);
    for number in 0..count {
        let name = format!("client-{number}");
        scene.far_files.assert_same(&name, &source);
        scene.far_files.remove(&name);
    }
    let gigabytes = (size * u64::from(count)) as f64 / 1e9;
    Sample::from([
        (Measure::Seconds, seconds),
        (Measure::GigabytesPerSecond, gigabytes / seconds),
        (Measure::CpuSecondsPerGigabyte, busy / gigabytes),
        (Measure::PeakMemoryMebibytes, memory as f64 / MEBIBYTE),
        (
            Measure::FramesMebibytes,
            workers as f64 * frames_of_a_worker(),
        ),
    ])
}

/// In MiB, as blockd configures its workers.
fn frames_of_a_worker() -> f64 {
    let worker = WorkerConfig::new("", 0, 1500, 0, true);
    f64::from(worker.frames) * FRAME / MEBIBYTE
}
