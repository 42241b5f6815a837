//! What blkcp says when it fails, and the exit code that goes with it.

use std::io;
use std::path::{Path, PathBuf};

use blk_client::{AddressError, ClientError, ErrorKind};
use blk_datapath::dump::DumpError;
use blk_datapath::files::FileError;

/// Why blkcp failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The words on the command line make no copy.
    #[error("{0}")]
    Usage(String),
    /// A word names nothing.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The library's failure.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The packets cannot be dumped.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// A local file or directory.
    #[error("cannot {action} {}: {source}", path.display())]
    Local {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory without `--recursive`.
    #[error("{0} is a directory: copy it with -r")]
    Directory(String),
    /// A directory that is to be removed without `--recursive`.
    #[error("{0} is a directory: remove it, with everything in it, with -r")]
    IsDirectory(String),
    /// Something else than a directory.
    #[error("{0} is no directory")]
    NoDirectory(String),
    /// A directory that is missing.
    #[error("{0} is not there: make it first (blkcp mkdir -p)")]
    NoParent(String),
    /// A name that something has already.
    #[error("{0} is there already")]
    Taken(String),
    /// The new name of a rename is taken.
    #[error("{0}; -f replaces a file by a file, or an empty directory by a directory")]
    InTheWay(ClientError),
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// Ctrl-C while a verb was carried out.
    #[error("interrupted: {0}")]
    Halted(&'static str),
    /// The target is a directory.
    #[error("{target} is a directory: to copy into it, write {target}/")]
    IntoDirectory {
        /// The target as it was written.
        target: String,
    },
    /// A destination at the other end that is to be a directory.
    #[error("{0} is a symbolic link: to copy into the directory that it leads to, write {0}/")]
    LinkedDestination(String),
    /// A name that a local path cannot have.
    #[error("{0:?} cannot be a file name here")]
    Name(String),
    /// Ctrl-C.
    #[error("interrupted: files that were complete are stored, the others are not there; {}", again(*kept))]
    Interrupted {
        /// What arrived of large files is kept.
        kept: bool,
    },
    /// Ctrl-C while data paths were measured.
    #[error("interrupted: nothing is remembered")]
    Stopped,
    /// What was put to be measured is perhaps still there.
    #[error("cannot remove {target}: {why}; remove it there")]
    Left {
        /// The file at the other end.
        target: String,
        /// What was in the way.
        why: String,
    },
    /// Too much would be removed.
    #[error(
        "--delete would remove {deletions} files, links and directories, and --max-delete allows {allowed}: nothing was copied or removed (-ni shows them)"
    )]
    TooManyDeletions {
        /// What would be removed.
        deletions: u64,
        /// What may be.
        allowed: u64,
    },
    /// No data path was there to be measured.
    #[error("no data path could be measured: {0}")]
    NothingMeasured(String),
    /// The connection was lost in a put that can be gone on with.
    #[error("{0}; run it again: large files go on where they stopped")]
    Unfinished(ClientError),
    /// What failed over a data path that nobody asked for.
    #[error(
        "{0}; AF_XDP copy mode was chosen by figures of blkcp measure: try --datapath udp, or measure again"
    )]
    OfFigures(Box<Failure>),
}

/// What to do after a copy that did not come to its end.
fn again(kept: bool) -> &'static str {
    if kept {
        "run it again to copy them: large ones go on where they stopped"
    } else {
        "run it again to copy them"
    }
}

/// The exit code for a local file.
fn code_of(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound => 5,
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => 7,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => 8,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => 9,
        _ => 1,
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Client(error.into())
    }
}

impl Failure {
    /// The same, with what to do next, when what arrived is kept.
    pub fn with_hint(self, kept: bool) -> Self {
        match self {
            Self::Client(error) if kept && error.kind() == ErrorKind::Lost => {
                Self::Unfinished(error)
            }
            failure => failure,
        }
    }

    /// The same, with what has chosen the data path and what to do instead, when it may be the data path that failed.
    pub fn of_figures(self) -> Self {
        let is_lost = match &self {
            Self::Unfinished(_) => true,
            Self::Client(error) => {
                matches!(error.kind(), ErrorKind::Lost | ErrorKind::Datapath)
            }
            _ => false,
        };
        match is_lost {
            true => Self::OfFigures(Box::new(self)),
            false => self,
        }
    }

    /// A local failure.
    pub fn local(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Local {
            action,
            path,
            source,
        }
    }

    /// The exit code, as `--help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Address(_) => 2,
            Self::Directory(_)
            | Self::IntoDirectory { .. }
            | Self::IsDirectory(_)
            | Self::LinkedDestination(_)
            | Self::NoDirectory(_) => 7,
            Self::NoParent(_) => 5,
            Self::Taken(_) => 14,
            Self::Name(_) => 6,
            Self::Interrupted { .. } | Self::Stopped | Self::Halted(_) => 130,
            Self::NothingMeasured(_) => 11,
            Self::Left { .. } => 13,
            Self::TooManyDeletions { .. } => 15,
            Self::Dump(DumpError::Terminal) => 2,
            Self::Output(_) => 1,
            Self::OfFigures(failure) => failure.exit_code(),
            Self::Local { source, .. }
            | Self::Dump(DumpError::Open { source, .. } | DumpError::Write { source, .. }) => {
                code_of(source)
            }
            Self::Dump(_) => 1,
            Self::Client(error) | Self::Unfinished(error) | Self::InTheWay(error) => {
                match error.kind() {
                    ErrorKind::Unreachable => 3,
                    ErrorKind::Protocol => 4,
                    ErrorKind::NotFound => 5,
                    ErrorKind::NotAllowed => 6,
                    ErrorKind::WrongKind => 7,
                    ErrorKind::Taken => 14,
                    ErrorKind::NoSpace => 8,
                    ErrorKind::Permission => 9,
                    ErrorKind::Checksum => 10,
                    ErrorKind::Datapath => 11,
                    ErrorKind::Lost => 12,
                    // `Other`, and any that the library will have and that has no number here.
                    _ => 1,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use blk_client::ConnectionLost;

    use super::*;

    #[test]
    fn what_figures_have_chosen_is_said_when_it_is_lost() {
        let lost = |source| {
            let remote = "192.0.2.1:7440".parse().unwrap();
            Failure::Client(ClientError::Lost { remote, source })
        };
        let hint = "chosen by figures of blkcp measure: try --datapath udp";
        for kept in [true, false] {
            let failure = lost(ConnectionLost::Undelivered)
                .with_hint(kept)
                .of_figures();
            assert_eq!(failure.exit_code(), 12);
            // Once more, as for any copy.
            let text = failure.with_hint(kept).to_string();
            assert!(text.contains(hint), "{text}");
            assert_eq!(text.contains("go on where they stopped"), kept, "{text}");
        }
        let gone = ConnectionLost::InterfaceGone("eth1".to_owned());
        let gone = lost(gone).of_figures();
        assert_eq!(gone.exit_code(), 11);
        assert!(gone.to_string().contains(hint), "{gone}");
        let full = Failure::Output(io::ErrorKind::StorageFull.into()).of_figures();
        assert!(!full.to_string().contains(hint), "{full}");
    }

    #[test]
    fn what_stays_is_named_and_has_a_code_of_its_own() {
        let left = Failure::Left {
            target: "h:data/x".to_owned(),
            why: "it is read-only".to_owned(),
        };
        assert_eq!(left.exit_code(), 13);
        let text = left.to_string();
        assert_eq!(
            text,
            "cannot remove h:data/x: it is read-only; remove it there"
        );
    }
}
