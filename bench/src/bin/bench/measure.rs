//! One copy by one tool.

use std::fs::File;
use std::process::Stdio;

use blk_bench::lab::files;

use super::cpu::Watch;
use super::far_files::warm;
use super::held;
use super::sample::{Measure, Sample};
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
    held::release(&scene.near.got);
    let watch = match source {
        Source::Hot => Watch::at_rest(scene),
        // Somebody has just read from the disk, for the same start of all.
        Source::Cold => Watch::at_once(scene),
    };
    let output = command.output().expect("cannot run the client");
    assert!(
        output.status.success(),
        "{name} failed: {}\n{command:?}",
        output.status
    );
    if leaves_file {
        // No more than a question where the tool has done it itself.
        match direction {
            Direction::Put => scene.far_files.sync(PUT),
            Direction::Get => File::open(&scene.near.got)
                .and_then(|file| file.sync_all())
                .expect("the tool says that it has written the file"),
        }
    }
    let spent = watch.stop();
    drop(server);
    if leaves_file {
        compare(direction, scene);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let Told {
        seconds,
        bytes,
        copies,
    } = told(&said).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    let gigabytes = bytes.unwrap_or(scene.near.size) as f64 / 1e9;
    let seconds = seconds.unwrap_or(spent.seconds);
    let mut sample = Sample::from([
        (Measure::Seconds, seconds),
        (Measure::GigabytesPerSecond, gigabytes / seconds),
        (Measure::CpuSecondsPerGigabyte, spent.cpu.busy / gigabytes),
    ]);
    sample.extend(copies.map(|copies| (Measure::CopiesPerByte, copies)));
    sample.extend(spent.load());
    sample.over(tool.datapath(&said))
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
