//! One copy by one tool.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use blk_bench::lab::files;
use serde::Serialize;

use super::scene::Scene;
use super::tools::{Direction, Tool};

/// What one copy took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// From the start of the client to the end of the last fsync.
    pub seconds: f64,
    /// GB (10^9 bytes) per second.
    pub rate: f64,
    /// CPU time of the whole machine that was not idle, in seconds per GB.
    pub cpu: f64,
}

/// Copies the file once, with a server of its own; it is in the page cache of the sending end.
///
/// # Panics
/// When the tool fails, or the copy differs from its source.
pub fn one(tool: &dyn Tool, direction: Direction, scene: &Scene) -> Sample {
    let (source, target) = match direction {
        Direction::Put => (scene.source.clone(), scene.put()),
        Direction::Get => (scene.export.join("get"), scene.got.clone()),
    };
    let _ = std::fs::remove_file(&target);
    warm(&source);
    let server = tool.serve(direction, scene);
    let mut client = tool.client(direction, scene);
    client.stdin(Stdio::null()).stdout(Stdio::null());
    let (busy, started) = (busy_seconds(), Instant::now());
    let status = client.status().expect("cannot run the client");
    assert!(status.success(), "{} failed: {client:?}", tool.name());
    if tool.writes() {
        // No more than a question where the tool has done it itself.
        let file = File::open(&target).expect("the tool says that it has written the file");
        file.sync_all().expect("cannot sync");
    }
    let seconds = started.elapsed().as_secs_f64();
    let busy = busy_seconds() - busy;
    drop(server);
    if tool.writes() {
        files::assert_same(&source, &target);
        std::fs::remove_file(&target).expect("the copy can be removed");
    }
    let gigabytes = scene.size as f64 / 1e9;
    Sample {
        seconds,
        rate: gigabytes / seconds,
        cpu: busy / gigabytes,
    }
}

/// Reads a file into the page cache.
fn warm(path: &Path) {
    let mut file = File::open(path).expect("the source is there");
    std::io::copy(&mut file, &mut std::io::sink()).expect("the source can be read");
}

/// Seconds that the CPUs were not idle since the machine started, over all of them (`/proc/stat`, proc_stat(5)).
fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").expect("the kernel tells its CPU time");
    let mut ticks = text
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse::<u64>().ok());
    // user nice system idle iowait irq softirq steal
    let busy: u64 = [true, true, true, false, false, true, true, true]
        .into_iter()
        .zip(&mut ticks)
        .filter_map(|(counts, ticks)| counts.then_some(ticks))
        .sum();
    busy as f64 / rustix::param::clock_ticks_per_second() as f64
}
