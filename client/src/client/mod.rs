//! A client for any executor: one handle, to be cloned and shared, that owns everything behind it.
//!
//! ```text
//!   Client ─┬─ stat, list, remove, … ───────────────── requests ─► worker
//!           ├─ put, get, streams ──► thread blk-client ─ transfers ─► workers of all flows
//!           └─ open ──► RemoteFile: read_at, write_at, sync, …
//! ```

mod copies;
mod names;
mod operation;
mod reader;
mod thread;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;

use blk_proto::message::{Attributes, Entry};
use blk_proto::session::Stats;
use tokio::sync::{Semaphore, watch};

pub use self::operation::Operation;
pub use self::reader::RemoteReader;
pub use self::writer::RemoteWriter;

use self::thread::Jobs;
use crate::address::RemotePath;
use crate::connection::{ConnectOptions, Connection, DatapathInfo, FlowInfo};
use crate::error::ClientError;
use crate::remote_file::{OpenOptions, RemoteFile};

/// Puts and gets of a client that are under way at once; the others wait. A session has room for 64 transfers, and files that
/// are open, with their reads and writes, take room as well.
const COPIES_AT_ONCE: usize = 16;

/// A connection with one blockd, for any executor and any thread. Clones are the same connection. It is closed when the last of
/// them is gone, with every file, stream and operation that came from them.
///
/// Remote files are named as on blkcp's command line behind the colon, `EXPORT/PATH`: bytes, or text.
///
/// A session that was lost stays lost, and the files that were opened over it with it ([`ClientError::Lost`]). Where large files
/// have brought up several flows, the others go on, and so does what is begun then; when the last is lost, every operation fails.
/// [`ClientError::is_retryable`] says whether to connect anew.
///
/// ```no_run
/// # async fn example() -> Result<(), blk_client::ClientError> {
/// use blk_client::{Client, ConnectOptions};
///
/// let client = Client::connect("storage1", &ConnectOptions::default()).await?;
/// client.put("disk.img", "data/images/disk.img").await?;
/// for entry in client.list("data/images").await? {
///     println!("{}", String::from_utf8_lossy(&entry.name));
/// }
/// client.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    host: String,
    // Not the last one: the thread has another, and drops it when the jobs are gone.
    connection: Arc<Connection>,
    jobs: Jobs,
    copies: Arc<Semaphore>,
    ended: watch::Receiver<()>,
}

impl Client {
    /// Connects with the blockd of a host, on a thread of its own, named `blk-client`, which is in the network namespace of
    /// the thread that polls this.
    ///
    /// # Errors
    /// Those of [`Connection::open`]; [`ClientError::Start`].
    pub fn connect(host: &str, options: &ConnectOptions) -> Operation<Self> {
        let (host, options) = (host.to_owned(), options.clone());
        Operation::new(async move {
            let opened = thread::open(host.clone(), options).await?;
            Ok(Self(Arc::new(Shared {
                host,
                connection: opened.connection,
                jobs: opened.jobs,
                copies: Arc::new(Semaphore::new(COPIES_AT_ONCE)),
                ended: opened.ended,
            })))
        })
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.0.connection.remote()
    }

    /// How blocks travel.
    pub fn datapath(&self) -> &DatapathInfo {
        self.0.connection.datapath()
    }

    /// The statistics of the session that carries the requests.
    ///
    /// # Errors
    /// [`ClientError::Lost`].
    pub fn statistics(&self) -> Operation<Stats> {
        let shared = Arc::clone(&self.0);
        Operation::new(async move { shared.connection.statistics().await })
    }

