//! What a copy amounts to, for people and for programs.

use std::fmt;
use std::time::Duration;

use blk_client::{Copied, DatapathInfo, FlowInfo};
use blk_datapath::disk::ReadWays;
use blk_datapath::udp::UdpCounters;
use indicatif::HumanBytes;
use serde::Serialize;

use crate::plan::Count;

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
    /// Nothing was done; files and bytes are those that would have been copied, and so with all other numbers.
    pub dry_run: bool,
    /// Links made.
    pub links: u64,
    /// What the target had already, by size and time of modification.
    pub unchanged: Count,
    /// What the options left as it was at the target.
    pub passed_over: Count,
    /// Files, links and directories removed at the target.
    pub deleted: u64,
    /// Files and links removed at the source.
    pub sources_removed: u64,
    /// What was left out.
    pub skipped: Vec<String>,
}

#[derive(Serialize)]
struct Json<'a> {
    files: u64,
    bytes: u64,
    dry_run: bool,
    links: u64,
    unchanged_files: u64,
    unchanged_bytes: u64,
    passed_over_files: u64,
    deleted: u64,
    sources_removed: u64,
    seconds: f64,
    bytes_per_second: f64,
    zero_copy_bytes: u64,
    copied_bytes: u64,
    resumed_bytes: u64,
    source_reads: JsonReads,
    datapath: &'a str,
    datapath_reason: Option<&'a str>,
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
    worker: u32,
    bytes: u64,
    strays: u64,
    #[serde(flatten)]
    udp: Option<JsonUdp>,
}

/// The sockets of a flow over UDP, under the names that blockd's statistics have.
#[derive(Serialize)]
struct JsonUdp {
    udp_receive_calls: u64,
    udp_received: u64,
    udp_copied: u64,
    udp_oversized: u64,
    udp_buffer_full: u64,
    udp_send_calls: u64,
    udp_sent: u64,
    udp_unsegmented: u64,
    udp_parted: u64,
    udp_refused: u64,
    udp_receive_buffer: u64,
    udp_send_buffer: u64,
}

impl JsonUdp {
    fn new(counters: &UdpCounters) -> Self {
        Self {
            udp_receive_calls: counters.receive_calls,
            udp_received: counters.received,
            udp_copied: counters.copied,
            udp_oversized: counters.oversized,
            udp_buffer_full: counters.buffer_full,
            udp_send_calls: counters.send_calls,
            udp_sent: counters.sent,
            udp_unsegmented: counters.unsegmented,
            udp_parted: counters.parted,
            udp_refused: counters.refused,
            udp_receive_buffer: counters.receive_buffer,
            udp_send_buffer: counters.send_buffer,
        }
    }
}

impl JsonFlow {
    fn new(flow: &FlowInfo) -> Self {
        Self {
            queue: flow.queue,
            port: flow.port,
            worker: flow.worker,
            bytes: flow.bytes,
            strays: flow.strays,
            udp: flow.udp.as_ref().map(JsonUdp::new),
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
            dry_run: self.dry_run,
            links: self.links,
            unchanged_files: self.unchanged.files,
            unchanged_bytes: self.unchanged.bytes,
            passed_over_files: self.passed_over.files,
            deleted: self.deleted,
            sources_removed: self.sources_removed,
            seconds: self.elapsed.as_secs_f64(),
            bytes_per_second: self.rate(),
            zero_copy_bytes: self.copied.zero_copy_bytes,
            copied_bytes: self.copied.copied_bytes,
            resumed_bytes: self.copied.resumed_bytes,
            source_reads: JsonReads::new(&self.copied.reads),
            datapath: self.datapath.mode,
            datapath_reason: self.datapath.reason.as_deref(),
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

    /// What else was done, and what not, where there is any.
    fn others(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [
            (self.links, "links made"),
            (self.unchanged.files, "unchanged"),
            (self.passed_over.files, "left as they were"),
            (self.deleted, "removed there"),
            (self.sources_removed, "removed at the source"),
        ];
        for (number, what) in numbers.into_iter().filter(|&(number, _)| number > 0) {
            write!(out, "; {number} {what}")?;
        }
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.copied.bytes as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        let bytes = HumanBytes(self.copied.bytes);
        if self.dry_run {
            write!(
                out,
                "nothing done; would copy {} {files}, {bytes}",
                self.files
            )?;
            return self.others(out);
        }
        let rate = HumanBytes(self.rate() as u64);
        write!(
            out,
            "{} {files}, {bytes} in {:.2} s ({rate}/s), {} on {}",
            self.files,
            self.elapsed.as_secs_f64(),
            self.datapath.mode,
            self.datapath.interface
        )?;
        if let Some(reason) = &self.datapath.reason {
            write!(out, " ({reason})")?;
        }
        if self.copied.resumed_bytes > 0 {
            let resumed = HumanBytes(self.copied.resumed_bytes);
            write!(out, "; {resumed} of it were there from an earlier try")?;
        }
        let written = self.copied.zero_copy_bytes + self.copied.copied_bytes;
        if written > 0 {
            let share = 100.0 * self.copied.zero_copy_bytes as f64 / written as f64;
            write!(out, "; {share:.2} % written without a user-space copy")?;
        }
        self.others(out)
    }
}
