//! What comes back from the disk.

use std::{fmt, io};

use super::{ReadWay, ReadWays};
use crate::umem::{Disk, Frame};

/// The outcome of one request, with its frames.
#[must_use = "completions carry frames, which must be released"]
#[derive(Debug)]
pub enum Completion {
    /// A [`write`](super::DiskQueue::write) ended.
    Written {
        /// The caller's tag.
        tag: u64,
        /// The frames written from, in order.
        frames: Vec<Frame<Disk>>,
        /// How the bytes went, all of them; on an error some may have been written.
        result: Result<Ways, io::Error>,
    },
    /// A [`read`](super::DiskQueue::read) ended.
    Read {
        /// The caller's tag.
        tag: u64,
        /// The frames read into, in order.
        frames: Vec<Frame<Disk>>,
        /// Which way they were read in the end: [`ReadWay::Direct`] where the page cache should have had them, and had not.
        way: ReadWay,
        /// Bytes read from the offset on; fewer than asked for only at the end of the file.
        result: Result<u64, io::Error>,
    },
    /// A descriptor of [`poll_readable`](super::DiskQueue::poll_readable) is readable (or broken). Poll again
    /// to hear of it again.
    Wakeup {
        /// The caller's tag.
        tag: u64,
    },
}

/// Bytes written, by way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ways {
    /// Straight from the frames, no copy.
    pub direct: u64,
    /// Copied once: through a copy buffer, or by the kernel into the page cache.
    pub copied: u64,
}

/// Operations of the kernel and bytes, of one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WayCount {
    /// Requests that transferred something, also those of operations that failed later.
    pub requests: u64,
    /// Payload bytes of operations that succeeded as a whole.
    pub bytes: u64,
}

/// Reads or writes, by way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByWay {
    /// Straight between frames and device.
    pub gathered: WayCount,
    /// Direct I/O, through copy buffers.
    pub coalesced: WayCount,
    /// Through the page cache.
    pub buffered: WayCount,
}

impl ByWay {
    /// Bytes of all ways.
    pub fn bytes(&self) -> u64 {
        self.gathered.bytes + self.copied_bytes()
    }

    /// Bytes of the ways with a copy.
    pub fn copied_bytes(&self) -> u64 {
        self.coalesced.bytes + self.buffered.bytes
    }

    /// `name=value` pairs; names begin with `prefix`.
    pub fn write_to(&self, out: &mut impl fmt::Write, prefix: &str) -> fmt::Result {
        let ways = [
            ("gathered", self.gathered),
            ("coalesced", self.coalesced),
            ("buffered", self.buffered),
        ];
        for (at, (name, way)) in ways.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(
                out,
                "{gap}{prefix}_{name}_bytes={} {prefix}_{name}_requests={}",
                way.bytes, way.requests
            )?;
        }
        Ok(())
    }
}

/// Totals of one queue since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskCounters {
    /// Writes.
    pub written: ByWay,
    /// Reads, by the requests that fetched them: what came through the page cache is here, whether it was there or not.
    pub read: ByWay,
    /// The same reads, by where their bytes were.
    pub reads: ReadWays,
    /// Reads and writes completed, failed ones included.
    pub operations: u64,
    /// Of these, failed.
    pub errors: u64,
    /// Requests that go on after a short transfer.
    pub short: u64,
    /// Requests tried again after a transient error.
    pub retries: u64,
}
