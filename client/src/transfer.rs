//! Whole files, there and back, and the small requests around them.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use blk_datapath::engine::Progress;
use blk_datapath::files::{PendingTarget, SourceFile, TargetSpec};
use blk_proto::message::{Attributes, Entry, FileKind, Reply, Request};

use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::service::Command;

/// What a copy amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of the file.
    pub bytes: u64,
    /// CRC32 of the file, the same at both ends.
    pub crc: u32,
    /// Bytes that reached the receiving disk straight from the network's frames.
    pub zero_copy_bytes: u64,
    /// Bytes that were copied in user space, or went through the page cache, on their way to the receiving disk.
    pub copied_bytes: u64,
}

impl Connection {
    /// Stores a file: durable under its name at the other end when this returns `Ok`.
    pub async fn put(
        &self,
        source: &SourceFile,
        target: &RemotePath,
        progress: Progress,
    ) -> Result<Copied, ClientError> {
        let what = target.to_string();
        let spec = source.attributes();
        let transfer = Transfer::new(self);
        let request = Request::Put {
            transfer: transfer.number,
            export: target.export.clone(),
            path: target.path.clone(),
            size: spec.size,
            mode: spec.mode,
            mtime_ns: spec.mtime_ns,
        };
        expect(&what, self.request(&what, request).await?, |reply| {
            matches!(reply, Reply::PutReady).then_some(())
        })?;
        let (number, file) = (transfer.number, Arc::clone(source.file()));
        let range = (0, spec.size);
        let sent = self
            .ask(|answer| Command::Send {
                transfer: number,
                file,
                range,
                progress,
                answer,
            })
            .await?;
        let sent = sent.map_err(|source| ClientError::Transfer {
            what: what.clone(),
            source,
        })?;
        if !source.unchanged().unwrap_or(false) {
            return Err(ClientError::Changed { what });
        }
        let reply = self
            .request(
                &what,
                Request::Commit {
                    transfer: number,
                    crc: sent.crc,
                },
            )
            .await?;
        transfer.over();
        expect(&what, reply, |reply| match reply {
            Reply::Committed {
                zero_copy_bytes,
                copied_bytes,
            } => Some(Copied {
                bytes: sent.bytes,
                crc: sent.crc,
                zero_copy_bytes: *zero_copy_bytes,
                copied_bytes: *copied_bytes,
            }),
            _ => None,
        })
    }

    /// Fetches a file into `directory` under `name`: durable there when this returns `Ok`.
    pub async fn get(
        &self,
        source: &RemotePath,
        directory: OwnedFd,
        name: &OsStr,
        progress: Progress,
    ) -> Result<Copied, ClientError> {
        let what = source.to_string();
        let transfer = Transfer::new(self);
        let number = transfer.number;
        let request = Request::Open {
            transfer: number,
            export: source.export.clone(),
            path: source.path.clone(),
        };
        let attributes = expect(
            &what,
            self.request(&what, request).await?,
            |reply| match reply {
                Reply::Opened { attributes } => Some(*attributes),
                _ => None,
            },
        )?;
        let size = attributes.size;
        let spec = TargetSpec {
            size,
            mode: attributes.mode,
            mtime_ns: attributes.mtime_ns,
        };
        let target = PendingTarget::create(directory, name, spec)?;
        let file = Arc::clone(target.file());
        let receive = self.ask(|answer| Command::Receive {
            transfer: number,
            file,
            size,
            progress,
            answer,
        });
        let read = self.request(
            &what,
            Request::Read {
                transfer: number,
                offset: 0,
                len: size,
            },
        );
        // Polled in this order, so the worker expects the blocks before it asks for them. A read that fails ends both.
        let (received, reply) = tokio::try_join!(biased; receive, read)?;
        let sent = expect(&what, reply, |reply| match reply {
            Reply::ReadDone { crc } => Some(*crc),
            _ => None,
        })?;
        let received = received.map_err(|source| ClientError::Transfer {
            what: what.clone(),
            source,
        })?;
        if received.crc != sent {
            return Err(ClientError::ChecksumMismatch {
                what,
                received: received.crc,
                sent,
            });
        }
        target.commit().await?;
        let ways = received.ways;
        Ok(Copied {
            bytes: size,
            crc: sent,
            zero_copy_bytes: ways.direct,
            copied_bytes: ways.copied,
        })
    }

    /// What a name stands for.
    pub async fn stat(&self, path: &RemotePath) -> Result<Attributes, ClientError> {
        let what = path.to_string();
        let request = Request::Stat {
            export: path.export.clone(),
            path: path.path.clone(),
        };
        expect(
            &what,
            self.request(&what, request).await?,
            |reply| match reply {
                Reply::Attributes(attributes) => Some(*attributes),
                _ => None,
            },
        )
    }

    /// Everything in a directory, sorted by name.
    pub async fn list(&self, path: &RemotePath) -> Result<Vec<Entry>, ClientError> {
        let what = path.to_string();
        let mut all = Vec::new();
        let mut cursor = 0;
        loop {
            let request = Request::List {
                export: path.export.clone(),
                path: path.path.clone(),
                cursor,
            };
            let (entries, next) =
                expect(
                    &what,
                    self.request(&what, request).await?,
                    |reply| match reply {
                        Reply::Entries { entries, next } => Some((entries.clone(), *next)),
                        _ => None,
                    },
                )?;
            all.extend(entries);
            match next {
                Some(next) if next != cursor => cursor = next,
                _ => return Ok(all),
            }
        }
    }

    /// Makes a directory and its missing parents; one that is there already is fine.
    pub async fn make_directory(&self, path: &RemotePath, mode: u32) -> Result<(), ClientError> {
        let what = path.to_string();
        let request = Request::MakeDirectory {
            export: path.export.clone(),
            path: path.path.clone(),
            mode,
        };
        expect(&what, self.request(&what, request).await?, |reply| {
            matches!(reply, Reply::Made).then_some(())
        })
    }

    /// Whether a name stands for a directory; `None` when it stands for nothing.
    pub async fn is_directory(&self, path: &RemotePath) -> Result<Option<bool>, ClientError> {
        match self.stat(path).await {
            Ok(attributes) => Ok(Some(attributes.kind == FileKind::Directory)),
            Err(error)
                if error.kind() == crate::error::ErrorKind::NotFound && path.name().is_some() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A transfer's number; when it is dropped before its end, both ends forget the transfer.
struct Transfer<'a> {
    connection: &'a Connection,
    number: u32,
    over: bool,
}

impl<'a> Transfer<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            number: connection.new_transfer(),
            over: false,
        }
    }

    /// The server has forgotten it already.
    fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.connection.tell(Command::Abandon {
                transfer: self.number,
            });
        }
    }
}

fn expect<T>(
    what: &str,
    reply: Reply,
    wanted: impl FnOnce(&Reply) -> Option<T>,
) -> Result<T, ClientError> {
    wanted(&reply).ok_or_else(|| ClientError::Unexpected {
        what: what.to_owned(),
        reply: format!("{reply:?}"),
    })
}
