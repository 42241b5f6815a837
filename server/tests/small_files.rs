//! Small files through the namespace thread: stored and fetched on a real directory.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use blk_proto::message::{
    ErrorCode, FetchedFile, MAX_INLINE, MAX_SMALL_FILES, Reply, ReplyFrame, SmallFile, encode,
};
use blockd::namespace::{Job, Outcome};
use common::{EXPORT, Service, names};

fn file(path: &[u8], bytes: &[u8]) -> SmallFile {
    SmallFile {
        path: path.to_vec(),
        mode: 0o640,
        mtime_ns: 1_000_000_007,
        crc: crc32fast::hash(bytes),
        bytes: bytes.to_vec(),
    }
}

fn store(service: &Service, files: Vec<SmallFile>) -> Vec<Option<ErrorCode>> {
    let export = EXPORT.to_owned();
    match service.ask(Job::Store { export, files }) {
        Outcome::Stored { failures } => failures
            .into_iter()
            .map(|failure| failure.map(|failure| failure.code))
            .collect(),
        outcome => panic!("{outcome:?}"),
    }
}

fn fetch(service: &Service, paths: &[&[u8]]) -> Vec<FetchedFile> {
    let job = Job::Fetch {
        export: EXPORT.to_owned(),
        paths: paths.iter().map(|path| path.to_vec()).collect(),
    };
    match service.ask(job) {
        Outcome::Fetched { files } => files,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn files_are_stored_one_by_one_refused_and_fetched_again() {
    let service = Service::start();
    let export = service.export();
    fs::create_dir(export.join("taken")).unwrap();
    symlink("/etc", export.join("out")).unwrap();
    let mut wrong = file(b"wrong", b"x");
    wrong.crc ^= 1;
    let results = store(
        &service,
        vec![
            file(b"a", b"one"),
            file(b"new/deep/b", b""),
            file(b"new/deep/c", b"three"),
            file(b"taken", b"x"),
            file(b"out/passwd", b"x"),
            file(b"../x", b"x"),
            file(b"", b"x"),
            wrong,
        ],
    );
    assert_eq!(
        results,
        [
            None,
            None,
            None,
            Some(ErrorCode::IsDirectory),
            Some(ErrorCode::OutsideExport),
            Some(ErrorCode::OutsideExport),
            Some(ErrorCode::IsDirectory),
            Some(ErrorCode::ChecksumMismatch),
        ]
    );
    let visible: Vec<_> = names(&export.join("new/deep"));
    assert_eq!(visible, ["b", "c"]);
    let found = fs::metadata(export.join("a")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime_nsec()), (0o640, 7));

    symlink("a", export.join("link")).unwrap();
    fs::write(export.join("large"), vec![1; MAX_INLINE + 1]).unwrap();
    let fetched = fetch(
        &service,
        &[b"link", b"new/deep/b", b"large", b"none", b"taken"],
    );
    let FetchedFile::Whole(a) = &fetched[0] else {
        panic!("{fetched:?}");
    };
    assert_eq!(
        (a.bytes.as_slice(), a.mode, a.mtime_ns),
        (&b"one"[..], 0o640, 1_000_000_007)
    );
    assert_eq!(a.crc, crc32fast::hash(b"one"));
    assert!(matches!(&fetched[1], FetchedFile::Whole(b) if b.bytes.is_empty()));
    assert!(
        matches!(&fetched[2], FetchedFile::Large(large) if large.size == MAX_INLINE as u64 + 1)
    );
    let code = |fetched: &FetchedFile| match fetched {
        FetchedFile::Failed(failure) => Some(failure.code),
        _ => None,
    };
    assert_eq!(code(&fetched[3]), Some(ErrorCode::NotFound));
    assert_eq!(code(&fetched[4]), Some(ErrorCode::IsDirectory));
}

#[test]
fn what_is_there_is_replaced() {
    let service = Service::start();
    for round in 0..3 {
        let content = format!("content {round}");
        let files = (0..50).map(|n| file(format!("f{n}").as_bytes(), content.as_bytes()));
        assert!(store(&service, files.collect()).iter().all(Option::is_none));
    }
    let export = service.export();
    for n in 0..50 {
        assert_eq!(
            fs::read(export.join(format!("f{n}"))).unwrap(),
            b"content 2"
        );
    }
    let there = names(&export).into_iter().filter(|name| name != ".blockd");
    assert_eq!(there.count(), 50);
}

#[test]
fn an_answer_fits_a_message_whatever_is_asked() {
    let service = Service::start();
    let export = service.export();
    fs::write(export.join("large"), vec![1; MAX_INLINE]).unwrap();
    let long = [b'\xff'; 250];
    let many: Vec<&[u8]> = vec![b"large"; MAX_SMALL_FILES];
    let missing: Vec<&[u8]> = vec![&long; MAX_SMALL_FILES];
    for paths in [many, missing] {
        let files = fetch(&service, &paths);
        assert_eq!(files.len(), MAX_SMALL_FILES);
        let reply = Reply::Fetched { files };
        encode(
            &ReplyFrame {
                id: u32::MAX,
                reply,
            },
            &mut Vec::new(),
        )
        .unwrap();
    }
    let files = vec![file(&long, b"x"); MAX_SMALL_FILES];
    let broken = files.into_iter().map(|file| SmallFile { crc: 1, ..file });
    let export = EXPORT.to_owned();
    let files = broken.collect();
    let Outcome::Stored { failures } = service.ask(Job::Store { export, files }) else {
        panic!("not stored");
    };
    assert!(failures.iter().all(Option::is_some));
    let reply = Reply::Stored { failures };
    encode(
        &ReplyFrame {
            id: u32::MAX,
            reply,
        },
        &mut Vec::new(),
    )
    .unwrap();
}
