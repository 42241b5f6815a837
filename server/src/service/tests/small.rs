//! Batches of small files.

use blk_proto::message::{
    ErrorCode, FetchedFile, MAX_INLINE, MAX_SMALL_FILES, Reply, Request, SmallFile,
};

use super::super::MAX_JOBS;
use super::super::reply::failure;
use super::world::{Bench, failed};
use crate::namespace::{Asker, Job, Outcome};

fn file(len: usize) -> SmallFile {
    SmallFile {
        path: b"x".to_vec(),
        mode: 0o644,
        mtime_ns: 0,
        crc: 0,
        bytes: vec![7; len],
    }
}

fn store(files: Vec<SmallFile>) -> Request {
    let export = "media".to_owned();
    Request::Store { export, files }
}

fn fetch(count: usize) -> Request {
    Request::Fetch {
        export: "media".to_owned(),
        paths: vec![b"x".to_vec(); count],
    }
}

#[test]
fn a_batch_is_one_job_and_one_answer() {
    let mut bench = Bench::new();
    bench.ask(1, store(vec![file(5), file(0)]));
    bench.ask(2, fetch(2));
    let (stored, Job::Store { export, files }) = bench.job() else {
        panic!("no store");
    };
    assert_eq!((export.as_str(), files.len()), ("media", 2));
    assert_eq!(stored.asker, Asker::Request(1));
    let (fetched, Job::Fetch { paths, .. }) = bench.job() else {
        panic!("no fetch");
    };
    assert_eq!(paths.len(), 2);
    assert!(
        bench.replies().is_empty(),
        "nothing is answered before it is done"
    );
    // In whatever order they are carried out.
    let files = vec![FetchedFile::Whole(file(5))];
    let same = files.clone();
    bench.answer(fetched, Outcome::Fetched { files });
    assert_eq!(bench.replies(), [(2, Reply::Fetched { files: same })]);
    let failures = vec![None, Some(failure(ErrorCode::NoSpace, "full"))];
    let same = failures.clone();
    bench.answer(stored, Outcome::Stored { failures });
    assert_eq!(bench.replies(), [(1, Reply::Stored { failures: same })]);
}

#[test]
fn a_batch_that_fails_as_a_whole_is_answered() {
    let mut bench = Bench::new();
    bench.ask(1, store(vec![file(1)]));
    let (key, _) = bench.job();
    bench.answer(key, failed());
    assert_eq!(bench.refusal(1), ErrorCode::NotFound);
    bench.world.queue_full = true;
    bench.ask(2, store(vec![file(1)]));
    assert_eq!(bench.refusal(2), ErrorCode::Busy);
}

#[test]
fn batches_are_bounded() {
    let mut bench = Bench::new();
    bench.ask(1, store(vec![file(0); MAX_SMALL_FILES + 1]));
    assert_eq!(bench.refusal(1), ErrorCode::TooLarge);
    bench.ask(2, store(vec![file(MAX_INLINE + 1)]));
    assert_eq!(bench.refusal(2), ErrorCode::TooLarge);
    bench.ask(3, fetch(MAX_SMALL_FILES + 1));
    assert_eq!(bench.refusal(3), ErrorCode::TooLarge);
    assert!(bench.world.jobs.is_empty());
    (0..MAX_JOBS as u32).for_each(|n| bench.ask(10 + n, store(vec![file(1)])));
    assert!(bench.replies().is_empty());
    bench.ask(4, store(vec![file(1)]));
    assert_eq!(bench.refusal(4), ErrorCode::Busy);
}
