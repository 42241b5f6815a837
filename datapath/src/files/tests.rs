//! What needs the insides: the hidden-name way, failing syncs, the grouping of directory syncs.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use tempfile::TempDir;

use super::target::open_hidden;
use super::*;

/// A directory on the disk that holds the build, not on a tmpfs, where syncs mean nothing.
fn directory() -> TempDir {
    let program = std::env::current_exe().unwrap();
    tempfile::tempdir_in(program.parent().unwrap()).unwrap()
}

fn opened(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const SPEC: TargetSpec = TargetSpec {
    size: 5,
    mode: 0o640,
    mtime_ns: 1_000_000_000,
};

/// A target that bears a hidden name, as where O_TMPFILE is missing.
fn hidden_target(path: &Path, name: &str) -> PendingTarget {
    PendingTarget::open(Arc::new(opened(path)), name.as_bytes(), SPEC, open_hidden).unwrap()
}

#[test]
fn hidden_target_is_renamed_by_its_commit() {
    let directory = directory();
    fs::write(directory.path().join("x"), "old").unwrap();
    tokio_uring::start(async {
        let target = hidden_target(directory.path(), "x");
        let before = names(directory.path());
        assert_eq!(before.len(), 2);
        assert!(is_hidden_name(before[0].as_bytes()));
        assert_eq!(fs::read(directory.path().join("x")).unwrap(), b"old");
        target.commit().await.unwrap();
    });
    assert_eq!(names(directory.path()), ["x"]);
    assert_eq!(fs::read(directory.path().join("x")).unwrap(), [0; 5]);
}

#[test]
fn hidden_target_vanishes_when_dropped() {
    let directory = directory();
    drop(hidden_target(directory.path(), "x"));
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn failed_sync_of_the_file_leaves_no_name_and_is_not_retried() {
    let directory = directory();
    fs::write(directory.path().join("old"), "old").unwrap();
    for name in ["new", "old"] {
        for hidden in [false, true] {
            let tries = Rc::new(Cell::new(0));
            let target = if hidden {
                hidden_target(directory.path(), name)
            } else {
                PendingTarget::create(opened(directory.path()), OsStr::new(name), SPEC).unwrap()
            };
            let counted = tries.clone();
            let error = tokio_uring::start(target.commit_with(
                &DirectorySyncs::default(),
                async move |_| {
                    counted.set(counted.get() + 1);
                    Err(io::Error::from(Errno::IO))
                },
            ))
            .unwrap_err();
            assert_eq!(tries.get(), 1);
            assert_eq!(error.kind, FileErrorKind::Io);
            assert_eq!(
                error.to_string(),
                format!("cannot make durable \"{name}\": input/output error")
            );
            assert_eq!(names(directory.path()), ["old"]);
            assert_eq!(fs::read(directory.path().join("old")).unwrap(), b"old");
        }
    }
}

#[test]
fn name_appears_only_after_the_sync_of_the_file() {
    let directory = directory();
    let path = directory.path().to_path_buf();
    let target = PendingTarget::create(opened(&path), OsStr::new("x"), SPEC).unwrap();
    tokio_uring::start(
        target.commit_with(&DirectorySyncs::default(), async |file| {
            assert_eq!(names(&path), Vec::<String>::new());
            // Size, mode and time are set already: the sync covers them.
            let stat = rustix::fs::fstat(file).unwrap();
            assert_eq!((stat.st_size, stat.st_mode & 0o7777), (5, 0o640));
            assert_eq!(i128::from(stat.st_mtime), 1);
            Ok(())
        }),
    )
    .unwrap();
    assert_eq!(names(&path), ["x"]);
}

#[test]
fn failed_rename_removes_the_temporary_name() {
    let directory = directory();
    let target = PendingTarget::create(opened(directory.path()), OsStr::new("x"), SPEC).unwrap();
    // A directory takes the name while the file is being received.
    fs::create_dir(directory.path().join("x")).unwrap();
    let error = tokio_uring::start(target.commit()).unwrap_err();
    assert_eq!(error.kind, FileErrorKind::IsDirectory);
    assert_eq!(names(directory.path()), ["x"]);
    assert!(directory.path().join("x").is_dir());
}

#[test]
fn failed_sync_of_the_directory_is_reported_to_all_who_share_it() {
    let directory = directory();
    // A descriptor that can name and make entries but not sync them.
    let path_only = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Arc::new(openat(CWD, directory.path(), flags, Mode::empty()).unwrap())
    };
    tokio_uring::start(async {
        let syncs = DirectorySyncs::default();
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let (syncs, fd) = (syncs.clone(), path_only());
                tokio_uring::spawn(async move { syncs.sync(fd).await })
            })
            .collect();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::BADF.raw_os_error()));
        }
        // The failure is over: the next one is served by a sync of its own.
        syncs
            .sync(Arc::new(opened(directory.path())))
            .await
            .unwrap();
    });
}

#[test]
fn directory_syncs_serve_everybody() {
    let directory = directory();
    tokio_uring::start(async {
        let syncs = DirectorySyncs::default();
        let fd = Arc::new(opened(directory.path()));
        let mut calls = Vec::new();
        for round in 0..20 {
            for _ in 0..10 {
                let (syncs, fd) = (syncs.clone(), fd.clone());
                calls.push(tokio_uring::spawn(async move { syncs.sync(fd).await }));
            }
            fs::write(directory.path().join(format!("{round}")), "").unwrap();
            tokio_uring::no_op().await.unwrap();
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
    });
}

#[test]
fn names_that_are_not_utf8_survive() {
    let directory = directory();
    let name = OsStr::from_bytes(b"\xff\xfe");
    let target = PendingTarget::create(opened(directory.path()), name, SPEC).unwrap();
    tokio_uring::start(target.commit()).unwrap();
    assert!(directory.path().join(name).is_file());
}
