//! Names that become others.

use std::sync::Arc;

use blk_datapath::files::{FileError, FileErrorKind};
use rustix::fs::{AtFlags, FileType, RenameFlags, fstat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use super::directories::Identity;
use super::remove::{Removable, is_root};
use super::{Export, ExportPath, MadeDirectories};

/// What is done to what gets another name, for messages.
pub(crate) const RENAME: &str = "rename";

/// A name that something has, and the one that it gets.
#[derive(Debug)]
pub struct Renamable {
    /// The old one.
    pub from: Removable,
    /// The new one; somebody may have it.
    pub to: Removable,
}

impl Export {
    /// The names `from` and `to`. Only the ways to them may have symbolic links, which are followed within the export; the directory of
    /// the new one is durable when this returns. To be called inside a `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// As the resolution of the paths; [`FileErrorKind::InvalidName`] where one is the export itself.
    pub async fn renamable(
        &self,
        from: &[u8],
        to: &[u8],
        made: &MadeDirectories,
    ) -> Result<Renamable, FileError> {
        let [from, to] = [
            ExportPath::parse(RENAME, from)?,
            ExportPath::parse(RENAME, to)?,
        ];
        let find = |path| {
            self.find_name(RENAME, path)?
                .ok_or_else(|| is_root(RENAME, path))
        };
        let way = Renamable {
            from: find(from)?,
            to: find(to)?,
        };
        let settled = made.settled(&way.to.directory).await;
        settled.map_err(|error| FileError::new(RENAME, to.bytes(), error))?;
        Ok(way)
    }
}

impl Renamable {
    /// The directory that has the old name, if it is one.
    pub(crate) fn directory(&self) -> Option<Identity> {
        let (directory, name) = (&self.from.directory, &self.from.name[..]);
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        is_directory.then_some((stat.st_dev, stat.st_ino))
    }

    /// Renames, atomically; not yet durably. Whether it was within one directory. May take long, where a large file makes room.
    ///
    /// # Errors
    ///
    /// [`FileErrorKind::Exists`] when something has the new name and is not to make room; [`FileErrorKind::InvalidName`] when it is to
    /// make room and is what is renamed, under this one name; the other failures of renameat2(2).
    pub fn rename(&self, replace: bool) -> Result<bool, FileError> {
        let (from, to) = (&self.from, &self.to);
        let (old, new) = (from.name.as_slice(), to.name.as_slice());
        let flags = match replace {
            true => RenameFlags::empty(),
            false => RenameFlags::NOREPLACE,
        };
        let renamed = if replace && self.is_one_file()? {
            // The kernel would leave both names, and say nothing.
            unlinkat(&from.directory, old, AtFlags::empty())
        } else {
            renameat_with(&from.directory, old, &to.directory, new, flags)
        };
        renamed.map_err(|errno| self.explain(errno, replace))?;
        Ok(self.is_within_one().unwrap_or(false))
    }

    /// Whether one file has both names, so that the old one is all that has to go.
    ///
    /// # Errors
    ///
    /// [`FileErrorKind::InvalidName`] when both are the same name.
    fn is_one_file(&self) -> Result<bool, FileError> {
        let look =
            |name: &Removable| statat(&name.directory, &name.name[..], AtFlags::SYMLINK_NOFOLLOW);
        // What is not there, or cannot be seen, the kernel will tell.
        let (Ok(old), Ok(new)) = (look(&self.from), look(&self.to)) else {
            return Ok(false);
        };
        if (old.st_dev, old.st_ino) != (new.st_dev, new.st_ino) {
            return Ok(false);
        }
        let is_directory = FileType::from_raw_mode(old.st_mode) == FileType::Directory;
        // A file with one name has it in two ways: upper and lower case, where these are one, or a mount.
        let is_one_name = self.from.name == self.to.name && self.is_within_one().unwrap_or(true)
            || !is_directory && old.st_nlink < 2;
        if is_one_name {
            let reason = format!(
                "it and {:?} are one name",
                String::from_utf8_lossy(&self.to.path)
            );
            let (kind, path) = (FileErrorKind::InvalidName, &self.from.path);
            return Err(FileError::explained(kind, RENAME, path, reason));
        }
        Ok(!is_directory)
    }

    /// What the kernel says of two names, as one sentence about the one that is at fault.
    fn explain(&self, errno: Errno, replace: bool) -> FileError {
        let (from, to) = (&self.from.path, &self.to.path);
        let explained = |kind, reason: &str| {
            let reason = format!("to {:?}: {reason}", String::from_utf8_lossy(to));
            FileError::explained(kind, RENAME, from, reason)
        };
        let is_below = to.strip_prefix(from.as_slice());
        match errno {
            Errno::EXIST if !replace => {
                explained(FileErrorKind::Exists, "something has that name already")
            }
            // rename(2) lets file systems choose; XFS says EEXIST.
            Errno::EXIST | Errno::NOTEMPTY => {
                explained(FileErrorKind::NotEmpty, "that directory is not empty")
            }
            Errno::ISDIR => explained(FileErrorKind::IsDirectory, "that is a directory"),
            Errno::NOTDIR => explained(
                FileErrorKind::NotDirectory,
                "that is no directory, and what is renamed is one",
            ),
            Errno::XDEV => explained(
                FileErrorKind::Unsupported,
                "that is on another file system: copy it there",
            ),
            Errno::INVAL if is_below.is_some_and(|rest| rest.starts_with(b"/")) => explained(
                FileErrorKind::InvalidName,
                "a directory cannot get into itself",
            ),
            Errno::INVAL => explained(
                FileErrorKind::Unsupported,
                "a directory cannot get into itself, and this file system perhaps not rename without replacing",
            ),
            errno => FileError::new(RENAME, from, errno),
        }
    }

    fn is_within_one(&self) -> Result<bool, Errno> {
        let (from, to) = (&self.from.directory, &self.to.directory);
        if Arc::ptr_eq(from, to) {
            return Ok(true);
        }
        let [from, to] = [fstat(from)?, fstat(to)?];
        Ok((from.st_dev, from.st_ino) == (to.st_dev, to.st_ino))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags, openat};

    #[test]
    fn a_directory_in_the_way_that_is_not_empty_is_told_on_every_file_system() {
        let root = openat(CWD, "/", OFlags::RDONLY, Mode::empty()).unwrap();
        let root = Arc::new(root);
        let way = Renamable {
            from: Removable::file(Arc::clone(&root), b"a"),
            to: Removable::file(root, b"b"),
        };
        for (errno, replace, kind) in [
            (Errno::EXIST, true, FileErrorKind::NotEmpty),
            (Errno::NOTEMPTY, true, FileErrorKind::NotEmpty),
            (Errno::EXIST, false, FileErrorKind::Exists),
        ] {
            assert_eq!(way.explain(errno, replace).kind, kind, "{errno} {replace}");
        }
    }
}
