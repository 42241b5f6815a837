//! Files whose name is to go.

use std::os::fd::OwnedFd;

use blk_datapath::files::{FileError, check_regular};
use rustix::fs::{AtFlags, statat};

use super::resolve::confined;
use super::{Export, ExportPath};

/// What is done to a file whose name goes, for messages.
pub(crate) const REMOVE: &str = "remove";

impl Export {
    /// The directory of the regular file `path`, open for reading, and the file's name in it. Only the way to it may have symbolic
    /// links, which are followed within the export.
    ///
    /// # Errors
    ///
    /// As [`check_regular`], and as the resolution of the path.
    ///
    /// What is removed is whatever has the name then: unlinkat(2) knows names only.
    pub fn removable(&self, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), FileError> {
        let path = ExportPath::parse(REMOVE, path)?;
        let Some((parent, name)) = path.split_last() else {
            let errno = rustix::io::Errno::ISDIR;
            return Err(FileError::new(REMOVE, path.label(), errno));
        };
        let directory = self
            .open_directory(parent)
            .map_err(|errno| confined(REMOVE, path, errno))?;
        let there = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| FileError::new(REMOVE, path.label(), errno))?;
        check_regular(&there, path.label()).map_err(|error| FileError {
            operation: REMOVE,
            ..error
        })?;
        Ok((directory, name.to_vec()))
    }
}
