//! Stores on real directories, with syncs that are counted, held back or fail.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use tempfile::TempDir;

use super::store_name::open_named;
use super::store_shared::Shared;
use super::*;

#[test]
fn a_mode_is_what_was_asked_for_whatever_the_umask_and_the_directory_say() {
    let directory = directory();
    // Files in it belong to its group.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o2755)).unwrap();
    let store = FileStore::start();
    let place = place(directory.path());
    // Beyond a usual umask, and without what is needed to write the file.
    let modes = [0o666, 0o777, 0o444, 0o400, 0o000, 0o600, 0o755];
    let one = |mode: u32| StoreFile {
        mode,
        ..file(&place, &format!("{mode:o}"), b"x")
    };
    let results = stored(&store, modes.map(one).into());
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    for mode in modes {
        let found = fs::metadata(directory.path().join(format!("{mode:o}")));
        assert_eq!(found.unwrap().mode() & 0o7777, mode, "{mode:o}");
    }
}

/// On the disk that holds the build, not on a tmpfs, where syncs mean nothing.
pub(super) fn directory() -> TempDir {
    let program = std::env::current_exe().unwrap();
    tempfile::tempdir_in(program.parent().unwrap()).unwrap()
}

fn opened(path: &Path) -> Arc<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Arc::new(openat(CWD, path, flags, Mode::empty()).unwrap())
}

pub(super) fn place(path: &Path) -> Arc<StorePlace> {
    Arc::new(StorePlace {
        directory: opened(path),
        staging: None,
    })
}

pub(super) fn file(place: &Arc<StorePlace>, name: &str, content: &[u8]) -> StoreFile {
    StoreFile {
        place: Arc::clone(place),
        name: name.as_bytes().to_vec(),
        label: name.as_bytes().to_vec(),
        mode: 0o640,
        mtime_ns: 1_000_000_005,
        crc: crc32fast::hash(content),
        bytes: content.to_vec(),
    }
}

pub(super) fn files(place: &Arc<StorePlace>, count: usize) -> Vec<StoreFile> {
    let one = |n: usize| file(place, &format!("f{n}"), format!("content {n}").as_bytes());
    (0..count).map(one).collect()
}

pub(super) fn stored(store: &FileStore, files: Vec<StoreFile>) -> StoreResults {
    let (answer, answered) = mpsc::channel();
    store.submit(files, move |results| answer.send(results).unwrap());
    answered.recv().unwrap()
}

pub(super) fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_batch_is_stored_with_everything_and_few_syncs() {
    let directory = directory();
    let store = FileStore::start();
    let results = stored(&store, files(&place(directory.path()), 500));
    assert_eq!(results.len(), 500);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    for n in 0..500 {
        let path = directory.path().join(format!("f{n}"));
        assert_eq!(fs::read(&path).unwrap(), format!("content {n}").as_bytes());
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o640);
        assert_eq!((found.mtime(), found.mtime_nsec()), (1, 5));
        assert_eq!(found.nlink(), 1);
    }
    assert_eq!(names(directory.path()).len(), 500);
    let stats = store.statistics();
    assert_eq!((stats.batches, stats.files, stats.failed), (1, 500, 0));
    assert_eq!(
        (stats.syncfs, stats.fsyncs),
        (1, 1),
        "one for the data, one for the directory"
    );
}

#[test]
fn few_files_are_synced_singly_and_empty_ones_exist() {
    let directory = directory();
    let store = FileStore::start();
    let place = place(directory.path());
    let results = stored(
        &store,
        vec![file(&place, "a", b""), file(&place, "b", b"b")],
    );
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"");
    let stats = store.statistics();
    assert_eq!((stats.syncfs, stats.fsyncs), (0, 3));
    assert!(stored(&store, Vec::new()).is_empty());
}

#[test]
fn files_and_links_are_replaced_and_others_refused_one_by_one() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("old"), "old").unwrap();
    fs::write(at("aim"), "aim").unwrap();
    std::os::unix::fs::symlink("aim", at("link")).unwrap();
    fs::create_dir(at("taken")).unwrap();
    let fifo = CString::new(at("fifo").as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let place = place(directory.path());
    let mut batch: Vec<_> = ["old", "link", "taken", "fifo", "new", "a/b", "wrong"]
        .iter()
        .map(|name| file(&place, name, b"new"))
        .collect();
    batch[6].crc ^= 1;
    let store = FileStore::start();
    let results = stored(&store, batch);
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().err().map(|error| error.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            None,
            None,
            Some(FileErrorKind::IsDirectory),
            Some(FileErrorKind::NotRegular),
            None,
            Some(FileErrorKind::InvalidName),
            Some(FileErrorKind::ChecksumMismatch),
        ]
    );
    for name in ["old", "link", "new"] {
        assert_eq!(fs::read(at(name)).unwrap(), b"new");
        assert!(fs::symlink_metadata(at(name)).unwrap().is_file());
    }
    assert_eq!(fs::read(at("aim")).unwrap(), b"aim");
    assert_eq!(
        names(directory.path()),
        ["aim", "fifo", "link", "new", "old", "taken"],
        "nothing else is left"
    );
}

