//! The listing and removal of what is in a store.

use std::time::Duration;

use super::*;

#[test]
fn lists_and_removes_what_is_old_and_not_in_use() {
    let lab = Lab::new();
    assert_eq!(swept(&lab, None), []);
    let used = lab.begin_as("a", 1, SPEC, &[]);
    let left = lab.begin_as("b", 1, SPEC, &[]);
    write(&left, 0, GRID);
    drop(left);

    let listed = swept(&lab, None);
    let week = swept(&lab, Some(Duration::from_secs(7 * 86400)));
    for files in [&listed, &week] {
        let paths: Vec<_> = files
            .iter()
            .map(|file| file.path.clone().unwrap())
            .collect();
        assert_eq!(paths, [b"a", b"b"]);
        assert_eq!((files[0].in_use, files[1].in_use), (true, false));
        assert_eq!((files[0].done, files[1].done), (0, GRID));
        assert!(files.iter().all(|file| file.is_resumable && !file.removed));
        assert!(
            files
                .iter()
                .all(|file| file.size == SIZE && file.on_disk >= SIZE)
        );
    }
    let now = swept(&lab, Some(Duration::ZERO));
    assert_eq!((now[0].removed, now[1].removed), (false, true));
    assert_eq!(lab.stored(), ["journal", "part"]);
    write_all(&used);
    tokio_uring::start(used.commit()).unwrap();
    assert_eq!(swept(&lab, None), []);
}

#[test]
fn removes_what_crashes_leave() {
    let lab = Lab::new();
    drop(lab.begin_as("a", 1, SPEC, &[]));
    fs::remove_file(lab.stored_path("journal")).unwrap();
    drop(lab.begin_as("b", 1, SPEC, &[]));
    let hidden = lab.path(".blockd/.journal.blk-0123456789abcdef");
    fs::write(hidden, "").unwrap();
    let staged = format!(".blockd/{:032x}.tmp", 0xab);
    fs::write(lab.path(&staged), "small").unwrap();
    fs::write(lab.path(".blockd/notes"), "of the operator").unwrap();

    let listed = swept(&lab, None);
    assert_eq!(listed.iter().filter(|file| file.is_resumable).count(), 1);
    assert_eq!(listed.iter().filter(|file| file.path.is_none()).count(), 3);
    let first = swept(&lab, Some(Duration::ZERO));
    // What no lock tells about may be in use, as young as it is.
    assert_eq!(first.iter().filter(|file| file.removed).count(), 2);
    let store = lab.store();
    let swept = store.sweep_with(Some(Duration::ZERO), Duration::ZERO);
    let swept = swept.unwrap().files;
    assert!(swept.len() == 2 && swept.iter().all(|file| file.removed));
    let left: Vec<_> = fs::read_dir(lab.path(".blockd")).unwrap().collect();
    assert_eq!(left.len(), 1, "what is not ours stays");
}

#[test]
fn finds_temporaries_in_the_tree() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("d/e")).unwrap();
    std::os::unix::fs::symlink("..", lab.path("d/up")).unwrap();
    let hidden = "d/e/.x.blk-0123456789abcdef";
    fs::write(lab.path(hidden), "part").unwrap();
    fs::write(lab.path("d/e/x"), "whole").unwrap();
    let found = lab.store().temporaries(Some(Duration::ZERO)).files;
    // Too young to be removed, whatever is asked for.
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].path.as_slice(), found[0].removed),
        (hidden.as_bytes(), false)
    );
    assert!(lab.path(hidden).exists());
    // A put that is still under way after an hour writes to it: its change time is new.
    let store = lab.store();
    let found = store.temporaries_with(Some(Duration::from_secs(3600)), Duration::ZERO);
    assert!(!found.files[0].removed && found.failures.is_empty());
    let found = store.temporaries_with(None, Duration::ZERO);
    assert!(!found.files[0].removed, "only listed");
    let found = store.temporaries_with(Some(Duration::ZERO), Duration::ZERO);
    assert!(found.files[0].removed && found.files.len() == 1);
    assert!(!lab.path(hidden).exists() && lab.path("d/e/x").exists());
}

/// All that there is, none of it in the way of the rest.
fn swept(lab: &Lab, older_than: Option<Duration>) -> Vec<PartialFile> {
    let swept = lab.store().sweep(older_than).unwrap();
    assert!(swept.failures.is_empty(), "{:?}", swept.failures);
    swept.files
}

