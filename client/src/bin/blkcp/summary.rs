//! What a copy amounts to, for people and for programs.

use std::fmt;
use std::time::Duration;

use blk_client::{Copied, DatapathInfo, FlowInfo};
use blk_datapath::disk::ReadWays;
use indicatif::HumanBytes;
use serde::Serialize;

/// The totals of one run.
#[derive(Debug)]
pub struct Summary {
    /// Files copied.
    pub files: u64,
    /// Sums over the files.
    pub copied: Copied,
    /// From the first request to the last acknowledgement.
    pub elapsed: Duration,
    /// How the blocks travelled.
    pub datapath: DatapathInfo,
    /// What each flow carried.
    pub flows: Vec<FlowInfo>,
    /// Packets that were sent again by this end.
    pub retransmitted: u64,
    /// Bytes of payload that fit into a packet to the other end: what the path, it, and this end take.
    pub payload: u16,
    /// What was left out.
    pub skipped: Vec<String>,
}

#[derive(Serialize)]
struct Json<'a> {
    files: u64,
    bytes: u64,
    seconds: f64,
    bytes_per_second: f64,
    zero_copy_bytes: u64,
    copied_bytes: u64,
    resumed_bytes: u64,
    source_reads: JsonReads,
    datapath: &'a str,
    interface: &'a str,
    queue: u32,
    mtu: u32,
    payload: u16,
    flows: Vec<JsonFlow>,
    retransmitted: u64,
    skipped: &'a [String],
}

#[derive(Serialize)]
struct JsonFlow {
    queue: u32,
    port: u16,
    bytes: u64,
}

impl JsonFlow {
    fn new(flow: &FlowInfo) -> Self {
        Self {
            queue: flow.queue,
            port: flow.port,
            bytes: flow.bytes,
        }
    }
}

/// How the files that were put were read.
#[derive(Serialize)]
struct JsonReads {
    cache_runs: u64,
    cache_bytes: u64,
    direct_runs: u64,
    direct_bytes: u64,
    buffered_runs: u64,
    buffered_bytes: u64,
    cachestat_calls: u64,
    nowait_misses: u64,
}

impl JsonReads {
    fn new(reads: &ReadWays) -> Self {
        Self {
            cache_runs: reads.cache_runs,
            cache_bytes: reads.cache_bytes,
            direct_runs: reads.direct_runs,
            direct_bytes: reads.direct_bytes,
            buffered_runs: reads.buffered_runs,
            buffered_bytes: reads.buffered_bytes,
            cachestat_calls: reads.cachestat_calls,
            nowait_misses: reads.nowait_misses,
        }
    }
}

impl Summary {
    /// One line of JSON; sizes in bytes, times in seconds.
    pub fn json(&self) -> String {
        let line = Json {
            files: self.files,
            bytes: self.copied.bytes,
            seconds: self.elapsed.as_secs_f64(),
            bytes_per_second: self.rate(),
            zero_copy_bytes: self.copied.zero_copy_bytes,
            copied_bytes: self.copied.copied_bytes,
            resumed_bytes: self.copied.resumed_bytes,
            source_reads: JsonReads::new(&self.copied.reads),
            datapath: self.datapath.mode,
            interface: &self.datapath.interface,
            queue: self.datapath.queue,
            mtu: self.datapath.mtu,
            payload: self.payload,
            flows: self.flows.iter().map(JsonFlow::new).collect(),
            retransmitted: self.retransmitted,
            skipped: &self.skipped,
        };
        serde_json::to_string(&line).unwrap_or_default()
    }

    fn rate(&self) -> f64 {
        self.copied.bytes as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        let rate = HumanBytes(self.rate() as u64);
        write!(
            out,
            "{} {files}, {} in {:.2} s ({rate}/s), {} on {}",
            self.files,
            HumanBytes(self.copied.bytes),
            self.elapsed.as_secs_f64(),
            self.datapath.mode,
            self.datapath.interface
        )?;
        if self.copied.resumed_bytes > 0 {
            let resumed = HumanBytes(self.copied.resumed_bytes);
            write!(out, "; {resumed} of it were there from an earlier try")?;
        }
        let written = self.copied.zero_copy_bytes + self.copied.copied_bytes;
        if written > 0 {
            let share = 100.0 * self.copied.zero_copy_bytes as f64 / written as f64;
            write!(out, "; {share:.2} % written without a user-space copy")?;
        }
        Ok(())
    }
}
