//! The commit of a received file, step by step.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Mode, Timespec, Timestamps, UTIME_OMIT, fchmod, ftruncate, futimens, linkat,
    renameat,
};
use rustix::io::Errno;

use super::attributes::timespec;
use super::name::HiddenName;
use super::{DirectorySyncs, FileError, PendingTarget, sync_directory};
use crate::disk::BlockFile;

impl PendingTarget {
    /// Gives the file its exact size, mode and time, makes it durable, gives it its name in one
    /// step and makes the name durable. All writes to [`file`](PendingTarget::file) must be
    /// complete. To be called inside a `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// Up to and including the sync of the file, an error leaves the name as it was and removes
    /// the new file. When only the last step fails (the sync of the directory), the name already
    /// shows the whole new file, but whether it still does after a power failure is unknown; the
    /// file is not removed then, because the old one is gone and the name may by now be that of a
    /// later commit.
    pub async fn commit(self) -> Result<(), FileError> {
        self.commit_grouped(&DirectorySyncs::default()).await
    }

    /// As [`commit`](PendingTarget::commit), with the sync of the directory shared among the
    /// commits that use the same `syncs`.
    ///
    /// # Errors
    ///
    /// As `commit`.
    pub async fn commit_grouped(self, syncs: &DirectorySyncs) -> Result<(), FileError> {
        self.commit_with(syncs, sync_file).await
    }

    /// The commit with the sync of the file as a parameter, so that its failure can be tested.
    pub(super) async fn commit_with(
        self,
        syncs: &DirectorySyncs,
        sync_file: impl AsyncFnOnce(&BlockFile) -> io::Result<()>,
    ) -> Result<(), FileError> {
        let (directory, label) = (self.directory.clone(), self.label.clone());
        self.finish()?;
        sync_file(&self.file)
            .await
            .map_err(|error| FileError::new("make durable", &label, error))?;
        self.publish()
            .map_err(|error| FileError::new("create", &label, error))?;
        syncs
            .sync(directory)
            .await
            .map_err(|error| FileError::new("make durable the directory entry of", &label, error))
    }

    /// Exact size, then mode, then times: cutting the size would change the time again.
    fn finish(&self) -> Result<(), FileError> {
        let fd = self.file.as_fd();
        let failed = |operation| move |errno: Errno| FileError::new(operation, &self.label, errno);
        ftruncate(fd, self.spec.size).map_err(failed("set the size of"))?;
        fchmod(fd, Mode::from_raw_mode(self.spec.mode & 0o777))
            .map_err(failed("set the mode of"))?;
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: timespec(self.spec.mtime_ns),
        };
        futimens(fd, &times).map_err(failed("set the times of"))
    }

    /// Puts the file under its name, over whatever non-directory is there.
    fn publish(self) -> io::Result<()> {
        let hidden = match self.hidden {
            Some(hidden) => hidden,
            None => match link(self.file.as_fd(), &self.directory, &self.name) {
                Ok(()) => return Ok(()),
                // The name is taken, and no system call puts an unnamed file over a name: a
                // second name is needed for rename.
                Err(Errno::EXIST) => {
                    let (hidden, ()) =
                        HiddenName::make(&self.directory, &self.name, |directory, hidden| {
                            link(self.file.as_fd(), directory, hidden)
                        })?;
                    hidden
                }
                Err(errno) => return Err(errno.into()),
            },
        };
        renameat(
            &self.directory,
            hidden.bytes(),
            &self.directory,
            self.name.as_slice(),
        )?;
        hidden.renamed();
        Ok(())
    }
}

/// Waits until the file is on stable storage. A full fsync: fdatasync would leave out the mode and
/// the modification time, which are promised as well.
async fn sync_file(file: &BlockFile) -> io::Result<()> {
    sync_directory(file).await
}

/// Links an unnamed file to a name in a directory.
fn link(file: BorrowedFd<'_>, directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match linkat(file, c"", directory, name, AtFlags::EMPTY_PATH) {
        // Without CAP_DAC_READ_SEARCH, kernels before 6.10 know only the way through /proc
        // (linkat(2)); ENOENT may also mean that the directory was removed, then this fails alike.
        Err(Errno::NOENT | Errno::PERM) => linkat(
            CWD,
            format!("/proc/self/fd/{}", file.as_raw_fd()),
            directory,
            name,
            AtFlags::SYMLINK_FOLLOW,
        ),
        result => result,
    }
}
