//! Files of a server read from begin to end.

use std::io;
use std::os::unix::fs::FileExt;

use blk_proto::message::{Attributes, Request};

use super::blocks::{receive, staged};
use super::link::{Link, Part};
use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;

/// Bytes that are asked for at once: enough that the exchange of requests around them costs little.
const CHUNK: u64 = 8 << 20;

/// A file of a server that is read from begin to end, a piece after the other. Only the right to read it is needed.
///
/// Its futures want no particular executor. When the file is changed, renamed or removed meanwhile, the next piece is a failure. The
/// file is closed when this is dropped.
pub struct PieceReader {
    link: Link,
    attributes: Attributes,
    /// The first byte that was not read.
    at: u64,
}

impl Connection {
    /// Opens a regular file to read it from begin to end.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's reason: it is missing, a directory, not the daemon's to read, …
    pub async fn open_reader(&self, path: &RemotePath) -> Result<PieceReader, ClientError> {
        let link = self.link(path.to_string());
        let request = Request::Open {
            transfer: link.file,
            export: path.export.clone(),
            path: path.path.clone(),
        };
        let attributes = link.open(request).await?;
        Ok(PieceReader {
            link,
            attributes,
            at: 0,
        })
    }
}

impl PieceReader {
    /// What the file was when it was opened. So many bytes are read of it.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The next piece, checked by CRC32; `None`: that was all. After a failure, or when the future was dropped before it was ready, the
    /// file must be opened anew.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server's disk fails, or the file, or a name of it, has changed, [`ClientError::Lost`] when the session is
    /// over.
    pub async fn next_piece(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let len = CHUNK.min(self.attributes.size - self.at);
        if len == 0 {
            return Ok(None);
        }
        let (transfer, offset) = (self.link.file, self.at);
        let request = Request::Read {
            transfer,
            offset,
            len,
        };
        let staging = receive(&self.link, transfer, request, (offset, len)).await?;
        let mut piece = vec![0; len as usize];
        let read: io::Result<()> = staging.bytes.read_exact_at(&mut piece, offset);
        staged(&self.link, read)?;
        self.at += len;
        Ok(Some(piece))
    }
}

impl Drop for PieceReader {
    fn drop(&mut self) {
        // Tells both ends.
        drop(Part::of(&self.link, self.link.file));
    }
}

impl std::fmt::Debug for PieceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PieceReader")
            .field("path", &self.link.what)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It need not run, only compile: a multi-threaded executor takes every future.
    #[expect(dead_code)]
    fn futures_may_move_between_threads(reader: &mut PieceReader) {
        fn movable(_: impl Send) {}
        movable(reader.next_piece());
    }
}
