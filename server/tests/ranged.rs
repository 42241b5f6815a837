//! Files in place, by the namespace thread: real files, real locks.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;

use blk_proto::message::{Allocation, ErrorCode, MAX_INLINE, MAX_RANGES, Reply};
use blockd::namespace::{Ask, Job, OpenFile, Outcome, RangeGuard, RangedJob, RangedOutcome};
use common::{EXPORT, Service, key, open as open_source};

fn open(path: &[u8], create: Option<u32>) -> Job {
    Job::Ranged(RangedJob::Open {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
        create,
    })
}

fn opened(service: &Service, path: &[u8], create: Option<u32>) -> Arc<OpenFile> {
    match service.ask(open(path, create)) {
        Outcome::Ranged(RangedOutcome::Opened { file, .. }) => file,
        outcome => panic!("{outcome:?}"),
    }
}

fn job(file: &Arc<OpenFile>, ask: Ask) -> Job {
    let file = Arc::clone(file);
    Job::Ranged(RangedJob::ask(file, ask))
}

fn ask(service: &Service, file: &Arc<OpenFile>, what: Ask) -> Reply {
    reply(service.ask(job(file, what)))
}

fn reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Ranged(RangedOutcome::Answer(reply)) => reply,
        outcome => panic!("{outcome:?}"),
    }
}

fn write(offset: u64, bytes: &[u8]) -> Ask {
    Ask::Write {
        offset,
        crc: crc32fast::hash(bytes),
        bytes: bytes.to_vec(),
    }
}

fn read(service: &Service, file: &Arc<OpenFile>, offset: u64, len: u32) -> Vec<u8> {
    match ask(service, file, Ask::Read { offset, len }) {
        Reply::Bytes { crc, bytes } => {
            assert_eq!(crc, crc32fast::hash(&bytes));
            bytes
        }
        reply => panic!("{reply:?}"),
    }
}

fn lock(file: &Arc<OpenFile>, offset: u64, len: u64) -> Job {
    let file = Arc::clone(file);
    Job::Ranged(RangedJob::lock(file, offset, len))
}

fn locked(outcome: Outcome) -> RangeGuard {
    match outcome {
        Outcome::Ranged(RangedOutcome::Locked(guard)) => guard,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn a_file_is_made_on_demand_and_written_in_place() {
    let service = Service::start();
    let refused = service.refused(open(b"a/b/file", None));
    assert_eq!(refused.code, ErrorCode::NotFound);
    let file = opened(&service, b"a/b/file", Some(0o640));
    let path = service.export().join("a/b/file");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    let written = Reply::Written {
        zero_copy_bytes: 0,
        copied_bytes: 5,
    };
    assert_eq!(ask(&service, &file, write(7, b"hello")), written);
    assert_eq!(ask(&service, &file, Ask::Sync), Reply::Done);
    assert_eq!(fs::read(&path).unwrap(), b"\0\0\0\0\0\0\0hello");
    assert_eq!(read(&service, &file, 6, 100), b"\0hello");
    assert!(read(&service, &file, 12, 100).is_empty());
    let most = vec![9; MAX_INLINE];
    ask(&service, &file, write(4000, &most));
    assert_eq!(read(&service, &file, 4000, MAX_INLINE as u32), most);
    // An existing file keeps what it is.
    let again = opened(&service, b"a/b/file", Some(0o600));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(read(&service, &again, 7, 5), b"hello");
}

#[test]
fn bytes_that_were_damaged_on_the_way_are_not_written() {
    let service = Service::start();
    let file = opened(&service, b"file", Some(0o644));
    let damaged = Ask::Write {
        offset: 0,
        crc: 1,
        bytes: vec![1, 2, 3],
    };
    service.refused_with(job(&file, damaged), ErrorCode::ChecksumMismatch);
    assert_eq!(file.attributes().unwrap().size, 0);
}

#[test]
fn size_and_space_follow_the_requests() {
    let service = Service::start();
    let path = service.export().join("file");
    fs::write(&path, vec![7; 1 << 20]).unwrap();
    let file = opened(&service, b"file", None);
    let allocate = |offset, len, how| Ask::Allocate { offset, len, how };
    ask(&service, &file, Ask::Sync);
    let before = fs::metadata(&path).unwrap().blocks();
    ask(
        &service,
        &file,
        allocate(4096, 512 << 10, Allocation::Punch),
    );
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), 1 << 20);
    assert!(metadata.blocks() + 1000 <= before);
    assert_eq!(read(&service, &file, 4095, 2), [7, 0]);
    ask(&service, &file, Ask::Truncate { size: 5000 });
    ask(&service, &file, allocate(0, 3 << 20, Allocation::Reserve));
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), 3 << 20);
    assert!(metadata.blocks() >= 6144);
    assert_eq!(read(&service, &file, 5000, 2), [0, 0]);
    // A sparse file of any size, but not more than the file system takes.
    ask(&service, &file, Ask::Truncate { size: 1 << 40 });
    let too_large = Ask::Truncate { size: 1 << 62 };
    service.refused_with(job(&file, too_large), ErrorCode::TooLarge);
}

