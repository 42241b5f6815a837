//! What blockd does with the messages of its clients: one state machine per transfer, on the worker's thread.
//!
//! ```text
//!   Put ──► Creating ──TargetReady──► Receiving ──Commit and every byte written──► Committing ──► (gone)
//!   Open ─► Opening ──SourceReady──► Open ──Read──► Open (sending) ──Sent──► Open ──Close──► (gone)
//! ```
//!
//! Whatever may block (opening, syncing, listing) is a job for the namespace thread; the worker only moves blocks.

mod reply;
mod transfer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_datapath::engine::{Engine, EngineEvent, Progress, SentFile, SessionId, TransferError};
use blk_datapath::files::{PendingTarget, TargetSpec};
use blk_datapath::worker::Service;
use blk_proto::message::{self, ErrorCode, Failure, Reply, Request, RequestFrame};
use blk_proto::session::CloseCode;

use self::reply::{failure_of, no_such_transfer, reply};
use self::transfer::{Commit, Transfer};
use crate::namespace::{Job, JobKey, NamespaceSender, Outcome};

/// Transfers that one session may have open.
pub const MAX_TRANSFERS: usize = 64;
/// Replies that may wait for room in a session's control stream; a client that does not read them is cut off.
const MAX_REPLIES_WAITING: usize = 1024;

/// The service of one worker.
pub struct StorageService {
    worker: u32,
    namespace: NamespaceSender,
    transfers: HashMap<(SessionId, u32), Transfer>,
    stop: Arc<AtomicBool>,
}

impl StorageService {
    /// The service of worker number `worker`; it ends when `stop` is set (and the worker is woken).
    pub fn new(worker: u32, namespace: NamespaceSender, stop: Arc<AtomicBool>) -> Self {
        Self {
            worker,
            namespace,
            transfers: HashMap::new(),
            stop,
        }
    }

    fn on_message(&mut self, engine: &mut Engine, session: SessionId, bytes: &[u8]) {
        let Ok(RequestFrame { id, request }) = message::decode::<RequestFrame>(bytes) else {
            tracing::warn!(
                session = session.0,
                "a control message that is not one: session closed"
            );
            return engine.close(session, CloseCode::VIOLATION);
        };
        if engine.messages_waiting(session) > MAX_REPLIES_WAITING {
            tracing::warn!(
                session = session.0,
                "a client that does not read its replies: session closed"
            );
            return engine.close(session, CloseCode::VIOLATION);
        }
        self.dispatch(engine, session, id, request);
    }

    fn dispatch(&mut self, engine: &mut Engine, session: SessionId, id: u32, request: Request) {
        match request {
            Request::Put {
                transfer,
                export,
                path,
                size,
                mode,
                mtime_ns,
            } => {
                let job = Job::CreateTarget {
                    export,
                    path,
                    spec: TargetSpec {
                        size,
                        mode,
                        mtime_ns,
                    },
                };
                self.begin(
                    engine,
                    session,
                    id,
                    transfer,
                    Transfer::Creating { size },
                    job,
                );
            }
            Request::Open {
                transfer,
                export,
                path,
            } => {
                let job = Job::OpenSource { export, path };
                self.begin(engine, session, id, transfer, Transfer::Opening, job);
            }
            Request::Commit { transfer, crc } => {
                self.commit(engine, session, transfer, Commit { request: id, crc })
            }
            Request::Read {
                transfer,
                offset,
                len,
            } => self.read(engine, session, id, transfer, (offset, len)),
            Request::Close { transfer } => {
                engine.abandon(session, transfer);
                if let Some(transfer) = self.transfers.remove(&(session, transfer)) {
                    self.discard(session, transfer);
                }
                reply(engine, session, id, Reply::Closed);
            }
            Request::Stat { export, path } => {
                self.submit(engine, session, id, 0, Job::Stat { export, path })
            }
            Request::List {
                export,
                path,
                cursor,
            } => {
                self.submit(
                    engine,
                    session,
                    id,
                    0,
                    Job::List {
                        export,
                        path,
                        cursor,
                    },
                );
            }
            Request::MakeDirectory { export, path, mode } => {
                self.submit(
                    engine,
                    session,
                    id,
                    0,
                    Job::MakeDirectory { export, path, mode },
                );
            }
        }
    }

