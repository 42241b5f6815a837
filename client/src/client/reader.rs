//! A remote file as a stream of bytes that is read ahead of.
//!
//! ```text
//!   current ◄── ahead: 1 MiB, 1 MiB, … each a task of the client's thread ◄── size of the file, as far as it is known
//!   position                                                  next
//! ```

use std::collections::VecDeque;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::{FutureExt, poll_fn};
use futures_util::io::{AsyncBufRead, AsyncRead, AsyncSeek};
use futures_util::stream::Stream;

use super::Client;
use super::thread::Running;
use crate::error::ClientError;
use crate::remote_file::RemoteFile;

/// Where pieces end: at its multiples. Of this length, exchanging requests costs little beside the bytes.
const PIECE: u64 = 1 << 20;
/// Pieces under way at most: that many MiB are the memory of a reader, and as many in files in memory. Of 8 that may be under way in all,
/// so that two readers do not wait for each other.
const AHEAD_MAX: usize = 4;
/// Pieces under way after the start and after a seek: it may be only a few bytes that are wanted.
const AHEAD_FIRST: usize = 1;

/// A remote file as a stream: [`AsyncRead`], [`AsyncBufRead`] and [`AsyncSeek`] of the `futures` crates, a [`Stream`] of
/// blocks, or [`next_block`](Self::next_block). All of them read from the same position on.
///
/// Some MiB are read ahead, and come while nobody polls; every byte is checked by CRC32. At the end of the file there is
/// nothing to read; should it grow, there is again.
///
/// After an error the position is where it was, and reading may be tried again; the [`Stream`] ends with it. An [`io::Error`] has
/// the [`ClientError`] within.
pub struct RemoteReader {
    file: Arc<RemoteFile>,
    client: Client,
    /// The next byte for the caller, which is `current[taken]` if there is such.
    position: u64,
    current: Vec<u8>,
    taken: usize,
    ahead: VecDeque<Running<Piece>>,
    /// Where the piece after those under way begins.
    next: u64,
    /// Pieces that may be under way.
    window: usize,
    /// The last piece ended before its time: with the file.
    at_end: bool,
    seeking: Option<(SeekFrom, Running<u64>)>,
    /// The stream of blocks is over.
    is_over: bool,
}

/// What was read.
struct Piece {
    bytes: Vec<u8>,
    /// The file ended with it, or before it.
    is_last: bool,
}

impl RemoteReader {
    pub(super) fn new(client: Client, file: RemoteFile, offset: u64) -> Self {
        Self {
            file: Arc::new(file),
            client,
            position: offset,
            current: Vec::new(),
            taken: 0,
            ahead: VecDeque::new(),
            next: offset,
            window: AHEAD_FIRST,
            at_end: false,
            seeking: None,
            is_over: false,
        }
    }

    /// The file.
    pub fn file(&self) -> &RemoteFile {
        &self.file
    }

    /// The offset in bytes of what is read next.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes of the file, a MiB or less; `None` at its end.
    ///
    /// # Errors
    /// Those of [`RemoteFile::read_at`]. It may be tried again.
    pub async fn next_block(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        poll_fn(|context| self.poll_block(context)).await
    }

