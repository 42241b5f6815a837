//! Stores on file systems that lie, panic, or stand still.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use super::store_shared::Shared;
use super::store_tests::{directory, file, files, names, opened_below, place, stored};
use super::*;

/// The tests of what the kernel hides need ext4, as the disk of the build mostly is.
fn is_ext4(directory: &Path) -> bool {
    const EXT4: u64 = 0xef53;
    let ext4 = rustix::fs::statfs(directory).unwrap().f_type as u64 == EXT4;
    if !ext4 {
        eprintln!("SKIPPED: {} is not on ext4", directory.display());
    }
    ext4
}

#[test]
fn a_file_whose_blocks_were_not_allocated_gets_no_name() {
    let directory = directory();
    if !is_ext4(directory.path()) {
        return;
    }
    let mut shared = Shared::new();
    let below = directory.path().to_path_buf();
    // A write-out whose allocations failed says that it went well, and this is what it leaves.
    shared.syncfs = Box::new(move |_| {
        for path in opened_below(&below) {
            let file = fs::File::options().write(true).open(path)?;
            file.set_len(0)?;
            file.set_len(5000)?;
        }
        Ok(())
    });
    let store = FileStore::with(shared);
    let place = place(directory.path());
    let big = |n: usize| file(&place, &format!("f{n}"), &[7; 5000]);
    let results = stored(&store, (0..8).map(big).collect());
    for result in &results {
        let text = result.as_ref().unwrap_err().to_string();
        assert!(text.contains("could not allocate its blocks"), "{text}");
    }
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn where_a_sync_of_the_whole_is_worth_nothing_each_file_has_its_own() {
    let directory = directory();
    let mut shared = Shared::new();
    shared.trusts_syncfs = false;
    let store = FileStore::with(shared);
    let results = stored(&store, files(&place(directory.path()), 64));
    assert!(results.iter().all(Result::is_ok));
    let stats = store.statistics();
    assert_eq!((stats.syncfs, stats.fsyncs), (0, 65));
}

#[test]
fn a_file_system_without_a_syncfs_that_is_known_good_is_not_trusted() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("SKIPPED: no /dev/shm");
        return;
    };
    let store = FileStore::start();
    let results = stored(&store, files(&place(memory.path()), 20));
    assert!(results.iter().all(Result::is_ok));
    let stats = store.statistics();
    assert_eq!((stats.syncfs, stats.fsyncs), (0, 21));
}

#[test]
fn a_panic_in_a_sync_is_answered_and_the_next_batch_is_stored() {
    let directory = directory();
    let mut shared = Shared::new();
    let first = AtomicUsize::new(0);
    shared.syncfs = Box::new(move |fd| {
        assert!(first.fetch_add(1, Ordering::SeqCst) > 0, "on purpose");
        Ok(rustix::fs::syncfs(fd)?)
    });
    let store = FileStore::with(shared);
    let place = place(directory.path());
    assert!(stored(&store, files(&place, 20)).iter().all(Result::is_err));
    assert_eq!(names(directory.path()), Vec::<String>::new());
    assert!(stored(&store, files(&place, 20)).iter().all(Result::is_ok));
}

#[test]
fn a_panic_in_a_sync_of_one_file_is_answered_too() {
    let directory = directory();
    let place = place(directory.path());
    // One that had its answer before the panic was counted would let the next one, begun at once, pass or not.
    for _ in 0..50 {
        let mut shared = Shared::new();
        let first = AtomicUsize::new(0);
        shared.fsync = Box::new(move |fd| {
            assert!(first.fetch_add(1, Ordering::SeqCst) > 0, "on purpose");
            Ok(rustix::fs::fsync(fd)?)
        });
        let store = FileStore::with(shared);
        assert!(stored(&store, files(&place, 1)).iter().all(Result::is_err));
        assert_eq!(names(directory.path()), Vec::<String>::new());
        assert!(stored(&store, files(&place, 1)).iter().all(Result::is_ok));
        fs::remove_file(directory.path().join(&names(directory.path())[0])).unwrap();
    }
}

#[test]
fn a_file_system_that_stands_still_holds_up_no_other() {
    let (directory, memory) = (directory(), tempfile::tempdir_in("/dev/shm"));
    let Ok(memory) = memory else {
        eprintln!("SKIPPED: no /dev/shm");
        return;
    };
    let mut shared = Shared::new();
    shared.open_limit = 20;
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    shared.syncfs = Box::new(move |fd| {
        // Ends when the test lets go of the other end.
        let _ = wait.lock().unwrap().recv();
        Ok(rustix::fs::syncfs(fd)?)
    });
    let store = FileStore::with(shared);
    let (still, other) = (place(directory.path()), place(memory.path()));
    if !is_ext4(directory.path()) {
        return;
    }
    let (answer, answered) = mpsc::channel();
    // More than its writers can take, and more files than may be open.
    for batch in 0..6 {
        let one = |n| file(&still, &format!("{batch}-{n}"), b"x");
        let answer = answer.clone();
        store.submit((0..20).map(one).collect(), move |results| {
            answer.send(results).unwrap();
        });
    }
    for _ in 0..5 {
        assert!(stored(&store, files(&other, 50)).iter().all(Result::is_ok));
    }
    assert!(answered.try_recv().is_err(), "nothing there is durable");
    drop(go);
    for _ in 0..6 {
        assert!(answered.recv().unwrap().iter().all(Result::is_ok));
    }
}
