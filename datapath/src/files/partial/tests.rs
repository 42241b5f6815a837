//! Partial files through their life, and through crashes at each step of it. A crash of this program is the drop of what it has
//! open: the kernel closes files and releases locks likewise.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use blk_proto::geometry::GRID;
use blk_proto::message::{Extent, MAX_RANGES};
use tempfile::TempDir;

use super::*;
use crate::files::{FileErrorKind, PendingTarget, TargetSpec};

/// Two pieces and a bit.
const SIZE: u64 = 2 * GRID + 1000;

const SPEC: TargetSpec = TargetSpec {
    size: SIZE,
    mode: 0o640,
    mtime_ns: 1_000_000_007,
};

/// An export on the disk that holds the build: not every tmpfs has what is needed here.
struct Lab {
    root: TempDir,
    boot: [u8; 16],
}

impl Lab {
    fn new() -> Lab {
        let program = std::env::current_exe().unwrap();
        Lab {
            root: tempfile::tempdir_in(program.parent().unwrap()).unwrap(),
            boot: [1; 16],
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn opened(&self, name: &str) -> OwnedFd {
        fs::File::open(self.path(name)).unwrap().into()
    }

    fn store(&self) -> PartialStore {
        PartialStore::beneath(self.opened(".")).of_boot(self.boot)
    }

    /// A put of the file `x`.
    fn begin(&self, identity: u8) -> PendingTarget {
        self.begin_as("x", identity, SPEC, &[])
    }

    fn begin_as(
        &self,
        name: &str,
        identity: u8,
        spec: TargetSpec,
        holes: &[(u64, u64)],
    ) -> PendingTarget {
        let store = self.store();
        let resumption = Resumption {
            store: &store,
            path: name.as_bytes(),
            identity: [identity; 16],
            refuse_in_use: false,
        };
        let begun =
            PendingTarget::begin(resumption, self.opened("."), OsStr::new(name), spec, holes);
        tokio_uring::start(begun).unwrap()
    }

    /// What is in `.blockd`, by the ends of the names.
    fn stored(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(".blockd")) else {
            return Vec::new();
        };
        let mut ends: Vec<_> = entries
            .map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.split_once('.').unwrap().1.to_owned()
            })
            .collect();
        ends.sort();
        ends
    }

    /// The file in `.blockd` whose name ends so.
    fn stored_path(&self, end: &str) -> PathBuf {
        let mut entries = fs::read_dir(self.path(".blockd")).unwrap();
        let found = entries.find_map(|entry| {
            let path = entry.unwrap().path();
            (path.extension()? == end).then_some(path)
        });
        found.unwrap()
    }
}

/// What the file is made of.
fn content(offset: u64, len: u64) -> Vec<u8> {
    (offset..offset + len)
        .map(|at| (at * 7 / 3) as u8)
        .collect()
}

/// Writes a run, as a worker does, through a descriptor without O_DIRECT.
fn write(target: &PendingTarget, offset: u64, len: u64) {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;
    let name = format!("/proc/self/fd/{}", target.file().as_fd().as_raw_fd());
    let file = fs::OpenOptions::new()
        .write(true)
        .open(Path::new(&name))
        .unwrap();
    let bytes = content(offset, len);
    file.write_all_at(&bytes, offset).unwrap();
    let crc = crc32fast::hash(&bytes);
    if let Some(observer) = target.observer() {
        observer.written(offset, len, crc);
    }
}

/// Writes the whole file.
fn write_all(target: &PendingTarget) {
    write(target, 0, GRID);
    write(target, GRID, GRID);
    write(target, 2 * GRID, 1000);
}

fn extent(offset: u64, len: u64) -> Extent {
    let crc = crc32fast::hash(&content(offset, len));
    Extent { offset, len, crc }
}

