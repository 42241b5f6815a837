//! What went wrong with a file: the operation, the name, the cause.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// The cause of a [`FileError`], coarse enough to be told to a peer or to choose an exit code by.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// The name, or a directory on the way to it, does not exist.
    NotFound,
    /// The name is a directory where a file is needed.
    IsDirectory,
    /// A component on the way is not a directory.
    NotDirectory,
    /// The file system is full, or the quota is.
    NoSpace,
    /// The process lacks a permission.
    PermissionDenied,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The name leads out of the directory that it must stay beneath.
    OutsideExport,
    /// The name is empty, too long, reserved or otherwise not a name.
    InvalidName,
    /// The name is a device, FIFO or socket where a regular file is needed.
    NotRegular,
    /// Holes of a file, or a range of it, break the rules for them.
    InvalidRange,
    /// The size is beyond what the file system or the protocol can hold.
    TooLarge,
    /// The file system cannot do this.
    Unsupported,
    /// The bytes are not those that the sender says it sent.
    ChecksumMismatch,
    /// Somebody else is at it; later it may be free.
    InUse,
    /// Something has the name already.
    Exists,
    /// The directory is not empty.
    NotEmpty,
    /// Everything else: the device failed, descriptors ran out, ...
    Io,
}

impl FileErrorKind {
    /// The kind that an errno value stands for, in a call that is not confined to a directory.
    fn from_errno(errno: Errno) -> FileErrorKind {
        match errno {
            Errno::NOENT => FileErrorKind::NotFound,
            Errno::ISDIR => FileErrorKind::IsDirectory,
            Errno::NOTDIR => FileErrorKind::NotDirectory,
            Errno::NOSPC | Errno::DQUOT => FileErrorKind::NoSpace,
            Errno::ACCESS | Errno::PERM => FileErrorKind::PermissionDenied,
            Errno::ROFS => FileErrorKind::ReadOnly,
            Errno::NAMETOOLONG => FileErrorKind::InvalidName,
            Errno::FBIG | Errno::OVERFLOW => FileErrorKind::TooLarge,
            Errno::EXIST => FileErrorKind::Exists,
            Errno::NOTEMPTY => FileErrorKind::NotEmpty,
            _ => FileErrorKind::Io,
        }
    }
}

/// A failed operation on a named file.
///
/// Displayed as `cannot create "a/b": no space left on device`.
#[derive(Debug)]
pub struct FileError {
    /// The cause, coarsely.
    pub kind: FileErrorKind,
    /// The name as the caller knows it: bytes, made printable (lossily) in messages.
    pub path: Vec<u8>,
    /// What was tried, as a verb: "create", "sync", ...
    pub operation: &'static str,
    /// The cause, exactly.
    pub source: io::Error,
}

impl FileError {
    /// An error with the kind that `source` itself implies.
    pub fn new(operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> FileError {
        let source = source.into();
        let kind = match Errno::from_io_error(&source) {
            Some(errno) => FileErrorKind::from_errno(errno),
            None => FileErrorKind::Io,
        };
        FileError {
            kind,
            path: path.to_vec(),
            operation,
            source,
        }
    }

    /// An error of a given kind, explained in words rather than by an errno value.
    pub fn explained(
        kind: FileErrorKind,
        operation: &'static str,
        path: &[u8],
        reason: impl Into<String>,
    ) -> FileError {
        FileError {
            kind,
            path: path.to_vec(),
            operation,
            source: io::Error::other(reason.into()),
        }
    }

    /// The same error under the longer name that the caller's user knows.
    pub fn with_path(self, path: &[u8]) -> FileError {
        FileError {
            path: path.to_vec(),
            ..self
        }
    }

    /// The same error with a more exact kind.
    pub fn with_kind(self, kind: FileErrorKind) -> FileError {
        FileError { kind, ..self }
    }

    /// The cause in words, without Rust's "(os error N)".
    fn reason(&self) -> String {
        let text = self.source.to_string();
        match text.rfind(" (os error ") {
            Some(end) => lower_first(&text[..end]),
            None => text,
        }
    }
}

/// "No space left" -> "no space left": the reason stands in mid-sentence.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug of a string quotes it and escapes control characters: a name from outside cannot
        // forge a line of the log.
        write!(
            f,
            "cannot {} {:?}: {}",
            self.operation,
            String::from_utf8_lossy(&self.path),
            self.reason()
        )
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_operation_path_and_cause() {
        let error = FileError::new("create", b"a/b", Errno::NOSPC);
        assert_eq!(error.kind, FileErrorKind::NoSpace);
        assert_eq!(
            error.to_string(),
            "cannot create \"a/b\": no space left on device"
        );
    }

    #[test]
    fn message_keeps_hostile_names_on_one_line() {
        let error = FileError::explained(
            FileErrorKind::InvalidName,
            "create",
            b"x\n\xff\x1b[2J",
            "the name is reserved",
        );
        let text = error.to_string();
        assert!(!text.contains('\n') && !text.contains('\x1b'), "{text}");
        assert!(text.ends_with(": the name is reserved"), "{text}");
    }

    #[test]
    fn kinds_follow_errno() {
        for (errno, kind) in [
            (Errno::DQUOT, FileErrorKind::NoSpace),
            (Errno::PERM, FileErrorKind::PermissionDenied),
            (Errno::ROFS, FileErrorKind::ReadOnly),
            (Errno::NAMETOOLONG, FileErrorKind::InvalidName),
            (Errno::FBIG, FileErrorKind::TooLarge),
            (Errno::EXIST, FileErrorKind::Exists),
            (Errno::NOTEMPTY, FileErrorKind::NotEmpty),
            (Errno::IO, FileErrorKind::Io),
        ] {
            assert_eq!(FileError::new("open", b"x", errno).kind, kind);
        }
    }
}
