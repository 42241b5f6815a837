//! Requests of clients.

use std::sync::Arc;

use blk_datapath::engine::{ReceivedFile, SessionId, SharedWork, TransferError, hole};
use blk_datapath::files::{PendingTarget, TargetSpec, are_holes};
use blk_proto::message::{ErrorCode, Extent, Failure, MAX_RANGES, Reply, Request};

use super::MAX_TRANSFERS;
use super::begin::{Begin, superseded};
use super::flows::start_sending;
use super::ports::{At, Ports};
use super::reply::{failure, failure_of, no_such_transfer};
use super::sessions::Sessions;
use super::transfer::{Commit, Pending, Reading, Transfer};
use crate::namespace::{Asker, Job};

/// Reads start at a multiple of so many bytes: what O_DIRECT asks for.
const READ_UNIT: u64 = 512;

impl Sessions {
    /// Carries out request `id`, or starts to.
    pub(super) fn on_request(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        id: u32,
        request: Request,
    ) {
        match request {
            Request::Put { .. } | Request::Begin { .. } | Request::Open { .. } => {
                self.on_start(ports, session, id, request);
            }
            Request::Commit { .. }
            | Request::Read { .. }
            | Request::ReadSparse { .. }
            | Request::Close { .. }
            | Request::Discard { .. }
            | Request::Share { .. }
            | Request::Join { .. } => self.on_transfer(ports, session, id, request),
            Request::OpenFile { .. }
            | Request::Write { .. }
            | Request::WriteDone { .. }
            | Request::WriteInline { .. }
            | Request::ReadInline { .. }
            | Request::ReadRange { .. }
            | Request::FileAttributes { .. }
            | Request::Sync { .. }
            | Request::Truncate { .. }
            | Request::Allocate { .. }
            | Request::Holes { .. } => self.on_ranged(ports, session, id, request),
            Request::Store { export, files } => self.store(ports, session, id, export, files),
            Request::Fetch { export, paths } => self.fetch(ports, session, id, export, paths),
            Request::Describe => {
                let description = ports.describe();
                self.reply(ports, session, id, description);
            }
            request => self.ask(ports, session, id, request),
        }
    }

    /// A request that starts the transfer of a whole file.
    fn on_start(&mut self, ports: &mut impl Ports, session: SessionId, id: u32, request: Request) {
        let at = |transfer| At { session, transfer };
        match request {
            Request::Put {
                transfer,
                export,
                path,
                size,
                mode,
                mtime_ns,
            } => {
                let spec = TargetSpec {
                    size,
                    mode,
                    mtime_ns,
                };
                let job = Job::CreateTarget {
                    export,
                    path,
                    spec,
                    identity: None,
                    holes: Vec::new(),
                };
                let state = |pending| Transfer::Creating { size, pending };
                self.begin(ports, at(transfer), id, state, job);
            }
            Request::Begin {
                transfer,
                export,
                path,
                size,
                mode,
                mtime_ns,
                identity,
                holes,
            } => {
                let spec = TargetSpec {
                    size,
                    mode,
                    mtime_ns,
                };
                let begin = Begin {
                    export,
                    path,
                    spec,
                    identity,
                    holes,
                };
                self.on_begin(ports, at(transfer), id, begin);
            }
            Request::Open {
                transfer,
                export,
                path,
            } => {
                let job = Job::OpenSource { export, path };
                let state = |pending| Transfer::Opening { pending };
                self.begin(ports, at(transfer), id, state, job);
            }
            // The others do not come here.
            _ => self.misdirected(ports, session, id),
        }
    }

    /// A request about the transfer of a whole file.
    fn on_transfer(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        id: u32,
        request: Request,
    ) {
        let at = |transfer| At { session, transfer };
        match request {
            Request::Commit { transfer, .. }
            | Request::Read { transfer, .. }
            | Request::ReadSparse { transfer, .. }
            | Request::Discard { transfer }
                if self.is_member(at(transfer)) =>
            {
                self.claim(ports, at(transfer), id, request);
            }
            Request::Commit { transfer, crc } => {
                self.commit(ports, at(transfer), Commit { request: id, crc });
            }
            Request::Read {
                transfer,
                offset,
                len,
            } => self.read(ports, at(transfer), id, (offset, len), &[]),
            Request::ReadSparse {
                transfer,
                offset,
                len,
                holes,
            } => self.read(ports, at(transfer), id, (offset, len), &holes),
            Request::Close { transfer } => self.close(ports, at(transfer), id, Self::let_go),
            Request::Discard { transfer } => {
                self.close(ports, at(transfer), id, Self::drop_target);
            }
            Request::Share { transfer } => self.share(ports, at(transfer), id),
            Request::Join { transfer, token } => self.join(ports, at(transfer), id, token),
            // The others do not come here.
            _ => self.misdirected(ports, session, id),
        }
    }

    /// A request that came to the wrong place in here.
    fn misdirected(&mut self, ports: &mut impl Ports, session: SessionId, id: u32) {
        let refusal = failure(ErrorCode::Unsupported, "not a request of this kind");
        self.reply(ports, session, id, Reply::Failed(refusal));
    }

