//! What happens at the limits of a process. A program of its own, whose tests take turns: the limits are the process's.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use blk_datapath::files::{DirectorySyncs, PartialStore, PendingTarget, Resumption, TargetSpec};
use blk_proto::geometry::GRID;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const SPEC: TargetSpec = TargetSpec {
    size: GRID,
    mode: 0o600,
    mtime_ns: 0,
};

/// The turn of one test.
static TURN: Mutex<()> = Mutex::new(());

/// Whether the process gets no more.
fn is_out() -> bool {
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(3),
        ..limit
    };
    setrlimit(Resource::Nofile, none).unwrap();
    File::open("/dev/null").is_err()
}

/// A file that was received whole is made durable and gets its name: a sync for which there is no descriptor has not failed.
#[test]
fn puts_are_committed_and_kept_without_a_descriptor_to_spare() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let opened = || File::open(root.path()).unwrap().into();
    let bytes = vec![7; GRID as usize];
    let store = PartialStore::beneath(opened());
    tokio_uring::start(async {
        let mut targets = Vec::new();
        for name in ["committed", "kept", "plain"] {
            let resumption = Resumption {
                store: &store,
                path: name.as_bytes(),
                identity: [1; 16],
                refuse_in_use: false,
            };
            let name = OsStr::new(name);
            let target = if name == "plain" {
                PendingTarget::create_in_ring(opened(), name, SPEC, &[]).await
            } else {
                PendingTarget::begin(resumption, opened(), name, SPEC, &[]).await
            };
            let target = target.unwrap();
            // Without O_DIRECT, and before there is no descriptor.
            let path = format!("/proc/self/fd/{}", target.file().as_fd().as_raw_fd());
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            if let Some(observer) = target.observer() {
                observer.written(0, GRID, crc32fast::hash(&bytes));
            }
            targets.push(target);
        }
        let limit = getrlimit(Resource::Nofile);
        assert!(is_out());
        let plain = targets.pop().unwrap();
        let kept = targets.pop().unwrap();
        let committed = targets.pop().unwrap();
        let syncs = DirectorySyncs::default();
        let plain = plain.commit_grouped(&syncs).await.map(drop);
        let committed = committed.commit_grouped(&syncs).await.map(drop);
        let kept = kept.keep().await;
        setrlimit(Resource::Nofile, limit).unwrap();
        plain.unwrap();
        committed.unwrap();
        kept.unwrap();
        for name in ["plain", "committed"] {
            assert_eq!(fs::read(root.path().join(name)).unwrap(), bytes);
        }
        let swept = store.sweep(None).unwrap();
        let kept = swept.files.iter().find(|file| file.is_resumable).unwrap();
        assert_eq!(
            (kept.path.as_deref(), kept.done),
            (Some(&b"kept"[..]), GRID)
        );
    });
}

/// A journal that cannot be told what to forget is worth nothing, and its file takes the room that the new one needs.
#[test]
fn what_cannot_be_gone_on_with_makes_room() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let opened = || File::open(root.path()).unwrap().into();
    let store = PartialStore::beneath(opened());
    let spec = TargetSpec { size: 4096, ..SPEC };
    let begin = || {
        let resumption = Resumption {
            store: &store,
            path: b"x",
            identity: [1; 16],
            refuse_in_use: false,
        };
        PendingTarget::begin(resumption, opened(), OsStr::new("x"), spec, &[])
    };
    let first = tokio_uring::start(begin()).unwrap();
    // It is said to be written, and is not: that is to be forgotten.
    first.observer().unwrap().written(0, 4096, 1);
    drop(first);
    let stored = || fs::read_dir(root.path().join(".blockd")).unwrap().count();
    assert_eq!(stored(), 2);

    // SAFETY: nobody handles this signal, and to ignore it takes no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let limit = getrlimit(Resource::Fsize);
    // The file fits; the table of a journal, behind its head of 4096 bytes, does not.
    let small = Rlimit {
        current: Some(4096),
        ..limit
    };
    setrlimit(Resource::Fsize, small).unwrap();
    let second = tokio_uring::start(begin());
    setrlimit(Resource::Fsize, limit).unwrap();
    let second = second.unwrap();
    assert!(!second.is_resumable());
    assert_eq!(stored(), 0);
}
