//! One large file there or back, from the page cache of the sending end.

use super::Bench;
use crate::counting;
use crate::measure::{self, Source};
use crate::options::Amounts;
use crate::order;
use crate::sample::Measure;
use crate::scene::Scene;
use crate::table::{Column, column};
use crate::tools::{Direction, Kind, WRITES};

pub const COLUMNS: &[Column] = &[
    column::min("GB/s min", Measure::GigabytesPerSecond, 2),
    column::median("median", Measure::GigabytesPerSecond, 2),
    column::max("max", Measure::GigabytesPerSecond, 2),
    column::median("CPU s/GB", Measure::CpuSecondsPerGigabyte, 2),
    column::median("system calls/GB", Measure::SyscallsPerGigabyte, 0),
    column::median("copies/byte", Measure::CopiesPerByte, 3),
    column::to_peer("rate / fastest peer", Measure::GigabytesPerSecond),
    column::to_peer("CPU / its", Measure::CpuSecondsPerGigabyte),
    column::datapath(),
];

pub fn note(amounts: &Amounts) -> String {
    format!(
        "One file of {} MiB, durable at the receiving end (fsync included) and compared with its source, which is in the \
         page cache; {} runs by turns. CPU time is that of the whole machine, both ends. System calls are those of blockd and \
         blkcp, from a run that is not timed; copies are those that the receiving end makes in user space between packet and \
         disk. Lines without a ratio are ceilings: less work than a copy. fio's writes a new file whose blocks are reserved before, as \
         blockd reserves them (fallocate), O_DIRECT, 1 MiB, {WRITES} in flight by io_uring, fsync included.",
        amounts.size >> 20,
        amounts.runs
    )
}

pub fn run(direction: Direction, bench: &mut Bench<'_>) {
    let (tools, runs) = (bench.tools, bench.amounts.runs);
    bench.expect("", tools);
    for run in 1..=runs {
        for tool in order::of(tools, run) {
            bench.measure("", tool, run, |scene| {
                measure::copy(tool, direction, Source::Hot, scene)
            });
        }
    }
    for tool in tools.iter().filter(|tool| tool.kind() == Kind::Ours) {
        let count = |scene: &Scene| counting::system_calls(*tool, direction, scene);
        if let Some(sample) = bench.attempt("", *tool, count).flatten() {
            bench.add("", *tool, sample);
        }
    }
}
