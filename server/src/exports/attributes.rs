//! Modes and times of what is there already.

use std::os::fd::AsFd;
use std::sync::Arc;

use blk_datapath::files::{FileError, FileErrorKind, check_regular, set_attributes};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::{Errno, retry_on_intr};

use super::resolve::confined;
use super::{Export, ExportPath, MadeDirectories};

impl Export {
    /// Gives the directory or regular file `path` permission bits (0777 of `mode`) and a time of last modification, in nanoseconds
    /// since 1970; durable when this returns. A link at the end of the path is not followed. To be called inside a `tokio_uring`
    /// runtime.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for the export itself; as [`check_regular`] for anything else than a directory or regular file; as the
    /// resolution of the path; what the changes and the sync report.
    pub async fn set_attributes(
        &self,
        path: &[u8],
        mode: u32,
        mtime_ns: i64,
        made: &MadeDirectories,
    ) -> Result<(), FileError> {
        const OPERATION: &str = "set the attributes of";
        let path = ExportPath::parse(OPERATION, path)?;
        let failed = |errno: Errno| FileError::new(OPERATION, path.label(), errno);
        let Some((parent, name)) = path.split_last() else {
            return Err(FileError::explained(
                FileErrorKind::PermissionDenied,
                OPERATION,
                path.label(),
                "those of an export itself are set by its owner",
            ));
        };
        let directory = self
            .open_directory(parent)
            .map_err(|errno| confined(OPERATION, path, errno))?;
        // Looked at before it is opened: opening alone has effects on FIFOs and devices.
        let seen = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        check(&seen, path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| openat(&directory, name, flags, Mode::empty()));
        let opened = Arc::new(opened.map_err(failed)?);
        check(&fstat(&opened).map_err(failed)?, path)?;
        made.settled(&opened)
            .await
            .map_err(|error| FileError::new(OPERATION, path.label(), error))?;
        set_attributes(opened.as_fd(), mode, mtime_ns).map_err(failed)?;
        let synced = made.sync(opened).await;
        synced.map_err(|error| FileError::new(OPERATION, path.label(), error))
    }
}

fn check(found: &rustix::fs::Stat, path: ExportPath<'_>) -> Result<(), FileError> {
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Ok(());
    }
    check_regular(found, path.label()).map_err(|error| FileError {
        operation: "set the attributes of",
        ..error
    })
}
