//! Names that are to go.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use blk_datapath::files::{FileError, FileErrorKind};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::resolve::confined;
use super::{Export, ExportPath};

/// What is done to what loses its name, for messages.
pub(crate) const REMOVE: &str = "remove";

/// A name in a directory.
#[derive(Debug)]
pub struct Removable {
    /// The directory, open for reading.
    pub directory: Arc<OwnedFd>,
    /// The name in it.
    pub name: Vec<u8>,
    /// The path in the export.
    pub path: Vec<u8>,
    /// Whether it is to be the name of a directory.
    is_directory: bool,
}

impl Export {
    /// The name `path` of what is no directory. Only the way to it may have symbolic links, which are followed within the export.
    ///
    /// # Errors
    ///
    /// As the resolution of the path; for the export itself [`FileErrorKind::IsDirectory`].
    pub fn removable(&self, path: &[u8]) -> Result<Removable, FileError> {
        let path = ExportPath::parse(REMOVE, path)?;
        let Some(found) = self.find_name(REMOVE, path)? else {
            return Err(FileError::new(REMOVE, path.label(), Errno::ISDIR));
        };
        Ok(found)
    }

    /// The name `path` of a directory, in the same way.
    ///
    /// # Errors
    ///
    /// As the resolution of the path; for the export itself [`FileErrorKind::InvalidName`].
    pub fn removable_directory(&self, path: &[u8]) -> Result<Removable, FileError> {
        let path = ExportPath::parse(REMOVE, path)?;
        let Some(found) = self.find_name(REMOVE, path)? else {
            return Err(is_root(REMOVE, path));
        };
        Ok(Removable {
            is_directory: true,
            ..found
        })
    }

    /// The directory that holds the name; `None` for the export itself.
    pub(super) fn find_name(
        &self,
        operation: &'static str,
        path: ExportPath<'_>,
    ) -> Result<Option<Removable>, FileError> {
        let Some((parent, name)) = path.split_last() else {
            return Ok(None);
        };
        let directory = self
            .open_directory(parent)
            .map_err(|errno| confined(operation, path, errno))?;
        Ok(Some(Removable {
            name: name.to_vec(),
            ..Removable::file(Arc::new(directory), path.bytes())
        }))
    }
}

/// The export itself stays as it is, whatever is asked for.
pub(super) fn is_root(operation: &'static str, path: ExportPath<'_>) -> FileError {
    let reason = "it is the export itself";
    FileError::explained(FileErrorKind::InvalidName, operation, path.label(), reason)
}

impl Removable {
    /// What is no directory, under a path of one component.
    pub(super) fn file(directory: Arc<OwnedFd>, path: &[u8]) -> Self {
        Self {
            directory,
            name: path.to_vec(),
            path: path.to_vec(),
            is_directory: false,
        }
    }

    /// Removes it; not yet durably. May take long, for a large file.
    ///
    /// # Errors
    ///
    /// [`FileErrorKind::IsDirectory`] or [`FileErrorKind::NotDirectory`] when it is not what is to be removed, and the other
    /// failures of unlinkat(2).
    pub fn remove(&self) -> Result<(), FileError> {
        let flags = match self.is_directory {
            true => AtFlags::REMOVEDIR,
            false => AtFlags::empty(),
        };
        let removed = unlinkat(&self.directory, self.name.as_slice(), flags);
        removed.map_err(|errno| FileError::new(REMOVE, &self.path, errno))
    }
}