    /// A request about a name, which has no transfer.
    fn ask(&mut self, ports: &mut impl Ports, session: SessionId, id: u32, request: Request) {
        let job = match request {
            Request::Stat { export, path } => Job::Stat { export, path },
            Request::List {
                export,
                path,
                cursor,
            } => Job::List {
                export,
                path,
                cursor,
            },
            Request::MakeDirectory { export, path, mode } => {
                Job::MakeDirectory { export, path, mode }
            }
            Request::Remove { export, path } => Job::Remove { export, path },
            Request::RemoveDirectory { export, path } => Job::RemoveDirectory { export, path },
            Request::Rename {
                export,
                from,
                to,
                replace,
            } => Job::Rename {
                export,
                from,
                to,
                replace,
            },
            Request::MakeLink {
                export,
                path,
                target,
            } => Job::MakeLink {
                export,
                path,
                target,
            },
            Request::ReadLink { export, path } => Job::ReadLink { export, path },
            Request::SetAttributes {
                export,
                path,
                mode,
                mtime_ns,
            } => Job::SetAttributes {
                export,
                path,
                mode,
                mtime_ns,
            },
            // The others are about transfers and do not come here.
            _ => return self.misdirected(ports, session, id),
        };
        if let Err(refusal) = self.submit(ports, session, Asker::Request(id), job) {
            self.reply(ports, session, id, Reply::Failed(refusal));
        }
    }

    /// Starts a transfer with a job for the namespace thread.
    pub(super) fn begin(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        id: u32,
        state: impl FnOnce(Pending) -> Transfer,
        job: Job,
    ) {
        let begun = self
            .check_new(at)
            .and_then(|()| self.submit_for(ports, at, id, job));
        match begun {
            Ok(pending) => self.put(at, state(pending)),
            Err(refusal) => self.reply(ports, at.session, id, Reply::Failed(refusal)),
        }
    }

    /// Whether a transfer of this number may begin.
    pub(super) fn check_new(&mut self, at: At) -> Result<(), Failure> {
        let Some(session) = self.get_mut(at.session) else {
            return Err(failure(ErrorCode::Protocol, "the session is over"));
        };
        if session.transfers.contains_key(&at.transfer) {
            let message = "this transfer number is in use";
            return Err(failure(ErrorCode::Protocol, message));
        }
        if session.transfers.len() >= MAX_TRANSFERS {
            let message = format!("more than {MAX_TRANSFERS} transfers at once");
            return Err(failure(ErrorCode::Busy, message));
        }
        Ok(())
    }

    fn commit(&mut self, ports: &mut impl Ports, at: At, wanted: Commit) {
        match self.transfer_mut(at) {
            Some(Transfer::Receiving {
                commit,
                coverage,
                received,
                ..
            }) if commit.is_none() => {
                *commit = Some(wanted);
                // Whoever wrote the last byte may have told it to an owner that was gone by then.
                if received.is_none() {
                    *received = coverage.received().map(Ok);
                }
                // Every block was acknowledged: when those are written, the file is whole, or something is missing.
                coverage.settle();
                self.try_commit(ports, at);
            }
            Some(Transfer::Superseded) => {
                let answer = Reply::Failed(superseded());
                self.reply(ports, at.session, wanted.request, answer);
            }
            _ => {
                let answer = no_such_transfer(at.transfer);
                self.reply(ports, at.session, wanted.request, answer);
            }
        }
    }

    /// Commits when the client has asked for it and the last byte is written, whichever comes later.
    pub(super) fn try_commit(&mut self, ports: &mut impl Ports, at: At) {
        let Some(Transfer::Receiving {
            received: Some(_),
            commit: Some(_),
            ..
        }) = self.transfer_mut(at)
        else {
            return;
        };
        let Some(transfer) = self.take(at) else {
            return;
        };
        self.part(ports, at, &transfer);
        let Transfer::Receiving {
            target,
            received: Some(received),
            commit: Some(commit),
            ..
        } = transfer
        else {
            return;
        };
        let request = commit.request;
        // The blocks that are there are those that were sent: another try may find a disk with room.
        let is_sound = matches!(received, Err(TransferError::Disk(_)));
        let refusal = match check_received(received, commit) {
            Ok(received) => match self.submit_for(ports, at, request, Job::Commit { target }) {
                Ok(pending) => {
                    return self.put(at, Transfer::Committing { received, pending });
                }
                Err(refusal) => refusal,
            },
            Err(refusal) if is_sound => {
                self.let_go(ports, at.session, target);
                refusal
            }
            Err(refusal) => {
                // Whatever is wrong with it, a later put must not go on with it.
                self.drop_target(ports, at.session, target);
                refusal
            }
        };
        self.reply(ports, at.session, request, Reply::Failed(refusal));
    }

    fn is_member(&mut self, at: At) -> bool {
        matches!(self.transfer_mut(at), Some(Transfer::Joined { .. }))
    }

