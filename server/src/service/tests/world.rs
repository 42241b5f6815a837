//! A world that records what the state machine asks of it, and a bench to test it on.

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use blk_datapath::disk::{BlockFile, Ways};
use blk_datapath::engine::{Coverage, ReceivedFile, SessionId, SharedWork};
use blk_datapath::files::{PendingTarget, SourceFile, TargetSpec};
use blk_proto::message::{self, ErrorCode, Reply, ReplyFrame, Request, RequestFrame};
use tempfile::TempDir;

use super::super::ports::{At, Ports};
use super::super::registry::Registry;
use super::super::sessions::Sessions;
use super::super::{FlowMail, flows::News};
use crate::namespace::{Job, JobKey, OpenFile, Outcome};

pub(super) const SESSION: SessionId = SessionId(9);
/// Another one, of the same worker.
pub(super) const OTHER: SessionId = SessionId(10);
pub(super) const WORKER: u32 = 3;
pub(super) const CRC: u32 = 0x1234_5678;

/// The world: refuses and forgets what a test tells it to.
pub(super) struct World {
    /// Jobs that are to be answered, the oldest first.
    pub(super) jobs: Vec<(JobKey, Job)>,
    pub(super) replies: Vec<(u32, Reply)>,
    /// Files that the engine receives into.
    pub(super) inbound: Vec<(u32, Arc<BlockFile>)>,
    pub(super) outbound: Vec<u32>,
    /// What the engine has received into, and sent from.
    pub(super) coverages: Vec<Arc<Coverage>>,
    pub(super) works: Vec<Arc<SharedWork>>,
    /// Mail to workers, the oldest first.
    pub(super) mail: Vec<(u32, FlowMail)>,
    pub(super) abandoned: Vec<u32>,
    pub(super) closed: Vec<SessionId>,
    pub(super) engine_refuses: bool,
    /// A transfer of which the engine still has an earlier part, until it is abandoned.
    pub(super) busy: Option<u32>,
    pub(super) queue_full: bool,
    pub(super) stopped: bool,
    /// How long clients have been silent.
    pub(super) silence: Duration,
    /// Whether the client reads nothing, so that all replies wait.
    pub(super) deaf: bool,
}

impl Ports for World {
    fn start_inbound(&mut self, at: At, file: Arc<BlockFile>, coverage: Arc<Coverage>) -> bool {
        self.coverages.push(coverage);
        self.inbound.push((at.transfer, file));
        !self.engine_refuses
    }

    fn start_outbound(&mut self, at: At, _file: Arc<BlockFile>, work: Arc<SharedWork>) -> bool {
        if self.busy == Some(at.transfer) {
            return false;
        }
        self.works.push(work);
        self.outbound.push(at.transfer);
        !self.engine_refuses
    }

    fn is_sending(&mut self, at: At, work: &Arc<SharedWork>) -> bool {
        let started = self.outbound.iter().zip(&self.works);
        started
            .filter(|(transfer, _)| **transfer == at.transfer)
            .any(|(_, sent)| Arc::ptr_eq(sent, work))
    }

    fn abandon(&mut self, at: At) {
        self.busy.take_if(|busy| *busy == at.transfer);
        self.abandoned.push(at.transfer);
    }

    fn silence(&mut self, _session: SessionId) -> Option<Duration> {
        Some(self.silence)
    }

    fn send(&mut self, _session: SessionId, message: Vec<u8>) -> usize {
        let frame: ReplyFrame = message::decode(&message).unwrap();
        self.replies.push((frame.id, frame.reply));
        self.waiting(SESSION)
    }

    fn waiting(&mut self, _session: SessionId) -> usize {
        if self.deaf { self.replies.len() } else { 0 }
    }

    fn close(&mut self, session: SessionId) {
        self.closed.push(session);
    }