    /// Every flow that there has been, the first session first.
    ///
    /// # Errors
    /// None: of a flow that is lost, nothing is known but its ports.
    pub fn flows(&self) -> Operation<Vec<FlowInfo>> {
        let shared = Arc::clone(&self.0);
        Operation::new(async move { Ok(shared.connection.flows().await) })
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it stands for nothing, or leads outside the export.
    pub fn stat(&self, remote: impl AsRef<[u8]>) -> Operation<Attributes> {
        let path = self.path(remote);
        Operation::new(async move {
            let (client, path) = path?;
            client.0.connection.stat(&path).await
        })
    }

    /// Everything in a directory, sorted by name.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it is missing, or no directory.
    pub fn list(&self, remote: impl AsRef<[u8]>) -> Operation<Vec<Entry>> {
        let path = self.path(remote);
        Operation::new(async move {
            let (client, path) = path?;
            client.0.connection.list(&path).await
        })
    }

    /// Makes a directory with these permission bits, and its missing parents, durably; one that is there already is fine.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when something else has the name, or may not be touched.
    pub fn make_directory(&self, remote: impl AsRef<[u8]>, mode: u32) -> Operation<()> {
        let path = self.path(remote);
        Operation::new(async move {
            let (client, path) = path?;
            client.0.connection.make_directory(&path, mode).await
        })
    }

    /// Opens a regular file for reading and writing in place; the server must be allowed both. As long as the file is open, so
    /// is the connection.
    ///
    /// # Errors
    /// Those of [`Connection::open_file`].
    pub fn open(&self, remote: impl AsRef<[u8]>, options: OpenOptions) -> Operation<RemoteFile> {
        let path = self.path(remote);
        Operation::new(async move {
            let (client, path) = path?;
            let file = client.0.connection.open_file(&path, options).await?;
            Ok(file.owned_by(client))
        })
    }

    /// Opens a regular file to be read from its beginning on, ahead of whoever reads. The server opens it as
    /// [`open`](Self::open) does, for writing, too: what it may only read, [`get`](Self::get) fetches.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn reader(&self, remote: impl AsRef<[u8]>) -> Operation<RemoteReader> {
        let (client, file) = (self.clone(), self.open(remote, OpenOptions::default()));
        Operation::new(async move { Ok(client.read_from(file.await?, 0)) })
    }

    /// As [`reader`](Self::reader), of a file that is open, from byte `offset` on.
    pub fn read_from(&self, file: RemoteFile, offset: u64) -> RemoteReader {
        RemoteReader::new(self.clone(), file.without_owner(self), offset)
    }

    /// Opens a regular file to be written anew, in place: from now on it is empty, and it shows what has been written. It is made
    /// if it is missing (rw-r--r--), with the directories on the way.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn writer(&self, remote: impl AsRef<[u8]>) -> Operation<RemoteWriter> {
        let create = Some(0o644);
        let (client, file) = (self.clone(), self.open(remote, OpenOptions { create }));
        Operation::new(async move {
            let file = file.await?;
            file.set_len(0).await?;
            Ok(client.write_from(file, 0))
        })
    }

    /// As [`writer`](Self::writer), of a file that is open, from byte `offset` on; the rest of it stays.
    pub fn write_from(&self, file: RemoteFile, offset: u64) -> RemoteWriter {
        RemoteWriter::new(self.clone(), file.without_owner(self), offset)
    }

    /// Gives up this handle. When it was the last one, and nothing that came from it is left, waits until the connection is
    /// closed: the server has been told, and the interface is given back. Without it that happens in the background.
    ///
    /// # Errors
    /// None.
    pub fn close(self) -> Operation<()> {
        Operation::new(async move {
            let mut ended = self.0.ended.clone();
            if Arc::into_inner(self.0).is_some() {
                // Nothing is ever sent: it waits for the end of the sender.
                let _ = ended.changed().await;
            }
            Ok(())
        })
    }

    /// Whether both are the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The thread that carries out what goes on unpolled.
    fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    /// Reads a remote name; with it comes a handle for the operation.
    fn path(&self, remote: impl AsRef<[u8]>) -> Result<(Self, RemotePath), ClientError> {
        let path = RemotePath::on(&self.0.host, remote.as_ref())?;
        Ok((self.clone(), path))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client")
            .field("host", &self.0.host)
            .field("remote", &self.remote())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It need not run, only compile: handles and futures go anywhere, and are moved freely.
    #[expect(dead_code)]
    fn handles_go_anywhere(client: &Client) {
        fn anywhere(_: impl Send + Sync + Unpin + 'static) {}
        fn movable(_: impl Send + Unpin + 'static) {}
        anywhere(client.clone());
        movable(client.put("a", "data/a"));
        let name = String::from("data/a");
        let stat = client.stat(&name);
        drop(name);
        movable(stat);
        movable(client.open(b"data/a", OpenOptions::default()));
        fn streams(reader: RemoteReader, writer: RemoteWriter, file: RemoteFile) {
            movable(reader);
            movable(writer);
            anywhere(file);
        }
    }
}