    /// Starts a transfer with a job for the namespace thread.
    fn begin(
        &mut self,
        engine: &mut Engine,
        session: SessionId,
        id: u32,
        transfer: u32,
        state: Transfer,
        job: Job,
    ) {
        let open = self.transfers.keys().filter(|key| key.0 == session).count();
        let refusal = if self.transfers.contains_key(&(session, transfer)) {
            Some((
                ErrorCode::Protocol,
                "this transfer number is in use".to_owned(),
            ))
        } else if open >= MAX_TRANSFERS {
            Some((
                ErrorCode::Busy,
                format!("more than {MAX_TRANSFERS} transfers at once"),
            ))
        } else {
            None
        };
        if let Some((code, message)) = refusal {
            return reply(
                engine,
                session,
                id,
                Reply::Failed(Failure { code, message }),
            );
        }
        self.transfers.insert((session, transfer), state);
        self.submit(engine, session, id, transfer, job);
    }

    fn submit(
        &mut self,
        engine: &mut Engine,
        session: SessionId,
        request: u32,
        transfer: u32,
        job: Job,
    ) {
        let key = JobKey {
            worker: self.worker,
            session: session.0,
            request,
            transfer,
        };
        if self.namespace.submit(key, job).is_err() {
            self.transfers.remove(&(session, transfer));
            let message = "too many requests at once; try again".to_owned();
            reply(
                engine,
                session,
                request,
                Reply::Failed(Failure {
                    code: ErrorCode::Busy,
                    message,
                }),
            );
        }
    }

    fn commit(&mut self, engine: &mut Engine, session: SessionId, transfer: u32, wanted: Commit) {
        match self.transfers.get_mut(&(session, transfer)) {
            Some(Transfer::Receiving { commit, .. }) if commit.is_none() => {
                *commit = Some(wanted);
                self.try_commit(engine, session, transfer);
            }
            _ => reply(engine, session, wanted.request, no_such_transfer(transfer)),
        }
    }

    /// Commits when the client has asked for it and the last byte is written, whichever comes later.
    fn try_commit(&mut self, engine: &mut Engine, session: SessionId, transfer: u32) {
        let key = (session, transfer);
        let Some(Transfer::Receiving {
            received: Some(_),
            commit: Some(_),
            ..
        }) = self.transfers.get(&key)
        else {
            return;
        };
        let Some(Transfer::Receiving {
            target,
            received: Some(received),
            commit: Some(commit),
        }) = self.transfers.remove(&key)
        else {
            return;
        };
        let failure = match received {
            Ok(received) if received.crc == commit.crc => {
                self.transfers
                    .insert(key, Transfer::Committing { received });
                return self.submit(
                    engine,
                    session,
                    commit.request,
                    transfer,
                    Job::Commit { target },
                );
            }
            Ok(received) => Failure {
                code: ErrorCode::ChecksumMismatch,
                message: format!(
                    "the file's CRC32 is {:08x} here and {:08x} at the sender; nothing was stored",
                    received.crc, commit.crc
                ),
            },
            Err(error) => failure_of(&error),
        };
        self.abandon_target(session, target);
        reply(engine, session, commit.request, Reply::Failed(failure));
    }

    fn read(
        &mut self,
        engine: &mut Engine,
        session: SessionId,
        id: u32,
        transfer: u32,
        range: (u64, u64),
    ) {
        let Some(Transfer::Open { source, reading }) = self.transfers.get_mut(&(session, transfer))
        else {
            return reply(engine, session, id, no_such_transfer(transfer));
        };
        let failure = if reading.is_some() {
            Some((
                ErrorCode::Busy,
                "one read at a time on a transfer".to_owned(),
            ))
        } else if range
            .0
            .checked_add(range.1)
            .is_none_or(|end| end > source.attributes().size)
        {
            let size = source.attributes().size;
            Some((
                ErrorCode::TooLarge,
                format!("bytes {}+{} of a file of {size} bytes", range.0, range.1),
            ))
        } else if !range.0.is_multiple_of(512) {
            Some((
                ErrorCode::Unsupported,
                "a read starts at a multiple of 512 bytes".to_owned(),
            ))
        } else {
            None
        };
        if let Some((code, message)) = failure {
            return reply(
                engine,
                session,
                id,
                Reply::Failed(Failure { code, message }),
            );
        }
        *reading = Some(id);
        let file = Arc::clone(source.file());
        engine.start_outbound(session, transfer, file, range, Progress::default());
    }

