//! Symbolic links, as links.

use std::sync::Arc;

use blk_datapath::files::{FileError, FileErrorKind, make_link};
use rustix::fs::readlinkat;
use rustix::io::Errno;

use super::resolve::confined;
use super::{Export, ExportPath, MadeDirectories};

impl Export {
    /// Makes the link `path`, in place of a file or link that has the name, and the directories missing on the way; durable when this
    /// returns. Where it leads is not looked at. To be called inside a `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// As [`make_link`], as the resolution of the path, and what the sync reports.
    pub async fn make_link(
        &self,
        path: &[u8],
        target: &[u8],
        made: &MadeDirectories,
    ) -> Result<(), FileError> {
        const OPERATION: &str = "make the link";
        let path = ExportPath::parse(OPERATION, path)?;
        let Some((parent, name)) = path.split_last() else {
            return Err(FileError::new(OPERATION, path.label(), Errno::ISDIR));
        };
        let directory = self
            .settled_directory(OPERATION, path, parent, made)
            .await?;
        let directory = Arc::new(directory);
        make_link(&directory, name, target).map_err(|error| error.with_path(path.bytes()))?;
        let synced = made.sync(directory).await;
        synced.map_err(|error| FileError::new(OPERATION, path.bytes(), error))
    }

    /// Where the link `path` leads. Only the way to it may have other links, which are followed within the export.
    ///
    /// # Errors
    ///
    /// `Unsupported` for what is no link; as the resolution of the path.
    pub fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, FileError> {
        const OPERATION: &str = "read the link";
        let path = ExportPath::parse(OPERATION, path)?;
        let no_link = || {
            let reason = "it is no symbolic link";
            FileError::explained(FileErrorKind::Unsupported, OPERATION, path.label(), reason)
        };
        let (parent, name) = path.split_last().ok_or_else(no_link)?;
        let directory = self
            .open_directory(parent)
            .map_err(|errno| confined(OPERATION, path, errno))?;
        match readlinkat(&directory, name, Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::INVAL) => Err(no_link()),
            Err(errno) => Err(FileError::new(OPERATION, path.label(), errno)),
        }
    }
}
