use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::Capture;
use crate::dump::{Dump, DumpError, DumpOptions, parse_snaplen};

fn options(file: &Path, snaplen: usize) -> DumpOptions {
    DumpOptions {
        file: file.to_owned(),
        snaplen,
        application: "test 1".to_owned(),
    }
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dump.pcapng");
    (directory, file)
}

fn fifo_at(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Waits for something that comes soon.
fn soon(what: &str, mut question: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !question() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn packets_of_two_workers_are_written_by_time() {
    let (_directory, file) = place();
    let dump = Dump::start(&options(&file, 100)).unwrap();
    let taps = dump.taps();
    let (mut first, mut second) = (taps.tap("blk0", 0), taps.tap("blk0", 1));
    for number in 0..50u8 {
        first.received(&[number; 60]);
        second.sent(&[number; 200]);
    }
    let summary = dump.finish();
    assert!(summary.is_complete(), "{summary}");
    assert_eq!(summary.written, 100);
    let shown = format!(
        "packet dump {}: 100 packets written, 0 dropped",
        file.display()
    );
    assert_eq!(summary.to_string(), shown);

    let capture = Capture::read(&fs::read(&file).unwrap());
    assert_eq!(capture.rest, 0);
    assert_eq!(capture.section[&4], b"test 1");
    let names: Vec<_> = capture.interfaces.iter().map(|one| one.name()).collect();
    assert_eq!(names, ["blk0", "blk0"]);
    assert_eq!(capture.interfaces[1].options[&3], b"AF_XDP, queue 1");
    for (number, pair) in capture.packets.chunks(2).enumerate() {
        assert_eq!((pair[0].interface, pair[0].direction), (0, 1));
        assert_eq!(pair[0].bytes, [number as u8; 60]);
        assert_eq!((pair[1].interface, pair[1].direction), (1, 2));
        assert_eq!(pair[1].bytes, [number as u8; 100]);
        assert_eq!(pair[1].original_len, 200);
    }
    assert!(capture.packets.is_sorted_by_key(|packet| packet.time));
    for statistics in &capture.statistics {
        assert_eq!([4, 5, 8].map(|code| statistics.count(code)), [50, 0, 50]);
    }
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn packets_are_in_the_file_while_it_is_written() {
    let (_directory, file) = place();
    let dump = Dump::start(&options(&file, 0)).unwrap();
    let mut tap = dump.taps().tap("blk0", 0);
    tap.sent(&[1; 3000]);
    // What a process that is killed leaves: no counts, but all packets.
    let mut seen = Capture::default();
    soon("the packet is not written", || {
        seen = Capture::read(&fs::read(&file).unwrap());
        seen.packets.len() == 1
    });
    assert_eq!(seen.packets[0].bytes, [1; 3000]);
    assert!(seen.statistics.is_empty());
    tap.received(&[2; 10]);
    drop(dump);
    let whole = Capture::read(&fs::read(&file).unwrap());
    assert_eq!((whole.packets.len(), whole.statistics.len()), (2, 1));
}

#[test]
fn an_earlier_dump_is_overwritten_and_nothing_else() {
    let (directory, file) = place();
    for _ in 0..2 {
        let dump = Dump::start(&options(&file, 0)).unwrap();
        dump.taps().tap("blk0", 0).sent(&[1; 100]);
        dump.finish();
        assert_eq!(Capture::read(&fs::read(&file).unwrap()).packets.len(), 1);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    }
    let dump = Dump::start(&options(&file, 0)).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let second = Dump::start(&options(&file, 0));
    assert!(matches!(second, Err(DumpError::InUse(_))), "{second:?}");
    dump.finish();

    for content in ["x", "something of value that is long enough"] {
        let precious = directory.path().join("precious");
        fs::write(&precious, content).unwrap();
        let refused = Dump::start(&options(&precious, 0));
        assert!(
            matches!(refused, Err(DumpError::NotADump(_))),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&precious).unwrap(), content);
    }
    let refused = Dump::start(&options(directory.path(), 0));
    assert!(
        matches!(refused, Err(DumpError::WrongKind(_))),
        "{refused:?}"
    );
    let missing = Dump::start(&options(&directory.path().join("no/such"), 0)).unwrap_err();
    assert!(
        matches!(&missing, DumpError::Open { source, .. } if source.kind() == ErrorKind::NotFound),
        "{missing}"
    );
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    Dump::start(&options(&link, 0)).unwrap().finish();
    assert!(link.is_symlink());
}

#[test]
fn a_device_that_is_full_is_told_at_once() {
    let refused = Dump::start(&options(Path::new("/dev/full"), 0)).unwrap_err();
    assert!(
        matches!(&refused, DumpError::Write { source, .. } if source.kind() == ErrorKind::StorageFull),
        "{refused}"
    );
    assert!(refused.to_string().contains("/dev/full"));
}

#[test]
fn a_fifo_is_read_while_it_is_written() {
    let (_directory, file) = place();
    fifo_at(&file);
    let path = file.clone();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        Capture::read(&bytes)
    });
    let dump = Dump::start(&options(&file, 0)).unwrap();
    dump.taps().tap("blk0", 0).sent(&[1; 100]);
    assert_eq!(dump.finish().written, 1);
    let capture = reader.join().unwrap();
    assert_eq!((capture.packets.len(), capture.rest), (1, 0));
    assert_eq!(capture.statistics.len(), 1);
}

#[test]
fn a_reader_that_goes_ends_the_dump_and_the_rest_is_counted() {
    let (_directory, file) = place();
    fifo_at(&file);
    let path = file.clone();
    let reader = std::thread::spawn(move || File::open(path).unwrap());
    let dump = Dump::start(&options(&file, 0)).unwrap();
    let mut tap = dump.taps().tap("blk0", 0);
    drop(reader.join().unwrap());
    // The first write after that fails; what comes later is counted only.
    for _ in 0..20 {
        tap.sent(&[1; 100]);
        std::thread::sleep(Duration::from_millis(2));
    }
    let summary = dump.finish();
    assert_eq!((summary.written, summary.lost), (0, Some(20)));
    assert_eq!(summary.failure.unwrap().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_reader_that_stands_still_holds_nobody_up() {
    let (_directory, file) = place();
    fifo_at(&file);
    let path = file.clone();
    let reader = std::thread::spawn(move || File::open(path).unwrap());
    let dump = Dump::start(&options(&file, 0)).unwrap();
    let reader = reader.join().unwrap();
    let mut tap = dump.taps().tap("blk0", 0);
    // More than a FIFO and a ring hold.
    for _ in 0..40_000 {
        tap.sent(&[1; 3000]);
    }
    let summary = dump.finish();
    assert!(!summary.is_complete(), "{summary}");
    assert_eq!(summary.lost, None, "{summary}");
    assert!(summary.to_string().contains("too long"), "{summary}");
    drop(reader);
}

#[test]
fn snap_lengths_are_read() {
    assert_eq!(parse_snaplen("full"), Ok(0));
    assert_eq!(parse_snaplen("0"), Ok(0));
    assert_eq!(parse_snaplen("192"), Ok(192));
    for wrong in ["", "-1", "65536", "all", "1k"] {
        assert!(parse_snaplen(wrong).is_err(), "{wrong}");
    }
}
