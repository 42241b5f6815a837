//! The disk's side of a put alone: writes frames to a file, by gather writes and through copy buffers, and beside them
//! fio(1) with 1 MiB writes, in turns, and says what each costs.
//!
//! ```text
//! cargo run --release -p blk-datapath --example gather_write -- FILE [PAYLOAD [MEBIBYTES [ROUNDS]]]
//! ```
//!
//! `PAYLOAD` is the bytes in each frame (default 3584), a multiple of 512. Every way has as many bytes in flight as the
//! others, into files that are allocated anew each time; all are removed at the end. The last lines have the median of the
//! rounds, and each way's rate in terms of fio's in the same round.

use std::{
    env,
    error::Error,
    fs::File,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use blk_datapath::{
    disk::{BlockFile, Completion, DiskQueue, Intent, RUN_MAX},
    umem::{Disk, Frame, PAYLOAD_MAX, Umem},
};
use blk_proto::geometry::GRID;
use rustix::{
    fs::{FallocateFlags, fallocate},
    time::{ClockId, clock_gettime},
};

/// Runs in flight: 6.9 MB, as much as fio's 7 writes of 1 MiB.
const DEPTH: u32 = 8;
const FIO_DEPTH: u32 = 7;

/// What a way did.
#[derive(Clone, Copy, Debug)]
struct Figure {
    /// Gigabytes (1e9) a second.
    rate: f64,
    /// Seconds of CPU time a gigabyte.
    cpu: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let path = arguments.next().ok_or("which file?")?;
    let path: &Path = path.as_ref();
    let mut number = |default: usize| match arguments.next() {
        Some(text) => text
            .to_str()
            .ok_or("not a number")?
            .parse()
            .map_err(Box::<dyn Error>::from),
        None => Ok(default),
    };
    let payload = number(PAYLOAD_MAX)?.min(PAYLOAD_MAX);
    let (total, rounds) = (number(2048)? << 20, number(5)?);

    let mut rounds_of = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds {
        let figures = [
            fio(path, total)?,
            write(path, payload, total, 0)?,
            write(path, payload, total, PAYLOAD_MAX + 1)?,
        ];
        for ((name, figure), all) in NAMES.iter().zip(figures).zip(&mut rounds_of) {
            println!(
                "round {round}: {name:9} {:6.2} GB/s {:.4} CPU s/GB",
                figure.rate, figure.cpu
            );
            all.push(figure);
        }
    }
    std::fs::remove_file(path)?;
    for (name, all) in NAMES.iter().zip(&rounds_of) {
        let ratios = all.iter().zip(&rounds_of[0]).map(|(a, b)| a.rate / b.rate);
        println!(
            "median:  {name:9} {:6.2} GB/s {:.4} CPU s/GB {:5.2} of fio",
            median(all.iter().map(|figure| figure.rate)),
            median(all.iter().map(|figure| figure.cpu)),
            median(ratios),
        );
    }
    Ok(())
}

const NAMES: [&str; 3] = ["fio 1 MiB", "gathered", "copied"];

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A new file of `total` bytes, allocated.
fn allocated(path: &Path, total: usize) -> Result<File, Box<dyn Error>> {
    let _ = std::fs::remove_file(path);
    let file = File::options().write(true).create_new(true).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, total as u64)?;
    Ok(file)
}

/// Writes `total` bytes by fio, with registered buffers.
fn fio(path: &Path, total: usize) -> Result<Figure, Box<dyn Error>> {
    drop(allocated(path, total)?);
    let file = format!("--filename={}", path.display());
    let (size, depth) = (format!("--size={total}"), format!("--iodepth={FIO_DEPTH}"));
    let started = children_time();
    let output = Command::new("fio")
        .args(["--name=write", "--rw=write", "--bs=1M", "--direct=1"])
        .args(["--ioengine=io_uring", "--fixedbufs=1", "--thread=1"])
        .args(["--overwrite=0", "--fallocate=none", "--minimal"])
        .args([&file, &size, &depth])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let cpu = (children_time() - started).as_secs_f64();
    // fio-man(1), terse version 3: field 48 is the bandwidth of writes in KiB/s.
    let text = String::from_utf8(output.stdout)?;
    let rate = text.split(';').nth(47).ok_or("no bandwidth from fio")?;
    Ok(Figure {
        rate: rate.parse::<f64>()? * 1024.0 / 1e9,
        cpu: cpu / (total as f64 / 1e9),
    })
}

/// Writes `total` bytes; frames of fewer than `gather_min` bytes are copied.
fn write(
    path: &Path,
    payload: usize,
    total: usize,
    gather_min: usize,
) -> Result<Figure, Box<dyn Error>> {
    let file = BlockFile::new(allocated(path, total)?.into(), Intent::Write)?;
    let file = Arc::new(file);
    let mut umem = Umem::anonymous(DEPTH * RUN_MAX as u32)?;
    let mut queue = DiskQueue::new(&umem, DEPTH)?;
    queue.set_gather_min(gather_min);
    let mut idle = runs(&mut umem, payload);

    let (started, cpu) = (Instant::now(), cpu_time());
    let (mut offset, mut done, mut outcomes) = (0, 0, Vec::new());
    while done < offset || offset < total as u64 {
        while offset < total as u64
            && let Some(run) = idle.pop()
        {
            let len = run.iter().map(|frame| frame.len() as u64).sum::<u64>();
            queue
                .write(&mut umem, &file, offset, run, len)
                .map_err(|_| "the queue is full")?;
            offset += len;
        }
        queue.wait(Some(Duration::from_secs(10)))?;
        queue.completions(&mut umem, &mut outcomes);
        for outcome in outcomes.drain(..) {
            if let Completion::Written {
                tag,
                frames,
                result,
            } = outcome
            {
                result?;
                done += tag;
                idle.push(frames);
            }
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = (cpu_time() - cpu).as_secs_f64();
    let gigabytes = done as f64 / 1e9;
    let written = queue.counters().written;
    let gathered = gather_min == 0;
    if gathered != (written.copied_bytes() == 0) {
        eprintln!("{}, so not all went as asked: {written:?}", file.plan());
    }
    for frame in idle.into_iter().flatten() {
        umem.release(frame);
    }
    umem.assert_conserved();
    Ok(Figure {
        rate: gigabytes / elapsed,
        cpu: cpu / gigabytes,
    })
}

/// Runs as they come: what lies between two bounds of the grid, but no more frames than an operation takes.
fn runs(umem: &mut Umem, payload: usize) -> Vec<Vec<Frame<Disk>>> {
    let count = (GRID as usize / payload).min(RUN_MAX);
    let mut runs = Vec::new();
    for _ in 0..DEPTH {
        let mut run = Vec::new();
        while run.len() < count
            && let Some(mut frame) = umem.allocate()
        {
            umem.payload_mut(&mut frame).fill(0x5A);
            run.push(umem.free_to_disk(frame, payload as u16));
        }
        runs.push(run);
    }
    runs
}

/// CPU time of the process, kernel included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

/// CPU time of the processes waited for.
fn children_time() -> Duration {
    // SAFETY: all of `rusage` is integers, for which zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is the kernel's and lives through the call.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