    /// Sends a range, without its holes.
    fn read(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        id: u32,
        range: (u64, u64),
        holes: &[(u64, u64)],
    ) {
        let registry = Arc::clone(&self.registry);
        let Some(Transfer::Open {
            source,
            reading,
            token,
        }) = self.transfer_mut(at)
        else {
            return self.reply(ports, at.session, id, no_such_transfer(at.transfer));
        };
        let (token, file) = (*token, Arc::clone(source.file()));
        // A former owner's: the others send it still, or have sent it.
        let going_on = token
            .and_then(|token| registry.work(token))
            .filter(|work| reading.is_none() && work.range() == range);
        if let Some(work) = going_on {
            return self.read_on(ports, at, id, work);
        }
        let checked = match reading {
            Some(_) => Err(failure(ErrorCode::Busy, "one read at a time on a transfer")),
            None => check_range(range, source.attributes().size)
                .and_then(|()| check_holes(range, holes)),
        };
        let started = checked.and_then(|()| {
            let done: Vec<Extent> = holes.iter().map(|&(at, len)| hole(at, len)).collect();
            let work = Arc::new(SharedWork::without(range.0, range.1, &done));
            if start_sending(ports, at, &file, &work) {
                *reading = Some(Reading {
                    request: id,
                    work: Arc::clone(&work),
                });
                Ok(work)
            } else {
                let message = "the server cannot start to send this transfer";
                Err(failure(ErrorCode::Io, message))
            }
        });
        match (started, token) {
            (Ok(work), Some(token)) => self.send_by_members(ports, token, &file, &work),
            (Ok(_), None) => {}
            (Err(refusal), _) => self.reply(ports, at.session, id, Reply::Failed(refusal)),
        }
    }

    /// Goes on with the read of a former owner, with whatever part of it this session has.
    fn read_on(&mut self, ports: &mut impl Ports, at: At, id: u32, work: Arc<SharedWork>) {
        let Some(Transfer::Open {
            source, reading, ..
        }) = self.transfer_mut(at)
        else {
            return self.reply(ports, at.session, id, no_such_transfer(at.transfer));
        };
        let file = Arc::clone(source.file());
        *reading = Some(Reading {
            request: id,
            work: Arc::clone(&work),
        });
        if let Some(sent) = work.sent() {
            return self.on_sent(ports, at, work, Ok(sent));
        }
        if !start_sending(ports, at, &file, &work) {
            self.on_sent(ports, at, work, Err(TransferError::Busy));
        }
    }

    /// Ends a transfer; `dispose` is what is done with the file of a put.
    fn close<P: Ports>(
        &mut self,
        ports: &mut P,
        at: At,
        id: u32,
        dispose: impl FnOnce(&mut Self, &mut P, SessionId, PendingTarget),
    ) {
        // A commit under way answers for itself.
        if !matches!(self.transfer_mut(at), Some(Transfer::Committing { .. })) {
            ports.abandon(at);
            let transfer = self.take(at);
            if let Some(transfer) = &transfer {
                self.part(ports, at, transfer);
            }
            let (request, target) = transfer.map_or((None, None), Transfer::into_remains);
            if let Some(target) = target {
                dispose(self, ports, at.session, target);
            }
            if let Some(request) = request {
                let closed = failure(ErrorCode::Protocol, "closed by the client");
                self.reply(ports, at.session, request, Reply::Failed(closed));
            }
        }
        self.reply(ports, at.session, id, Reply::Closed);
    }
}

/// Whether the file that was received is the one that was sent.
fn check_received(
    received: Result<ReceivedFile, TransferError>,
    commit: Commit,
) -> Result<ReceivedFile, Failure> {
    let received = received.map_err(|error| failure_of(&error))?;
    if received.crc != commit.crc {
        let message = format!(
            "the file's CRC32 is {:08x} here and {:08x} at the sender; nothing was stored",
            received.crc, commit.crc
        );
        return Err(failure(ErrorCode::ChecksumMismatch, message));
    }
    Ok(received)
}

/// Whether this range of a file of `size` bytes can be read.
fn check_range((offset, len): (u64, u64), size: u64) -> Result<(), Failure> {
    if offset.checked_add(len).is_none_or(|end| end > size) {
        let message = format!("bytes {offset}+{len} of a file of {size} bytes");
        return Err(failure(ErrorCode::TooLarge, message));
    }
    if !offset.is_multiple_of(READ_UNIT) {
        let message = format!("a read starts at a multiple of {READ_UNIT} bytes");
        return Err(failure(ErrorCode::Unsupported, message));
    }
    Ok(())
}

/// Whether these can be holes of the range.
fn check_holes((offset, len): (u64, u64), holes: &[(u64, u64)]) -> Result<(), Failure> {
    if holes.len() > MAX_RANGES || !are_holes(holes, offset, offset + len) {
        let message = "holes must be ascending, apart, within the range, and whole pages";
        return Err(failure(ErrorCode::Protocol, message));
    }
    Ok(())
}
