//! What a file in place needs of its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use blk_proto::message::{Attributes, Reply, Request};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ClientError;
use crate::flow::Line;
use crate::service::Command;
use crate::transfer::expect;

/// Requests of all files of a connection that wait for their answers: a server takes 256 of a session, and there are
/// others.
const REQUESTS_MAX: usize = 64;
/// Reads and writes in blocks of all files of a connection.
const BLOCKS_AT_ONCE: usize = 8;

/// What the files of a connection share.
pub(crate) struct Limits {
    requests: Semaphore,
    blocks: Semaphore,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: Semaphore::new(REQUESTS_MAX),
            blocks: Semaphore::new(BLOCKS_AT_ONCE),
        }
    }
}

/// A file's way to its session.
pub(crate) struct Link {
    pub(super) line: Line,
    pub(super) what: String,
    /// The transfer of the open file.
    pub(super) file: u32,
    numbers: Arc<AtomicU32>,
    limits: Arc<Limits>,
}

impl Link {
    pub(crate) fn new(
        line: Line,
        numbers: Arc<AtomicU32>,
        limits: Arc<Limits>,
        what: String,
    ) -> Self {
        Self {
            line,
            what,
            file: numbers.fetch_add(1, Ordering::Relaxed),
            numbers,
            limits,
        }
    }

    /// Sends a request when there is room for it, and waits for its reply.
    pub(super) async fn request(&self, request: Request) -> Result<Reply, ClientError> {
        let _permit = permit(&self.limits.requests).await;
        self.line.request(&self.what, request).await
    }

    /// Opens the file by a request that says how. Given up in the middle, the file is closed there.
    pub(super) async fn open(&self, request: Request) -> Result<Attributes, ClientError> {
        let part = Part::of(self, self.file);
        let reply = self.request(request).await?;
        let attributes = expect(&self.what, reply, |reply| match reply {
            Reply::Opened { attributes } => Some(*attributes),
            _ => None,
        })?;
        part.over();
        Ok(attributes)
    }

    /// The right to read or write in blocks. Its requests need no other: one that waited for those of others, which wait
    /// for the same range, would wait for ever.
    pub(super) async fn blocks(&self) -> Option<SemaphorePermit<'_>> {
        permit(&self.limits.blocks).await
    }

    /// What arrived is not what was sent.
    pub(super) fn mismatch(&self, received: u32, sent: u32) -> ClientError {
        ClientError::ChecksumMismatch {
            what: self.what.clone(),
            received,
            sent,
        }
    }
}

/// Nobody closes the semaphores, so there always is one.
async fn permit(semaphore: &Semaphore) -> Option<SemaphorePermit<'_>> {
    semaphore.acquire().await.ok()
}

/// A transfer of a file: when it is dropped before its end, both ends forget it.
pub(super) struct Part<'a> {
    link: &'a Link,
    pub(super) number: u32,
    is_over: bool,
}

impl<'a> Part<'a> {
    /// A new one.
    pub(super) fn new(link: &'a Link) -> Self {
        Self::of(link, link.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// The open file itself.
    pub(super) fn of(link: &'a Link, number: u32) -> Self {
        Self {
            link,
            number,
            is_over: false,
        }
    }

    /// Both ends have done with it.
    pub(super) fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let transfer = self.number;
            self.link.line.tell(Command::Abandon { transfer });
        }
    }
}
