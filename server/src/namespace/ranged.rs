//! Files that are read and written in place: what the namespace thread does with them.
//!
//! Whole blocks go through the workers; here a few bytes are read and written through the page cache, and ranges are
//! locked, so that the two never meet in one page.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blk_datapath::disk::BlockFile;
use blk_datapath::files::{EditFile, FileError, find_holes};
use blk_proto::message::{Allocation, Attributes, ErrorCode, Failure, MAX_RANGES, Reply};

use super::Outcome;
use super::locks::{Access, LockTable, RangeGuard, RangeLocks};
use super::run::{State, in_pool};
use crate::exports::AccessError;

/// Jobs that may wait for a range at the same time: as many as one session may have, since it may name one range in all of them.
/// They take the place of others ([`TASKS_MAX`](super::TASKS_MAX)).
const WAITING_MAX: usize = 256;

/// So long a job waits for a range: who holds it may have a slow link, or have gone to sleep.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that a session has open for reading and writing.
#[derive(Debug)]
pub struct OpenFile {
    edit: EditFile,
    locks: Arc<RangeLocks>,
}

impl OpenFile {
    /// The file for whole blocks.
    pub fn blocks(&self) -> &Arc<BlockFile> {
        self.edit.blocks()
    }

    /// What it is now.
    ///
    /// # Errors
    ///
    /// As [`EditFile::attributes`].
    pub fn attributes(&self) -> Result<Attributes, AccessError> {
        Ok(self.edit.attributes()?)
    }

    /// The answer to a read of a few bytes, without waiting: if they are in the page cache, and every write there that was asked
    /// for before is over.
    ///
    /// # Errors
    ///
    /// The job for the namespace thread, if not. It has the turn of this call.
    pub fn read_cached(self: &Arc<Self>, offset: u64, len: u32) -> Result<Reply, RangedJob> {
        let ask = Ask::Read { offset, len };
        let guard = claim_for(&self.locks, &ask);
        let is_held = guard.as_ref().is_none_or(|guard| guard.is_held(None));
        let read = || self.edit.read_cached(offset, len as usize);
        is_held
            .then(read)
            .flatten()
            .map(bytes_of)
            .ok_or_else(|| RangedJob::Ask {
                file: Arc::clone(self),
                ask,
                guard,
            })
    }

    /// As [`EditFile::check_intact`].
    ///
    /// # Errors
    ///
    /// As [`EditFile::check_intact`].
    pub fn check_intact(&self) -> Result<(), AccessError> {
        Ok(self.edit.check_intact()?)
    }
}

#[cfg(test)]
impl OpenFile {
    /// An open file with locks of its own.
    pub(crate) fn of(fd: std::os::fd::OwnedFd) -> Self {
        Self {
            edit: EditFile::from_fd(fd, b"file").unwrap(),
            locks: Arc::default(),
        }
    }

    /// Asks for a range, as for whole blocks.
    pub(crate) fn lock(&self, offset: u64, len: u64) -> RangeGuard {
        self.locks.claim(offset, len, Access::Exclusive)
    }
}

/// Something to be done with a file in place.
#[derive(Debug)]
pub enum RangedJob {
    /// Open a file, or make it. Answer: [`RangedOutcome::Opened`].
    Open {
        /// Name of the export.
        export: String,
        /// Path of the file.
        path: Vec<u8>,
        /// Permission bits of a file to be made if it is missing.
        create: Option<u32>,
    },
    /// Keep a range for whole blocks; made by [`lock`](Self::lock). Answer: [`RangedOutcome::Locked`].
    Lock {
        /// The file.
        file: Arc<OpenFile>,
        /// The range's turn.
        guard: RangeGuard,
    },
    /// Something that a request asks, and whose answer goes to the client as it is; made by [`ask`](Self::ask). Answer:
    /// [`RangedOutcome::Answer`].
    Ask {
        /// The file.
        file: Arc<OpenFile>,
        /// What.
        ask: Ask,
        /// The turn of the range that must be nobody else's meanwhile, if there is one.
        guard: Option<RangeGuard>,
    },
    /// The holes of an open file from an offset on. Answer: [`RangedOutcome::Answer`].
    Holes {
        /// The file.
        file: Arc<BlockFile>,
        /// Where to begin.
        offset: u64,
    },
}

impl RangedJob {
    /// Keeps the pages of a range for whole blocks, in the order of these calls and of [`ask`](Self::ask).
    pub fn lock(file: Arc<OpenFile>, offset: u64, len: u64) -> Self {
        let guard = file.locks.claim(offset, len, Access::Exclusive);
        Self::Lock { file, guard }
    }

    /// Does what a request asks; overlapping ranges have their turns in the order of these calls.
    pub fn ask(file: Arc<OpenFile>, ask: Ask) -> Self {
        let guard = claim_for(&file.locks, &ask);
        Self::Ask { file, ask, guard }
    }
}

/// What can be asked of a file; see the requests of the same names.
#[derive(Debug)]
pub enum Ask {
    /// Write a few bytes.
    Write {
        /// First byte.
        offset: u64,
        /// CRC32 of the bytes.
        crc: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Read a few bytes.
    Read {
        /// First byte.
        offset: u64,
        /// How many.
        len: u32,
    },
    /// Make durable what was written.
    Sync,
    /// Set the size.
    Truncate {
        /// In bytes.
        size: u64,
    },
    /// Reserve or give back space.
    Allocate {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Which.
        how: Allocation,
    },
}

/// What became of a [`RangedJob`].
#[derive(Debug)]
pub enum RangedOutcome {
    /// The file is open.
    Opened {
        /// The file.
        file: Arc<OpenFile>,
        /// What it is.
        attributes: Attributes,
    },
    /// The range is kept until the guard is dropped.
    Locked(RangeGuard),
    /// The answer for the client.
    Answer(Reply),
}

/// What the jobs of a thread share.
pub(super) struct Ranged {
    locks: Arc<Mutex<LockTable>>,
    waiting: Cell<usize>,
}

impl Ranged {
    /// With the locks that all namespace threads share: exports may show one file twice.
    pub(super) fn with(locks: Arc<Mutex<LockTable>>) -> Self {
        Self {
            locks,
            waiting: Cell::new(0),
        }
    }