#[test]
fn names_on_the_way_lie_in_the_staging_directory() {
    let directory = directory();
    let (staging, target) = (directory.path().join("s"), directory.path().join("t"));
    fs::create_dir(&staging).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("x"), "old").unwrap();
    let place = Arc::new(StorePlace {
        directory: opened(&target),
        staging: Some(opened(&staging)),
    });
    let store = FileStore::start();
    assert!(stored(&store, vec![file(&place, "x", b"new")])[0].is_ok());
    assert_eq!(fs::read(target.join("x")).unwrap(), b"new");
    // Without permission to make names there the replacement fails, so they are made there.
    let gone = directory.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let place = Arc::new(StorePlace {
        directory: opened(&target),
        staging: Some(opened(&gone)),
    });
    fs::remove_dir(&gone).unwrap();
    let results = stored(
        &store,
        vec![file(&place, "x", b"newer"), file(&place, "y", b"y")],
    );
    assert_eq!(
        results[0].as_ref().unwrap_err().kind,
        FileErrorKind::NotFound
    );
    assert!(results[1].is_ok());
    assert_eq!(fs::read(target.join("x")).unwrap(), b"new");
    assert_eq!(names(&staging), Vec::<String>::new());
}

#[test]
fn a_temporary_name_vanishes_unless_renamed() {
    let directory = directory();
    let place = place(directory.path());
    let (_fd, temporary) = open_named(&place, b"x").unwrap();
    assert!(is_hidden_name(names(directory.path())[0].as_bytes()));
    drop(temporary);
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn no_name_appears_before_the_sync_of_the_data() {
    let directory = directory();
    let path = directory.path().to_path_buf();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, at) = (Arc::clone(&seen), path.clone());
    let mut shared = Shared::new();
    shared.syncfs = Box::new(move |fd| {
        noted.lock().unwrap().push(names(&at).len());
        Ok(rustix::fs::syncfs(fd)?)
    });
    let (noted, at) = (Arc::clone(&seen), path.clone());
    shared.fsync = Box::new(move |fd| {
        noted.lock().unwrap().push(names(&at).len());
        Ok(rustix::fs::fsync(fd)?)
    });
    let store = FileStore::with(shared);
    let results = stored(&store, files(&place(&path), 64));
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(*seen.lock().unwrap(), [0, 64]);
}

#[test]
fn a_failed_sync_of_the_data_fails_the_heap_and_is_not_retried() {
    let directory = directory();
    let mut shared = Shared::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    shared.syncfs = Box::new(move |fd| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Errno::IO.into()),
        _ => Ok(rustix::fs::syncfs(fd)?),
    });
    let store = FileStore::with(shared);
    let place = place(directory.path());
    fs::write(directory.path().join("f0"), "old").unwrap();
    let results = stored(&store, files(&place, 20));
    for result in &results {
        let text = result.as_ref().unwrap_err().to_string();
        assert!(text.starts_with("cannot make durable \"f"), "{text}");
        assert!(text.ends_with("input/output error"), "{text}");
    }
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    assert_eq!(names(directory.path()), ["f0"]);
    assert_eq!(fs::read(directory.path().join("f0")).unwrap(), b"old");
    // The failure is over: what is written from now on has a sync of its own.
    assert!(stored(&store, files(&place, 20)).iter().all(Result::is_ok));
    assert_eq!(store.statistics().failed, 20);
}

