//! What a crash leaves at each step, and what somebody else makes of it.

use super::*;

/// The last steps of a commit, up to the rename.
fn rename_only(lab: &Lab, target: PendingTarget) {
    rustix::fs::ftruncate(target.file().as_fd(), SPEC.size).unwrap();
    let mode = Mode::from_raw_mode(SPEC.mode);
    fchmod(target.file().as_fd(), mode).unwrap();
    let modified = crate::files::attributes::timespec(SPEC.mtime_ns);
    let times = rustix::fs::Timestamps {
        last_access: modified,
        last_modification: modified,
    };
    rustix::fs::futimens(target.file().as_fd(), &times).unwrap();
    fs::rename(lab.stored_path("part"), lab.path("x")).unwrap();
}

#[test]
fn a_crash_before_the_rename_resumes_and_one_after_it_is_found_done() {
    let lab = Lab::new();
    let first = lab.begin(1);
    write_all(&first);
    // Size, mode and time are set already.
    rustix::fs::ftruncate(first.file().as_fd(), SPEC.size).unwrap();
    drop(first);
    let second = lab.begin(1);
    assert_eq!(second.done(), [extent(0, SIZE)]);
    rename_only(&lab, second);

    let third = lab.begin(1);
    assert_eq!(third.done(), [extent(0, SIZE)]);
    assert!(third.observer().is_none());
    // To be kept or dropped without harm to the file.
    tokio_uring::start(third.keep()).unwrap();
    let fourth = lab.begin(1);
    fourth.discard();
    assert_eq!(fs::read(lab.path("x")).unwrap(), content(0, SIZE));
    assert!(lab.stored().is_empty());
}

#[test]
fn a_finished_file_that_is_not_as_it_was_left_is_not_found_done() {
    let changes: [fn(&Lab); 4] = [
        |lab| fs::write(lab.path("x"), content(0, SIZE)).unwrap(),
        |lab| fs::remove_file(lab.path("x")).unwrap(),
        |lab| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(lab.path("x"), mode).unwrap();
        },
        |lab| {
            fs::rename(lab.path("x"), lab.path("y")).unwrap();
            std::os::unix::fs::symlink("y", lab.path("x")).unwrap();
        },
    ];
    for change in changes {
        let lab = Lab::new();
        let first = lab.begin(1);
        write_all(&first);
        rename_only(&lab, first);
        change(&lab);
        let second = lab.begin(1);
        assert!(second.is_resumable() && second.done().is_empty());
    }
}

#[test]
fn a_journal_that_lost_an_entry_does_not_vouch_for_a_finished_file() {
    let mut lab = Lab::new();
    let first = lab.begin(1);
    write_all(&first);
    rename_only(&lab, first);
    // The machine went down before the entries were marked.
    lab.boot = [2; 16];
    let second = lab.begin(1);
    assert!(second.is_resumable() && second.done().is_empty());
}

#[test]
fn a_partial_that_is_not_the_journals_is_dropped() {
    let changes: [fn(&Lab); 6] = [
        // A crash while it is dropped.
        |lab| fs::remove_file(lab.stored_path("part")).unwrap(),
        // Another file of the same name.
        |lab| {
            let part = lab.stored_path("part");
            let bytes = fs::read(&part).unwrap();
            fs::write(lab.path("other"), bytes).unwrap();
            fs::rename(lab.path("other"), part).unwrap();
        },
        // A second name may be that of a finished file.
        |lab| fs::hard_link(lab.stored_path("part"), lab.path("other")).unwrap(),
        |lab| {
            let part = fs::OpenOptions::new()
                .write(true)
                .open(lab.stored_path("part"));
            part.unwrap().set_len(SIZE + 8192).unwrap();
        },
        |lab| {
            fs::rename(lab.stored_path("part"), lab.path("other")).unwrap();
            let digits = lab.stored_path("journal");
            let link = digits.with_extension("part");
            std::os::unix::fs::symlink("../other", link).unwrap();
        },
        // A journal of which the end is gone.
        |lab| {
            let journal = fs::OpenOptions::new()
                .write(true)
                .open(lab.stored_path("journal"));
            journal.unwrap().set_len(4096 + 8).unwrap();
        },
    ];
    for change in changes {
        let lab = Lab::new();
        let first = lab.begin(1);
        write(&first, 0, GRID);
        drop(first);
        change(&lab);
        let second = lab.begin(1);
        assert!(second.is_resumable() && second.done().is_empty());
        write_all(&second);
        tokio_uring::start(second.commit()).unwrap();
        assert_eq!(fs::read(lab.path("x")).unwrap(), content(0, SIZE));
        assert!(lab.stored().is_empty());
    }
}

#[test]
fn space_that_was_never_written_does_not_count_whatever_the_journal_says() {
    let lab = Lab::new();
    let first = lab.begin(1);
    write(&first, 0, GRID);
    // As after a file system that was shut down and mounted again: the entry is there, the write is not.
    let observer = first.observer().unwrap();
    observer.written(GRID, GRID, 1);
    drop(observer);
    drop(first);
    assert_eq!(lab.begin(1).done(), [extent(0, GRID)]);
}

#[test]
fn a_partial_without_a_journal_makes_room() {
    let lab = Lab::new();
    drop(lab.begin(1));
    fs::remove_file(lab.stored_path("journal")).unwrap();
    let second = lab.begin(1);
    assert!(second.is_resumable() && second.done().is_empty());
    assert_eq!(lab.stored(), ["journal", "part"]);
}
