//! What the namespace thread is asked and what it answers.

use blk_datapath::files::{PendingTarget, SourceFile, TargetSpec};
use blk_proto::message::{Attributes, Entry, Failure};

/// Who asked; returned with the answer as it came.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct JobKey {
    /// The worker to answer.
    pub worker: u32,
    /// Its session.
    pub session: u32,
    /// The worker's number for this job, never used again: clients choose the numbers of requests and transfers, and
    /// may use them again while the job of an aborted one still runs.
    pub job: u64,
    /// What waits for the answer.
    pub asker: Asker,
}

/// What waits for the answer to a job.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Asker {
    /// Nothing: whatever the outcome is, no client is told.
    Nobody,
    /// A request that has no transfer, by its number.
    Request(u32),
    /// A step of a transfer.
    Transfer {
        /// The client's number of the transfer.
        transfer: u32,
        /// The request to answer.
        request: u32,
    },
}

/// Something to be done with names. Paths are bytes, relative to the export.
#[derive(Debug)]
pub enum Job {
    /// Start to receive a file; missing directories are made. Answer: [`Outcome::TargetReady`].
    CreateTarget {
        /// Name of the export.
        export: String,
        /// Path of the file.
        path: Vec<u8>,
        /// What it is going to be.
        spec: TargetSpec,
    },
    /// Make a received file durable and give it its name. Answer: [`Outcome::Committed`].
    Commit {
        /// The file; all writes to it are complete.
        target: PendingTarget,
    },
    /// Drop an incomplete file. Answer: [`Outcome::Abandoned`].
    Abandon {
        /// The file.
        target: PendingTarget,
    },
    /// Open a file for reading. Answer: [`Outcome::SourceReady`].
    OpenSource {
        /// Name of the export.
        export: String,
        /// Path of the file.
        path: Vec<u8>,
    },
    /// Attributes of a path; links are followed within the export. Answer:
    /// [`Outcome::Attributes`].
    Stat {
        /// Name of the export.
        export: String,
        /// The path; empty for the export itself.
        path: Vec<u8>,
    },
    /// One page of a directory's entries, sorted by name. Answer: [`Outcome::Entries`].
    ///
    /// The first page takes a snapshot of the names, which serves the later pages: no name is left
    /// out or repeated, whatever happens to the directory meanwhile; a name that is gone when its
    /// page is made is left out. Snapshots are kept in bounded number: when too many listings go
    /// on at once the oldest is read again, and then names may be missed or repeated if the
    /// directory has changed.
    List {
        /// Name of the export.
        export: String,
        /// Path of the directory; empty for the export itself.
        path: Vec<u8>,
        /// 0, or the `next` of the page before; opaque.
        cursor: u64,
    },
    /// Make a directory and those missing on the way; an existing one is left as it is and a
    /// success. Answer: [`Outcome::Made`], when it is durable.
    MakeDirectory {
        /// Name of the export.
        export: String,
        /// Path of the directory.
        path: Vec<u8>,
        /// Permission bits, 0o777 of them.
        mode: u32,
    },
}

impl Job {
    /// Whether the job disposes of a target that exists already. Such jobs are always accepted: a file that was
    /// received whole is not dropped because the queue is long, and their number is bounded by the open targets.
    pub fn disposes(&self) -> bool {
        matches!(self, Job::Commit { .. } | Job::Abandon { .. })
    }
}

/// What became of a [`Job`].
#[derive(Debug)]
pub enum Outcome {
    /// Blocks may be written to it.
    TargetReady(PendingTarget),
    /// The file is durable under its name.
    Committed,
    /// Nothing of the file is left.
    Abandoned,
    /// Blocks may be read from it.
    SourceReady(SourceFile),
    /// What the path stands for.
    Attributes(Attributes),
    /// A page that fits a message.
    Entries {
        /// Sorted by name.
        entries: Vec<Entry>,
        /// The cursor of the next page; `None` after the last.
        next: Option<u64>,
    },
    /// The directory is there, durably.
    Made,
    /// Nothing of the above; as it is to be told to the peer.
    Failed(Failure),
}