#[test]
fn a_put_goes_on_where_it_was_killed() {
    let lab = Lab::new();
    let first = lab.begin(1);
    assert!(first.is_resumable() && first.done().is_empty());
    assert_eq!(lab.stored(), ["journal", "part"]);
    write(&first, GRID, GRID);
    write(&first, 2 * GRID, 1000);
    write(&first, 0, 512);
    drop(first);

    let claims = lab.store().claims().unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(
        (&claims[0].path[..], claims[0].identity),
        (&b"x"[..], [1; 16])
    );
    assert_eq!(claims[0].done, [extent(GRID, GRID + 1000)]);
    let after_a_power_loss = lab.store().of_boot([2; 16]).claims().unwrap();
    assert!(after_a_power_loss[0].done.is_empty(), "nothing was synced");
    let second = lab.begin(1);
    assert_eq!(second.done(), [extent(GRID, GRID + 1000)]);
    write(&second, 0, GRID);
    tokio_uring::start(second.commit()).unwrap();
    assert_eq!(fs::read(lab.path("x")).unwrap(), content(0, SIZE));
    assert!(lab.stored().is_empty());
}

#[test]
fn another_identity_size_or_place_of_holes_starts_afresh() {
    let lab = Lab::new();
    let other_size = TargetSpec {
        size: SIZE + 1,
        ..SPEC
    };
    for (identity, spec, holes) in [
        (2, SPEC, &[][..]),
        (1, other_size, &[]),
        (1, SPEC, &[(4096, 4096)]),
    ] {
        let first = lab.begin(1);
        write(&first, 0, GRID);
        drop(first);
        let second = lab.begin_as("x", identity, spec, holes);
        assert!(second.is_resumable() && second.done().is_empty());
        second.discard();
        assert!(lab.stored().is_empty());
    }
}

#[test]
fn two_puts_at_once_do_not_share() {
    let lab = Lab::new();
    let first = lab.begin(1);
    let second = lab.begin(1);
    assert!(!second.is_resumable() && second.observer().is_none());
    write(&second, 0, SIZE);
    tokio_uring::start(second.commit()).unwrap();
    write(&first, 0, GRID);
    drop(first);
    // The file of the second is none of the journal's.
    assert_eq!(lab.begin(1).done(), [extent(0, GRID)]);
}

#[test]
fn what_is_kept_survives_the_machine() {
    let mut lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    tokio_uring::start(first.keep()).unwrap();
    let second = lab.begin(1);
    write(&second, GRID, GRID);
    drop(second);
    lab.boot = [2; 16];
    assert_eq!(lab.begin(1).done(), [extent(0, GRID)]);
    assert_eq!(lab.stored(), ["journal", "part"]);
}

#[test]
fn what_is_written_after_it_was_kept_does_not_count() {
    let lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    write(&first, GRID, 4096);
    // A worker that has a write under way still holds it.
    let observer = first.observer().unwrap();
    tokio_uring::start(first.keep()).unwrap();
    let rest = content(GRID + 4096, GRID - 4096);
    observer.written(GRID + 4096, GRID - 4096, crc32fast::hash(&rest));
    assert_eq!(lab.begin(1).done(), [extent(0, GRID)]);
}

#[test]
fn nothing_is_kept_of_nothing() {
    let lab = Lab::new();
    let target = lab.begin(1);
    write(&target, 0, 4096);
    tokio_uring::start(target.keep()).unwrap();
    assert!(lab.stored().is_empty());
}

#[test]
fn a_commit_that_nobody_heard_of_is_found_done() {
    let lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    write(&first, GRID, GRID);
    write(&first, 2 * GRID, 1000);
    let syncs = crate::files::DirectorySyncs::default();
    let remains = tokio_uring::start(first.commit_grouped(&syncs)).unwrap();
    // Killed here: the journal stays.
    std::mem::forget(remains);
    assert_eq!(lab.stored(), ["journal"]);

    let second = lab.begin(1);
    assert_eq!(second.done(), [extent(0, SIZE)]);
    assert!(second.observer().is_none());
    tokio_uring::start(second.commit()).unwrap();
    assert!(lab.stored().is_empty());
    assert_eq!(fs::read(lab.path("x")).unwrap(), content(0, SIZE));
}

#[test]
fn refusals_are_those_of_any_target() {
    let lab = Lab::new();
    fs::create_dir(lab.path("x")).unwrap();
    let store = lab.store();
    let resumption = Resumption {
        store: &store,
        path: b"x",
        identity: [1; 16],
        refuse_in_use: false,
    };
    for (name, holes, kind) in [
        ("x", &[][..], FileErrorKind::IsDirectory),
        ("y", &[(1, 1)], FileErrorKind::InvalidRange),
        (".blockd", &[], FileErrorKind::InvalidName),
    ] {
        let begun =
            PendingTarget::begin(resumption, lab.opened("."), OsStr::new(name), SPEC, holes);
        assert_eq!(tokio_uring::start(begun).unwrap_err().kind, kind);
    }
    assert!(lab.stored().is_empty());
}

