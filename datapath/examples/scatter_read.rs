//! Reads a file into frames as a sender does, and says what that costs: the disk's side of a get, without a network.
//!
//! ```text
//! cargo run --release -p blk-datapath --example scatter_read -- FILE [DEPTH [PAYLOAD [WAY]]]
//! ```
//!
//! `DEPTH` is the runs in flight; without it, or 0, it adapts as in a transfer whose network is always faster than the
//! disk. `PAYLOAD` is the bytes in each frame (default 3584), a multiple of 512. `WAY` is `choose` (default: by what is in
//! the page cache), `direct`, `cache` or `buffered`. The file's state in the page cache is the caller's business.

use std::{
    env,
    error::Error,
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use blk_datapath::{
    disk::{BlockFile, Completion, DiskQueue, Intent, ReadChooser, ReadWay},
    engine::{Cutter, READ_DEPTH_MAX, READ_MAX, ReadDepth},
    umem::{PAYLOAD_MAX, Umem},
};
use blk_proto::time::Time;
use rustix::time::{ClockId, clock_gettime};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().ok_or("which file?")?;
    let mut number = |default: usize| {
        let text = arguments.next();
        text.map_or(Ok(default), |text| text.parse())
    };
    let (depth, payload) = (number(0)?, number(PAYLOAD_MAX)?.min(PAYLOAD_MAX));
    let way = match arguments.next().as_deref() {
        None | Some("choose") => None,
        Some("direct") => Some(ReadWay::Direct),
        Some("cache") => Some(ReadWay::Cache),
        Some("buffered") => Some(ReadWay::Buffered),
        Some(other) => return Err(format!("no way is called {other}").into()),
    };
    let file = BlockFile::new(File::open(path)?.into(), Intent::Read)?;
    read(&Arc::new(file), depth, payload, way)
}

/// Reads the whole file with `depth` runs in flight, or as many as seem right.
fn read(
    file: &Arc<BlockFile>,
    depth: usize,
    payload: usize,
    way: Option<ReadWay>,
) -> Result<(), Box<dyn Error>> {
    let most = depth.max(READ_DEPTH_MAX as usize);
    let mut umem = Umem::anonymous((most * READ_MAX) as u32)?;
    let mut queue = DiskQueue::new(&umem, most as u32)?;
    let (mut chooser, mut adapting) = (ReadChooser::default(), ReadDepth::default());
    let mut cutter = Cutter::new(0, file.size());

    let (started, cpu) = (Instant::now(), cpu_time());
    let (mut done, mut in_flight, mut deepest) = (0, 0, 0);
    let mut outcomes = Vec::new();
    while done < file.size() {
        let limit = if depth > 0 { depth } else { adapting.runs() };
        deepest = deepest.max(limit);
        while in_flight < limit
            && let Some(run) = cutter.plan(payload as u16)
        {
            cutter.reading(run);
            let (offset, len) = (run.offset, run.len);
            let mut frames = Vec::with_capacity(READ_MAX);
            for len in run.blocks() {
                let frame = umem.allocate().ok_or("no frame left")?;
                frames.push(umem.free_to_disk(frame, len));
            }
            let way = way.unwrap_or_else(|| queue.choose(&mut chooser, file, offset, len));
            queue
                .read_by(&mut umem, file, way, offset, frames, len)
                .map_err(|_| "the queue is full")?;
            in_flight += 1;
        }
        queue.submit()?;
        if queue.completions(&mut umem, &mut outcomes) == 0 {
            queue.wait(Some(Duration::from_secs(10)))?;
        }
        for outcome in outcomes.drain(..) {
            let Completion::Read {
                tag,
                frames,
                way,
                result,
            } = outcome
            else {
                continue;
            };
            if result? != tag {
                return Err("the file shrank".into());
            }
            let now = Time::from_nanos(started.elapsed().as_nanos() as u64);
            adapting.read(now, tag, way != ReadWay::Cache);
            done += tag;
            in_flight -= 1;
            frames.into_iter().for_each(|frame| umem.release(frame));
        }
    }
    let (elapsed, cpu) = (
        started.elapsed().as_secs_f64(),
        (cpu_time() - cpu).as_secs_f64(),
    );
    let gigabytes = done as f64 / 1e9;
    println!(
        "{:.3} GB/s, {:.3} CPU s/GB, up to {deepest} runs in flight; {}",
        gigabytes / elapsed,
        cpu / gigabytes,
        file.reads(),
    );
    umem.assert_conserved();
    Ok(())
}

/// CPU time of the process, kernel included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}
