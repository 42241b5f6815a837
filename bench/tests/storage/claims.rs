//! A journal that claims a piece before it is durable is caught, and one that waits for that is not: the check of the checks.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use blk_bench::blockdev::{Kind, isolated, ready};
use blk_bench::lab::{Directory, files, within};
use blk_bench::powerloss::{Boot, Points, Recorded, Recording, Report};
use blk_datapath::files::{PartialStore, PendingTarget, Resumption, TargetSpec};
use blk_proto::geometry::GRID;

/// Pieces of a file.
const PIECES: u64 = 12;

/// An interrupted put into the export at the root of a recorded file system. Its first half is written; the journal says so on
/// the disk, where the data are not yet; then the put ends and is kept. The disk had other data there: a file system
/// shows space that was only reserved as a hole, and no journal is believed about that.
fn record(directory: &Directory, kind: Kind) -> Recorded {
    let place = directory.subdirectory("recording");
    let mut recording = Recording::start(&place, kind, 0).expect("cannot record");
    let root = recording.root().to_owned();
    let source = directory.join("source");
    files::write(&source, PIECES * GRID, 7);
    let start = recording.position();
    recording.begin("file", &source).expect("cannot begin");
    tokio_uring::start(interrupted(&root, &source));
    recording.dwell_on(start);
    recording.end().expect("the recording ends")
}

async fn interrupted(root: &Path, source: &Path) {
    let opened = || File::open(root).expect("the root is there").into();
    let store = PartialStore::beneath(opened());
    let resumption = Resumption {
        refuse_in_use: false,
        store: &store,
        path: b"file",
        identity: [1; 16],
    };
    let spec = TargetSpec {
        size: PIECES * GRID,
        mode: 0o644,
        mtime_ns: 1,
    };
    let target = PendingTarget::begin(resumption, opened(), OsStr::new("file"), spec, &[])
        .await
        .expect("cannot begin");
    let observer = target.observer().expect("a journal");
    let name = format!("/proc/self/fd/{}", target.file().as_fd().as_raw_fd());
    let file = OpenOptions::new().write(true).open(name).expect("the file");
    file.write_all_at(&vec![0xee; (PIECES * GRID) as usize], 0)
        .and_then(|()| file.sync_all())
        .expect("cannot write what was there before");
    let source = File::open(source).expect("the source");
    for piece in 0..PIECES / 2 {
        let mut bytes = vec![0; GRID as usize];
        source
            .read_exact_at(&mut bytes, piece * GRID)
            .expect("cannot read");
        file.write_all_at(&bytes, piece * GRID)
            .expect("cannot write");
        observer.written(piece * GRID, GRID, crc32fast::hash(&bytes));
    }
    // Entries are written by a thread of their own.
    let half = PIECES / 2 * GRID;
    let noted = within(Duration::from_secs(10), || {
        let claims = store.claims().expect("the store can be read");
        claims
            .iter()
            .any(|claim| claim.done.iter().map(|extent| extent.len).sum::<u64>() == half)
    });
    assert!(noted, "the journal does not claim what was written");
    for entry in std::fs::read_dir(root.join(".blockd")).expect("the store") {
        let path = entry.expect("an entry").path();
        if path.extension() == Some(OsStr::new("journal")) {
            let journal = File::open(path).expect("the journal");
            journal.sync_all().expect("cannot sync the journal");
        }
    }
    target.keep().await.expect("cannot keep");
}

fn report(recorded: &Recorded, directory: &Directory) -> Report {
    let points = Points::of(recorded, 1, 150);
    let numbers: Vec<usize> = (0..points.crashes.len()).collect();
    recorded
        .replay(
            &directory.subdirectory("replay"),
            &points,
            &numbers,
            |_, _| Ok(()),
        )
        .expect("cannot replay")
}

#[test]
fn a_claim_that_comes_before_its_data_is_caught() {
    if !ready("a_claim_that_comes_before_its_data_is_caught") {
        return;
    }
    for kind in [Kind::Ext4, Kind::Xfs] {
        let run = || {
            let directory = Directory::new();
            let mut recorded = record(&directory, kind);
            let right = report(&recorded, &directory);
            recorded.promises.look_from(Boot::Same);
            (right, report(&recorded, &directory))
        };
        let (right, early) = isolated(run).expect("no mount namespace");
        assert!(right.violations.is_empty(), "{kind:?}: {right:?}");
        assert!(
            right.found.claimed.partials > 0 && right.found.claimed.bytes > 0,
            "{kind:?}: no journal has claimed anything: {right:?}"
        );
        let caught = early.violations.len();
        println!("{kind:?}: {caught} of {} points", early.points);
        let claims = early
            .violations
            .iter()
            .filter(|violation| violation.sentence.contains("claimed"));
        assert!(claims.count() > 0, "{kind:?}: nobody noticed: {early:?}");
    }
}
