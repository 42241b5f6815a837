//! Files that are read and written in place.
//!
//! ```text
//!   OpenFile ─► Opening ──Opened──► File ──Close──► (gone)
//!   Write ────► Locking ──Locked──► Writing ──WriteDone and every byte written──► (gone)
//!   ReadRange ─► Reading ──Sent──► (gone)
//! ```
//!
//! A write holds its range of the file from `Locking` on until its last byte is on the disk, also when it is closed before:
//! the guard lives as long as the coverage of the range, and each write in flight holds that. What the namespace thread
//! writes and reads through the page cache waits for it, and the reverse.
//!
//! Each write and each read is a transfer of its own and goes on when its file is closed.

mod check;
mod read;
mod write;

use std::sync::Arc;

use blk_datapath::engine::{Coverage, ReceivedFile, SessionId, SharedWork, TransferError};
use blk_proto::message::{ErrorCode, Failure, Reply, Request};

use self::check::{check_end, check_inline};
use super::ports::{At, Ports};
use super::reply::{failure, no_such_transfer};
use super::sessions::Sessions;
use super::transfer::{Commit, Pending, Transfer};
use crate::namespace::{Ask, Asker, Job, OpenFile, RangedJob, RangedOutcome};

/// Where it stands.
pub(super) enum Ranged {
    /// The namespace thread opens the file.
    Opening { pending: Pending },
    /// The file is open.
    File(Arc<OpenFile>),
    /// The range waits for those who write in it.
    Locking {
        file: Arc<OpenFile>,
        range: (u64, u64),
        pending: Pending,
    },
    /// Blocks of a range come in.
    Writing {
        coverage: Arc<Coverage>,
        received: Option<Result<ReceivedFile, TransferError>>,
        done: Option<Commit>,
    },
    /// Blocks of a range go out.
    Reading { request: u32, work: Arc<SharedWork> },
}

impl Ranged {
    /// The job that it waits for.
    pub(super) fn pending(&self) -> Option<Pending> {
        match self {
            Self::Opening { pending } | Self::Locking { pending, .. } => Some(*pending),
            Self::File(_) | Self::Writing { .. } | Self::Reading { .. } => None,
        }
    }

    /// The request that is still to be answered.
    pub(super) fn request(&self) -> Option<u32> {
        match self {
            Self::Opening { pending } | Self::Locking { pending, .. } => Some(pending.request),
            Self::Writing { done, .. } => done.map(|done| done.request),
            Self::Reading { request, .. } => Some(*request),
            Self::File(_) => None,
        }
    }
}

impl Sessions {
    /// A request about a file in place, or about the holes of any open file.
    pub(super) fn on_ranged(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        id: u32,
        request: Request,
    ) {
        let at = |transfer| At { session, transfer };
        let done = match request {
            Request::OpenFile {
                transfer,
                export,
                path,
                create,
            } => {
                let job = RangedJob::Open {
                    export,
                    path,
                    create,
                };
                let state = |pending| Transfer::Ranged(Ranged::Opening { pending });
                self.begin(ports, at(transfer), id, state, Job::Ranged(job));
                Ok(())
            }
            Request::Write {
                transfer,
                file,
                offset,
                len,
            } => self.lock(ports, at(transfer), id, at(file), (offset, len)),
            Request::WriteDone { transfer, crc } => {
                let done = Commit { request: id, crc };
                self.write_done(ports, at(transfer), done)
            }
            Request::ReadRange {
                transfer,
                file,
                offset,
                len,
            } => self.read_range(ports, at(transfer), id, at(file), (offset, len)),
            Request::Holes { transfer, offset } => self.holes(ports, at(transfer), id, offset),
            Request::FileAttributes { file } => self.open_file(at(file)).and_then(|file| {
                let attributes = file.attributes().map_err(|error| error.to_failure())?;
                self.reply(ports, session, id, Reply::Attributes(attributes));
                Ok(())
            }),
            Request::ReadInline { file, offset, len } => {
                self.read_inline(ports, at(file), id, (offset, len))
            }
            request => self.ask_file(ports, session, id, request),
        };
        if let Err(refusal) = done {
            self.reply(ports, session, id, Reply::Failed(refusal));
        }
    }

