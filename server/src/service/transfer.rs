//! The states of a transfer.

use std::sync::Arc;

use blk_datapath::engine::{Coverage, ReceivedFile, SharedWork, TransferError};
use blk_datapath::files::{PendingTarget, SourceFile};

use super::begin::{Begin, WaitFor};
use super::ranged::Ranged;

/// Where a transfer stands.
pub(super) enum Transfer {
    /// The namespace thread makes the target.
    Creating { size: u64, pending: Pending },
    /// The same of a put that may go on from an earlier one.
    Beginning {
        begin: Box<Begin>,
        /// So often it is tried again at most, when the partial is locked.
        looks: u32,
        pending: Pending,
    },
    /// An earlier put of the same file stands in its way.
    Waiting {
        begin: Box<Begin>,
        wait_for: WaitFor,
        pending: Pending,
    },
    /// Blocks come in.
    Receiving {
        target: PendingTarget,
        coverage: Arc<Coverage>,
        received: Option<Result<ReceivedFile, TransferError>>,
        commit: Option<Commit>,
        /// Other sessions may join by it.
        token: Option<u64>,
    },
    /// The namespace thread syncs and names the file, which cannot be called back.
    Committing {
        received: ReceivedFile,
        pending: Pending,
    },
    /// The namespace thread opens the source.
    Opening { pending: Pending },
    /// Open for reading.
    Open {
        source: SourceFile,
        reading: Option<Reading>,
        /// As of a put.
        token: Option<u64>,
    },
    /// Another session's, whose blocks this one carries too.
    Joined { token: u64 },
    /// A put that had to give way to another one.
    Superseded,
    /// A file that is read and written in place, or a range of it under way.
    Ranged(Ranged),
}

/// A job of the namespace thread that the transfer waits for.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    /// [`JobKey::job`](crate::namespace::JobKey::job): the outcome of any other job is not meant for this transfer.
    pub(super) job: u64,
    /// The request to answer.
    pub(super) request: u32,
}

/// A client's request to commit.
#[derive(Clone, Copy)]
pub(super) struct Commit {
    /// The request to answer.
    pub(super) request: u32,
    /// CRC32 of the whole file at the sender.
    pub(super) crc: u32,
}

/// A client's request to read.
pub(super) struct Reading {
    /// The request to answer when the range is sent.
    pub(super) request: u32,
    /// The range: the end of an earlier one may still be told.
    pub(super) work: Arc<SharedWork>,
}

impl Transfer {
    /// The job that it waits for.
    pub(super) fn pending(&self) -> Option<Pending> {
        match self {
            Self::Creating { pending, .. }
            | Self::Beginning { pending, .. }
            | Self::Waiting { pending, .. }
            | Self::Committing { pending, .. }
            | Self::Opening { pending } => Some(*pending),
            Self::Ranged(ranged) => ranged.pending(),
            Self::Receiving { .. } | Self::Open { .. } | Self::Joined { .. } | Self::Superseded => {
                None
            }
        }
    }

    /// Ends it: the request that is still to be answered, and the target that is to be kept or dropped.
    pub(super) fn into_remains(self) -> (Option<u32>, Option<PendingTarget>) {
        match self {
            Self::Creating { pending, .. }
            | Self::Beginning { pending, .. }
            | Self::Waiting { pending, .. }
            | Self::Committing { pending, .. }
            | Self::Opening { pending } => (Some(pending.request), None),
            Self::Receiving { target, commit, .. } => {
                (commit.map(|commit| commit.request), Some(target))
            }
            Self::Open { reading, .. } => (reading.map(|reading| reading.request), None),
            Self::Joined { .. } | Self::Superseded => (None, None),
            Self::Ranged(ranged) => (ranged.request(), None),
        }
    }

    /// Takes out the request that waits for the end of the sending or the receiving.
    pub(super) fn forget_request(&mut self) -> Option<u32> {
        match self {
            Self::Receiving { commit, .. } => commit.take().map(|commit| commit.request),
            Self::Open { reading, .. } => reading.take().map(|reading| reading.request),
            _ => None,
        }
    }

    /// The token of a transfer that is shared.
    pub(super) fn token(&self) -> Option<u64> {
        match self {
            Self::Receiving { token, .. } | Self::Open { token, .. } => *token,
            Self::Joined { token } => Some(*token),
            _ => None,
        }
    }
}
