//! Files of a server that are read and written in place, anywhere.
//!
//! ```text
//!   write_at ─► split ─┬─ few bytes, or a part of a page ─► WriteInline ──────────────────► page cache there
//!                      └─ whole pages ─► memfd ─► frames ─► wire ─► frames ─► O_DIRECT write there
//! ```
//!
//! The caller's bytes are copied once, into a file in memory that the worker sends from, or has received into: the worker
//! goes on with it when the caller has given up and its memory is gone. At the server whole pages go between frames and
//! disk as they lie.

mod blocks;
mod link;
mod reader;
mod split;

use std::sync::atomic::{AtomicU64, Ordering};

use blk_proto::message::{Allocation, Attributes, ErrorCode, Reply, Request};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};

pub(crate) use self::link::{Limits, Link};
pub use self::reader::PieceReader;
use self::split::{Piece, split};
use crate::address::RemotePath;
use crate::client::Client;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::holes::ask_holes;
use crate::service::Command;
use crate::transfer::expect;

/// Pieces of one read or write that are under way at once.
const PIPELINE: usize = 16;
/// So often a read is tried again when the file shrinks beneath it.
const READ_TRIES: usize = 4;

/// How a [`RemoteFile`] is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Permission bits of the file, to be made, empty, if it is missing, with the directories on the way. `None`: it must
    /// be there.
    pub create: Option<u32>,
}

/// A file of a server, open for reading and writing in place.
///
/// Its futures want no particular executor, and may be used many at a time. One that is dropped in the middle leaves the
/// connection as it was; of a write some bytes, or all, may be in the file then. The file is closed when this is dropped;
/// when the [`Connection`] is, every operation fails. A [`Client`] whose file is open stays connected.
///
/// Those under way are to be polled: one that is kept and left alone may keep others from their turn. The streams of a client
/// ([`RemoteReader`](crate::RemoteReader), [`RemoteWriter`](crate::RemoteWriter)) go on by themselves.
///
/// What is written can be read at once, by everybody, and is durable when a [`sync`](Self::sync) that was begun later has
/// succeeded. Writes that overlap are carried out one after the other, in no order that is promised unless one was over
/// before the other began; those that do not overlap lose nothing, however they are aligned.
///
/// A session has room for 64 transfers: open files, and large reads and writes, of which a connection has at most
/// [8 under way](Self::write_at).
pub struct RemoteFile {
    link: Link,
    attributes: Attributes,
    /// The size as far as it is known: it may have changed since.
    size: AtomicU64,
    is_closed: bool,
    /// Keeps the connection open, when it came from a client.
    owner: Option<Client>,
}

impl Connection {
    /// Opens a regular file for reading and writing in place.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's reason: it is missing, a directory, not the daemon's to write, …
    pub async fn open_file(
        &self,
        path: &RemotePath,
        options: OpenOptions,
    ) -> Result<RemoteFile, ClientError> {
        let link = self.link(path.to_string());
        let request = Request::OpenFile {
            transfer: link.file,
            export: path.export.clone(),
            path: path.path.clone(),
            create: options.create,
        };
        let attributes = link.open(request).await?;
        Ok(RemoteFile {
            size: AtomicU64::new(attributes.size),
            link,
            attributes,
            is_closed: false,
            owner: None,
        })
    }
}

