//! Why a request was not carried out.

use bincode::{Decode, Encode};

/// Why a request failed, for programs.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ErrorCode {
    /// The server has no export of this name.
    NoSuchExport,
    /// The path leads out of the export.
    OutsideExport,
    /// Nothing has this name.
    NotFound,
    /// It is a directory, and the request needs something else.
    IsDirectory,
    /// It is no directory, and the request needs one.
    NotDirectory,
    /// The disk or the quota is full.
    NoSpace,
    /// The server may not touch it.
    PermissionDenied,
    /// What arrived is not what the client says it sent.
    ChecksumMismatch,
    /// The server has no room for this now; later it may.
    Busy,
    /// More than the server or the file system takes.
    TooLarge,
    /// The export is read-only.
    ReadOnly,
    /// The path is empty, too long, or has a component that is not allowed.
    InvalidName,
    /// The server cannot do this.
    Unsupported,
    /// The disk failed.
    Io,
    /// The client broke the rules of the control stream.
    Protocol,
    /// Something has the name already.
    Exists,
    /// The directory is not empty.
    NotEmpty,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{message} ({code:?})")]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what failed, on what, what to do.
    pub message: String,
}