#[test]
fn holes_are_neither_done_nor_missing() {
    let lab = Lab::new();
    let holes = [(4096, 4096), (GRID, GRID)];
    let first = lab.begin_as("x", 1, SPEC, &holes);
    write(&first, 0, 4096);
    write(&first, 8192, GRID - 8192);
    drop(first);
    let second = lab.begin_as("x", 1, SPEC, &holes);
    assert_eq!(second.done(), [extent(0, 4096), extent(8192, GRID - 8192)]);
    write(&second, 2 * GRID, 1000);
    tokio_uring::start(second.commit()).unwrap();
    let mut expected = content(0, SIZE);
    expected[4096..8192].fill(0);
    expected[GRID as usize..2 * GRID as usize].fill(0);
    assert_eq!(fs::read(lab.path("x")).unwrap(), expected);
}

#[test]
fn what_finds_no_room_in_a_message_is_missing() {
    let lab = Lab::new();
    // One range of data more than a message has room for; the last is longer than the others.
    let holes: Vec<_> = (0..MAX_RANGES as u64)
        .map(|number| (number * 8192 + 4096, 4096))
        .collect();
    let last = MAX_RANGES as u64 * 8192;
    let spec = TargetSpec {
        size: last + 8192,
        ..SPEC
    };
    let first = lab.begin_as("x", 1, spec, &holes);
    for (offset, _) in &holes {
        write(&first, offset - 4096, 4096);
    }
    write(&first, last, 8192);
    drop(first);
    let second = lab.begin_as("x", 1, spec, &holes);
    assert_eq!(second.done().len(), MAX_RANGES);
    assert_eq!(second.done().last(), Some(&extent(last, 8192)));
    let before = second.done().to_vec();
    drop(second);
    // The rest was forgotten.
    assert_eq!(lab.begin_as("x", 1, spec, &holes).done(), before);
}

#[test]
fn a_failed_sync_fails_the_commit_and_drops_the_file() {
    let lab = Lab::new();
    for is_commit in [true, false] {
        let target = lab.begin(1);
        write_all(&target);
        let partial = target.partial.as_ref().unwrap();
        let failed = partial.synced_by(async |_| Err(Errno::IO.into()));
        tokio_uring::start(failed).unwrap_err();
        let error = match is_commit {
            true => tokio_uring::start(target.commit()).unwrap_err(),
            false => tokio_uring::start(target.keep()).unwrap_err(),
        };
        assert_eq!(error.kind, FileErrorKind::Io);
        assert!(!lab.path("x").exists());
        assert!(lab.stored().is_empty());
    }
}

#[test]
fn nothing_goes_on_after_a_failed_sync() {
    let lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    let partial = first.partial.as_ref().unwrap();
    let failed = partial.synced_by(async |_| Err(Errno::IO.into()));
    tokio_uring::start(failed).unwrap_err();
    write(&first, GRID, GRID);
    // Killed before the commit could drop it, and in the same boot.
    drop(first);
    let second = lab.begin(1);
    assert!(second.is_resumable() && second.done().is_empty());
}

#[test]
fn what_another_process_wrote_is_made_durable_too() {
    let mut lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    drop(first);
    let second = lab.begin(1);
    write(&second, GRID, GRID);
    tokio_uring::start(second.keep()).unwrap();
    lab.boot = [2; 16];
    assert_eq!(lab.begin(1).done(), [extent(0, 2 * GRID)]);
}

#[test]
fn upkeep_makes_durable_what_arrives() {
    let lab = Lab::new();
    let later = lab.store().of_boot([2; 16]);
    let pace = target::Pace {
        bytes: u64::MAX,
        after: std::time::Duration::from_millis(2),
        look: std::time::Duration::from_millis(1),
    };
    let target = lab.begin(1);
    let upkeep = target.upkeep_at(pace).unwrap();
    tokio_uring::start(async {
        let upkeep = tokio_uring::spawn(upkeep);
        for piece in 0..2 {
            write(&target, piece * GRID, GRID);
            // What a machine that goes down now finds when it is up again.
            while later.sweep(None).unwrap().files[0].done != (piece + 1) * GRID {
                tokio::time::sleep(pace.look).await;
            }
        }
        drop(target);
        // It ends with the target.
        upkeep.await.unwrap();
    });
}

