//! From a file without a name, or under one that nobody sees, to its name.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::commit::link;
use super::name::HiddenName;
use super::store::StorePlace;
use super::store_write::Written;

/// Of a file that has a name before it has its mode.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
const FLAGS: OFlags = OFlags::RDWR.union(OFlags::CLOEXEC);

/// A name that is removed when this is dropped, unless the file was renamed away.
pub(super) enum TemporaryName {
    /// `<32 hex>.tmp` in the staging directory.
    Staged(StagedName),
    /// In the directory of the file.
    Hidden(HiddenName),
}

/// A name in the staging directory.
pub(super) struct StagedName {
    directory: Arc<OwnedFd>,
    name: String,
    present: bool,
}

impl TemporaryName {
    /// Finds a free one; `make` creates the entry.
    fn make<T>(
        place: &StorePlace,
        name: &[u8],
        mut make: impl FnMut(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> io::Result<(TemporaryName, T)> {
        if let Some(staging) = &place.staging {
            let staged = staged_name();
            match make(staging, staged.as_bytes()) {
                Ok(made) => {
                    let staged = StagedName {
                        directory: Arc::clone(staging),
                        name: staged,
                        present: true,
                    };
                    return Ok((TemporaryName::Staged(staged), made));
                }
                // Another file system is mounted below the export.
                Err(Errno::XDEV) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let (hidden, made) = HiddenName::make(&place.directory, name, make)?;
        Ok((TemporaryName::Hidden(hidden), made))
    }

    /// Puts the file under its name, over whatever file is there.
    fn rename(self, directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        match self {
            TemporaryName::Staged(mut staged) => {
                renameat(&staged.directory, staged.name.as_str(), directory, name)?;
                staged.present = false;
            }
            TemporaryName::Hidden(hidden) => {
                renameat(directory, hidden.bytes(), directory, name)?;
                hidden.renamed();
            }
        }
        Ok(())
    }
}

impl Drop for StagedName {
    fn drop(&mut self) {
        if self.present
            && let Err(error) = unlinkat(&self.directory, self.name.as_str(), AtFlags::empty())
        {
            tracing::warn!(name = %self.name, %error, "cannot remove the temporary name of a small file");
        }
    }
}

/// 128 bits that no other name has: keyed at random once, then counted.
fn staged_name() -> String {
    static KEYS: OnceLock<(RandomState, RandomState)> = OnceLock::new();
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let (one, other) = KEYS.get_or_init(Default::default);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    format!(
        "{:016x}{:016x}.tmp",
        one.hash_one((process, serial)),
        other.hash_one((process, serial))
    )
}

/// Opens a file without a name for `name` in `place`, or under a temporary one where the file system needs one. Where there is
/// no name nobody else can open it, so it may have its mode from the start, as far as the umask and the directory's default ACL
/// let it.
pub(super) fn open_nameless(
    place: &StorePlace,
    name: &[u8],
    mode: Mode,
) -> io::Result<(OwnedFd, Option<TemporaryName>)> {
    let mode = mode.union(PRIVATE);
    match openat(&place.directory, c".", FLAGS | OFlags::TMPFILE, mode) {
        Ok(fd) => Ok((fd, None)),
        // open(2): EOPNOTSUPP from file systems without it, EISDIR where the flag is not known.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => open_named(place, name),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a file under a temporary name. One that is made in the staging directory of another file system cannot be
/// renamed, so it is made beside its final name.
pub(super) fn open_named(
    place: &StorePlace,
    name: &[u8],
) -> io::Result<(OwnedFd, Option<TemporaryName>)> {
    let beside = StorePlace {
        directory: Arc::clone(&place.directory),
        staging: None,
    };
    let flags = FLAGS | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let (hidden, fd) = TemporaryName::make(&beside, name, |directory, hidden| {
        openat(directory, hidden, flags, PRIVATE)
    })?;
    Ok((fd, Some(hidden)))
}

/// Gives a durable file its name in one step; what bore it before is replaced, if it is a file or a symbolic link. EISDIR
/// for a directory, EEXIST for everything else.
pub(super) fn publish(written: &mut Written) -> Result<(), Errno> {
    let place = Arc::clone(&written.place);
    let name = written.name.as_slice();
    let temporary = match written.temporary.take() {
        Some(temporary) => {
            check_replaceable(&place.directory, name)?;
            temporary
        }
        None => match link(written.fd.as_fd(), &place.directory, name) {
            Ok(()) => return Ok(()),
            // No system call puts a file without a name over another one: it needs a second name.
            Err(Errno::EXIST) => {
                check_replaceable(&place.directory, name)?;
                let linked = TemporaryName::make(&place, name, |directory, temporary| {
                    link(written.fd.as_fd(), directory, temporary)
                });
                linked.map_err(errno_of)?.0
            }
            Err(errno) => return Err(errno),
        },
    };
    temporary.rename(&place.directory, name)
}

fn errno_of(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Directories cannot be replaced; devices, FIFOs and sockets are not.
fn check_replaceable(directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Symlink => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::EXIST),
    }
}
