//! An export in a directory of its own, and a namespace thread that serves it.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use blk_datapath::files::{PendingTarget, TargetSpec};
use blk_proto::message::{ErrorCode, Failure};
use blockd::exports::{ExportSpec, Exports};
use blockd::namespace::{Asker, Job, JobKey, Namespace, NamespaceSender, Outcome};
use tempfile::TempDir;

pub const EXPORT: &str = "media";

pub struct Service {
    pub root: TempDir,
    pub namespace: Option<Namespace>,
    pub sender: NamespaceSender,
    pub replies: Receiver<(JobKey, Outcome)>,
}

impl Service {
    /// Serves `ROOT/export`; `ROOT/outside` is beside it.
    pub fn start() -> Service {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(root.path().join("export")).unwrap();
        fs::create_dir(root.path().join("outside")).unwrap();
        fs::write(root.path().join("outside/secret"), "secret").unwrap();
        let spec = ExportSpec {
            name: EXPORT.to_owned(),
            directory: root.path().join("export"),
        };
        let exports = Exports::open(&[spec]).unwrap();
        let (reply, replies) = channel();
        let (namespace, sender) = Namespace::start(exports, move |key, outcome| {
            // The test may have ended.
            let _ = reply.send((key, outcome));
        })
        .unwrap();
        Service {
            root,
            namespace: Some(namespace),
            sender,
            replies,
        }
    }

    pub fn export(&self) -> PathBuf {
        self.root.path().join("export")
    }

    pub fn submit(&self, request: u32, job: Job) {
        self.sender.submit(key(request), job).expect("a free place");
    }

    pub fn answer(&self) -> (JobKey, Outcome) {
        self.replies
            .recv_timeout(Duration::from_secs(60))
            .expect("an answer")
    }

    /// One job and its answer.
    pub fn ask(&self, job: Job) -> Outcome {
        self.submit(7, job);
        let (got, outcome) = self.answer();
        assert_eq!(got, key(7));
        outcome
    }

    pub fn refused(&self, job: Job) -> Failure {
        match self.ask(job) {
            Outcome::Failed(failure) => failure,
            outcome => panic!("not refused: {outcome:?}"),
        }
    }

    pub fn refused_with(&self, job: Job, code: ErrorCode) {
        let failure = self.refused(job);
        assert_eq!(failure.code, code, "{}", failure.message);
    }

    pub fn created(&self, path: &[u8], size: u64) -> PendingTarget {
        match self.ask(create(path, size)) {
            Outcome::TargetReady(target) => target,
            outcome => panic!("{outcome:?}"),
        }
    }

    pub fn put(&self, path: &[u8], bytes: &[u8]) -> Outcome {
        let target = self.created(path, bytes.len() as u64);
        fill(&target, bytes);
        self.ask(Job::Commit { target })
    }
}

pub fn key(request: u32) -> JobKey {
    JobKey {
        worker: 1,
        session: 2,
        job: u64::from(request),
        asker: Asker::Transfer {
            transfer: request + 100,
            request,
        },
    }
}

pub fn create(path: &[u8], size: u64) -> Job {
    Job::CreateTarget {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
        spec: spec_of(size),
        identity: None,
        holes: Vec::new(),
    }
}

pub fn spec_of(size: u64) -> TargetSpec {
    TargetSpec {
        size,
        mode: 0o644,
        mtime_ns: 1_600_000_000_000_000_001,
    }
}

pub fn open(path: &[u8]) -> Job {
    Job::OpenSource {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
    }
}

pub fn stat(path: &[u8]) -> Job {
    Job::Stat {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
    }
}

pub fn list(path: &[u8], cursor: u64) -> Job {
    Job::List {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
        cursor,
    }
}

pub fn make_directory(path: &[u8], mode: u32) -> Job {
    Job::MakeDirectory {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
        mode,
    }
}

pub fn remove(path: &[u8]) -> Job {
    Job::Remove {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
    }
}

pub fn remove_directory(path: &[u8]) -> Job {
    Job::RemoveDirectory {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
    }
}

pub fn rename(from: &[u8], to: &[u8], replace: bool) -> Job {
    Job::Rename {
        export: EXPORT.to_owned(),
        from: from.to_vec(),
        to: to.to_vec(),
        replace,
    }
}

pub fn make_link(path: &[u8], target: &[u8]) -> Job {
    Job::MakeLink {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
        target: target.to_vec(),
    }
}

pub fn read_link(path: &[u8]) -> Job {
    Job::ReadLink {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
    }
}

pub fn set_attributes(path: &[u8], mode: u32, mtime_ns: i64) -> Job {
    Job::SetAttributes {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
        mode,
        mtime_ns,
    }
}

/// Writes through the page cache, whatever flags the target's own descriptor has.
pub fn fill(target: &PendingTarget, bytes: &[u8]) {
    let fd = target.file().as_fd().as_raw_fd();
    let mut file = fs::File::options()
        .write(true)
        .open(format!("/proc/self/fd/{fd}"))
        .unwrap();
    file.write_all(bytes).unwrap();
}

pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