    fn sent(
        &mut self,
        engine: &mut Engine,
        session: SessionId,
        transfer: u32,
        outcome: Result<SentFile, TransferError>,
    ) {
        let Some(Transfer::Open { source, reading }) = self.transfers.get_mut(&(session, transfer))
        else {
            return;
        };
        let Some(request) = reading.take() else {
            return;
        };
        let answer = match outcome.map(|sent| (sent, source.unchanged())) {
            Ok((sent, Ok(true))) => Reply::ReadDone { crc: sent.crc },
            Ok((_, Ok(false))) => Reply::Failed(Failure {
                code: ErrorCode::Io,
                message: "the file changed while it was read".to_owned(),
            }),
            Ok((_, Err(error))) => Reply::Failed(Failure {
                code: ErrorCode::Io,
                message: error.to_string(),
            }),
            Err(error) => Reply::Failed(failure_of(&error)),
        };
        reply(engine, session, request, answer);
    }

    fn session_over(&mut self, session: SessionId) {
        let keys: Vec<_> = self
            .transfers
            .keys()
            .filter(|key| key.0 == session)
            .copied()
            .collect();
        for key in keys {
            if let Some(transfer) = self.transfers.remove(&key) {
                self.discard(session, transfer);
            }
        }
    }

    fn discard(&mut self, session: SessionId, transfer: Transfer) {
        if let Transfer::Receiving { target, .. } = transfer {
            self.abandon_target(session, target);
        }
    }

    /// The namespace thread drops the target: freeing a large file's blocks takes time.
    fn abandon_target(&self, session: SessionId, target: PendingTarget) {
        let key = JobKey {
            worker: self.worker,
            session: session.0,
            request: 0,
            transfer: 0,
        };
        // A full queue drops the target here instead, which costs this worker time but nothing else.
        let _ = self.namespace.submit(key, Job::Abandon { target });
    }
}

impl Service for StorageService {
    type Mail = (JobKey, Outcome);

    fn on_event(&mut self, engine: &mut Engine, event: EngineEvent) {
        match event {
            EngineEvent::Connected { session, remote } => {
                tracing::info!(session = session.0, %remote, "connected")
            }
            EngineEvent::Message { session, bytes } => self.on_message(engine, session, &bytes),
            EngineEvent::Received {
                session,
                transfer,
                outcome,
            } => {
                if let Some(Transfer::Receiving { received, .. }) =
                    self.transfers.get_mut(&(session, transfer))
                {
                    *received = Some(outcome);
                    self.try_commit(engine, session, transfer);
                }
            }
            EngineEvent::Sent {
                session,
                transfer,
                outcome,
            } => self.sent(engine, session, transfer, outcome),
            EngineEvent::Closed { session, reason } => {
                tracing::info!(session = session.0, %reason, "session over");
                self.session_over(session);
            }
        }
    }

    fn on_mail(&mut self, engine: &mut Engine, (key, outcome): Self::Mail) {
        let session = SessionId(key.session);
        let at = (session, key.transfer);
        let answer = match outcome {
            Outcome::Abandoned => return,
            Outcome::TargetReady(target) => match self.transfers.remove(&at) {
                Some(Transfer::Creating { size }) => {
                    let file = Arc::clone(target.file());
                    if !engine.start_inbound(session, key.transfer, file, size, Progress::default())
                    {
                        return self.abandon_target(session, target);
                    }
                    self.transfers.insert(
                        at,
                        Transfer::Receiving {
                            target,
                            received: None,
                            commit: None,
                        },
                    );
                    Reply::PutReady
                }
                _ => return self.abandon_target(session, target),
            },
            Outcome::SourceReady(source) => match self.transfers.remove(&at) {
                Some(Transfer::Opening) => {
                    let attributes = *source.attributes();
                    self.transfers.insert(
                        at,
                        Transfer::Open {
                            source,
                            reading: None,
                        },
                    );
                    Reply::Opened { attributes }
                }
                _ => return,
            },
            Outcome::Committed => match self.transfers.remove(&at) {
                Some(Transfer::Committing { received }) => Reply::Committed {
                    zero_copy_bytes: received.ways.direct,
                    copied_bytes: received.ways.copied,
                },
                _ => return,
            },
            Outcome::Attributes(attributes) => Reply::Attributes(attributes),
            Outcome::Entries { entries, next } => Reply::Entries { entries, next },
            Outcome::Made => Reply::Made,
            Outcome::Failed(failure) => {
                self.transfers.remove(&at);
                Reply::Failed(failure)
            }
        };
        reply(engine, session, key.request, answer);
    }

    fn on_companion_error(&mut self, _engine: &mut Engine, error: std::io::Error) {
        tracing::debug!(%error, "the companion socket reports");
    }

    fn is_finished(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
