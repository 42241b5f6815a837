//! What it costs to take a received block into account: gathering it, and claiming the runs of a file that several flows
//! bring. `cargo run --release -p blk-datapath --example coverage_rate`

use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_datapath::chain::Chain;
use blk_datapath::disk::{RUN_MAX, Ways};
use blk_datapath::engine::{Claim, Coverage, Gather, SharedWork};
use blk_proto::time::Time;

const SIZE: u64 = 8 << 30;
const BLOCK: u64 = 3072;

/// Takes part in bringing a file; the blocks that were brought.
fn bring(work: &SharedWork, coverage: &Coverage) -> u64 {
    let flow = work.add_flow();
    let mut gather = Gather::new(SIZE, RUN_MAX);
    let (mut runs, mut blocks) = (Vec::new(), 0);
    while let Ok(range) = work.take(flow) {
        let end = range.offset + range.len;
        let mut at = range.offset;
        while at < end {
            let len = BLOCK.min(end - at);
            // At the end a flow may take over what another one has, and brings it a second time.
            if gather.is_open(at) || !coverage.is_claimed(at, len) {
                let now = Time::from_nanos(blocks);
                let taken = gather.insert(now, at, len as u32, 7, Chain::One(at), &mut runs);
                assert!(taken.is_ok(), "a flow brings each block once");
            }
            (at, blocks) = (at + len, blocks + 1);
            for run in runs.drain(..) {
                if coverage.claim(run.offset, run.len) == Claim::Granted {
                    coverage.written(run.offset, run.len, run.crc, Ways::default());
                }
            }
        }
        work.done(flow, range, 7);
    }
    blocks
}

fn main() {
    for flows in [1, 2, 4] {
        let work = Arc::new(SharedWork::new(0, SIZE));
        let coverage = Arc::new(Coverage::new(SIZE));
        let start = Instant::now();
        let threads: Vec<_> = (0..flows)
            .map(|_| {
                let (work, coverage) = (Arc::clone(&work), Arc::clone(&coverage));
                std::thread::spawn(move || (bring(&work, &coverage), thread_time()))
            })
            .collect();
        let (mut blocks, mut time) = (0, Duration::ZERO);
        for thread in threads {
            let (brought, spent) = thread.join().expect("a thread");
            (blocks, time) = (blocks + brought, time + spent);
        }
        assert!(coverage.received().is_some(), "the file is whole");
        println!(
            "{flows} flow(s): {:.1} ns of CPU time per block of {BLOCK} bytes, {:.2} s",
            time.as_nanos() as f64 / blocks as f64,
            start.elapsed().as_secs_f64()
        );
    }
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
