//! Few bytes of files in place, read by the worker itself.

use blk_proto::message::{Allocation, ErrorCode, Reply, Request};

use super::ranged::{FILE, answer, open_file, write};
use super::world::Bench;
use crate::namespace::{Ask, Job, Outcome, RangedJob, RangedOutcome};

fn read_inline(offset: u64, len: u32) -> Request {
    Request::ReadInline {
        file: FILE,
        offset,
        len,
    }
}

#[test]
fn cached_bytes_are_read_at_once_but_not_past_a_write() {
    let mut bench = Bench::new();
    let file = bench.open_for_writing();
    // Just written, so it is in the cache; no job is made.
    bench.ask(2, read_inline(8000, 500));
    let bytes = vec![7; 192];
    let crc = crc32fast::hash(&bytes);
    assert_eq!(bench.replies(), [(2, Reply::Bytes { crc, bytes })]);
    let guard = file.lock(4096, 4096);
    bench.ask(3, read_inline(8000, 500));
    assert!(bench.replies().is_empty());
    let (_, job) = bench.job();
    let Job::Ranged(RangedJob::Ask { ask, .. }) = job else {
        panic!("{job:?}");
    };
    assert!(matches!(
        ask,
        Ask::Read {
            offset: 8000,
            len: 500
        }
    ));
    bench.ask(4, read_inline(0, 1));
    assert_eq!(bench.replies().len(), 1, "nobody writes there");
    drop(guard);
    bench.ask(5, read_inline(8000, 500));
    assert_eq!(bench.replies().len(), 1);
}

#[test]
fn a_cached_read_overtakes_no_request_that_is_still_in_a_queue() {
    let truncate = Request::Truncate {
        file: FILE,
        size: 0,
    };
    let write_inline = Request::WriteInline {
        file: FILE,
        offset: 4096,
        crc: 0,
        bytes: vec![1; 10],
    };
    let punch = Request::Allocate {
        file: FILE,
        offset: 0,
        len: 8192,
        how: Allocation::Punch,
    };
    for request in [truncate, write_inline, punch, write(4096, 4096)] {
        let mut bench = Bench::new();
        bench.open_for_writing();
        let asked = format!("{request:?}");
        bench.ask(2, request);
        bench.ask(3, read_inline(4100, 1));
        assert!(bench.replies().is_empty(), "{asked} was overtaken");
        let (_, first) = bench.job();
        let (_, read) = bench.job();
        let Job::Ranged(RangedJob::Ask {
            guard: Some(turn), ..
        }) = read
        else {
            panic!("{read:?}");
        };
        assert!(!turn.is_held(None), "{asked} has no turn before the read");
        drop(first);
        assert!(turn.is_held(None));
        drop(turn);
        bench.ask(4, read_inline(4100, 1));
        assert_eq!(bench.replies().len(), 1, "{asked} is over");
    }
}

#[test]
fn what_a_refused_request_asked_for_is_free() {
    let mut bench = Bench::new();
    let file = bench.open_for_writing();
    bench.world.queue_full = true;
    bench.ask(2, write(0, 4096));
    assert_eq!(bench.refusal(2), ErrorCode::Busy);
    assert!(file.lock(0, 8192).is_held(None));
}

#[test]
fn a_worker_reads_so_much_for_one_session_in_a_turn() {
    let mut bench = Bench::new();
    bench.open_for_writing();
    for _ in 0..2 {
        bench.sessions.on_turn();
        for id in 0..300 {
            bench.ask(id, read_inline(0, 4096));
        }
        assert_eq!(bench.replies().len(), 256);
        assert_eq!(bench.world.jobs.len(), 44, "the others wait in the queue");
        while !bench.world.jobs.is_empty() {
            let (key, _) = bench.job();
            bench.answer(key, answer(Reply::Done));
        }
        bench.replies();
    }
}

/// Whatever it is asked at once, a client that keeps reading is told that it is too much.
#[test]
fn who_asks_for_too_much_at_once_is_not_cut_off() {
    let mut bench = Bench::new();
    let file = bench.editable(&[7; 32 * 1024]);
    let attributes = file.attributes().unwrap();
    bench.ask(1, open_file());
    let (key, _) = bench.job();
    let opened = RangedOutcome::Opened { file, attributes };
    bench.answer(key, Outcome::Ranged(opened));
    bench.replies();
    // Nothing of it has gone out yet.
    bench.world.deaf = true;
    for id in 10..522 {
        bench.sessions.on_turn();
        bench.ask(id, read_inline(0, 32 * 1024));
    }
    let bytes = vec![7; 32 * 1024];
    let crc = crc32fast::hash(&bytes);
    while !bench.world.jobs.is_empty() {
        let (key, _) = bench.job();
        let bytes = bytes.clone();
        bench.answer(key, answer(Reply::Bytes { crc, bytes }));
    }
    let replies = bench.replies();
    assert_eq!(replies.len(), 512);
    let is_busy =
        |reply: &Reply| matches!(reply, Reply::Failed(failure) if failure.code == ErrorCode::Busy);
    let busy = replies.iter().filter(|(_, reply)| is_busy(reply)).count();
    assert_eq!(busy, 256);
    assert!(bench.world.closed.is_empty());
    // It has read them all.
    bench.ask(600, read_inline(0, 1));
    assert!(matches!(bench.replies()[..], [(600, Reply::Bytes { .. })]));
}
