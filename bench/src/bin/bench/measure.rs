//! One copy by one tool.

use std::fs::File;
use std::process::Stdio;
use std::time::Instant;

use blk_bench::lab::files;

use super::far_files::warm;
use super::figures::{Measure, Sample};
use super::scene::{GET, PUT, Scene};
use super::tools::{Copy, Direction, Told, Tool};

/// Where the source is when a copy begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the page cache.
    Hot,
    /// On the disk.
    Cold,
}

/// Copies the file once, with a server of its own where that is for us to start.
///
/// # Panics
/// When the tool fails, or the copy differs from its source.
pub fn copy(tool: &dyn Tool, direction: Direction, source: Source, scene: &Scene) -> Sample {
    let name = tool.name();
    prepare(tool, direction, source, scene);
    let server = scene.serve(tool);
    let Copy {
        mut command,
        told,
        leaves_file,
    } = tool
        .copy(direction, &scene.near)
        .expect("asked for what it does");
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let (busy, started) = (busy(scene), Instant::now());
    let output = command.output().expect("cannot run the client");
    assert!(output.status.success(), "{name} failed: {command:?}");
    if leaves_file {
        // No more than a question where the tool has done it itself.
        match direction {
            Direction::Put => scene.far_files.sync(PUT),
            Direction::Get => File::open(&scene.near.got)
                .and_then(|file| file.sync_all())
                .expect("the tool says that it has written the file"),
        }
    }
    let wall = started.elapsed().as_secs_f64();
    let busy = self::busy(scene) - busy;
    drop(server);
    if leaves_file {
        compare(direction, scene);
    }
    let Told {
        seconds,
        bytes,
        copies,
    } = told(&String::from_utf8_lossy(&output.stdout))
        .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    let gigabytes = bytes.unwrap_or(scene.near.size) as f64 / 1e9;
    let seconds = seconds.unwrap_or(wall);
    let mut sample = Sample::from([
        (Measure::Seconds, seconds),
        (Measure::GigabytesPerSecond, gigabytes / seconds),
        (Measure::CpuSecondsPerGigabyte, busy / gigabytes),
    ]);
    sample.extend(copies.map(|copies| (Measure::CopiesPerByte, copies)));
    sample
}

/// Source and target as they shall be found.
pub fn prepare(tool: &dyn Tool, direction: Direction, source: Source, scene: &Scene) {
    match direction {
        Direction::Put => {
            scene.far_files.remove(PUT);
            if tool.wants_target() {
                scene.far_files.make(PUT, scene.near.size);
            }
            warm(&scene.near.source);
        }
        Direction::Get => {
            let _ = std::fs::remove_file(&scene.near.got);
            match source {
                Source::Hot => scene.far_files.warm(GET),
                Source::Cold => scene.far_files.cool(GET),
            }
        }
    }
}

/// The copy is what it shall be; it is removed.
pub fn compare(direction: Direction, scene: &Scene) {
    match direction {
        Direction::Put => {
            scene.far_files.assert_same(PUT, &scene.near.source);
            scene.far_files.remove(PUT);
        }
        Direction::Get => {
            files::assert_same(&scene.near.source, &scene.near.got);
            std::fs::remove_file(&scene.near.got).expect("the copy can be removed");
        }
    }
}

/// Seconds that the CPUs of both ends were not idle since the machines started.
pub fn busy(scene: &Scene) -> f64 {
    busy_seconds() + scene.far_files.busy_seconds()
}

/// Seconds that the CPUs of this machine were not idle since it started, over all of them (`/proc/stat`, proc_stat(5)).
pub fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").expect("the kernel tells its CPU time");
    busy_ticks(&text) as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn busy_ticks(stat: &str) -> u64 {
    let ticks = stat
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse::<u64>().ok());
    // user nice system idle iowait irq softirq steal
    let counts = [true, true, true, false, false, true, true, true];
    counts
        .into_iter()
        .zip(ticks)
        .filter_map(|(counts, ticks)| counts.then_some(ticks))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy_and_guests_are_not_counted_twice() {
        let stat = "cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 9 9 9 9\n";
        assert_eq!(busy_ticks(stat), 63);
    }
}
