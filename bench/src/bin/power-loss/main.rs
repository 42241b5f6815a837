//! `power-loss`: what blockd has acknowledged is there after a loss of power at any moment. `scripts/power-loss` builds what it needs and
//! cleans up behind it.

mod in_place;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use blk_bench::blockdev::{self, Crash, Kind, isolated};
use blk_bench::lab::{self, Directory};
use blk_bench::powerloss::{Points, Recorded, Report};

/// Every so many points, the recovered file system is written to as well.
const WRITTEN_TO: u64 = 16;

/// Violations that are told one by one.
const TOLD: usize = 20;

/// Record every write and flush that blockd causes on a disk, and look at the files after losses of power at many points.
///
/// A point is a place in the recording and a choice of what became of the writes that no flush had covered: lost, there, or
/// torn. At each, the file system is mounted, so that it recovers, and every file is compared with what was
/// acknowledged before. Needs root, /dev/fuse, loop devices and the release binaries of blockd and blkcp beside this one.
/// Status 0 when every promise was kept, 1 when one was broken, or the file system itself did not recover at more than one point in
/// a hundred.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Points on each file system
    #[arg(long, value_name = "N", default_value_t = 1000)]
    points: usize,
    /// Decides the files, and the points
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// ext4 or xfs; both by default
    #[arg(long = "fs", value_name = "NAME")]
    file_systems: Vec<Kind>,
    /// Keep the recordings in this directory; without it only those in which a promise was broken, below the temporary directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Look at a kept recording instead of making one
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Look at this point only, with the seed and number of points of the run that told it
    #[arg(long, value_name = "N", requires = "replay")]
    point: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !lab::ready("power-loss") || !blockdev::ready("power-loss") {
        // It has said what is missing.
        return ExitCode::SUCCESS;
    }
    let outcome = isolated(|| run(&arguments)).context("cannot make a mount namespace");
    match outcome.and_then(|outcome| outcome) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("power-loss: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
fn run(arguments: &Arguments) -> Result<bool> {
    println!("seed {}", arguments.seed);
    if let Some(path) = &arguments.replay {
        let recorded = Recorded::load(path)?;
        return Ok(is_good(&look(arguments, &recorded)?));
    }
    let kinds = match &arguments.file_systems[..] {
        [] => &[Kind::Ext4, Kind::Xfs],
        kinds => kinds,
    };
    let mut kept = true;
    for kind in kinds {
        let recorded = workload::record(*kind, arguments.seed)?;
        let report = look(arguments, &recorded)?;
        let broken = !report.violations.is_empty() || !report.unmounted.is_empty();
        kept &= is_good(&report);
        let to = arguments
            .keep
            .clone()
            .or_else(|| broken.then(std::env::temp_dir));
        if let Some(to) = to {
            keep(&recorded, &to, arguments)?;
        }
    }
    Ok(kept)
}

/// A file system that does not mount has not shown that a promise is broken; but where that is not rare, nothing is shown at all.
fn is_good(report: &Report) -> bool {
    report.violations.is_empty() && report.unmounted.len() * 100 <= report.points
}

fn keep(recorded: &Recorded, to: &Path, arguments: &Arguments) -> Result<()> {
    let name = format!("{}-{}.recording", recorded.kind.name(), arguments.seed);
    let path = to.join(name);
    recorded.save(&path)?;
    println!(
        "kept: {path}; a point again: scripts/power-loss --replay {path} --seed {} --points {} --point N",
        arguments.seed,
        arguments.points,
        path = path.display(),
    );
    Ok(())
}

/// Goes through the points and tells what was found.
fn look(arguments: &Arguments, recorded: &Recorded) -> Result<Report> {
    let points = Points::of(recorded, arguments.seed, arguments.points);
    let numbers: Vec<usize> = match arguments.point {
        Some(point) if point < arguments.points => vec![point],
        Some(point) => bail!(
            "there are {} points, and no number {point}",
            arguments.points
        ),
        None => (0..arguments.points).collect(),
    };
    let directory = Directory::new();
    let place = directory.subdirectory("replay");
    let report = recorded.replay(&place, &points, &numbers, further)?;
    tell(recorded, &report);
    Ok(report)
}

/// The recovered file system is usable.
fn further(root: &Path, crash: Crash) -> Result<(), String> {
    if !crash.seed.is_multiple_of(WRITTEN_TO) {
        return Ok(());
    }
    let path = root.join("written after the recovery");
    let write = || {
        std::fs::write(&path, [1; 5_000])?;
        std::fs::File::open(&path)?.sync_all()?;
        std::fs::remove_file(&path)
    };
    write().map_err(|error| format!("the recovered file system takes no files: {error}"))
}

fn tell(recorded: &Recorded, report: &Report) {
    let (writes, zeroed, flushes) = recorded.log.counts();
    println!(
        "{}: {writes} writes of {} MiB, {zeroed} discards, {flushes} flushes, {} acknowledgements",
        recorded.kind.name(),
        recorded.log.bytes() >> 20,
        recorded.promises.acknowledgements().len(),
    );
    let found = &report.found;
    println!(
        "{}: {} points in {:.1} s, {} with writes that no flush had covered, torn at {} bytes; files whole: {}, of which promised: {}; \
         rightly absent: {}; hidden temporaries left: {}; journals of interrupted puts: {}, claiming {} MiB; written in place and \
         synced: {} MiB; promises broken at {} points; did not mount: {}",
        recorded.kind.name(),
        report.points,
        report.time.as_secs_f64(),
        report.unsettled,
        recorded.kind.unit(),
        found.present,
        found.promised,
        found.absent,
        found.hidden,
        found.claimed.partials,
        found.claimed.bytes >> 20,
        found.ranged >> 20,
        report.violations.len(),
        report.unmounted.len(),
    );
    for (what, points) in [
        ("", &report.violations),
        ("did not mount: ", &report.unmounted),
    ] {
        for point in points.iter().take(TOLD) {
            println!(
                "  point {}: {}: {what}{}",
                point.point, point.crash, point.sentence
            );
        }
    }
}
