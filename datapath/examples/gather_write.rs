//! Writes frames to a file, by gather writes and through copy buffers, and says what each costs.
//!
//! ```text
//! cargo run --release -p blk-datapath --example gather_write -- FILE [PAYLOAD [MEBIBYTES]]
//! ```
//!
//! `PAYLOAD` is the bytes in each frame (default 3584), a multiple of 512. The file is left behind.

use std::{
    env,
    error::Error,
    fs::File,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use blk_datapath::{
    disk::{BlockFile, Completion, DiskQueue, Intent, RUN_MAX},
    umem::{Disk, Frame, PAYLOAD_MAX, Umem},
};
use rustix::{
    fs::{FallocateFlags, fallocate, ftruncate},
    time::{ClockId, clock_gettime},
};

/// Runs in flight.
const DEPTH: u32 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let path = arguments.next().ok_or("which file?")?;
    let mut number = |default: usize| match arguments.next() {
        Some(text) => text
            .to_str()
            .ok_or("not a number")?
            .parse()
            .map_err(Box::<dyn Error>::from),
        None => Ok(default),
    };
    let (payload, total) = (number(PAYLOAD_MAX)?.min(PAYLOAD_MAX), number(2048)? << 20);

    for gather_min in [0, PAYLOAD_MAX + 1] {
        write(path.as_ref(), payload, total, gather_min)?;
    }
    Ok(())
}

/// Writes `total` bytes; frames of fewer than `gather_min` bytes are copied.
fn write(
    path: &Path,
    payload: usize,
    total: usize,
    gather_min: usize,
) -> Result<(), Box<dyn Error>> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, total as u64)?;
    let file = Arc::new(BlockFile::new(file.into(), Intent::Write)?);
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
    let (elapsed, cpu) = (
        started.elapsed().as_secs_f64(),
        (cpu_time() - cpu).as_secs_f64(),
    );
    let gigabytes = done as f64 / 1e9;
    let counters = queue.counters();
    println!(
        "{:?}, {RUN_MAX} x {payload}: {:.2} GB/s, {:.3} CPU s/GB; {} bytes direct, {} copied",
        file.access(),
        gigabytes / elapsed,
        cpu / gigabytes,
        counters.direct_bytes_written,
        counters.copied_bytes_written,
    );
    idle.into_iter()
        .flatten()
        .for_each(|frame| umem.release(frame));
    umem.assert_conserved();
    ftruncate(&*file, total as u64)?;
    Ok(())
}

/// All frames of the UMEM, in runs, with something in them.
fn runs(umem: &mut Umem, payload: usize) -> Vec<Vec<Frame<Disk>>> {
    let mut frames = Vec::new();
    while let Some(mut frame) = umem.allocate() {
        umem.payload_mut(&mut frame).fill(0x5A);
        frames.push(umem.free_to_disk(frame, payload as u16));
    }
    let mut runs = Vec::new();
    while frames.len() >= RUN_MAX {
        runs.push(frames.split_off(frames.len() - RUN_MAX));
    }
    runs
}

/// CPU time of the process, kernel included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}
