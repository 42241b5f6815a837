//! Writers that break the promise are caught, and one that keeps it is not: the check of the checks.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use blk_bench::blockdev::{Kind, isolated, ready};
use blk_bench::lab::{Directory, files};
use blk_bench::powerloss::{Points, Recorded, Recording, Report};

/// What a writer leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Omits {
    Nothing,
    /// The data are not synced before the rename.
    SyncOfData,
    /// The directory is not synced after the rename.
    SyncOfDirectory,
    /// The file is written in place, a part at a time.
    Temporary,
}

/// Stores a file as a server has to, but for what it omits.
fn store(root: &Path, name: &str, bytes: &[u8], omits: Omits) -> std::io::Result<()> {
    let temporary = root.join(".blockd").join(name);
    let path = root.join(name);
    let mut file = File::create(if omits == Omits::Temporary {
        &path
    } else {
        &temporary
    })?;
    for piece in bytes.chunks(100_000) {
        file.write_all(piece)?;
        if omits == Omits::Temporary {
            file.sync_data()?;
        }
    }
    if omits != Omits::SyncOfData {
        file.sync_data()?;
    }
    if omits != Omits::Temporary {
        std::fs::rename(&temporary, &path)?;
    }
    if omits != Omits::SyncOfDirectory {
        File::open(root)?.sync_all()?;
    }
    Ok(())
}

/// Files that replace each other, written by such a writer and recorded.
fn record(directory: &Directory, kind: Kind, omits: Omits) -> Recorded {
    let place = directory.subdirectory("recording");
    let mut recording = Recording::start(&place, kind, 0).expect("cannot record");
    let root = recording.root().to_owned();
    std::fs::create_dir(root.join(".blockd")).expect("cannot make a directory");
    File::open(&root)
        .and_then(|root| root.sync_all())
        .expect("cannot sync");
    let source = directory.join("source");
    for round in 0..12 {
        let name = format!("file{}", round % 3);
        files::write(&source, 300_000 + round * 1_000, round);
        let bytes = std::fs::read(&source).expect("cannot read the source");
        let ticket = recording.begin(&name, &source).expect("cannot begin");
        store(&root, &name, &bytes, omits).expect("cannot store");
        recording.acknowledge(&ticket);
    }
    recording.end().expect("the recording ends")
}

fn report(kind: Kind, omits: Omits) -> Report {
    let directory = Directory::new();
    let recorded = record(&directory, kind, omits);
    let points = Points::of(&recorded, 1, 120);
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
fn a_writer_that_keeps_the_promise_passes() {
    if !ready("a_writer_that_keeps_the_promise_passes") {
        return;
    }
    for kind in [Kind::Ext4, Kind::Xfs] {
        let report = isolated(|| report(kind, Omits::Nothing)).expect("no mount namespace");
        assert_eq!(report.points, 120);
        assert!(
            report.violations.is_empty(),
            "{kind:?}: {:?}",
            report.violations
        );
        assert!(report.unsettled > 10, "{report:?}");
        assert!(report.found.promised > 50, "{report:?}");
    }
}

#[test]
fn a_writer_that_breaks_it_is_caught() {
    if !ready("a_writer_that_breaks_it_is_caught") {
        return;
    }
    for kind in [Kind::Ext4, Kind::Xfs] {
        for omits in [Omits::SyncOfData, Omits::SyncOfDirectory, Omits::Temporary] {
            let report = isolated(|| report(kind, omits)).expect("no mount namespace");
            let caught = report.violations.len();
            println!(
                "{kind:?} without {omits:?}: {caught} of {} points",
                report.points
            );
            assert!(caught > 0, "{kind:?}: nobody noticed {omits:?}");
        }
    }
}

#[test]
fn a_saved_recording_gives_the_same_points_and_images() {
    if !ready("a_saved_recording_gives_the_same_points_and_images") {
        return;
    }
    let run = || {
        let directory = Directory::new();
        let recorded = record(&directory, Kind::Ext4, Omits::SyncOfData);
        let path = directory.join("saved");
        recorded.save(&path).expect("cannot save");
        let again = Recorded::load(&path).expect("cannot load");
        let replay = |recorded: &Recorded| {
            let points = Points::of(recorded, 9, 40);
            let numbers: Vec<usize> = (0..40).collect();
            let place = directory.subdirectory("replay");
            let report = recorded
                .replay(&place, &points, &numbers, |_, _| Ok(()))
                .expect("cannot replay");
            let told = |v: &blk_bench::powerloss::Violation| format!("{} {}", v.point, v.sentence);
            report.violations.iter().map(told).collect::<Vec<_>>()
        };
        let first = replay(&recorded);
        assert!(!first.is_empty(), "there is something to compare");
        assert_eq!(first, replay(&again));
    };
    isolated(run).expect("no mount namespace");
}
