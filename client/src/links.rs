//! Links, modes and times of what is at the other end.

use blk_proto::message::{Reply, Request};

use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;

impl Connection {
    /// Makes a symbolic link that leads to `target` (1 to 4095 bytes without NUL, not looked up), durably. A file or link that has the
    /// name is replaced at one moment; missing directories are made.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongKind`](crate::ErrorKind::WrongKind) when a directory has the name, and what the other end refuses.
    pub async fn make_link(&self, path: &RemotePath, target: &[u8]) -> Result<(), ClientError> {
        let request = Request::MakeLink {
            export: path.export.clone(),
            path: path.path.clone(),
            target: target.to_vec(),
        };
        self.done(path, request).await
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    ///
    /// What the other end refuses; also when it is no link.
    pub async fn read_link(&self, path: &RemotePath) -> Result<Vec<u8>, ClientError> {
        let request = Request::ReadLink {
            export: path.export.clone(),
            path: path.path.clone(),
        };
        self.ask(path, request, |reply| match reply {
            Reply::Link { target } => Some(target.clone()),
            _ => None,
        })
        .await
    }

    /// Gives a directory or regular file permission bits (0777 of `mode`) and a time of last modification, in nanoseconds since 1970,
    /// durably.
    ///
    /// # Errors
    ///
    /// What the other end refuses: an export itself, and what is neither a directory nor a regular file.
    pub async fn set_attributes(
        &self,
        path: &RemotePath,
        mode: u32,
        mtime_ns: i64,
    ) -> Result<(), ClientError> {
        let request = Request::SetAttributes {
            export: path.export.clone(),
            path: path.path.clone(),
            mode,
            mtime_ns,
        };
        self.done(path, request).await
    }
}
