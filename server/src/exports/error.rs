//! What can be wrong with an export, and with a request for something in it.

use std::io;

use blk_datapath::files::{FileError, FileErrorKind};
use blk_proto::message::{ErrorCode, Failure};

use super::ExportSpec;

/// Why the daemon cannot serve what it is told to serve. Found at start.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Not of the form NAME=DIR.
    #[error("invalid export {text:?}: write NAME=DIRECTORY, as in media=/srv/media")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// A name that cannot be used.
    #[error(
        "invalid name of an export {name:?}: use 1 to 64 letters, digits, '.', '_' or '-', and no \
         dot in front"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// The same name twice.
    #[error("export {name:?} is given twice: each export needs a name of its own")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The directory does not exist.
    #[error(
        "cannot open export {:?}: directory {:?} does not exist; create it or correct the path",
        spec.name, spec.directory
    )]
    Missing {
        /// Name and directory.
        spec: ExportSpec,
    },
    /// It is something else than a directory.
    #[error(
        "cannot open export {:?}: {:?} is not a directory; export the directory that holds it",
        spec.name, spec.directory
    )]
    NotDirectory {
        /// Name and directory.
        spec: ExportSpec,
    },
    /// It cannot be opened.
    #[error("cannot open export {:?}: directory {:?}: {source}", spec.name, spec.directory)]
    Open {
        /// Name and directory.
        spec: ExportSpec,
        /// What open(2) reported.
        source: io::Error,
    },
}

/// Why a request for a name in an export fails.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No export has that name.
    #[error("there is no export {name:?} here")]
    NoSuchExport {
        /// What was asked for.
        name: String,
    },
    /// The operation on the file failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl AccessError {
    /// The error as it is told to the peer: a code to act upon and a message to read.
    pub fn to_failure(&self) -> Failure {
        let code = match self {
            AccessError::NoSuchExport { .. } => ErrorCode::NoSuchExport,
            AccessError::File(error) => code_of(error.kind),
        };
        Failure {
            code,
            message: self.to_string(),
        }
    }
}

fn code_of(kind: FileErrorKind) -> ErrorCode {
    match kind {
        FileErrorKind::NotFound => ErrorCode::NotFound,
        FileErrorKind::IsDirectory => ErrorCode::IsDirectory,
        FileErrorKind::NotDirectory => ErrorCode::NotDirectory,
        FileErrorKind::NoSpace => ErrorCode::NoSpace,
        FileErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
        FileErrorKind::ReadOnly => ErrorCode::ReadOnly,
        FileErrorKind::OutsideExport => ErrorCode::OutsideExport,
        FileErrorKind::InvalidName => ErrorCode::InvalidName,
        FileErrorKind::NotRegular | FileErrorKind::Unsupported => ErrorCode::Unsupported,
        FileErrorKind::InvalidRange => ErrorCode::Protocol,
        FileErrorKind::TooLarge => ErrorCode::TooLarge,
        FileErrorKind::ChecksumMismatch => ErrorCode::ChecksumMismatch,
        FileErrorKind::InUse => ErrorCode::Busy,
        FileErrorKind::Exists => ErrorCode::Exists,
        FileErrorKind::NotEmpty => ErrorCode::NotEmpty,
        // The kinds may grow; what is not told apart is an I/O error.
        _ => ErrorCode::Io,
    }
}
