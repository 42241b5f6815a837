//! What the namespace thread is asked and what it answers.

use blk_datapath::files::{PendingTarget, SourceFile, TargetSpec};
use blk_proto::message::{Attributes, Entry, Failure, FetchedFile, Identity, SmallFile};

use super::{RangedJob, RangedOutcome};

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
    /// Start to receive a file; missing directories are made. Answer: [`Outcome::TargetReady`], or, while somebody else has
    /// the partial file of an `identity`, `Failed` with [`ErrorCode::Busy`](blk_proto::message::ErrorCode::Busy).
    CreateTarget {
        /// Name of the export.
        export: String,
        /// Path of the file.
        path: Vec<u8>,
        /// What it is going to be.
        spec: TargetSpec,
        /// What its content is known by; `None`: it is not resumed, and cannot be later.
        identity: Option<Identity>,
        /// Where it has no data: offsets and lengths, as in [`Request::Begin`](blk_proto::message::Request::Begin).
        holes: Vec<(u64, u64)>,
    },
    /// Make a received file durable and give it its name. Answer: [`Outcome::Committed`].
    Commit {
        /// The file; all writes to it are complete.
        target: PendingTarget,
    },
    /// Drop an incomplete file, also one that could be resumed. Answer: [`Outcome::Abandoned`].
    Abandon {
        /// The file.
        target: PendingTarget,
    },
    /// Leave an incomplete file to a later put, what it has made durable. One that cannot be resumed, or has nothing, is
    /// dropped. Waits for the writes that are under way. Answer: [`Outcome::Kept`].
    Keep {
        /// The file.
        target: PendingTarget,
    },
    /// Do nothing for a while. Answer: [`Outcome::Waited`].
    Wait {
        /// How long.
        time: std::time::Duration,
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
    /// Remove a name that is no directory's. Answer: [`Outcome::Removed`], when that is durable.
    Remove {
        /// Name of the export.
        export: String,
        /// Path of the file.
        path: Vec<u8>,
    },
    /// Remove an empty directory. Answer: [`Outcome::Removed`], when that is durable.
    RemoveDirectory {
        /// Name of the export.
        export: String,
        /// Path of the directory.
        path: Vec<u8>,
    },
    /// Give a name to what has another one. Answer: [`Outcome::Renamed`], when that is durable.
    Rename {
        /// Name of the export.
        export: String,
        /// The old path.
        from: Vec<u8>,
        /// The new path.
        to: Vec<u8>,
        /// Whether what has the new name makes room.
        replace: bool,
    },
    /// Make a symbolic link, and the directories missing on the way. Answer: [`Outcome::Changed`], when it is durable.
    MakeLink {
        /// Name of the export.
        export: String,
        /// Path of the link.
        path: Vec<u8>,
        /// Where it leads.
        target: Vec<u8>,
    },
    /// Where a symbolic link leads. Answer: [`Outcome::Link`].
    ReadLink {
        /// Name of the export.
        export: String,
        /// Path of the link.
        path: Vec<u8>,
    },
    /// Set mode and time of a directory or regular file. Answer: [`Outcome::Changed`], when they are durable.
    SetAttributes {
        /// Name of the export.
        export: String,
        /// The path.
        path: Vec<u8>,
        /// Permission bits, 0o777 of them.
        mode: u32,
        /// Nanoseconds since 1970.
        mtime_ns: i64,
    },
    /// About a file that is read and written in place, or the holes of an open one. Answer: [`Outcome::Ranged`].
    Ranged(RangedJob),
    /// Write whole small files; missing directories are made. Answer: [`Outcome::Stored`].
    Store {
        /// Name of the export.
        export: String,
        /// The files, at most [`MAX_SMALL_FILES`](blk_proto::message::MAX_SMALL_FILES).
        files: Vec<SmallFile>,
    },
    /// Read whole small files. Answer: [`Outcome::Fetched`].
    Fetch {
        /// Name of the export.
        export: String,
        /// Their paths, at most [`MAX_SMALL_FILES`](blk_proto::message::MAX_SMALL_FILES).
        paths: Vec<Vec<u8>>,
    },
}

impl Job {
    /// Whether most of its time goes by in waiting for others, not in work of the thread.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Job::Wait { .. } | Job::Store { .. })
    }

    /// Whether the job disposes of a target that exists already. Such jobs are always accepted: a file that was
    /// received whole is not dropped because the queue is long, and their number is bounded by the open targets.
    pub fn disposes(&self) -> bool {
        matches!(
            self,
            Job::Commit { .. } | Job::Abandon { .. } | Job::Keep { .. }
        )
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
    /// A later put can go on with the file, if it can be resumed.
    Kept,
    /// The time is over.
    Waited,
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
    /// The name is gone, durably.
    Removed,
    /// It has the new name, and not the old one, durably.
    Renamed,
    /// The link is there, or the attributes are set, durably.
    Changed,
    /// Where the link leads.
    Link(Vec<u8>),
    /// What became of a [`RangedJob`].
    Ranged(RangedOutcome),
    /// What became of each small file: `None` for one that is durable under its name.
    Stored {
        /// In the order of the files; together they fit a message.
        failures: Vec<Option<Failure>>,
    },
    /// Small files; together they fit a message.
    Fetched {
        /// In the order of the paths.
        files: Vec<FetchedFile>,
    },
    /// Nothing of the above; as it is to be told to the peer.
    Failed(Failure),
}
