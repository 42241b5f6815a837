//! The ends of puts, and who gets the pair after them.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::time::timeout;

use super::*;
use crate::disk::Ways;
use crate::engine::{Claim, ClaimedRun, Coverage};

/// A put as the service makes it: its writes are claimed.
fn covered(target: &mut PendingTarget) -> Arc<Coverage> {
    let coverage = Coverage::range(0, SIZE, target.done());
    let coverage = Arc::new(coverage.observed(target.observer().unwrap()));
    target.written_by(Arc::clone(&coverage));
    coverage
}

fn claim(coverage: &Arc<Coverage>, offset: u64, len: u64) -> ClaimedRun {
    assert_eq!(coverage.claim(offset, len), Claim::Granted);
    ClaimedRun::new(Arc::clone(coverage), offset, len)
}

fn is_in_use(lab: &Lab, name: &str) -> bool {
    let store = lab.store();
    let resumption = Resumption {
        store: &store,
        path: name.as_bytes(),
        identity: [1; 16],
        refuse_in_use: true,
    };
    let begun = PendingTarget::begin(resumption, lab.opened("."), OsStr::new(name), SPEC, &[]);
    match tokio_uring::start(begun) {
        Ok(target) => {
            assert!(target.is_resumable());
            false
        }
        Err(error) => {
            assert_eq!(error.kind, FileErrorKind::InUse);
            true
        }
    }
}

#[test]
fn a_pair_is_nobody_elses_while_a_write_is_under_way() {
    let lab = Lab::new();
    let mut first = lab.begin(1);
    let coverage = covered(&mut first);
    let early = claim(&coverage, 0, GRID);
    let late = claim(&coverage, GRID, GRID);
    let bytes = content(0, GRID);
    let part = fs::File::options()
        .write(true)
        .open(lab.stored_path("part"));
    part.unwrap().write_all_at(&bytes, 0).unwrap();
    let mut keep = Box::pin(first.keep());
    // Time enough for one that does not wait.
    let patience = std::time::Duration::from_millis(100);
    let lab = tokio_uring::start(async {
        timeout(patience, keep.as_mut()).await.unwrap_err();
        // No flow begins a write any more.
        assert_eq!(coverage.claim(2 * GRID, 1000), Claim::Closed);
        early.written(crc32fast::hash(&bytes), Ways::default());
        timeout(patience, keep.as_mut()).await.unwrap_err();
        let other = std::thread::spawn(move || {
            assert!(is_in_use(&lab, "x"));
            drop(late);
            lab
        });
        keep.await.unwrap();
        other.join().unwrap()
    });
    assert_eq!(lab.begin(1).done(), [extent(0, GRID)]);
}

#[test]
fn what_somebody_has_is_told_before_anything_is_made() {
    let lab = Lab::new();
    let first = lab.begin(1);
    assert!(is_in_use(&lab, "x"));
    assert!(!is_in_use(&lab, "y"));
    drop(first);
    assert!(!is_in_use(&lab, "x"));
}

#[test]
fn what_an_earlier_process_wrote_is_synced_with_the_rest() {
    let mut lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    drop(first);
    let second = lab.begin(1);
    write(&second, GRID, GRID);
    let partial = second.partial.as_ref().unwrap();
    tokio_uring::start(partial.synced_by(async |_| Ok(()))).unwrap();
    drop(second);
    lab.boot = [2; 16];
    assert_eq!(lab.begin(1).done(), [extent(0, 2 * GRID)]);
}

#[test]
fn what_is_left_for_a_name_goes_when_another_file_has_the_name() {
    let lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    let mut other = PendingTarget::create(lab.opened("."), OsStr::new("x"), SPEC).unwrap();
    assert!(other.older().is_none());
    other.beside(Arc::new(lab.store()), b"x");
    let older = other.older().unwrap();
    // Not while a put has it.
    assert!(older.is_there());
    older.remove().unwrap();
    assert_eq!(lab.stored(), ["journal", "part"]);
    drop(first);
    older.remove().unwrap();
    assert!(!older.is_there() && lab.stored().is_empty());
    let mut own = lab.begin(1);
    own.beside(Arc::new(lab.store()), b"x");
    assert!(own.older().is_none());
}
