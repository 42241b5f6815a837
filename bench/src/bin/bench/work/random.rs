//! 4 KiB reads and writes at random places of one file.

use std::fs::File;

use super::{Bench, load_cpu};
use crate::cpu::{Watch, busy};
use crate::options::Amounts;
use crate::order;
use crate::running::Running;
use crate::sample::{Measure, Sample};
use crate::scene::{RANDOM, Scene};
use crate::table::{Column, column};
use crate::tools::{Load, Tool};

/// Bytes of each read or write.
pub const BLOCK: u64 = 4096;

pub const COLUMNS: &[Column] = &[
    column::min("IOPS min", Measure::OperationsPerSecond, 0),
    column::median("median", Measure::OperationsPerSecond, 0),
    column::max("max", Measure::OperationsPerSecond, 0),
    column::median("p50 us", Measure::P50Microseconds, 1),
    column::median("p99 us", Measure::P99Microseconds, 1),
    column::median("p99.9 us", Measure::P999Microseconds, 1),
    column::median("CPU us/op", Measure::CpuMicrosecondsPerOperation, 1),
    column::to_peer("IOPS / peer", Measure::OperationsPerSecond),
    column::to_peer("p50 / its", Measure::P50Microseconds),
    column::to_ceiling("IOPS / disk", Measure::OperationsPerSecond),
    column::datapath(),
];

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads of what is in the server's page cache.
    HotRead,
    /// Reads of what is not, at first.
    ColdRead,
    /// Writes, acknowledged, not durable.
    Write,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// What is done.
    pub access: Access,
    /// Operations under way at once.
    pub depth: u32,
    /// For how long.
    pub seconds: u32,
    /// Bytes of the file.
    pub size: u64,
}

const fn job(access: Access, depth: u32) -> Job {
    Job {
        access,
        depth,
        seconds: 0,
        size: 0,
    }
}

impl Job {
    /// All of them, without time and size.
    pub const ALL: [Self; 6] = [
        job(Access::HotRead, 1),
        job(Access::HotRead, 32),
        job(Access::ColdRead, 1),
        job(Access::ColdRead, 32),
        job(Access::Write, 1),
        job(Access::Write, 32),
    ];

    /// For so long, on a file of this size.
    pub fn lasting(self, seconds: u32, size: u64) -> Self {
        Self {
            seconds,
            size,
            ..self
        }
    }

    /// As the table calls it.
    pub fn case(&self) -> String {
        let access = match self.access {
            Access::HotRead => "read, hot",
            Access::ColdRead => "read, cold",
            Access::Write => "write",
        };
        format!("{access}, {} at once", self.depth)
    }

    /// What fio is told, whatever its engine.
    pub fn fio(&self) -> Vec<String> {
        let rw = match self.access {
            Access::HotRead | Access::ColdRead => "randread",
            Access::Write => "randwrite",
        };
        let mut arguments: Vec<String> = [
            "--name=random",
            "--time_based",
            "--norandommap",
            "--randrepeat=0",
            "--clat_percentiles=0",
            "--lat_percentiles=1",
            "--output-format=json",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend([
            format!("--rw={rw}"),
            format!("--bs={BLOCK}"),
            format!("--iodepth={}", self.depth),
            format!("--runtime={}", self.seconds),
            format!("--size={}", self.size),
        ]);
        arguments
    }
}

pub fn note(amounts: &Amounts) -> String {
    format!(
        "{BLOCK} bytes at random places of a file of {} MiB, {} s each, {} runs by turns; the latency of an operation from its issue to \
         its answer. Hot: the file is in the server's page cache. Cold: it was taken out before, and comes into the page \
         cache again with every read of nbdkit, which reads through it; blockd reads past the page cache what is not in it. \
         Writes are acknowledged, not durable: nbdkit's are in the page cache then. blkcp stands for the client library's \
         `RemoteFile`. fio on the disk is O_DIRECT, in all cases, and so no ceiling of what comes from the page cache. CPU time is that of the whole \
         machine in the middle of a load, from four fifths to one fifth before its end: no tool's start counts.",
        amounts.random_size >> 20,
        amounts.seconds,
        amounts.runs
    )
}

pub fn run(bench: &mut Bench<'_>) {
    let (tools, size) = (bench.tools, bench.amounts.random_size);
    bench.scene.far_files.fill(RANDOM, size);
    for job in Job::ALL {
        bench.expect(&job.case(), tools);
    }
    for run in 1..=bench.amounts.runs {
        for (turn, job) in (run..).zip(Job::ALL) {
            let job = job.lasting(bench.amounts.seconds, size);
            for tool in order::of(tools, turn) {
                bench.measure(&job.case(), tool, run, |scene| one(tool, &job, scene));
            }
        }
    }
    bench.scene.far_files.remove(RANDOM);
}

fn one(tool: &dyn Tool, job: &Job, scene: &Scene) -> Sample {
    // What an earlier one wrote is on the disk, and not on its way there.
    scene.far_files.sync(RANDOM);
    match job.access {
        Access::ColdRead => scene.far_files.cool(RANDOM),
        Access::HotRead | Access::Write => scene.far_files.warm(RANDOM),
    }
    let server = scene.serve(tool);
    let load = tool.random(job, &scene.near);
    let Load { mut command, read } = load.expect("asked for what it does");
    // Not a pipe, which nobody reads while it is watched.
    let said = scene.near.home.join("load.out");
    command.stdout(File::create(&said).expect("cannot make a file for what the client says"));
    let watch = Watch::at_rest(scene);
    let mut client = Running::start(&mut command);
    let busy = load_cpu::watch(&mut client, job.seconds.into(), || busy(scene));
    let spent = watch.stop();
    let status = client.wait();
    assert!(status.success(), "{} failed: {status}", tool.name());
    drop(server);
    let said = std::fs::read_to_string(&said).expect("the client's words are there");
    let latencies = read(&said).unwrap_or_else(|error| panic!("{}: {error:#}", tool.name()));
    let mut sample = latencies.sample();
    if let Some(busy) = busy {
        let each = busy / latencies.rate * 1e6;
        sample.insert(Measure::CpuMicrosecondsPerOperation, each);
    }
    sample.extend(spent.load());
    sample.over(tool.datapath(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_names_of_their_own_and_fio_is_told_all() {
        let mut cases: Vec<_> = Job::ALL.iter().map(Job::case).collect();
        cases.dedup();
        assert_eq!(cases.len(), Job::ALL.len());
        let arguments = Job::ALL[5].lasting(3, 1 << 20).fio();
        for wanted in [
            "--rw=randwrite",
            "--bs=4096",
            "--iodepth=32",
            "--runtime=3",
            "--size=1048576",
        ] {
            assert!(
                arguments.iter().any(|argument| argument == wanted),
                "{wanted}"
            );
        }
    }
}