impl RemoteFile {
    /// What the file was when it was opened.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Its size in bytes, now.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub async fn len(&self) -> Result<u64, ClientError> {
        let file = self.link.file;
        let reply = self.link.request(Request::FileAttributes { file }).await?;
        let size = expect(&self.link.what, reply, |reply| match reply {
            Reply::Attributes(attributes) => Some(attributes.size),
            _ => None,
        })?;
        self.size.store(size, Ordering::Relaxed);
        Ok(size)
    }

    /// Its size in bytes as far as is known without asking.
    pub(crate) fn known_size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// A read has found no more bytes there: the file ends there, or before.
    pub(crate) fn ended_at(&self, offset: u64) {
        self.size.fetch_min(offset, Ordering::Relaxed);
    }

    /// Whether it has no bytes, now.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub async fn is_empty(&self) -> Result<bool, ClientError> {
        Ok(self.len().await? == 0)
    }

    /// Reads into `buffer` from byte `offset` on; how many bytes there were: fewer than asked for only where the file ends.
    /// Every byte is checked by CRC32.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server's disk fails, [`ClientError::Lost`] when the session does. The buffer then
    /// holds anything.
    pub async fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ClientError> {
        let len = self.readable(offset, buffer.len()).await?;
        let mut rest = &mut buffer[..len];
        // Boxed one by one: a closure over these would not let the whole move between threads.
        let mut parts: Vec<BoxFuture<'_, _>> = Vec::new();
        for piece in split(offset, len) {
            let (part, after) = rest.split_at_mut(piece.len);
            rest = after;
            parts.push(Box::pin(async move {
                let count = self.read_piece(piece, part).await?;
                Ok::<_, ClientError>((count, count < piece.len))
            }));
        }
        let mut reads = stream::iter(parts).buffered(PIPELINE);
        let (mut total, mut is_over) = (0, false);
        while let Some(read) = reads.next().await {
            let (count, is_short) = read?;
            if !is_over {
                total += count;
                is_over = is_short;
            }
        }
        Ok(total)
    }

    /// Writes `bytes` from byte `offset` on; the file grows when they reach beyond its end, with a hole between if there is
    /// a gap. They can be read when this returns; durable they are after a [`sync`](Self::sync).
    ///
    /// Large writes go in pieces of at most 4 MiB, at most 8 at a time of all writes and reads of a connection.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the disk is full or fails, or an earlier sync has failed. Of the range any part may
    /// have been written then, and when a checksum was wrong it may hold anything.
    pub async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ClientError> {
        let end = offset.saturating_add(bytes.len() as u64);
        let mut parts: Vec<BoxFuture<'_, _>> = Vec::new();
        for piece in split(offset, bytes.len()) {
            let start = (piece.offset - offset) as usize;
            let part = &bytes[start..start + piece.len];
            parts.push(Box::pin(async move {
                if piece.in_blocks {
                    blocks::write(&self.link, piece.offset, part).await
                } else {
                    self.write_inline(piece.offset, part).await
                }
            }));
        }
        let mut writes = stream::iter(parts).buffer_unordered(PIPELINE);
        while let Some(written) = writes.next().await {
            written?;
        }
        self.size.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    /// Makes durable everything that was written before this call, and the size.
    ///
    /// # Errors
    /// [`ClientError::Refused`]. A sync that failed is final: something that was written since the last good one may be
    /// lost, nobody knows what. From then on every write and every sync fails. Open the file anew, look, write again.
    pub async fn sync(&self) -> Result<(), ClientError> {
        let file = self.link.file;
        self.done(Request::Sync { file }).await
    }

    /// Sets the size in bytes: what is beyond it is gone, what it gains reads as zeros.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub async fn set_len(&self, size: u64) -> Result<(), ClientError> {
        let file = self.link.file;
        self.done(Request::Truncate { file, size }).await?;
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// Reserves space, so that writes into the range do not find the disk full; the file grows when it reaches beyond its
    /// end. What had no data reads as zeros.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), and when the file system cannot do it.
    pub async fn allocate(&self, offset: u64, len: u64) -> Result<(), ClientError> {
        self.allocation(offset, len, Allocation::Reserve).await?;
        self.size
            .fetch_max(offset.saturating_add(len), Ordering::Relaxed);
        Ok(())
    }

    /// Gives space back: the range reads as zeros from now on. The size stays.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub async fn punch_hole(&self, offset: u64, len: u64) -> Result<(), ClientError> {
        self.allocation(offset, len, Allocation::Punch).await
    }

    /// Where it has no data: offsets and lengths, ascending, apart, in whole pages but for the end of the file.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at), and when there are more than 4 million.
    pub async fn holes(&self) -> Result<Vec<(u64, u64)>, ClientError> {
        let size = self.len().await?;
        let (what, transfer) = (&self.link.what, self.link.file);
        let holes = ask_holes(what, size, |offset| {
            self.link.request(Request::Holes { transfer, offset })
        })
        .await?;
        if !holes.is_all {
            return Err(ClientError::Unexpected {
                what: what.clone(),
                reply: format!("more than {} holes", holes.ranges.len()),
            });
        }
        Ok(holes.ranges)
    }

    /// Closes the file, and waits until the server has done so. Nothing is synced.
    ///
    /// # Errors
    /// [`ClientError::Lost`] when the session is over; the file is closed then, too.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let transfer = self.link.file;
        let closing = self.link.request(Request::Close { transfer });
        let reply = closing.await?;
        self.is_closed = true;
        expect(&self.link.what, reply, |reply| {
            matches!(reply, Reply::Closed).then_some(())
        })
    }

    /// The same, and the client stays connected as long as it is open.
    pub(crate) fn owned_by(mut self, client: Client) -> Self {
        self.owner = Some(client);
        self
    }

    /// The same for something that has a handle of this client itself.
    pub(crate) fn without_owner(mut self, client: &Client) -> Self {
        if self
            .owner
            .as_ref()
            .is_some_and(|owner| owner.is_same(client))
        {
            self.owner = None;
        }
        self
    }

    /// How much of a range there is to read; a few bytes are just asked for.
    async fn readable(&self, offset: u64, len: usize) -> Result<usize, ClientError> {
        let end = offset.saturating_add(len as u64);
        if !split(offset, len).any(|piece| piece.in_blocks) || end <= self.known_size() {
            return Ok(len);
        }
        Ok(within(self.len().await?, offset, len))
    }

    async fn read_piece(&self, piece: Piece, buffer: &mut [u8]) -> Result<usize, ClientError> {
        if !piece.in_blocks {
            return self.read_inline(piece.offset, buffer).await;
        }
        let mut len = buffer.len();
        let mut left = READ_TRIES;
        while len > 0 {
            let read = blocks::read(&self.link, piece.offset, &mut buffer[..len]).await;
            match read {
                Ok(()) => break,
                // It ends earlier than it did.
                Err(error) if left > 0 && is_beyond_end(&error) => {
                    left -= 1;
                    len = within(self.len().await?, piece.offset, len);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }

    async fn read_inline(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ClientError> {
        let request = Request::ReadInline {
            file: self.link.file,
            offset,
            len: buffer.len() as u32,
        };
        let (crc, bytes) = match self.link.request(request).await? {
            Reply::Bytes { crc, bytes } if bytes.len() <= buffer.len() => (crc, bytes),
            reply => return expect(&self.link.what, reply, |_| None),
        };
        let received = crc32fast::hash(&bytes);
        if received != crc {
            return Err(self.link.mismatch(received, crc));
        }
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    async fn write_inline(&self, offset: u64, bytes: &[u8]) -> Result<(), ClientError> {
        let request = Request::WriteInline {
            file: self.link.file,
            offset,
            crc: crc32fast::hash(bytes),
            bytes: bytes.to_vec(),
        };
        let reply = self.link.request(request).await?;
        expect(&self.link.what, reply, |reply| {
            matches!(reply, Reply::Written { .. }).then_some(())
        })
    }

    async fn allocation(&self, offset: u64, len: u64, how: Allocation) -> Result<(), ClientError> {
        if len == 0 {
            return Ok(());
        }
        let file = self.link.file;
        self.done(Request::Allocate {
            file,
            offset,
            len,
            how,
        })
        .await
    }

    async fn done(&self, request: Request) -> Result<(), ClientError> {
        let reply = self.link.request(request).await?;
        expect(&self.link.what, reply, |reply| {
            matches!(reply, Reply::Done).then_some(())
        })
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        if !self.is_closed {
            let transfer = self.link.file;
            self.link.line.tell(Command::Abandon { transfer });
        }
    }
}

impl std::fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteFile")
            .field("path", &self.link.what)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Of `len` bytes from `offset` on, those within a file of `size` bytes.
fn within(size: u64, offset: u64, len: usize) -> usize {
    let left = size.saturating_sub(offset);
    usize::try_from(left).map_or(len, |left| left.min(len))
}

fn is_beyond_end(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { failure, .. } if failure.code == ErrorCode::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It need not run, only compile: a multi-threaded executor takes every future.
    #[expect(dead_code)]
    fn futures_may_move_between_threads(file: &RemoteFile, buffer: &mut [u8]) {
        fn movable(_: impl Send) {}
        movable(file.read_at(buffer, 0));
        movable(file.write_at(b"x", 0));
        movable(file.sync());
        movable(file.holes());
    }

    #[test]
    fn only_what_is_there_is_read() {
        assert_eq!(within(100, 0, 10), 10);
        assert_eq!(within(100, 95, 10), 5);
        assert_eq!(within(100, 100, 10), 0);
        assert_eq!(within(100, u64::MAX, 10), 0);
        assert_eq!(within(u64::MAX, 5, usize::MAX), usize::MAX - 5);
    }
}