#[test]
fn one_failure_does_not_keep_the_rest() {
    let lab = Lab::new();
    let left = lab.begin(1);
    write(&left, 0, GRID);
    drop(left);
    // Two that cannot be what they should be: one comes before the pair, one after it.
    let odd = [format!("{:032x}", 0), "f".repeat(32)];
    for name in &odd {
        fs::create_dir(lab.path(&format!(".blockd/{name}.journal"))).unwrap();
        fs::create_dir(lab.path(&format!(".blockd/{name}.tmp"))).unwrap();
    }
    let store = lab.store();
    let swept = store.sweep_with(Some(Duration::ZERO), Duration::ZERO);
    let swept = swept.unwrap();
    let removed: Vec<_> = swept.files.iter().filter(|file| file.removed).collect();
    assert_eq!(removed.len(), 1, "{swept:?}");
    assert_eq!(removed[0].path.as_deref(), Some(&b"x"[..]));
    assert_eq!(swept.failures.len(), 4, "{:?}", swept.failures);
    let failure = &swept.failures[0];
    assert!(failure.path.starts_with(b".blockd/000"), "{failure:?}");
}

#[test]
fn one_directory_that_cannot_be_read_does_not_end_the_walk() {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let lab = Lab::new();
    // Deeper than a path can be long.
    let long = "d".repeat(250);
    let mut deep = lab.opened(".");
    for _ in 0..20 {
        mkdirat(&deep, &long, Mode::RWXU).unwrap();
        deep = openat(
            &deep,
            &long,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
    }
    let hidden = [
        ".y.blk-0123456789abcdef",
        "a/.y.blk-0123456789abcdef",
        "z/.y.blk-0123456789abcdef",
    ];
    for name in hidden {
        fs::create_dir_all(lab.path(name).parent().unwrap()).unwrap();
        fs::write(lab.path(name), "").unwrap();
    }
    let store = lab.store();
    let found = store.temporaries_with(Some(Duration::ZERO), Duration::ZERO);
    assert_eq!(found.failures.len(), 1);
    assert!(found.failures[0].path.starts_with(long.as_bytes()));
    assert_eq!(found.files.len(), 3);
    assert!(found.files.iter().all(|file| file.removed));
}

#[test]
fn gives_back_what_a_killed_put_has_reserved() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    let spec = TargetSpec {
        size: 64 << 20,
        ..SPEC
    };
    let sweep = |older_than, debris_time| {
        let swept = lab.store().sweep_with(older_than, debris_time).unwrap();
        assert!(swept.failures.is_empty(), "{:?}", swept.failures);
        swept.files[0].on_disk
    };
    let week = Some(Duration::from_secs(7 * 86400));
    let target = lab.begin_as("x", 1, spec, &[]);
    write(&target, GRID, GRID);
    // Not what is in use, …
    assert!(sweep(week, Duration::ZERO) >= spec.size);
    drop(target);
    // … nor when it is only listed, nor at once: its put may be about to go on.
    assert!(sweep(None, Duration::ZERO) >= spec.size);
    assert!(sweep(week, Duration::from_secs(600)) >= spec.size);
    let told = sweep(week, Duration::ZERO);
    let on_disk = fs::metadata(lab.stored_path("part")).unwrap().blocks() * 512;
    assert!((GRID..4 * GRID).contains(&on_disk), "{on_disk}");
    assert_eq!(told, on_disk);
    let again = lab.begin_as("x", 1, spec, &[]);
    assert_eq!(again.done(), [extent(GRID, GRID)]);
    // Reserved again.
    let on_disk = fs::metadata(lab.stored_path("part")).unwrap().blocks() * 512;
    assert!(on_disk >= spec.size);
}

#[test]
fn a_second_name_may_be_that_of_a_finished_file_and_loses_nothing() {
    let lab = Lab::new();
    let spec = TargetSpec {
        size: 8 << 20,
        ..SPEC
    };
    let target = lab.begin_as("x", 1, spec, &[]);
    write(&target, 0, GRID);
    drop(target);
    let part = lab.stored_path("part");
    fs::hard_link(&part, lab.path("finished")).unwrap();
    // Written by somebody whom the journal does not know.
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(&part).unwrap();
    file.write_all_at(&content(GRID, GRID), GRID).unwrap();
    let week = Some(Duration::from_secs(7 * 86400));
    lab.store().sweep_with(week, Duration::ZERO).unwrap();
    let bytes = fs::read(lab.path("finished")).unwrap();
    assert_eq!(bytes[..2 * GRID as usize], content(0, 2 * GRID));
}

#[test]
fn puts_that_begin_during_a_sweep_find_their_files() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    drop(first);
    let store = lab.store();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sweeps = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                store.sweep(Some(Duration::from_secs(86400))).unwrap();
            }
        });
        let begun: Vec<_> = (0..200).map(|_| lab.begin(1).done().to_vec()).collect();
        is_over.store(true, Ordering::Relaxed);
        sweeps.join().unwrap();
        assert!(begun.iter().all(|done| *done == [extent(0, GRID)]));
    });
}