    fn submit(&mut self, key: JobKey, job: Job) -> bool {
        let accepted = !self.stopped && (job.disposes() || !self.queue_full);
        if accepted {
            self.jobs.push((key, job));
        }
        accepted
    }

    fn workers(&self) -> u16 {
        2
    }

    fn describe(&self) -> Reply {
        description()
    }

    fn post(&mut self, worker: u32, mail: FlowMail) {
        self.mail.push((worker, mail));
    }
}

/// What the worker says that it is.
pub(super) fn description() -> Reply {
    Reply::Description {
        version: "1.2.3".to_owned(),
        datapath: "udp".to_owned(),
    }
}

pub(super) struct Bench {
    pub(super) sessions: Sessions,
    pub(super) world: World,
    directory: TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let registry = Arc::new(Registry::new().unwrap());
        Self {
            sessions: Sessions::new(WORKER, registry),
            world: World {
                jobs: Vec::new(),
                replies: Vec::new(),
                inbound: Vec::new(),
                outbound: Vec::new(),
                coverages: Vec::new(),
                works: Vec::new(),
                mail: Vec::new(),
                abandoned: Vec::new(),
                closed: Vec::new(),
                engine_refuses: false,
                busy: None,
                queue_full: false,
                stopped: false,
                silence: Duration::ZERO,
                deaf: false,
            },
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn ask(&mut self, id: u32, request: Request) {
        self.ask_by(SESSION, id, request);
    }

    pub(super) fn ask_by(&mut self, session: SessionId, id: u32, request: Request) {
        let mut bytes = Vec::new();
        message::encode(&RequestFrame { id, request }, &mut bytes).unwrap();
        self.sessions.on_message(&mut self.world, session, &bytes);
    }

    /// Shares a transfer with request 7; its token.
    pub(super) fn share(&mut self, transfer: u32) -> u64 {
        self.ask(7, Request::Share { transfer });
        match self.replies()[..] {
            [(7, Reply::Shared { token, queues: 2 })] => token,
            ref replies => panic!("{replies:?}"),
        }
    }

    /// The other session joins with request 8, under the number 50.
    pub(super) fn join(&mut self, token: u64) -> Reply {
        let transfer = MEMBER.transfer;
        self.ask_by(OTHER, 8, Request::Join { transfer, token });
        let mut replies = self.replies();
        assert_eq!((replies.len(), replies[0].0), (1, 8));
        replies.remove(0).1
    }

    /// Delivers the mail there is; what it was, in words.
    pub(super) fn deliver(&mut self) -> Vec<&'static str> {
        let mail = std::mem::take(&mut self.world.mail);
        let deliver = |(worker, mail): (u32, FlowMail)| {
            assert_eq!(worker, WORKER);
            let word = match &mail.news {
                News::Send { .. } => "send",
                News::Stop => "stop",
                News::Over => "over",
                News::Adopt { .. } => "adopt",
                News::Yield { .. } => "yield",
                News::Refused { .. } => "refused",
                News::GiveWay { .. } => "give way",
                News::Received(_) => "received",
                News::Incomplete(_) => "incomplete",
                News::Sent { .. } => "sent",
            };
            self.sessions.on_flow_mail(&mut self.world, mail);
            word
        };
        mail.into_iter().map(deliver).collect()
    }

    pub(super) fn answer(&mut self, key: JobKey, outcome: Outcome) {
        self.sessions.on_outcome(&mut self.world, key, outcome);
    }

    pub(super) fn received(&mut self, transfer: u32, crc: u32) {
        let file = ReceivedFile {
            bytes: 4096,
            crc,
            ways: Ways {
                direct: 4096,
                copied: 0,
            },
        };
        let at = At {
            session: SESSION,
            transfer,
        };
        self.sessions.on_received(&mut self.world, at, Ok(file));
    }

    /// The oldest job; there must be one.
    pub(super) fn job(&mut self) -> (JobKey, Job) {
        self.world.jobs.remove(0)
    }

