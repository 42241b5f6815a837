//! What the engine tells the service above it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blk_proto::session::{CloseReason, ConnectionId};

use super::coverage::ByteRange;
use super::inbound::ReceivedFile;
use super::outbound::SentFile;
use super::work::SharedWork;

/// Names a session within one engine: the bits of its [`ConnectionId`]. A place in the table has 16,383 ids, and then the
/// first of them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

impl SessionId {
    /// What the id says.
    pub(super) fn connection(self) -> ConnectionId {
        ConnectionId::from_bits(self.0)
    }
}

/// Something a service has to know.
#[derive(Debug)]
pub enum EngineEvent {
    /// The handshake is complete.
    Connected {
        /// The session.
        session: SessionId,
        /// The other end's address.
        remote: SocketAddr,
    },
    /// A control message arrived, whole and in order.
    Message {
        /// The session.
        session: SessionId,
        /// The message's bytes, as given to `send_message` at the other end.
        bytes: Vec<u8>,
    },
    /// A file being received is over: every byte written, or a failure.
    Received {
        /// The session.
        session: SessionId,
        /// The transfer.
        transfer: u32,
        /// What became of it.
        outcome: Result<ReceivedFile, TransferError>,
    },
    /// All blocks that came are written, and the file is not whole; in answer to [`super::Coverage::settle`].
    Incomplete {
        /// The session; any of those whose flows bring the file.
        session: SessionId,
        /// The transfer.
        transfer: u32,
        /// What is missing, as offsets and lengths; there may be more.
        missing: Vec<ByteRange>,
    },
    /// A file being sent is over: every block acknowledged, or a failure.
    Sent {
        /// The session.
        session: SessionId,
        /// The transfer.
        transfer: u32,
        /// What was to be sent: a transfer sends one range after the other.
        work: Arc<SharedWork>,
        /// What became of it.
        outcome: Result<SentFile, TransferError>,
    },
    /// The session is gone, and its transfers with it.
    Closed {
        /// The session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The disk failed.
    #[error("disk: {0}")]
    Disk(#[source] io::Error),
    /// The source could not be read.
    #[error("cannot read the source at byte {offset}: {source}")]
    Read {
        /// Where the run that failed begins; what failed lies within 420 KiB from there.
        offset: u64,
        /// What the disk said.
        source: io::Error,
    },
    /// The source gave fewer bytes than its size promised.
    #[error("the source shrank while it was read (at byte {offset})")]
    SourceShrank {
        /// Where the missing bytes were expected.
        offset: u64,
    },
    /// The other end broke the rules of a transfer.
    #[error("protocol: {0}")]
    Protocol(&'static str),
    /// Blocks that were sent, as the one says who sends, are not with the one who receives: try again.
    #[error("not all of what was sent has arrived")]
    Incomplete,
    /// The session still has an earlier part of the transfer: try again.
    #[error("the session still carries an earlier part of the transfer")]
    Busy,
}

/// A count of payload bytes done, shared with whoever shows the progress.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Adds `bytes`.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what was added and turned out not to be done.
    pub fn take_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
