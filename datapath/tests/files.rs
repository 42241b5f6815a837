//! Targets and sources on a real file system.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use blk_datapath::files::{FileErrorKind, PendingTarget, SourceFile, TargetSpec};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn opened(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).unwrap()
}

fn spec(size: u64) -> TargetSpec {
    TargetSpec {
        size,
        mode: 0o640,
        mtime_ns: 1_234_567_890_123_456_789,
    }
}

fn create(path: &Path, name: &str, size: u64) -> PendingTarget {
    PendingTarget::create(opened(path), OsStr::new(name), spec(size)).unwrap()
}

/// Writes through the page cache, whatever flags the target's own descriptor has.
fn fill(target: &PendingTarget, bytes: &[u8]) {
    let fd = target.file().as_fd().as_raw_fd();
    let mut file = fs::File::options()
        .write(true)
        .open(format!("/proc/self/fd/{fd}"))
        .unwrap();
    file.write_all(bytes).unwrap();
}

fn entries(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

/// Reports a test that needs more than it has; in CI that is a failure.
fn cannot_run(what: &str) {
    eprintln!("SKIPPED: {what}");
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
}

#[test]
fn file_is_absent_before_its_commit_and_whole_after() {
    let directory = directory();
    for size in [0usize, 1, 511, 512, 513, 4095, 4096, 4097, 1_000_000] {
        let name = format!("f{size}");
        let path = directory.path().join(&name);
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let target = create(directory.path(), &name, size as u64);
        // Whole last blocks, as the disk side writes them: the rest must be cut off.
        let mut padded = bytes.clone();
        padded.resize(size.next_multiple_of(512), 0xee);
        fill(&target, &padded);
        assert!(!path.exists());

        tokio_uring::start(target.commit()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        assert_eq!(metadata.mtime(), 1_234_567_890);
        assert_eq!(metadata.mtime_nsec(), 123_456_789);
        assert_eq!(metadata.nlink(), 1);
        assert_eq!(entries(directory.path()), 1);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn old_content_stays_until_the_commit() {
    let directory = directory();
    let path = directory.path().join("x");
    fs::write(&path, "old").unwrap();
    let target = create(directory.path(), "x", 3);
    fill(&target, b"new");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    tokio_uring::start(target.commit()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(entries(directory.path()), 1);
}

#[test]
fn dropped_target_leaves_nothing() {
    let directory = directory();
    let target = create(directory.path(), "x", 1 << 20);
    fill(&target, b"partial");
    drop(target);
    assert_eq!(entries(directory.path()), 0);
}

#[test]
fn space_is_reserved_in_whole_blocks() {
    let directory = directory();
    let target = create(directory.path(), "x", 100_001);
    let stat = rustix::fs::fstat(target.file().as_fd()).unwrap();
    assert_eq!(stat.st_size, 102_400);
    assert!(stat.st_blocks * 512 >= 102_400);
}

#[test]
fn large_target_is_reserved_through_the_ring() {
    let directory = directory();
    let size = (64 << 20) + 1;
    tokio_uring::start(async {
        let target = PendingTarget::create_in_ring(
            opened(directory.path()),
            OsStr::new("x"),
            spec(size),
            &[],
        )
        .await
        .unwrap();
        let stat = rustix::fs::fstat(target.file().as_fd()).unwrap();
        assert!(stat.st_blocks as u64 * 512 >= size);
    });
}

#[test]
fn dangerous_mode_bits_are_dropped() {
    let directory = directory();
    let spec = TargetSpec {
        mode: 0o6755,
        ..spec(0)
    };
    let target = PendingTarget::create(opened(directory.path()), OsStr::new("x"), spec).unwrap();
    tokio_uring::start(target.commit()).unwrap();
    let mode = fs::metadata(directory.path().join("x")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn symbolic_link_is_replaced_itself() {
    let directory = directory();
    fs::write(directory.path().join("pointed"), "kept").unwrap();
    symlink("pointed", directory.path().join("x")).unwrap();
    tokio_uring::start(create(directory.path(), "x", 0).commit()).unwrap();
    let kind = fs::symlink_metadata(directory.path().join("x")).unwrap();
    assert!(kind.file_type().is_file());
    assert_eq!(fs::read(directory.path().join("pointed")).unwrap(), b"kept");
}

#[test]
fn names_and_sizes_that_cannot_be_are_refused_at_once() {
    let directory = directory();
    fs::create_dir(directory.path().join("d")).unwrap();
    let fifo = directory.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let long = "n".repeat(256);
    for (name, size, kind) in [
        ("d", 0, FileErrorKind::IsDirectory),
        ("fifo", 0, FileErrorKind::NotRegular),
        ("", 0, FileErrorKind::InvalidName),
        ("..", 0, FileErrorKind::InvalidName),
        ("a/b", 0, FileErrorKind::InvalidName),
        (".x.blk-0123456789abcdef", 0, FileErrorKind::InvalidName),
        (long.as_str(), 0, FileErrorKind::InvalidName),
        ("big", u64::MAX, FileErrorKind::TooLarge),
        ("big", i64::MAX as u64, FileErrorKind::TooLarge),
    ] {
        let error = PendingTarget::create(opened(directory.path()), OsStr::new(name), spec(size))
            .unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
    assert_eq!(entries(directory.path()), 2);
}

#[test]
fn removed_directory_fails_the_commit() {
    let directory = directory();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let target = create(&inner, "x", 0);
    fs::remove_dir(&inner).unwrap();
    let error = tokio_uring::start(target.commit()).unwrap_err();
    assert_eq!(error.kind, FileErrorKind::NotFound, "{error}");
}

#[test]
fn source_knows_its_attributes_and_notices_changes() {
    let directory = directory();
    let path = directory.path().join("x");
    fs::write(&path, "0123456789").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let source = SourceFile::open(&path).unwrap();
    assert_eq!(source.attributes().size, 10);
    assert_eq!(source.attributes().mode, 0o604);
    assert!(source.unchanged().unwrap());
    let flags = rustix::fs::fcntl_getfl(source.file().as_fd()).unwrap();
    assert!(!flags.contains(OFlags::NONBLOCK));

    fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"more")
        .unwrap();
    assert!(!source.unchanged().unwrap());
}

#[test]
fn sources_that_are_not_regular_files_are_refused_without_a_hang() {
    let directory = directory();
    let fifo = directory.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
    let started = Instant::now();
    for (path, kind, words) in [
        (fifo.as_path(), FileErrorKind::NotRegular, "a FIFO"),
        (
            &directory.path().join("s"),
            FileErrorKind::NotRegular,
            "a socket",
        ),
        (
            Path::new("/dev/null"),
            FileErrorKind::NotRegular,
            "a character device",
        ),
        (
            directory.path(),
            FileErrorKind::IsDirectory,
            "is a directory",
        ),
        (
            &directory.path().join("none"),
            FileErrorKind::NotFound,
            "no such file",
        ),
        (
            &fifo.join("x"),
            FileErrorKind::NotDirectory,
            "not a directory",
        ),
    ] {
        let error = SourceFile::open(path).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // The same when the FIFO took the place of a file between the look and the open.
    let fd = openat(CWD, &fifo, SourceFile::OPEN_FLAGS, Mode::empty()).unwrap();
    let error = SourceFile::from_fd(fd, b"fifo").unwrap_err();
    assert_eq!(error.kind, FileErrorKind::NotRegular);
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Runs `work` on a thread that has no privileges, whoever runs the tests: root's thread becomes
/// user 65534 for good, all others stay as they are.
fn unprivileged<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = Some(Uid::from_raw(65534));
                set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
fn everything_works_without_privileges() {
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let fds = [opened(directory.path()), opened(directory.path())];
    unprivileged(|| {
        // The first takes a free name, the second replaces it: both ways to link.
        for (fd, bytes) in fds.into_iter().zip([b"1", b"2"]) {
            let target = PendingTarget::create(fd, OsStr::new("x"), spec(1)).unwrap();
            fill(&target, bytes);
            tokio_uring::start(target.commit()).unwrap();
        }
    });
    assert_eq!(fs::read(directory.path().join("x")).unwrap(), b"2");
    assert_eq!(entries(directory.path()), 1);
}

#[test]
fn directory_that_may_not_be_written_is_named() {
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let fd = opened(directory.path());
    let error = unprivileged(|| PendingTarget::create(fd, OsStr::new("x"), spec(0)).unwrap_err());
    assert_eq!(error.kind, FileErrorKind::PermissionDenied);
    assert_eq!(error.to_string(), "cannot create \"x\": permission denied");
}

/// A mount that is taken away with the test.
struct Mount(std::path::PathBuf);

impl Mount {
    /// Mounts; `None` when this process may not.
    fn new(at: &Path, arguments: &[&str]) -> Option<Mount> {
        let done = Command::new("mount").args(arguments).arg(at).status();
        done.is_ok_and(|status| status.success())
            .then(|| Mount(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn full_disk_is_reported_before_the_first_byte() {
    let directory = directory();
    let arguments = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
    let Some(_mount) = Mount::new(directory.path(), &arguments) else {
        return cannot_run("a full disk needs the right to mount a tmpfs");
    };
    let error = PendingTarget::create(opened(directory.path()), OsStr::new("x"), spec(2 << 20))
        .unwrap_err();
    assert_eq!(error.kind, FileErrorKind::NoSpace);
    assert_eq!(
        error.to_string(),
        "cannot create \"x\": no space left on device"
    );
    // Nothing stays reserved.
    drop(create(directory.path(), "x", 900 << 10));
    drop(create(directory.path(), "x", 900 << 10));
    assert_eq!(entries(directory.path()), 0);
}

#[test]
fn read_only_file_system_is_named() {
    let directory = directory();
    let Some(_mount) = Mount::new(directory.path(), &["-t", "tmpfs", "-o", "ro", "tmpfs"]) else {
        return cannot_run("a read-only file system needs the right to mount a tmpfs");
    };
    let error =
        PendingTarget::create(opened(directory.path()), OsStr::new("x"), spec(0)).unwrap_err();
    assert_eq!(error.kind, FileErrorKind::ReadOnly, "{error}");
}

/// A disk that runs out of space under the file system: the write is accepted into the page
/// cache, and only the sync finds out that it is lost.
#[test]
fn lost_write_fails_the_commit_and_the_name_stays_free() {
    let directory = directory();
    let (thin, disk) = (directory.path().join("thin"), directory.path().join("disk"));
    fs::create_dir(&thin).unwrap();
    fs::create_dir(&disk).unwrap();
    let Some(_thin) = Mount::new(&thin, &["-t", "tmpfs", "-o", "size=6m", "tmpfs"]) else {
        return cannot_run("a failing disk needs the right to mount");
    };
    let image = thin.join("image");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-O", "^has_journal", "-E", "nodiscard"])
        .arg(&image)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return cannot_run("a failing disk needs mkfs.ext4");
    }
    let Some(_disk) = Mount::new(&disk, &["-o", "loop", image.to_str().unwrap()]) else {
        return cannot_run("a failing disk needs a loop device");
    };
    fs::write(disk.join("x"), "old").unwrap();
    rustix::fs::sync();
    let target = create(&disk, "x", 16 << 20);
    fill(&target, &vec![7; 16 << 20]);
    let error = tokio_uring::start(target.commit()).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot make durable \"x\": "),
        "{error}"
    );
    assert_eq!(fs::read(disk.join("x")).unwrap(), b"old");
    assert!(
        fs::read_dir(&disk).unwrap().count() <= 2,
        "x and lost+found"
    );
}
