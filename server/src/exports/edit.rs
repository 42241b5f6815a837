//! Files that are read and written in place.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use blk_datapath::files::{EditFile, FileError, check_regular};
use rustix::fs::{Mode, OFlags, fchmod, fstat, openat};
use rustix::io::{Errno, retry_on_intr};

use super::resolve::confined;
use super::{Export, ExportPath, MadeDirectories};

const OPERATION: &str = "open for writing";

/// Somebody else may make and remove the file in between; so often it is tried again.
const TRIES: u32 = 8;

impl Export {
    /// Opens the regular file `path` for reading and writing; symbolic links are followed within the export. With `create`,
    /// permission bits, a file that is missing is made, empty, with the directories on the way; its name is durable when
    /// this returns. To be called inside a `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// As [`EditFile::from_fd`] and as the resolution of the path.
    pub async fn open_edit(
        &self,
        path: &[u8],
        create: Option<u32>,
        made: &MadeDirectories,
    ) -> Result<EditFile, FileError> {
        let path = ExportPath::parse(OPERATION, path)?;
        let mut left = TRIES;
        loop {
            let missing = match self.open_existing(path)? {
                Ok(fd) => return EditFile::from_fd(fd, path.bytes()),
                Err(missing) => missing,
            };
            let Some(mode) = create else {
                return Err(missing);
            };
            match self.create_edit(path, mode, made).await? {
                Some(fd) => return EditFile::from_fd(fd, path.bytes()),
                // Somebody was faster, or it is a link to nothing.
                None if left == 0 => return Err(missing),
                None => left -= 1,
            }
        }
    }

    /// The file, or the error that there is none.
    fn open_existing(&self, path: ExportPath<'_>) -> Result<Result<OwnedFd, FileError>, FileError> {
        let failed = |errno| confined(OPERATION, path, errno);
        // Looked at before it is opened: opening alone has effects on FIFOs and devices.
        let seen = match self.open_beneath(path, OFlags::PATH) {
            Ok(seen) => seen,
            Err(Errno::NOENT) => return Ok(Err(failed(Errno::NOENT))),
            Err(errno) => return Err(failed(errno)),
        };
        check_regular(&fstat(&seen).map_err(failed)?, path.label())?;
        match self.open_beneath(path, EditFile::OPEN_FLAGS) {
            Ok(fd) => Ok(Ok(fd)),
            Err(Errno::NOENT) => Ok(Err(failed(Errno::NOENT))),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Makes the file. `None`: the name is taken by now.
    async fn create_edit(
        &self,
        path: ExportPath<'_>,
        mode: u32,
        made: &MadeDirectories,
    ) -> Result<Option<OwnedFd>, FileError> {
        let failed = |errno: Errno| FileError::new(OPERATION, path.label(), errno);
        let Some((parent, name)) = path.split_last() else {
            return Err(failed(Errno::ISDIR));
        };
        let directory = self
            .settled_directory(OPERATION, path, parent, made)
            .await?;
        let flags = EditFile::OPEN_FLAGS | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(mode & 0o777);
        let fd = match retry_on_intr(|| openat(&directory, name, flags, mode)) {
            Ok(fd) => fd,
            Err(Errno::EXIST) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        // What the umask took.
        fchmod(&fd, mode).map_err(failed)?;
        made.sync(Arc::new(directory))
            .await
            .map_err(|error| FileError::new(OPERATION, path.label(), error))?;
        Ok(Some(fd))
    }
}
