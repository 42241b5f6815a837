//! A file being sent.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use blk_proto::message::Attributes;
use rustix::fs::{
    CWD, FileType, Mode, OFlags, Stat, fcntl_getfl, fcntl_setfl, fstat, openat, stat,
};
use rustix::io::{Errno, retry_on_intr};

use super::{FileError, FileErrorKind, attributes_of};
use crate::disk::{BlockFile, Intent};

/// A regular file open for reading, with what it was when it was opened.
#[derive(Debug)]
pub struct SourceFile {
    file: Arc<BlockFile>,
    attributes: Attributes,
    stamp: Stamp,
}

/// What changes when a file's content does.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    size: i128,
    modified: (i128, i128),
    changed: (i128, i128),
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Stamp {
        Stamp {
            size: stat.st_size.into(),
            modified: (stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            changed: (stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        }
    }
}

impl SourceFile {
    /// Flags to open a source with: O_NONBLOCK, so that a FIFO put in the place of the file does
    /// not hang the caller, and O_NOCTTY for terminals.
    pub const OPEN_FLAGS: OFlags = OFlags::RDONLY
        .union(OFlags::NONBLOCK)
        .union(OFlags::NOCTTY)
        .union(OFlags::CLOEXEC);

    /// Opens a regular file of the local host; symbolic links are followed.
    ///
    /// # Errors
    ///
    /// [`FileErrorKind::IsDirectory`], [`FileErrorKind::NotRegular`], and what open(2) reports.
    pub fn open(path: &Path) -> Result<SourceFile, FileError> {
        let label = path.as_os_str().as_bytes();
        let failed = |errno: Errno| FileError::new("open", label, errno);
        // Looked at before it is opened: opening alone has effects on FIFOs and devices.
        check_regular(&stat(path).map_err(failed)?, label)?;
        let fd = retry_on_intr(|| openat(CWD, path, SourceFile::OPEN_FLAGS, Mode::empty()))
            .map_err(failed)?;
        SourceFile::from_fd(fd, label)
    }

    /// Takes a file opened with [`OPEN_FLAGS`](SourceFile::OPEN_FLAGS); `label` is its name in
    /// messages.
    ///
    /// # Errors
    ///
    /// As [`open`](SourceFile::open).
    pub fn from_fd(fd: OwnedFd, label: &[u8]) -> Result<SourceFile, FileError> {
        let failed = |error: io::Error| FileError::new("open", label, error);
        let stat = fstat(&fd).map_err(|errno| failed(errno.into()))?;
        check_regular(&stat, label)?;
        // io_uring takes O_NONBLOCK seriously on files too: a read that had to wait would come
        // back with EAGAIN.
        fcntl_getfl(&fd)
            .and_then(|flags| fcntl_setfl(&fd, flags - OFlags::NONBLOCK))
            .map_err(|errno| failed(errno.into()))?;
        let file = BlockFile::new(fd, Intent::Read).map_err(failed)?;
        Ok(SourceFile {
            file: Arc::new(file),
            attributes: attributes_of(&stat),
            stamp: Stamp::of(&stat),
        })
    }

    /// The file, open for reading.
    pub fn file(&self) -> &Arc<BlockFile> {
        &self.file
    }

    /// Size, mode and time as they were when the file was opened.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Whether size, modification time and change time are what they were when the file was
    /// opened. Asked after the last read: `false` means that the bytes read may mix two versions.
    /// It errs on the safe side: a change of mode or of the number of names (the file was replaced
    /// by rename while this is still the old one, whole) moves the change time too.
    ///
    /// # Errors
    ///
    /// What fstat(2) reports.
    pub fn unchanged(&self) -> io::Result<bool> {
        Ok(Stamp::of(&fstat(self.file.as_fd())?) == self.stamp)
    }
}

/// Only regular files can be sent.
///
/// # Errors
///
/// [`FileErrorKind::IsDirectory`] or [`FileErrorKind::NotRegular`], with the kind in words.
pub fn check_regular(stat: &Stat, label: &[u8]) -> Result<(), FileError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(FileError::new("open", label, Errno::ISDIR)),
        kind => Err(FileError::explained(
            FileErrorKind::NotRegular,
            "open",
            label,
            format!("it is {}, not a regular file", describe(kind)),
        )),
    }
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Symlink => "a symbolic link",
        _ => "something else",
    }
}
