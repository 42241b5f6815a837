//! From a path to a descriptor, never outside the export.

use std::os::fd::{AsRawFd, OwnedFd};

use blk_datapath::files::{FileError, FileErrorKind, PARTIALS_DIRECTORY};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2, readlinkat};
use rustix::io::Errno;

use super::{Export, ExportPath};

/// How often a resolution that met a concurrent rename is tried again (openat2(2), EAGAIN). Each
/// try takes microseconds; renames that hit every one of so many mean that something is wrong.
const TRIES: u32 = 256;

impl Export {
    /// Opens a path that stays beneath the export's directory and out of where partial files are. `Err` is the bare errno; see
    /// [`confined`].
    pub(super) fn open_beneath(
        &self,
        path: ExportPath<'_>,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        // Most paths have no links, and then their syntax alone keeps them out of `.blockd`.
        match self.resolve(path, flags, ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP) => {}
            result => return result,
        }
        let opened = self.resolve(path, flags, ResolveFlags::empty())?;
        if self.is_reserved(&opened)? {
            return Err(Errno::LOOP);
        }
        Ok(opened)
    }

    fn resolve(
        &self,
        path: ExportPath<'_>,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mut left = TRIES;
        loop {
            match openat2(&self.root, path.label(), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if left > 0 => left -= 1,
                result => return result,
            }
        }
    }

    /// Whether a link has led to `.blockd` or into it: whoever writes there decides what a resumed file consists of.
    fn is_reserved(&self, opened: &OwnedFd) -> Result<bool, Errno> {
        let root = path_of(&self.root)?;
        let path = path_of(opened)?;
        // Not of that form after a rename above the export: then the whole path is looked at.
        let below = path.strip_prefix(root.as_slice()).unwrap_or(&path);
        let mut components = below.split(|&byte| byte == b'/');
        Ok(components.any(|name| name == PARTIALS_DIRECTORY.as_bytes()))
    }

    /// Opens a directory so that its entries can be read and synced.
    pub(super) fn open_directory(&self, path: ExportPath<'_>) -> Result<OwnedFd, Errno> {
        self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}

/// Where an open file is, as the kernel knows it now (proc(5), `/proc/pid/fd`).
fn path_of(opened: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
    Ok(readlinkat(CWD, link, Vec::new())?.into_bytes())
}

/// The error of a confined resolution: what would be a cross-device link or a loop elsewhere means
/// here that a symbolic link leads out (or in circles, which leads nowhere either).
pub(super) fn confined(operation: &'static str, path: ExportPath<'_>, errno: Errno) -> FileError {
    let reason = match errno {
        Errno::XDEV => "a symbolic link in it leads outside the export",
        Errno::LOOP => {
            "its symbolic links lead outside the export, to what is reserved in it, or in circles"
        }
        errno => return FileError::new(operation, path.label(), errno),
    };
    FileError::explained(
        FileErrorKind::OutsideExport,
        operation,
        path.label(),
        reason,
    )
}
