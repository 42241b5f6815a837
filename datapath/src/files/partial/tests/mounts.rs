//! Exports with other mounts below them, and with roots that do not tell case. The mounts are the test thread's own and go with it.

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::*;

/// Leaves the mounts of the other threads alone; `false` without the right to.
fn own_mounts() -> bool {
    // SAFETY: no descriptors are unshared, which is what could end those of others; only this thread gets mounts, a root and a
    // working directory of its own.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
    if let Err(errno) = unshared {
        assert!(std::env::var_os("CI").is_none(), "cannot unshare: {errno}");
        eprintln!("SKIPPED: mounts need root: {errno}");
        return false;
    }
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .unwrap();
    true
}

#[test]
fn a_put_to_another_mount_goes_on_without_being_resumable() {
    if !own_mounts() {
        return;
    }
    let lab = Lab::new();
    // The same file system on another mount: renames between the two fail with EXDEV, though the device is one.
    let other = Lab::new();
    fs::create_dir(lab.path("below")).unwrap();
    mount_bind(other.root.path(), lab.path("below")).unwrap();
    let store = lab.store();
    let resumption = Resumption {
        store: &store,
        path: b"below/x",
        identity: [1; 16],
        refuse_in_use: false,
    };
    let begin = || {
        let place = lab.opened("below");
        let begun = PendingTarget::begin(resumption, place, OsStr::new("x"), SPEC, &[]);
        tokio_uring::start(begun).unwrap()
    };
    for content_seed in 0..2 {
        let target = begin();
        assert!(!target.is_resumable() && target.done().is_empty());
        assert!(lab.stored().is_empty());
        write_all(&target);
        tokio_uring::start(target.commit()).unwrap();
        let committed = fs::read(other.path("x")).unwrap();
        assert_eq!(committed, content(0, SIZE), "round {content_seed}");
        assert_eq!(names(&other), ["x"]);
    }
}

#[test]
fn a_mount_that_comes_later_drops_nothing() {
    if !own_mounts() {
        return;
    }
    let lab = Lab::new();
    fs::create_dir(lab.path("below")).unwrap();
    let store = lab.store();
    let resumption = Resumption {
        store: &store,
        path: b"below/x",
        identity: [1; 16],
        refuse_in_use: false,
    };
    let begin = || {
        let place = lab.opened("below");
        let begun = PendingTarget::begin(resumption, place, OsStr::new("x"), SPEC, &[]);
        tokio_uring::start(begun).unwrap()
    };
    let first = begin();
    write(&first, 0, GRID);
    drop(first);
    let other = Lab::new();
    mount_bind(other.root.path(), lab.path("below")).unwrap();
    assert!(!begin().is_resumable());
    rustix::mount::unmount(lab.path("below"), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(begin().done(), [extent(0, GRID)]);
}

#[test]
fn a_root_that_does_not_tell_case_has_no_store() {
    if !own_mounts() {
        return;
    }
    let lab = Lab::new();
    fs::create_dir(lab.path(".blockd")).unwrap();
    fs::create_dir(lab.path(".BLOCKD")).unwrap();
    // Two directories of these names are told apart, …
    let store = lab.store();
    assert!(store.staging().is_some());
    // … and now they are one, as on a file system that folds case.
    mount_bind(lab.path(".blockd"), lab.path(".BLOCKD")).unwrap();
    for _ in 0..2 {
        assert!(store.staging().is_none());
        let resumption = Resumption {
            store: &store,
            path: b"x",
            identity: [1; 16],
            refuse_in_use: false,
        };
        let begun = PendingTarget::begin(resumption, lab.opened("."), OsStr::new("x"), SPEC, &[]);
        let target = tokio_uring::start(begun).unwrap();
        assert!(!target.is_resumable());
        write_all(&target);
        tokio_uring::start(target.commit()).unwrap();
        assert!(lab.stored().is_empty());
    }
    assert_eq!(fs::read(lab.path("x")).unwrap(), content(0, SIZE));
}

fn names(lab: &Lab) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(lab.root.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}
