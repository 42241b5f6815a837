//! The states of a transfer.

use blk_datapath::engine::{ReceivedFile, TransferError};
use blk_datapath::files::{PendingTarget, SourceFile};

/// Where a transfer stands.
pub(super) enum Transfer {
    /// The namespace thread makes the target.
    Creating { size: u64 },
    /// Blocks come in.
    Receiving {
        target: PendingTarget,
        received: Option<Result<ReceivedFile, TransferError>>,
        commit: Option<Commit>,
    },
    /// The namespace thread syncs and names the file.
    Committing { received: ReceivedFile },
    /// The namespace thread opens the source.
    Opening,
    /// Open for reading; `reading` is the request to answer when the range is sent.
    Open {
        source: SourceFile,
        reading: Option<u32>,
    },
}

/// A client's request to commit.
#[derive(Clone, Copy)]
pub(super) struct Commit {
    /// The request to answer.
    pub(super) request: u32,
    /// CRC32 of the whole file at the sender.
    pub(super) crc: u32,
}
