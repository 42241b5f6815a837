//! Hidden temporaries that a crash has left beside the files that they were to become.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat, unlinkat};
use rustix::io::Errno;

use super::PartialStore;
use super::sweep::{Swept, age};
use crate::files::name::{PARTIALS, is_temporary_name};

/// A temporary younger than this may be of a put under way, whatever is asked for.
const TEMPORARY_TIME: Duration = Duration::from_secs(3600);

/// A file under a hidden name (`.NAME.blk-0123456789abcdef`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TemporaryFile {
    /// Its path in the export.
    pub path: Vec<u8>,
    /// Bytes that it takes on the disk.
    pub on_disk: u64,
    /// Since the last change.
    pub age: Duration,
    /// It was removed by this call.
    pub removed: bool,
}

impl PartialStore {
    /// Looks for hidden temporaries in all directories of the export, without following links or leaving its mount. With an age,
    /// those at least so old, and an hour, are removed. Takes as long as reading the whole tree does.
    pub fn temporaries(&self, older_than: Option<Duration>) -> Swept<TemporaryFile> {
        self.temporaries_with(older_than, TEMPORARY_TIME)
    }

    /// The same with another time for which a temporary may be of a put under way.
    pub(super) fn temporaries_with(
        &self,
        older_than: Option<Duration>,
        at_least: Duration,
    ) -> Swept<TemporaryFile> {
        let older_than = older_than.map(|limit| limit.max(at_least));
        let mut found = Swept::nothing();
        let mut to_visit = vec![Vec::new()];
        while let Some(path) = to_visit.pop() {
            if let Err(error) = self.visit(&path, older_than, &mut found, &mut to_visit) {
                found.failed(&path, error);
            }
        }
        found
    }

    /// Looks through one directory, and notes those in it.
    fn visit(
        &self,
        path: &[u8],
        older_than: Option<Duration>,
        found: &mut Swept<TemporaryFile>,
        to_visit: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        let Some(directory) = self.visited(path)? else {
            return Ok(());
        };
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let kind = entry.file_type();
            if matches!(name, b"." | b"..") || name == PARTIALS.as_bytes() {
                continue;
            }
            if is_temporary_name(name) && kind != FileType::Directory {
                let looked = temporary(&directory, path, name, older_than);
                found.add(&join(path, name), looked);
            } else if matches!(kind, FileType::Directory | FileType::Unknown) {
                to_visit.push(join(path, name));
            }
        }
        Ok(())
    }

    /// Opens a directory of the export, if it is one, still there, and on the same mount.
    fn visited(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let path = if path.is_empty() { b"." } else { path };
        match openat2(&self.root, path, flags, Mode::empty(), resolve) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn temporary(
    directory: &OwnedFd,
    parent: &[u8],
    name: &[u8],
    older_than: Option<Duration>,
) -> io::Result<Option<TemporaryFile>> {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let age = age(&stat);
    let removed = older_than.is_some_and(|limit| age >= limit);
    if removed {
        unlinkat(directory, name, AtFlags::empty())?;
    }
    Ok(Some(TemporaryFile {
        path: join(parent, name),
        on_disk: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
        age,
        removed,
    }))
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    [parent, b"/", name].concat()
}
