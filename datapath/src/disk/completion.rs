//! What comes back from the disk.

use std::io;

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

/// Totals of one queue since it was made. Bytes count when their operation succeeded as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskCounters {
    /// Bytes written straight from frames.
    pub direct_bytes_written: u64,
    /// Bytes written through a copy.
    pub copied_bytes_written: u64,
    /// Bytes read straight into frames.
    pub direct_bytes_read: u64,
    /// Bytes read through the page cache.
    pub copied_bytes_read: u64,
    /// Reads and writes completed, failed ones included.
    pub operations: u64,
    /// Of these, failed.
    pub errors: u64,
    /// Further requests of operations: after a short transfer or a transient error, or for the next copy.
    pub resubmissions: u64,
}