    fn locks_of(&self, identity: (u64, u64)) -> Arc<RangeLocks> {
        let mut table = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        table.of(identity)
    }
}

impl State {
    /// Carries out one job.
    pub(super) async fn run_ranged(&self, job: RangedJob) -> Result<Outcome, AccessError> {
        let outcome = match job {
            RangedJob::Open {
                export,
                path,
                create,
            } => {
                let export = self.exports.get(&export)?;
                let edit = export.open_edit(&path, create, &self.made).await?;
                let locks = self.ranged.locks_of(edit.identity());
                let attributes = edit.attributes()?;
                let file = Arc::new(OpenFile { edit, locks });
                RangedOutcome::Opened { file, attributes }
            }
            RangedJob::Lock { guard, .. } => match self.ranged.wait(guard).await {
                Ok(guard) => RangedOutcome::Locked(guard),
                Err(busy) => return Ok(Outcome::Failed(busy)),
            },
            RangedJob::Ask { file, ask, guard } => return self.ask(file, ask, guard).await,
            RangedJob::Holes { file, offset } => {
                let failed = |error| FileError::new("find the holes of", b"the file", error);
                let found = in_pool("find the holes of", b"the file", move || {
                    find_holes(&*file, offset, MAX_RANGES).map_err(failed)
                });
                let found = found.await?;
                RangedOutcome::Answer(Reply::Holes {
                    ranges: found.ranges,
                    next: found.next,
                })
            }
        };
        Ok(Outcome::Ranged(outcome))
    }

    async fn ask(
        &self,
        file: Arc<OpenFile>,
        ask: Ask,
        guard: Option<RangeGuard>,
    ) -> Result<Outcome, AccessError> {
        let guard = match guard {
            None => None,
            Some(guard) => match self.ranged.wait(guard).await {
                Ok(guard) => Some(guard),
                Err(busy) => return Ok(Outcome::Failed(busy)),
            },
        };
        let reply = match ask {
            Ask::Write { offset, crc, bytes } => write(&file.edit, offset, crc, bytes).await?,
            Ask::Read { offset, len } => bytes_of(file.edit.read_at(offset, len as usize).await?),
            Ask::Sync => {
                file.edit.sync().await?;
                Reply::Done
            }
            Ask::Truncate { size } => {
                in_pool("set the size of", b"the file", move || {
                    file.edit.set_len(size)
                })
                .await?;
                Reply::Done
            }
            Ask::Allocate { offset, len, how } => {
                in_pool("allocate", b"the file", move || match how {
                    Allocation::Reserve => file.edit.reserve(offset, len),
                    Allocation::Punch => file.edit.punch(offset, len),
                })
                .await?;
                Reply::Done
            }
        };
        drop(guard);
        Ok(match reply {
            Reply::Failed(failure) => Outcome::Failed(failure),
            reply => Outcome::Ranged(RangedOutcome::Answer(reply)),
        })
    }
}

/// The range that must be nobody else's meanwhile.
fn claim_for(locks: &Arc<RangeLocks>, ask: &Ask) -> Option<RangeGuard> {
    let (offset, len, access) = match ask {
        Ask::Write { offset, bytes, .. } => (*offset, bytes.len() as u64, Access::Write),
        // What is read while the device writes it would stay in the cache if its neighbour were written then.
        Ask::Read { offset, len } => (*offset, u64::from(*len), Access::Read),
        Ask::Truncate { .. } => (0, u64::MAX, Access::Exclusive),
        Ask::Allocate { offset, len, .. } => (*offset, *len, Access::Exclusive),
        Ask::Sync => return None,
    };
    Some(locks.claim(offset, len, access))
}

fn bytes_of(bytes: Vec<u8>) -> Reply {
    let crc = crc32fast::hash(&bytes);
    Reply::Bytes { crc, bytes }
}

async fn write(
    edit: &EditFile,
    offset: u64,
    crc: u32,
    bytes: Vec<u8>,
) -> Result<Reply, AccessError> {
    if crc32fast::hash(&bytes) != crc {
        return Ok(Reply::Failed(Failure {
            code: ErrorCode::ChecksumMismatch,
            message: "the bytes to write are not what was sent; nothing was written".to_owned(),
        }));
    }
    let copied_bytes = bytes.len() as u64;
    edit.write_at(bytes, offset).await?;
    Ok(Reply::Written {
        zero_copy_bytes: 0,
        copied_bytes,
    })
}

impl Ranged {
    /// Waits for a range, not for ever, and not with too many others.
    async fn wait(&self, guard: RangeGuard) -> Result<RangeGuard, Failure> {
        if guard.is_held(None) {
            return Ok(guard);
        }
        if self.waiting.get() >= WAITING_MAX {
            return Err(busy(
                "too many requests wait for ranges of files; try again",
            ));
        }
        self.waiting.set(self.waiting.get() + 1);
        let held = tokio::time::timeout(PATIENCE, guard.held()).await;
        self.waiting.set(self.waiting.get() - 1);
        match held {
            Ok(()) => Ok(guard),
            Err(_) => Err(busy(
                "the range is being written, and the write does not end; try again",
            )),
        }
    }
}

fn busy(message: &str) -> Failure {
    Failure {
        code: ErrorCode::Busy,
        message: message.to_owned(),
    }
}
