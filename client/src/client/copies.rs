//! Whole files there and back, on the client's thread.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use blk_datapath::engine::Progress;
use blk_datapath::files::{FileError, FileErrorKind, SourceFile};
use rustix::fs::{Mode, OFlags};

use super::{Client, Operation};
#[cfg(doc)]
use crate::error::ClientError;
use crate::put::PutOptions;
use crate::transfer::Copied;

impl Client {
    /// Stores a local file: whole, checked and durable under its name when this is `Ok`. Missing parent directories are made.
    /// Of a file of 4 MiB or more, what an earlier put brought that did not come to its end is not sent again.
    ///
    /// # Errors
    /// [`ClientError::File`] when the source cannot be read, [`ClientError::Changed`] when it changes meanwhile,
    /// [`ClientError::Refused`] with the server's reason.
    pub fn put(&self, local: impl AsRef<Path>, remote: impl AsRef<[u8]>) -> Operation<Copied> {
        self.put_with(local, remote, &PutOptions::default(), &Progress::default())
    }

    /// As [`put`](Self::put), with options, and a count of the bytes that went over the network.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn put_with(
        &self,
        local: impl AsRef<Path>,
        remote: impl AsRef<[u8]>,
        options: &PutOptions,
        progress: &Progress,
    ) -> Operation<Copied> {
        let (path, local) = (self.path(remote), local.as_ref().to_owned());
        let (options, progress) = (options.clone(), progress.clone());
        Operation::new(async move {
            let (client, path) = path?;
            let connection = Arc::clone(&client.0.connection);
            let copies = Arc::clone(&client.0.copies);
            let put = async move || {
                // Nobody closes the semaphore.
                let _permit = copies.acquire().await.ok();
                let source = SourceFile::open(&local)?;
                connection
                    .put_with(&source, &path, progress, &options)
                    .await
            };
            client.0.jobs.start(put).await
        })
    }

    /// Fetches a file to a local name, whose directory must be there: whole, checked and durable there when this is `Ok`. A
    /// file of that name is replaced at the end, a symbolic link too.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such file, [`ClientError::File`] when it cannot be stored here.
    pub fn get(&self, remote: impl AsRef<[u8]>, local: impl AsRef<Path>) -> Operation<Copied> {
        self.get_with(remote, local, &Progress::default())
    }

    /// As [`get`](Self::get), with a count of the bytes that are written.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn get_with(
        &self,
        remote: impl AsRef<[u8]>,
        local: impl AsRef<Path>,
        progress: &Progress,
    ) -> Operation<Copied> {
        let (path, local) = (self.path(remote), local.as_ref().to_owned());
        let progress = progress.clone();
        Operation::new(async move {
            let (client, path) = path?;
            let connection = Arc::clone(&client.0.connection);
            let copies = Arc::clone(&client.0.copies);
            let get = async move || {
                // Nobody closes the semaphore.
                let _permit = copies.acquire().await.ok();
                let (directory, name) = target(&local)?;
                connection
                    .get(&path, directory.into(), name, progress)
                    .await
            };
            client.0.jobs.start(get).await
        })
    }
}

/// The directory of a local file that is to be, and its name in it.
fn target(local: &Path) -> Result<(File, &std::ffi::OsStr), FileError> {
    let label = local.as_os_str().as_encoded_bytes();
    let Some(name) = local.file_name() else {
        let reason = "it has no last component that names a file";
        return Err(FileError::explained(
            FileErrorKind::InvalidName,
            "create",
            label,
            reason,
        ));
    };
    let directory = match local.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // What is no directory is refused unopened: a FIFO would wait for somebody who writes, and the whole client with it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|errno| FileError::new("open", directory.as_os_str().as_encoded_bytes(), errno))?;
    Ok((opened.into(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustix::fs::{CWD, FileType, mknodat};

    #[test]
    fn a_fifo_is_no_directory_and_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = target(&fifo.join("x")).unwrap_err();
        assert_eq!(error.kind, FileErrorKind::NotDirectory);
        assert!(target(&directory.path().join("x")).is_ok());
    }
}
