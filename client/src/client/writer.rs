//! A remote file that is written as a stream, in place.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::FutureExt;
use futures_util::io::AsyncWrite;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Client;
use super::thread::Running;
use crate::error::ClientError;
use crate::remote_file::RemoteFile;

/// Where pieces end: at its multiples.
const PIECE: u64 = 1 << 20;
/// Pieces under way at most: that many MiB and one more are the memory of a writer, and as many in files in memory.
const UNDER_WAY_MAX: usize = 4;

/// A remote file as a stream that is written: [`AsyncWrite`] of the `futures` crates.
///
/// - A write has succeeded when the bytes are in a buffer; some MiB go on their way while nobody polls.
/// - A flush has succeeded when everybody can read what was written.
/// - [`close`](AsyncWrite::poll_close) has succeeded when all of it is durable. Without it nothing is promised: what is dropped
///   before may be in the file in part, and what is in the buffer is not.
///
/// The first failure is told once with the [`ClientError`] within the [`io::Error`]; from then on every call fails, the last
/// `close` too. Any part of what was written since the last flush may be missing in the file then.
pub struct RemoteWriter {
    file: Arc<RemoteFile>,
    client: Client,
    /// What is to be the next piece.
    buffer: Vec<u8>,
    /// Where it belongs.
    offset: u64,
    under_way: FuturesUnordered<Running<()>>,
    syncing: Option<Running<()>>,
    state: State,
}

enum State {
    Open,
    Closed,
    Failed(io::ErrorKind, String),
}

impl RemoteWriter {
    pub(super) fn new(client: Client, file: RemoteFile, offset: u64) -> Self {
        Self {
            file: Arc::new(file),
            client,
            buffer: Vec::new(),
            offset,
            under_way: FuturesUnordered::new(),
            syncing: None,
            state: State::Open,
        }
    }

    /// The file. Flushed, it has everything that was written.
    pub fn file(&self) -> &RemoteFile {
        &self.file
    }

    /// The offset in bytes of what is written next.
    pub fn position(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Bytes that the buffer still takes.
    fn room(&self) -> usize {
        // No more than a piece, so it is a usize.
        (PIECE - self.offset % PIECE) as usize - self.buffer.len()
    }

    fn check(&self) -> io::Result<()> {
        match &self.state {
            State::Open => Ok(()),
            State::Closed => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "it is closed already",
            )),
            State::Failed(kind, text) => Err(io::Error::new(
                *kind,
                format!("an earlier write failed: {text}"),
            )),
        }
    }

    /// The first failure: nothing is sent after it.
    fn fail(&mut self, error: ClientError) -> io::Error {
        let text = error.to_string();
        let error = io::Error::from(error);
        self.state = State::Failed(error.kind(), text);
        self.under_way.clear();
        self.buffer = Vec::new();
        self.syncing = None;
        error
    }

    /// Waits until at most so many pieces are under way.
    fn poll_under_way(&mut self, most: usize, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Those that have ended are looked at even if there may be more: they may have failed.
        loop {
            match self.under_way.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.fail(error))),
                Poll::Pending if self.under_way.len() > most => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Sends the buffer, when there may be one more piece.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_under_way(UNDER_WAY_MAX - 1, context))?;
        let (bytes, offset) = (std::mem::take(&mut self.buffer), self.offset);
        self.offset += bytes.len() as u64;
        let file = Arc::clone(&self.file);
        let write = async move || file.write_at(&bytes, offset).await;
        self.under_way.push(self.client.jobs().start(write));
        Poll::Ready(Ok(()))
    }

    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        ready!(self.poll_send(context))?;
        self.poll_under_way(0, context)
    }
}

impl AsyncWrite for RemoteWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        writer.check()?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // That of a close that was given up does not cover what comes now.
        writer.syncing = None;
        if writer.room() == 0 {
            ready!(writer.poll_send(context))?;
        }
        let room = writer.room();
        let count = bytes.len().min(room);
        if writer.position().checked_add(count as u64).is_none() {
            let message = "beyond the last byte that a file can have";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, message)));
        }
        if writer.buffer.capacity() == 0 && count < room {
            // Grown by halves it would be copied some times more.
            writer.buffer.reserve_exact(room);
        }
        writer.buffer.extend_from_slice(&bytes[..count]);
        // A write that succeeds at once can fill the next piece while this one travels.
        if writer.room() == 0 && writer.under_way.len() < UNDER_WAY_MAX {
            ready!(writer.poll_send(context))?;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        // Who flushes has given up the close before, and may write by the file itself before the next one.
        writer.syncing = None;
        match writer.state {
            State::Closed => Poll::Ready(Ok(())),
            _ => writer.poll_written(context),
        }
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        if matches!(writer.state, State::Closed) {
            return Poll::Ready(Ok(()));
        }
        ready!(writer.poll_written(context))?;
        let (file, client) = (&writer.file, &writer.client);
        let syncing = writer.syncing.get_or_insert_with(|| {
            let file = Arc::clone(file);
            client.jobs().start(async move || file.sync().await)
        });
        let synced = ready!(syncing.poll_unpin(context));
        writer.syncing = None;
        match synced {
            Ok(()) => {
                writer.state = State::Closed;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(writer.fail(error))),
        }
    }
}

impl std::fmt::Debug for RemoteWriter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RemoteWriter")
            .field("file", &self.file)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