#[test]
fn upkeep_counts_bytes() {
    let lab = Lab::new();
    let later = lab.store().of_boot([2; 16]);
    let pace = target::Pace {
        bytes: 2 * GRID,
        after: std::time::Duration::MAX,
        look: std::time::Duration::from_millis(1),
    };
    let target = lab.begin(1);
    let upkeep = target.upkeep_at(pace).unwrap();
    tokio_uring::start(async {
        let upkeep = tokio_uring::spawn(upkeep);
        write(&target, 0, GRID);
        tokio::time::sleep(20 * pace.look).await;
        assert_eq!(later.sweep(None).unwrap().files[0].done, 0);
        write(&target, GRID, GRID);
        while later.sweep(None).unwrap().files[0].done != 2 * GRID {
            tokio::time::sleep(pace.look).await;
        }
        drop(target);
        upkeep.await.unwrap();
    });
}

#[test]
fn a_store_that_was_moved_publishes_nothing() {
    let lab = Lab::new();
    let target = lab.begin(1);
    write_all(&target);
    fs::rename(lab.path(".blockd"), lab.path("open-to-all")).unwrap();
    let error = tokio_uring::start(target.commit()).unwrap_err();
    assert!(error.to_string().contains("was moved"), "{error}");
    assert!(!lab.path("x").exists());
    assert_eq!(fs::read_dir(lab.path("open-to-all")).unwrap().count(), 0);
    // The next one has a store of its own.
    let target = lab.begin(1);
    assert!(target.is_resumable() && target.done().is_empty());
    write_all(&target);
    tokio_uring::start(target.commit()).unwrap();
    assert_eq!(fs::read(lab.path("x")).unwrap(), content(0, SIZE));
}

#[test]
fn a_store_of_somebody_else_is_left_alone() {
    let lab = Lab::new();
    std::os::unix::fs::symlink(".", lab.path(".blockd")).unwrap();
    let target = lab.begin(1);
    assert!(!target.is_resumable());
    write_all(&target);
    tokio_uring::start(target.commit()).unwrap();
    assert_eq!(fs::read(lab.path("x")).unwrap(), content(0, SIZE));

    let lab = Lab::new();
    fs::create_dir(lab.path(".blockd")).unwrap();
    if std::os::unix::fs::chown(lab.path(".blockd"), Some(12345), None).is_ok() {
        assert!(!lab.begin(1).is_resumable());
        lab.store().sweep(None).unwrap_err();
    }
}

#[test]
fn a_store_is_made_private() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    fs::create_dir(lab.path(".blockd")).unwrap();
    fs::set_permissions(lab.path(".blockd"), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(lab.begin(1).is_resumable());
    let mode = fs::metadata(lab.path(".blockd"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn the_group_is_that_of_the_place() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let lab = Lab::new();
    if chown(lab.root.path(), None, Some(12345)).is_err() {
        eprintln!("skipped: only root gives files away");
        return;
    }
    fs::set_permissions(lab.root.path(), PermissionsExt::from_mode(0o2755)).unwrap();
    let target = lab.begin(1);
    assert!(target.is_resumable());
    write_all(&target);
    tokio_uring::start(target.commit()).unwrap();
    assert_eq!(fs::metadata(lab.path("x")).unwrap().gid(), 12345);
}

#[test]
fn kept_files_give_back_the_space_of_what_is_missing() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    let spec = TargetSpec {
        size: 64 << 20,
        ..SPEC
    };
    let target = lab.begin_as("x", 1, spec, &[]);
    write(&target, GRID, GRID);
    tokio_uring::start(target.keep()).unwrap();
    let on_disk = fs::metadata(lab.stored_path("part")).unwrap().blocks() * 512;
    assert!((GRID..4 * GRID).contains(&on_disk), "{on_disk}");
    assert_eq!(lab.begin_as("x", 1, spec, &[]).done(), [extent(GRID, GRID)]);
}

mod crashes;
mod ending;
mod mounts;
mod sweeping;