    /// The bytes that are there, once there are some; none at the end of the file.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Result<&[u8], ClientError>> {
        // Who reads has given up the seek before; its answer is not for the next one, which may come much later.
        self.seeking = None;
        if self.taken == self.current.len() {
            if self.at_end {
                // Should it have grown, the next call says so.
                self.at_end = false;
                return Poll::Ready(Ok(&[]));
            }
            ready!(self.poll_piece(context))?;
        }
        Poll::Ready(Ok(&self.current[self.taken..]))
    }

    /// Makes the next piece the current one, which was used up.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.read_ahead();
        let Some(first) = self.ahead.front_mut() else {
            // Only at an offset that no file has.
            return Poll::Ready(Ok(()));
        };
        let piece = ready!(first.poll_unpin(context));
        self.ahead.pop_front();
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                self.start_at(self.position);
                return Poll::Ready(Err(error));
            }
        };
        if piece.is_last {
            self.next = self.position + piece.bytes.len() as u64;
            self.file.ended_at(self.next);
            self.ahead.clear();
            self.at_end = !piece.bytes.is_empty();
        }
        self.current = piece.bytes;
        self.taken = 0;
        self.window = AHEAD_MAX.min(self.window + 1);
        if !piece.is_last {
            self.read_ahead();
        }
        Poll::Ready(Ok(()))
    }

    /// Has as many pieces under way as there may be. The first one is asked for even beyond the end, which may have moved: with it
    /// comes the new size, and what was added is read ahead of, too.
    fn read_ahead(&mut self) {
        while self.ahead.len() < self.window
            && (self.next < self.file.known_size() || (self.ahead.is_empty() && self.is_used_up()))
        {
            let offset = self.next;
            let end = (offset - offset % PIECE).saturating_add(PIECE);
            // At the end of all numbers there is nothing to be read.
            let Ok(len @ 1..) = usize::try_from(end - offset) else {
                return;
            };
            let file = Arc::clone(&self.file);
            self.ahead
                .push_back(self.client.jobs().start(async move || {
                    let mut bytes = vec![0; len];
                    let count = file.read_at(&mut bytes, offset).await?;
                    bytes.truncate(count);
                    Ok(Piece {
                        bytes,
                        is_last: count < len,
                    })
                }));
            self.next = end;
        }
    }

    fn is_used_up(&self) -> bool {
        self.taken == self.current.len()
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
        self.position += count as u64;
    }

    /// Forgets what was read ahead.
    fn start_at(&mut self, position: u64) {
        self.ahead.clear();
        self.current.clear();
        self.taken = 0;
        self.position = position;
        self.next = position;
        self.window = AHEAD_FIRST;
        self.at_end = false;
    }

    /// Reads from `position` on; within the current piece, and at its end, that costs nothing.
    fn move_to(&mut self, position: u64) {
        self.is_over = false;
        let start = self.position - self.taken as u64;
        match position.checked_sub(start).map(usize::try_from) {
            Some(Ok(taken)) if taken <= self.current.len() => {
                self.taken = taken;
                self.position = position;
                // Should the file have grown, there is more to be read at once.
                self.at_end &= !self.is_used_up();
            }
            _ => self.start_at(position),
        }
    }

    fn poll_block(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Vec<u8>>, ClientError>> {
        if ready!(self.poll_bytes(context))?.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let taken = self.taken;
        self.consume(self.current.len() - taken);
        let mut block = std::mem::take(&mut self.current);
        self.taken = 0;
        block.drain(..taken);
        Poll::Ready(Ok(Some(block)))
    }
}

impl AsyncRead for RemoteReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let reader = self.get_mut();
        let bytes = ready!(reader.poll_bytes(context))?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        reader.consume(count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncBufRead for RemoteReader {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_bytes(context).map_err(io::Error::from)
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        let reader = self.get_mut();
        let left = reader.current.len() - reader.taken;
        Self::consume(reader, count.min(left));
    }
}

impl AsyncSeek for RemoteReader {
    fn poll_seek(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        let reader = self.get_mut();
        let position = match to {
            SeekFrom::End(by) => {
                let size = ready!(reader.poll_size(context, to))?;
                size.checked_add_signed(by)
            }
            // From here on an End that was given up before is asked for anew.
            SeekFrom::Start(offset) => {
                reader.seeking = None;
                Some(offset)
            }
            SeekFrom::Current(by) => {
                reader.seeking = None;
                reader.position.checked_add_signed(by)
            }
        };
        let Some(position) = position else {
            let message = "a seek to before the first byte, or beyond all";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, message)));
        };
        reader.move_to(position);
        Poll::Ready(Ok(position))
    }
}

impl RemoteReader {
    /// The size of the file, for one seek.
    fn poll_size(
        &mut self,
        context: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<Result<u64, ClientError>> {
        if self.seeking.as_ref().is_none_or(|(asked, _)| *asked != to) {
            let file = Arc::clone(&self.file);
            let asked = self.client.jobs().start(async move || file.len().await);
            self.seeking = Some((to, asked));
        }
        let Some((_, asked)) = &mut self.seeking else {
            return Poll::Pending;
        };
        let size = ready!(asked.poll_unpin(context));
        self.seeking = None;
        Poll::Ready(size)
    }
}

impl Stream for RemoteReader {
    type Item = Result<Vec<u8>, ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reader = self.get_mut();
        if reader.is_over {
            return Poll::Ready(None);
        }
        let block = ready!(reader.poll_block(context)).transpose();
        reader.is_over = !matches!(block, Some(Ok(_)));
        Poll::Ready(block)
    }
}

impl std::fmt::Debug for RemoteReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RemoteReader")
            .field("file", &self.file)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