    /// What the namespace thread does with an open file.
    fn ask_file(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        id: u32,
        request: Request,
    ) -> Result<(), Failure> {
        let (file, ask) = match request {
            Request::WriteInline {
                file,
                offset,
                crc,
                bytes,
            } => {
                check_inline(offset, bytes.len())?;
                (file, Ask::Write { offset, crc, bytes })
            }
            Request::Sync { file } => (file, Ask::Sync),
            Request::Truncate { file, size } => {
                check_end(size, 0)?;
                (file, Ask::Truncate { size })
            }
            Request::Allocate {
                file,
                offset,
                len,
                how,
            } => {
                check_end(offset, len)?;
                if len == 0 {
                    return Err(failure(ErrorCode::Protocol, "no bytes to allocate"));
                }
                (file, Ask::Allocate { offset, len, how })
            }
            // The others do not come here.
            _ => {
                return Err(failure(
                    ErrorCode::Unsupported,
                    "not a request about a file",
                ));
            }
        };
        let file = self.open_file(At {
            session,
            transfer: file,
        })?;
        let job = Job::Ranged(RangedJob::ask(file, ask));
        self.submit(ports, session, Asker::Request(id), job)?;
        Ok(())
    }

    /// A few bytes: at once when they are in the page cache and the client has not had its share, else by the namespace thread.
    fn read_inline(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        id: u32,
        (offset, len): (u64, u32),
    ) -> Result<(), Failure> {
        check_inline(offset, len as usize)?;
        let file = self.open_file(at)?;
        let read = match self.may_serve_at_once(ports, at.session, len as usize) {
            true => file.read_cached(offset, len),
            false => Err(RangedJob::ask(file, Ask::Read { offset, len })),
        };
        match read {
            Ok(reply) => self.reply(ports, at.session, id, reply),
            Err(job) => {
                self.submit(ports, at.session, Asker::Request(id), Job::Ranged(job))?;
            }
        }
        Ok(())
    }

    fn open_file(&mut self, at: At) -> Result<Arc<OpenFile>, Failure> {
        match self.transfer_mut(at) {
            Some(Transfer::Ranged(Ranged::File(file))) => Ok(Arc::clone(file)),
            _ => Err(not_open(at.transfer)),
        }
    }

    fn holes(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        id: u32,
        offset: u64,
    ) -> Result<(), Failure> {
        let file = match self.transfer_mut(at) {
            Some(Transfer::Open { source, .. }) => Arc::clone(source.file()),
            Some(Transfer::Ranged(Ranged::File(file))) => Arc::clone(file.blocks()),
            _ => return Err(not_open(at.transfer)),
        };
        let job = Job::Ranged(RangedJob::Holes { file, offset });
        self.submit(ports, at.session, Asker::Request(id), job)?;
        Ok(())
    }

    /// A step of the namespace thread is over, and the transfer waited for it.
    pub(super) fn on_ranged_step(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        transfer: Ranged,
        outcome: RangedOutcome,
    ) -> Reply {
        match (transfer, outcome) {
            (Ranged::Opening { .. }, RangedOutcome::Opened { file, attributes }) => {
                self.put(at, Transfer::Ranged(Ranged::File(file)));
                Reply::Opened { attributes }
            }
            (Ranged::Locking { file, range, .. }, RangedOutcome::Locked(guard)) => {
                self.start_write(ports, at, &file, range, guard)
            }
            (_, outcome) => {
                tracing::error!(?outcome, "an outcome that its job cannot have");
                let message = "internal error of the server, see its log";
                Reply::Failed(failure(ErrorCode::Io, message))
            }
        }
    }
}

fn not_open(transfer: u32) -> Failure {
    match no_such_transfer(transfer) {
        Reply::Failed(failure) => failure,
        _ => failure(ErrorCode::Protocol, "no such transfer"),
    }
}
