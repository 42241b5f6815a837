//! Whether another try makes sense, and errors as programs know them that read and write streams.

use std::io;

use blk_datapath::engine::TransferError;
use blk_proto::message::ErrorCode;

use crate::error::{ClientError, ConnectionLost, ErrorKind};

impl ClientError {
    /// Whether the same call may succeed later without anybody mending anything.
    ///
    /// - A session that was lost, a host that does not answer, or one that is busy: wait, and connect anew. A
    ///   [`Client`](crate::Client) does not connect again by itself.
    /// - A file that changed while it was read, a checksum that was wrong, blocks that did not come: the same call again.
    ///
    /// Everything else stays as it is until a name, a right, a disk, an interface or a program is mended. A put, a get, a
    /// removal may be done twice without harm; a write in place too, when nobody else writes there.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lost { source, .. } => may_come_back(source),
            Self::Refused { failure, .. } => {
                matches!(failure.code, ErrorCode::Busy | ErrorCode::ChecksumMismatch)
            }
            Self::Neighbour { .. } => self.kind() != ErrorKind::Permission,
            Self::Transfer { source, .. } => matches!(
                source,
                TransferError::SourceShrank { .. }
                    | TransferError::Incomplete
                    | TransferError::Busy
            ),
            Self::Changed { .. } | Self::ChecksumMismatch { .. } | Self::Incomplete { .. } => true,
            _ => false,
        }
    }
}

/// Whether a new session may stand where this one was lost.
fn may_come_back(lost: &ConnectionLost) -> bool {
    !matches!(
        lost,
        ConnectionLost::Refused(_)
            | ConnectionLost::Request(_)
            | ConnectionLost::InterfaceGone(_)
            | ConnectionLost::AddressGone(..)
            | ConnectionLost::Closed
    )
}

/// The kind that fits best; the [`ClientError`] itself is within ([`io::Error::get_ref`], [`io::Error::downcast`]).
impl From<ClientError> for io::Error {
    fn from(error: ClientError) -> Self {
        Self::new(io_kind(error.kind()), error)
    }
}

pub(crate) fn io_kind(kind: ErrorKind) -> io::ErrorKind {
    match kind {
        ErrorKind::Unreachable => io::ErrorKind::HostUnreachable,
        ErrorKind::NotFound => io::ErrorKind::NotFound,
        ErrorKind::Taken => io::ErrorKind::AlreadyExists,
        ErrorKind::NotAllowed | ErrorKind::WrongKind => io::ErrorKind::InvalidInput,
        ErrorKind::NoSpace => io::ErrorKind::StorageFull,
        ErrorKind::Permission => io::ErrorKind::PermissionDenied,
        ErrorKind::Protocol | ErrorKind::Checksum => io::ErrorKind::InvalidData,
        ErrorKind::Lost => io::ErrorKind::ConnectionAborted,
        ErrorKind::Datapath => io::ErrorKind::Unsupported,
        ErrorKind::Other => io::ErrorKind::Other,
    }
}
