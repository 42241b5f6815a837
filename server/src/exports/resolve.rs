//! From a path to a descriptor, never outside the export.

use std::os::fd::OwnedFd;

use blk_datapath::files::{FileError, FileErrorKind};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::{Export, ExportPath};

/// How often a resolution that met a concurrent rename is tried again (openat2(2), EAGAIN). Each
/// try takes microseconds; renames that hit every one of so many mean that something is wrong.
const TRIES: u32 = 256;

impl Export {
    /// Opens a path that stays beneath the export's directory. `Err` is the bare errno; see
    /// [`confined`].
    pub(super) fn open_beneath(
        &self,
        path: ExportPath<'_>,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mut left = TRIES;
        loop {
            match openat2(&self.root, path.label(), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if left > 0 => left -= 1,
                result => return result,
            }
        }
    }

    /// Opens a directory so that its entries can be read and synced.
    pub(super) fn open_directory(&self, path: ExportPath<'_>) -> Result<OwnedFd, Errno> {
        self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}

/// The error of a confined resolution: what would be a cross-device link or a loop elsewhere means
/// here that a symbolic link leads out (or in circles, which leads nowhere either).
pub(super) fn confined(operation: &'static str, path: ExportPath<'_>, errno: Errno) -> FileError {
    let reason = match errno {
        Errno::XDEV => "a symbolic link in it leads outside the export",
        Errno::LOOP => "its symbolic links lead outside the export or in circles",
        errno => return FileError::new(operation, path.label(), errno),
    };
    FileError::explained(
        FileErrorKind::OutsideExport,
        operation,
        path.label(),
        reason,
    )
}
