//! Names that go or become others, and what the server says of itself.

use std::time::{Duration, Instant};

use blk_proto::message::{Reply, Request};

use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::transfer::expect;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its version, as 1.2.3.
    pub version: String,
    /// How the blocks of this session cross its kernel: one of the names of [`DatapathInfo::mode`](crate::DatapathInfo::mode), or one
    /// that a later version knows.
    pub datapath: String,
    /// From the request to its answer, through the threads of both ends.
    pub round_trip: Duration,
}

impl Connection {
    /// Removes a name, durably: that of a file, of a link (which is not followed), or of anything else but a directory. A
    /// [`RemoteFile`](crate::RemoteFile) of it goes on; a get that is under way fails, as if the content had changed. A put of that name that is under way gives the name to its file when it ends.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: nothing has the name, a directory has it, it leads out of the export, the export is not the daemon's to
    /// write, …
    pub async fn remove(&self, path: &RemotePath) -> Result<(), ClientError> {
        let request = Request::Remove {
            export: path.export.clone(),
            path: path.path.clone(),
        };
        self.done(path, request).await
    }

    /// Removes an empty directory, durably; a link to one is none. A put into it that is under way fails at its end, or, where the file
    /// system knows only files with names, keeps the directory from being empty.
    ///
    /// # Errors
    /// As [`remove`](Self::remove); it is not empty, it is no directory, or it is the export itself.
    pub async fn remove_directory(&self, path: &RemotePath) -> Result<(), ClientError> {
        let request = Request::RemoveDirectory {
            export: path.export.clone(),
            path: path.path.clone(),
        };
        self.done(path, request).await
    }

    /// Gives a file, a directory or anything else another name in its export, atomically and durably: at any moment it has the one name
    /// or the other, also after a loss of power. Links at the ends of both paths are not followed. What has the new name already makes
    /// room only if `replace` is set: a file for a file, an empty directory for a directory. Where both names are of one file (hard
    /// links), the old one goes then.
    ///
    /// A [`RemoteFile`](crate::RemoteFile) of it goes on; a get that is under way fails, as if the content had changed. A put of the old or the new name that is under way gives that name to its file when it ends; one
    /// into a directory that is renamed goes with it.
    ///
    /// When this fails for another reason than a refusal that says so, it may have been renamed.
    ///
    /// # Errors
    /// [`ClientError::Across`] when the two are not in one export of one host. [`ClientError::Refused`]: something has the new name, the
    /// directory of the new name is not there, it is on another file system, …
    pub async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        replace: bool,
    ) -> Result<(), ClientError> {
        if (&from.host, &from.export) != (&to.host, &to.export) {
            return Err(ClientError::Across {
                from: from.to_string(),
                to: to.to_string(),
            });
        }
        let request = Request::Rename {
            export: from.export.clone(),
            from: from.path.clone(),
            to: to.path.clone(),
            replace,
        };
        self.done(from, request).await
    }

    /// Asks the server what it is, and measures how long the answer takes. No disk has a part in it.
    ///
    /// # Errors
    /// [`ClientError::Lost`]; a server that does not know the request ends the session.
    pub async fn describe(&self) -> Result<Description, ClientError> {
        let what = self.remote().to_string();
        let asked = Instant::now();
        let reply = self.request(&what, Request::Describe).await?;
        let round_trip = asked.elapsed();
        expect(&what, reply, |reply| match reply {
            Reply::Description { version, datapath } => Some(Description {
                version: version.clone(),
                datapath: datapath.clone(),
                round_trip,
            }),
            _ => None,
        })
    }

    /// A request that is answered by its being done.
    pub(crate) async fn done(
        &self,
        path: &RemotePath,
        request: Request,
    ) -> Result<(), ClientError> {
        self.ask(path, request, |reply| {
            matches!(reply, Reply::Done).then_some(())
        })
        .await
    }
}
