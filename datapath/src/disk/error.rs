//! Errors of the queue itself; those of single operations come with their completions.

use crate::ring::RingError;

/// Why a disk queue could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A depth of 0 or above [`DEPTH_MAX`](super::DEPTH_MAX).
    #[error(
        "a disk queue of depth {depth}: between 1 and {} are possible",
        super::DEPTH_MAX
    )]
    Depth {
        /// What was asked for.
        depth: u32,
    },
    /// The io_uring.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// No room for another request; try after the next completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull;
