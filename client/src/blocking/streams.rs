//! Streams of bytes, read ahead of and written behind while the caller does something else.

use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

use futures_util::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::block_on;
use crate::client::{RemoteReader, RemoteWriter};

/// As [`RemoteReader`]: a remote file to be read from one end to the other.
#[derive(Debug)]
pub struct Reader(RemoteReader);

impl Reader {
    pub(super) fn of(reader: RemoteReader) -> Self {
        Self(reader)
    }

    /// The offset in bytes of what is read next.
    pub fn position(&self) -> u64 {
        self.0.position()
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        block_on(self.0.read(buffer))
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        block_on(self.0.fill_buf())
    }

    fn consume(&mut self, count: usize) {
        self.0.consume_unpin(count);
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        block_on(self.0.seek(to))
    }
}

/// As [`RemoteWriter`]: a remote file to be written from one end to the other. Only [`close`](Self::close) says that all of it is
/// durable.
#[derive(Debug)]
pub struct Writer(RemoteWriter);

impl Writer {
    pub(super) fn of(writer: RemoteWriter) -> Self {
        Self(writer)
    }

    /// The offset in bytes of what is written next.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Waits until all that was written is durable.
    ///
    /// # Errors
    /// The first failure of all; which part of the file is there is not known then.
    pub fn close(mut self) -> io::Result<()> {
        block_on(self.0.close())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        block_on(self.0.write(bytes))
    }

    /// Waits until everybody can read what was written; it is not durable yet.
    fn flush(&mut self) -> io::Result<()> {
        block_on(self.0.flush())
    }
}