#[test]
fn only_regular_files_beneath_the_export_are_opened() {
    let service = Service::start();
    let export = service.export();
    fs::create_dir(export.join("directory")).unwrap();
    symlink("../outside/secret", export.join("out")).unwrap();
    symlink("new", export.join("dangling")).unwrap();
    symlink("real", export.join("link")).unwrap();
    fs::write(export.join("real"), "real").unwrap();
    fs::write(export.join("program"), "x").unwrap();
    fs::set_permissions(export.join("program"), fs::Permissions::from_mode(0o4755)).unwrap();
    let fifo = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, export.join("fifo"), fifo).unwrap();
    for (path, code) in [
        (&b"directory"[..], ErrorCode::IsDirectory),
        (b"", ErrorCode::IsDirectory),
        (b"fifo", ErrorCode::Unsupported),
        (b"out", ErrorCode::OutsideExport),
        (b"../outside/secret", ErrorCode::OutsideExport),
        (b"program", ErrorCode::PermissionDenied),
        (b"dangling", ErrorCode::NotFound),
        (b"real/file", ErrorCode::NotDirectory),
    ] {
        for create in [None, Some(0o644)] {
            service.refused_with(open(path, create), code);
        }
    }
    assert!(!export.join("new").exists(), "made through a link");
    let linked = opened(&service, b"link", None);
    ask(&service, &linked, write(0, b"R"));
    assert_eq!(fs::read(export.join("real")).unwrap(), b"Real");
}

#[test]
fn requests_for_one_range_take_turns() {
    let service = Service::start();
    let file = opened(&service, b"file", Some(0o644));
    let other = opened(&service, b"file", None);
    let bulk = locked(service.ask(lock(&file, 4096, 8192)));
    // Beside it, by either handle: at once.
    ask(&service, &other, write(0, &[1; 4096]));
    ask(&service, &file, write(12288, &[1]));
    ask(&service, &file, Ask::Sync);
    // Within it: later.
    service.submit(20, job(&other, write(4095, &[2, 2])));
    service.submit(
        21,
        job(
            &file,
            Ask::Read {
                offset: 8000,
                len: 1,
            },
        ),
    );
    service.submit(22, lock(&other, 0, 4096));
    ask(&service, &file, Ask::Sync);
    drop(bulk);
    let mut answered: Vec<_> = (0..3).map(|_| service.answer()).collect();
    answered.sort_by_key(|(key, _)| key.job);
    assert_eq!(answered[0].0, key(20));
    assert!(matches!(
        answered.pop().map(|(_, outcome)| locked(outcome)),
        Some(_guard)
    ));
    assert_eq!(
        fs::read(service.export().join("file")).unwrap()[4094..4097],
        [1, 2, 2]
    );
}

#[test]
fn the_order_is_that_of_asking_not_of_the_queue() {
    let service = Service::start();
    let file = opened(&service, b"file", Some(0o644));
    for number in 0..200u8 {
        // As by three workers, the first of which is the last to reach the queue.
        let first = job(&file, write(10, &[number; 20_000]));
        let second = job(&file, write(20, &[!number; 10]));
        let (offset, len) = (0, 40);
        let third = job(&file, Ask::Read { offset, len });
        for (place, job) in [(2, third), (1, second), (0, first)] {
            service.submit(place, job);
        }
        let mut answered: Vec<_> = (0..3).map(|_| service.answer()).collect();
        answered.sort_by_key(|(key, _)| key.job);
        let (_, read) = answered.pop().expect("three");
        let Reply::Bytes { bytes, .. } = reply(read) else {
            panic!("no bytes");
        };
        let expected = [[0; 10], [number; 10], [!number; 10], [number; 10]].concat();
        assert_eq!(bytes, expected);
    }
}

#[test]
fn who_waits_too_long_for_a_range_is_told() {
    let service = Service::start();
    let file = opened(&service, b"file", Some(0o644));
    let _bulk = locked(service.ask(lock(&file, 0, 4096)));
    // As many as may wait, and one more, which is refused at once.
    for number in 0..257 {
        service.submit(number, job(&file, write(0, b"x")));
    }
    let (first, outcome) = service.answer();
    assert_eq!(first, key(256));
    assert!(matches!(outcome, Outcome::Failed(failure) if failure.code == ErrorCode::Busy));
    for _ in 0..256 {
        let (_, outcome) = service.answer();
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.code == ErrorCode::Busy));
    }
    assert_eq!(file.attributes().unwrap().size, 0);
}

#[test]
fn holes_come_in_pages() {
    let service = Service::start();
    let count = MAX_RANGES as u64 + 10;
    let path = service.export().join("file");
    let file = fs::File::create(&path).unwrap();
    file.set_len(count * 131_072).unwrap();
    for number in 0..count {
        file.write_all_at(&[1], number * 131_072 + 70_000).unwrap();
    }
    let Outcome::SourceReady(source) = service.ask(open_source(b"file")) else {
        panic!("no source");
    };
    let mut found = Vec::new();
    let mut next = Some(0);
    while let Some(offset) = next {
        let file = Arc::clone(source.file());
        let holes = Job::Ranged(RangedJob::Holes { file, offset });
        let Reply::Holes { ranges, next: more } = reply(service.ask(holes)) else {
            panic!("no holes");
        };
        assert!(ranges.len() <= MAX_RANGES);
        found.extend(ranges);
        next = more;
    }
    // One before each byte and one after the last.
    assert_eq!(found.len() as u64, count + 1);
    assert_eq!(found[0], (0, 69_632));
}
