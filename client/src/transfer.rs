//! Whole files from the server, and the small requests around them.

use std::ffi::OsStr;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use blk_datapath::disk::ReadWays;
use blk_datapath::engine::Progress;
use blk_datapath::files::{PendingTarget, TargetSpec};
use blk_proto::geometry::PAYLOAD_GRANULE;
use blk_proto::message::{Attributes, Entry, FileKind, Reply, Request};

use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::flow::Flow;
use crate::service::Command;
use crate::sparse::holes_to_keep;
use crate::spread::Shape;

/// When the server has said that the whole file was sent, every block of it is here; what is left to do is writing the
/// last of them. A server that lies must not keep a get waiting, but a disk may be slow: some ten MiB for a get, with
/// others beside it.
pub(crate) const LAST_WRITES: Duration = Duration::from_secs(20);

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
    /// How the source was read, when it is a file here: from the page cache, or past it.
    pub reads: ReadWays,
    /// Of a put: bytes that an earlier one had brought, and this one did not send.
    pub resumed_bytes: u64,
}

impl Connection {
    /// Fetches a file into `directory` under `name`: durable there when this returns `Ok`. It has the same holes. To be
    /// called inside a `tokio_uring` runtime.
    pub async fn get(
        &self,
        source: &RemotePath,
        directory: OwnedFd,
        name: &OsStr,
        progress: Progress,
    ) -> Result<Copied, ClientError> {
        let what = source.to_string();
        let home = self.lead();
        let transfer = Transfer::new(self);
        let attributes = open_remote(home, &what, source, transfer.number).await?;
        let spec = TargetSpec {
            size: attributes.size,
            mode: attributes.mode,
            mtime_ns: attributes.mtime_ns,
        };
        let shape = Shape {
            what: &what,
            transfer: transfer.number,
            size: spec.size,
        };
        let holes = self.holes_of(home, shape).await?;
        let unreserved = holes_to_keep(&holes, spec.size);
        let target = PendingTarget::create_in_ring(directory, name, spec, &unreserved).await?;
        let arrived = self
            .receive_sparse(home, shape, target.file(), &holes, &progress)
            .await?;
        target.commit().await?;
        Ok(Copied {
            bytes: spec.size,
            crc: arrived.crc,
            zero_copy_bytes: arrived.ways.direct,
            copied_bytes: arrived.ways.copied,
            ..Copied::default()
        })
    }

    /// What a name stands for.
    pub async fn stat(&self, path: &RemotePath) -> Result<Attributes, ClientError> {
        let request = Request::Stat {
            export: path.export.clone(),
            path: path.path.clone(),
        };
        self.ask(path, request, |reply| match reply {
            Reply::Attributes(attributes) => Some(*attributes),
            _ => None,
        })
        .await
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
        let request = Request::MakeDirectory {
            export: path.export.clone(),
            path: path.path.clone(),
            mode,
        };
        self.ask(path, request, |reply| {
            matches!(reply, Reply::Made).then_some(())
        })
        .await
    }

