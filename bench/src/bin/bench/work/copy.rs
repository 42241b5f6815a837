//! One large file there or back, from the page cache of the sending end.

use super::{Bench, Work};
use crate::counting;
use crate::figures::Measure;
use crate::measure::{self, Source};
use crate::options::Amounts;
use crate::table::{Column, column};
use crate::tools::{Direction, Kind};

pub const COLUMNS: &[Column] = &[
    column::min("GB/s min", Measure::GigabytesPerSecond, 2),
    column::median("median", Measure::GigabytesPerSecond, 2),
    column::max("max", Measure::GigabytesPerSecond, 2),
    column::median("CPU s/GB", Measure::CpuSecondsPerGigabyte, 2),
    column::median("system calls/GB", Measure::SyscallsPerGigabyte, 0),
    column::median("copies/byte", Measure::CopiesPerByte, 3),
    column::to_peer("rate / fastest peer", Measure::GigabytesPerSecond),
    column::to_peer("CPU / its", Measure::CpuSecondsPerGigabyte),
];

pub fn note(amounts: &Amounts) -> String {
    format!(
        "One file of {} MiB, durable at the receiving end (fsync included) and compared with its source, which is in the \
         page cache; {} runs by turns. CPU time is that of the whole machine, both ends. System calls are those of blockd and \
         blkcp, from a run that is not timed; copies are those that the receiving end makes in user space between packet and \
         disk. Lines without a ratio are ceilings: less work than a copy.",
        amounts.size >> 20,
        amounts.runs
    )
}

pub fn run(direction: Direction, bench: &mut Bench<'_>) {
    let work = match direction {
        Direction::Put => Work::Put,
        Direction::Get => Work::Get,
    };
    for run in 1..=bench.amounts.runs {
        for tool in bench.tools {
            bench.say(work, "", &tool.name(), run);
            let sample = measure::copy(*tool, direction, Source::Hot, bench.scene);
            bench.add(work, "", *tool, sample);
        }
    }
    for tool in bench.tools.iter().filter(|tool| tool.kind() == Kind::Ours) {
        if let Some(sample) = counting::system_calls(*tool, direction, bench.scene) {
            bench.add(work, "", *tool, sample);
        }
    }
}