    pub(super) fn replies(&mut self) -> Vec<(u32, Reply)> {
        std::mem::take(&mut self.world.replies)
    }

    /// The only reply since the last look; it must be a failure.
    pub(super) fn refusal(&mut self, id: u32) -> ErrorCode {
        let mut replies = self.replies();
        assert_eq!(replies.len(), 1, "{replies:?}");
        match replies.remove(0) {
            (to, Reply::Failed(failure)) if to == id => failure.code,
            reply => panic!("{reply:?}"),
        }
    }

    /// What a Close of a transfer that waits answers: first the request `waiting`, then the Close.
    pub(super) fn assert_closed(&mut self, waiting: u32, close: u32) {
        let replies = self.replies();
        let [(first, Reply::Failed(failure)), (second, Reply::Closed)] = &replies[..] else {
            panic!("{replies:?}");
        };
        assert_eq!((*first, *second), (waiting, close));
        assert_eq!(failure.message, "closed by the client");
    }

    pub(super) fn target(&self) -> PendingTarget {
        let directory: OwnedFd = fs::File::open(self.directory.path()).unwrap().into();
        PendingTarget::create(directory, "name".as_ref(), SPEC).unwrap()
    }

    pub(super) fn source(&self) -> SourceFile {
        let path = self.directory.path().join("source");
        fs::write(&path, [7; 4096]).unwrap();
        SourceFile::open(&path).unwrap()
    }

    /// A file that may be written in place.
    pub(super) fn editable(&self, bytes: &[u8]) -> Arc<OpenFile> {
        let path = self.directory.path().join("editable");
        fs::write(&path, bytes).unwrap();
        let file = fs::File::options().read(true).write(true).open(&path);
        Arc::new(OpenFile::of(file.unwrap().into()))
    }

    /// A put that may send blocks; uses request 1.
    pub(super) fn receiving(&mut self, transfer: u32) {
        self.ask(1, put(transfer));
        let (key, _) = self.job();
        let target = self.target();
        self.answer(key, Outcome::TargetReady(target));
        assert_eq!(self.replies(), [(1, Reply::PutReady)]);
    }

    /// An open file; uses request 1.
    pub(super) fn open(&mut self, transfer: u32) {
        self.ask(1, open(transfer));
        let (key, _) = self.job();
        let source = self.source();
        self.answer(key, Outcome::SourceReady(source));
        assert!(matches!(
            self.replies()[..],
            [(1, Reply::Opened { attributes })] if attributes.size == 4096
        ));
    }
}

/// The transfer by which the other session takes part.
pub(super) const MEMBER: At = At {
    session: OTHER,
    transfer: 50,
};

pub(super) const SPEC: TargetSpec = TargetSpec {
    size: 4096,
    mode: 0o644,
    mtime_ns: 0,
};

pub(super) fn put(transfer: u32) -> Request {
    Request::Put {
        transfer,
        export: "media".to_owned(),
        path: b"name".to_vec(),
        size: SPEC.size,
        mode: SPEC.mode,
        mtime_ns: SPEC.mtime_ns,
    }
}

pub(super) fn open(transfer: u32) -> Request {
    Request::Open {
        transfer,
        export: "media".to_owned(),
        path: b"source".to_vec(),
    }
}

pub(super) fn stat() -> Request {
    Request::Stat {
        export: "media".to_owned(),
        path: Vec::new(),
    }
}

pub(super) fn commit(transfer: u32) -> Request {
    Request::Commit { transfer, crc: CRC }
}

pub(super) fn read(transfer: u32) -> Request {
    Request::Read {
        transfer,
        offset: 0,
        len: 4096,
    }
}

pub(super) fn close(transfer: u32) -> Request {
    Request::Close { transfer }
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed(super::super::reply::failure(ErrorCode::NotFound, "gone"))
}

pub(super) const COMMITTED: Reply = Reply::Committed {
    zero_copy_bytes: 4096,
    copied_bytes: 0,
};
