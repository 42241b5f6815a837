//! The commit of a received file, step by step.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Mode, Timespec, Timestamps, UTIME_OMIT, fchmod, ftruncate, futimens, linkat,
    renameat,
};
use rustix::io::Errno;

use super::attributes::timespec;
use super::directory::sync_all;
use super::name::HiddenName;
use super::partial::{Partial, Remains};
use super::pool::{LONG, in_pool};
use super::{DirectorySyncs, FileError, FileErrorKind, PendingTarget, TargetSpec};
use crate::disk::BlockFile;

impl PendingTarget {
    /// Gives the file its exact size, mode and time, makes it durable, gives it its name in one
    /// step and makes the name durable. All writes to [`file`](PendingTarget::file) must be
    /// complete. To be called inside a `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// Up to and including the sync of the file, an error leaves the name as it was and removes
    /// the new file, unless it can be resumed and the error may be a passing one (no space, say) other than that of the
    /// sync. When only the last step fails (the sync of the directory), the name already
    /// shows the whole new file, but whether it still does after a power failure is unknown; the
    /// file is not removed then, because the old one is gone and the name may by now be that of a
    /// later commit.
    pub async fn commit(self) -> Result<(), FileError> {
        let committed = self.commit_grouped(&DirectorySyncs::default()).await;
        committed.map(drop)
    }

    /// As [`commit`](PendingTarget::commit), with the sync of the directory shared among the
    /// commits that use the same `syncs`.
    ///
    /// What remains of a target that could be resumed may be kept until the peer has heard of the commit, so that it need not send
    /// the file again if it has not.
    ///
    /// # Errors
    ///
    /// As `commit`.
    pub async fn commit_grouped(self, syncs: &DirectorySyncs) -> Result<Remains, FileError> {
        self.commit_with(syncs, sync_file).await
    }

    /// The commit with the sync of the file as a parameter, so that its failure can be tested.
    pub(super) async fn commit_with(
        mut self,
        syncs: &DirectorySyncs,
        sync_file: impl AsyncFnOnce(&Arc<BlockFile>) -> io::Result<()>,
    ) -> Result<Remains, FileError> {
        let partial = self.partial.take();
        let file = self.file.clone();
        let result = self.steps(partial.as_deref(), syncs, sync_file).await;
        match (result, partial) {
            (Ok(()), partial) => Ok(partial
                .map(|partial| partial.into_remains())
                .unwrap_or_default()),
            (Err(Failed { error, is_sound }), partial) => {
                let stays = is_sound && is_passing(&error);
                // Otherwise what the disk has is unknown, or the place is none: nothing to go on with. Whoever closes it last
                // frees it.
                let ended = in_pool(move || {
                    match partial {
                        Some(partial) if stays => partial.unlock(),
                        Some(partial) => partial.remove(),
                        None => {}
                    }
                    drop(file);
                });
                if let Err(error) = ended.await {
                    tracing::error!(%error, "cannot remove what is left of a failed commit");
                }
                Err(error)
            }
        }
    }

    async fn steps(
        self,
        partial: Option<&Partial>,
        syncs: &DirectorySyncs,
        sync_file: impl AsyncFnOnce(&Arc<BlockFile>) -> io::Result<()>,
    ) -> Result<(), Failed> {
        // Whoever commits has seen the last byte written: a matter of safety, which costs nothing.
        self.quiet().await;
        let (directory, label) = (self.directory.clone(), self.label.clone());
        let failed = |operation| {
            let label = &label;
            move |error: io::Error| FileError::new(operation, label, error)
        };
        let sound = |error| Failed {
            error,
            is_sound: true,
        };
        let lost = |error| Failed {
            error,
            is_sound: false,
        };
        // An earlier commit may have come as far as the name, and nobody has heard of it.
        let is_named = partial.is_some_and(Partial::is_complete);
        if !is_named {
            self.finish().await.map_err(sound)?;
        }
        let synced = match partial {
            Some(partial) => partial.synced_by(sync_file).await,
            None => sync_file(&self.file).await,
        };
        synced.map_err(failed("make durable")).map_err(lost)?;
        let published = match partial {
            _ if is_named => Ok(()),
            Some(partial) => partial.publish(&self.directory, &self.name),
            None => self.publish(),
        };
        published.map_err(failed("create")).map_err(sound)?;
        let named = syncs.sync(directory).await;
        named
            .map_err(failed("make durable the directory entry of"))
            .map_err(lost)
    }

    /// Exact size, mode and times.
    async fn finish(&self) -> Result<(), FileError> {
        let (file, spec) = (self.file.clone(), self.spec);
        let failed = |operation, error| FileError::new(operation, &self.label, error);
        let finished = match spec.size > LONG {
            true => in_pool(move || finish(&file, spec))
                .await
                .map_err(|error| failed("set the size of", error))?,
            false => finish(&file, spec),
        };
        finished.map_err(|(operation, errno)| failed(operation, errno.into()))
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

/// The size, then the mode, then the times: cutting the size would change the time again.
fn finish(file: &BlockFile, spec: TargetSpec) -> Result<(), (&'static str, Errno)> {
    let fd = file.as_fd();
    let failed = |operation| move |errno: Errno| (operation, errno);
    ftruncate(fd, spec.size).map_err(failed("set the size of"))?;
    fchmod(fd, Mode::from_raw_mode(spec.mode & 0o777)).map_err(failed("set the mode of"))?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: timespec(spec.mtime_ns),
    };
    futimens(fd, &times).map_err(failed("set the times of"))
}

/// A commit that came to nothing.
struct Failed {
    error: FileError,
    /// What has arrived is as it was, and its place is still `.blockd`.
    is_sound: bool,
}

/// Whether the same may succeed another time.
fn is_passing(error: &FileError) -> bool {
    let errno = Errno::from_io_error(&error.source);
    let is_short = matches!(
        errno,
        Some(Errno::IO | Errno::NOMEM | Errno::MFILE | Errno::NFILE)
    );
    is_short || error.kind == FileErrorKind::NoSpace
}

/// Waits until the file is on stable storage. A full fsync: fdatasync would leave out the mode and
/// the modification time, which are promised as well.
async fn sync_file(file: &Arc<BlockFile>) -> io::Result<()> {
    sync_all(file).await
}

/// Links an unnamed file to a name in a directory.
pub(super) fn link(file: BorrowedFd<'_>, directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
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
