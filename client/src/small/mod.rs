//! Small files, many in one message and many messages under way.
//!
//! ```text
//!   store_many:  readers (threads) ──► message of up to 64 KiB ──► Store ──► Stored, one answer for each file
//!   fetch_many:  Fetch ──► Fetched ──► FileStore (the server's own code) ──► durable here
//! ```
//!
//! A file that is longer than it seemed, or changes while it is read, is told as [`SmallDone::Large`]: it has to be copied by
//! [`Connection::put`] or [`Connection::get`].

mod fetch;
mod pack;
mod readers;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use blk_proto::message::{ErrorCode, Failure, MAX_INLINE, Reply, Request};

pub use self::fetch::SmallGet;
pub use self::store::SmallPut;
use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::transfer::Copied;

/// A file of at most so many bytes is a small one.
pub const SMALL_MAX: u64 = MAX_INLINE as u64;

/// Messages under way: while one heap is synced the next is on its way, and the names of the last one are synced; heaps of less
/// than some hundred files are not worth their syncs. With the requests of as many transfers as a session may have, these are
/// no more than a server takes of one.
const LANES: usize = 160;

/// A server that has no room for a message is asked again so often, each time after twice the time.
const BUSY_TRIES: u32 = 9;
const BUSY_FIRST: Duration = Duration::from_millis(5);

/// What became of a small file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmallDone {
    /// It is durable at its target.
    Copied(Copied),
    /// It is no small file.
    Large,
}

/// A small file that was copied: all of it was, in user space.
fn copied(bytes: u64, crc: u32) -> SmallDone {
    SmallDone::Copied(Copied {
        bytes,
        crc,
        zero_copy_bytes: 0,
        copied_bytes: bytes,
        ..Copied::default()
    })
}

impl Connection {
    /// Asks until the server has room.
    async fn ask_patiently(
        &self,
        what: &str,
        request: impl Fn() -> Request,
    ) -> Result<Reply, ClientError> {
        let mut pause = BUSY_FIRST;
        for _ in 1..BUSY_TRIES {
            match self.request(what, request()).await {
                Err(error) if is_busy(&error) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
        self.request(what, request()).await
    }
}

fn is_busy(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { failure, .. } if failure.code == ErrorCode::Busy)
}

/// The other end's word about one file.
fn refused(what: &RemotePath, failure: Failure) -> ClientError {
    ClientError::Refused {
        what: what.to_string(),
        failure,
    }
}

/// The failure of a whole message, as that of one of its files.
fn of_one(error: &ClientError, what: &RemotePath) -> ClientError {
    match error {
        ClientError::Lost { remote, source } => ClientError::Lost {
            remote: *remote,
            source: source.clone(),
        },
        ClientError::Refused { failure, .. } => refused(what, failure.clone()),
        ClientError::Unexpected { reply, .. } => ClientError::Unexpected {
            what: what.to_string(),
            reply: reply.clone(),
        },
        other => ClientError::Unexpected {
            what: what.to_string(),
            reply: other.to_string(),
        },
    }
}

/// An answer with another number of files than the question.
fn miscounted(what: &RemotePath, answered: usize, asked: usize) -> ClientError {
    ClientError::Unexpected {
        what: what.to_string(),
        reply: format!("{answered} answers about {asked} files"),
    }
}

/// The directory of a local path.
fn parent_of(path: &std::path::Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