#[test]
fn what_was_written_while_a_sync_failed_fails_too() {
    let directory = directory();
    let mut shared = Shared::new();
    let (enter, entered) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let first = AtomicUsize::new(0);
    shared.syncfs = Box::new(move |fd| {
        if first.fetch_add(1, Ordering::SeqCst) > 0 {
            return Ok(rustix::fs::syncfs(fd)?);
        }
        enter.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        Err(io::Error::from(Errno::IO))
    });
    let store = FileStore::with(shared);
    let place = place(directory.path());
    let (answer, answered) = mpsc::channel();
    let submit = |prefix: &str| {
        let batch = (0..8).map(|n| file(&place, &format!("{prefix}{n}"), b"x"));
        let answer = answer.clone();
        store.submit(batch.collect(), move |results| {
            answer.send(results).unwrap()
        });
    };
    submit("a");
    entered.recv().unwrap();
    submit("b");
    while unnamed(directory.path()) < 16 {
        std::thread::yield_now();
    }
    go.send(()).unwrap();
    for _ in 0..2 {
        let results = answered.recv().unwrap();
        assert!(results.iter().all(Result::is_err), "{results:?}");
    }
    submit("c");
    let results = answered.recv().unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(names(directory.path()).len(), 8);
}

/// Files of this process that have their content and no name.
fn unnamed(directory: &Path) -> usize {
    opened_below(directory).len()
}

/// Where the files without a name of this process in a directory can be opened.
pub(super) fn opened_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let directory = fs::canonicalize(directory).unwrap();
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    let all = fds.filter_map(|entry| Some(entry.ok()?.path()));
    let is_one = |path: &std::path::PathBuf| {
        fs::read_link(path).is_ok_and(|aim| {
            let unnamed = aim.to_string_lossy().ends_with(" (deleted)");
            unnamed && aim.starts_with(&directory)
        })
    };
    all.filter(is_one).collect()
}

#[test]
fn a_failed_sync_of_the_names_is_told() {
    let directory = directory();
    let mut shared = Shared::new();
    shared.fsync = Box::new(|_| Err(Errno::IO.into()));
    let store = FileStore::with(shared);
    let results = stored(&store, files(&place(directory.path()), 5));
    let text = results[0].as_ref().unwrap_err().to_string();
    assert!(text.contains("the directory entry of \"f0\""), "{text}");
    // The new files are whole; whether their names last is what nobody knows.
    assert_eq!(names(directory.path()).len(), 5);
}

#[test]
fn few_open_files_are_enough() {
    let directory = directory();
    let mut shared = Shared::new();
    shared.open_limit = 3;
    let store = FileStore::with(shared);
    let place = place(directory.path());
    let (answer, answered) = mpsc::channel();
    for batch in 0..10 {
        let one = |n| file(&place, &format!("{batch}-{n}"), b"x");
        let answer = answer.clone();
        store.submit((0..20).map(one).collect(), move |results| {
            answer.send(results).unwrap();
        });
    }
    for _ in 0..10 {
        assert!(answered.recv().unwrap().iter().all(Result::is_ok));
    }
    assert_eq!(names(directory.path()).len(), 200);
}

#[test]
fn a_store_that_is_dropped_answers_what_it_has_taken() {
    let directory = directory();
    let store = FileStore::start();
    let (answer, answered) = mpsc::channel();
    for batch in 0..4 {
        let place = place(directory.path());
        let one = |n| file(&place, &format!("{batch}-{n}"), b"x");
        let answer = answer.clone();
        store.submit((0..50).map(one).collect(), move |results| {
            answer.send(results).unwrap();
        });
    }
    drop(store);
    drop(answer);
    let results: Vec<_> = answered.into_iter().flatten().collect();
    assert_eq!(results.len(), 200);
    assert!(results.iter().all(Result::is_ok));
}

#[test]
fn a_directory_that_is_gone_or_closed_fails_its_files_only() {
    let directory = directory();
    let (gone, open) = (directory.path().join("gone"), directory.path().join("open"));
    fs::create_dir(&gone).unwrap();
    fs::create_dir(&open).unwrap();
    let (missing, there) = (place(&gone), place(&open));
    fs::remove_dir(&gone).unwrap();
    let store = FileStore::start();
    let results = stored(
        &store,
        vec![file(&missing, "x", b"x"), file(&there, "x", b"x")],
    );
    assert!(results[0].is_err());
    assert!(results[1].is_ok());
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&open, fs::Permissions::from_mode(0o500)).unwrap();
        let results = stored(&store, vec![file(&there, "y", b"y")]);
        let kind = results[0].as_ref().unwrap_err().kind;
        assert_eq!(kind, FileErrorKind::PermissionDenied);
    }
}

#[test]
fn the_future_answers_on_any_executor() {
    let directory = directory();
    let store = FileStore::start();
    let batch = files(&place(directory.path()), 10);
    let results = tokio_uring::start(store.store(batch));
    assert!(results.iter().all(Result::is_ok));
}