    /// Asks something about a name, and takes the one answer that there is to it.
    pub(crate) async fn ask<T>(
        &self,
        path: &RemotePath,
        request: Request,
        wanted: impl FnOnce(&Reply) -> Option<T>,
    ) -> Result<T, ClientError> {
        let what = path.to_string();
        expect(&what, self.request(&what, request).await?, wanted)
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

/// Has the server open a file for reading.
async fn open_remote(
    home: &Flow,
    what: &str,
    source: &RemotePath,
    transfer: u32,
) -> Result<Attributes, ClientError> {
    let request = Request::Open {
        transfer,
        export: source.export.clone(),
        path: source.path.clone(),
    };
    let reply = home.request(what, request).await?;
    expect(what, reply, |reply| match reply {
        Reply::Opened { attributes } => Some(*attributes),
        _ => None,
    })
}

/// Receives what is asked for: the first failure of either ends both. After the sender's last word the reception has
/// `patience` to end as well, while `fill` asks for what is missing.
pub(crate) async fn both<R, S>(
    what: &str,
    receive: impl Future<Output = Result<R, ClientError>>,
    read: impl Future<Output = Result<S, ClientError>>,
    fill: impl Future<Output = ClientError>,
    patience: Duration,
) -> Result<(R, S), ClientError> {
    let (mut receive, mut read) = (pin!(receive), pin!(read));
    // Polled in this order, so the worker expects the blocks before it asks for them.
    let sent = tokio::select! {
        biased;
        received = &mut receive => {
            let received = received?;
            return Ok((received, read.await?));
        }
        sent = &mut read => sent?,
    };
    tokio::select! {
        biased;
        received = receive => Ok((received?, sent)),
        error = fill => Err(error),
        () = tokio::time::sleep(patience) => Err(ClientError::Incomplete {
            what: what.to_owned(),
            seconds: patience.as_secs(),
        }),
    }
}

/// A transfer's number; when it is dropped before its end, both ends forget the transfer.
pub(crate) struct Transfer<'a> {
    connection: &'a Connection,
    /// The same in all sessions.
    pub(crate) number: u32,
    over: bool,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            number: connection.new_transfer(),
            over: false,
        }
    }

    /// The server has forgotten it already.
    pub(crate) fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        for flow in self.connection.sessions() {
            flow.forget(self.number);
            if !self.over {
                flow.tell(Command::Abandon {
                    transfer: self.number,
                });
            }
        }
    }
}

/// What the server calls missing must lie in what was sent, `whole`, and where a read can start.
pub(crate) fn check_missing(
    what: &str,
    (offset, len): (u64, u64),
    (start, whole): (u64, u64),
) -> Result<(), ClientError> {
    let ends = |end: u64| end - start <= whole;
    if offset >= start
        && offset.checked_add(len).is_some_and(ends)
        && offset.is_multiple_of(PAYLOAD_GRANULE as u64)
    {
        return Ok(());
    }
    Err(ClientError::Unexpected {
        what: what.to_owned(),
        reply: format!("bytes {offset}+{len} are called missing"),
    })
}

pub(crate) fn expect<T>(
    what: &str,
    reply: Reply,
    wanted: impl FnOnce(&Reply) -> Option<T>,
) -> Result<T, ClientError> {
    wanted(&reply).ok_or_else(|| ClientError::Unexpected {
        what: what.to_owned(),
        reply: format!("{reply:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::task::Poll;

    use crate::error::ErrorKind;

    const PATIENCE: Duration = Duration::from_millis(20);

    fn changed() -> ClientError {
        ClientError::Changed {
            what: "h:data/x".to_owned(),
        }
    }

    /// Ready at the second poll.
    async fn later<T>(value: T) -> T {
        let mut polled = false;
        std::future::poll_fn(|context| {
            if polled {
                return Poll::Ready(());
            }
            polled = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        value
    }

    #[test]
    fn either_end_may_come_first() {
        tokio_uring::start(async {
            let first = both("x", ready(Ok(1)), later(Ok(2)), pending(), PATIENCE).await;
            assert_eq!(first.unwrap(), (1, 2));
            let last = both("x", later(Ok(1)), ready(Ok(2)), pending(), PATIENCE).await;
            assert_eq!(last.unwrap(), (1, 2));
        });
    }

    #[test]
    fn a_failure_of_either_ends_both() {
        tokio_uring::start(async {
            let here =
                both::<(), ()>("x", later(Err(changed())), pending(), pending(), PATIENCE).await;
            assert!(matches!(here, Err(ClientError::Changed { .. })));
            let there =
                both::<(), ()>("x", pending(), later(Err(changed())), pending(), PATIENCE).await;
            assert!(matches!(there, Err(ClientError::Changed { .. })));
        });
    }

    #[test]
    fn a_server_that_keeps_blocks_back_is_found_out() {
        tokio_uring::start(async {
            let told =
                both::<(), _>("h:data/x", pending(), ready(Ok(2)), pending(), PATIENCE).await;
            let error = told.unwrap_err();
            assert!(matches!(error, ClientError::Incomplete { .. }));
            assert_eq!(error.kind(), ErrorKind::Protocol);
            assert!(error.to_string().starts_with("h:data/x: "), "{error}");
        });
    }
}
