//! The state machine against a world that records what it is asked.

mod begin;
mod cached;
mod flows;
mod ranged;
mod small;
mod world;

use std::sync::Arc;

use blk_proto::message::{ErrorCode, Reply, Request};

use self::world::{
    Bench, COMMITTED, CRC, SESSION, close, commit, description, failed, open, put, read, stat,
};
use super::{MAX_JOBS, MAX_TRANSFERS};
use crate::namespace::{Asker, Job, Outcome};

#[test]
fn a_put_is_committed_when_all_is_written_and_asked_for() {
    for commit_first in [true, false] {
        let mut bench = Bench::new();
        bench.receiving(5);
        if commit_first {
            bench.ask(2, commit(5));
            assert!(bench.world.jobs.is_empty());
            bench.received(5, CRC);
        } else {
            bench.received(5, CRC);
            assert!(bench.world.jobs.is_empty());
            bench.ask(2, commit(5));
        }
        let (key, job) = bench.job();
        assert!(matches!(job, Job::Commit { .. }));
        bench.answer(key, Outcome::Committed);
        assert_eq!(bench.replies(), [(2, COMMITTED)]);
    }
}

#[test]
fn requests_about_names_are_a_job_each_and_a_description_is_none() {
    let mut bench = Bench::new();
    let (export, path) = ("media".to_owned(), b"a/x".to_vec());
    bench.ask(
        1,
        Request::Rename {
            export: export.clone(),
            from: path.clone(),
            to: b"y".to_vec(),
            replace: true,
        },
    );
    bench.ask(2, Request::RemoveDirectory { export, path });
    bench.ask(3, Request::Describe);
    assert_eq!(bench.replies(), [(3, description())]);
    let (
        renamed,
        Job::Rename {
            from, to, replace, ..
        },
    ) = bench.job()
    else {
        panic!("no rename");
    };
    assert_eq!(
        (&from[..], &to[..], replace),
        (&b"a/x"[..], &b"y"[..], true)
    );
    let (removed, Job::RemoveDirectory { path, .. }) = bench.job() else {
        panic!("no removal");
    };
    assert_eq!(path, b"a/x");
    bench.answer(removed, Outcome::Removed);
    bench.answer(renamed, Outcome::Renamed);
    assert_eq!(bench.replies(), [(2, Reply::Done), (1, Reply::Done)]);
}

#[test]
fn a_file_with_another_checksum_is_dropped() {
    let mut bench = Bench::new();
    bench.receiving(5);
    bench.received(5, !CRC);
    bench.ask(2, commit(5));
    assert_eq!(bench.refusal(2), ErrorCode::ChecksumMismatch);
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
}

#[test]
fn the_target_of_an_aborted_put_is_not_that_of_the_next() {
    let mut bench = Bench::new();
    bench.ask(1, put(5));
    let (first, _) = bench.job();
    bench.ask(2, close(5));
    bench.assert_closed(1, 2);
    // The same numbers again, of transfer and of request: both are free.
    bench.ask(1, put(5));
    let (second, _) = bench.job();

    let stale = bench.target();
    let stale_file = Arc::clone(stale.file());
    bench.answer(first, Outcome::TargetReady(stale));
    assert!(bench.world.inbound.is_empty() && bench.replies().is_empty());
    let (key, Job::Abandon { target }) = bench.job() else {
        panic!("the target is kept");
    };
    assert_eq!(key.asker, Asker::Nobody);
    assert!(Arc::ptr_eq(target.file(), &stale_file));

    let target = bench.target();
    let file = Arc::clone(target.file());
    bench.answer(second, Outcome::TargetReady(target));
    assert_eq!(bench.replies(), [(1, Reply::PutReady)]);
    let [(5, inbound)] = &bench.world.inbound[..] else {
        panic!("{:?}", bench.world.inbound);
    };
    assert!(Arc::ptr_eq(inbound, &file));
}

#[test]
fn the_failure_of_an_aborted_transfer_does_not_end_the_next() {
    let mut bench = Bench::new();
    bench.ask(1, open(5));
    let (first, _) = bench.job();
    bench.ask(2, close(5));
    bench.assert_closed(1, 2);
    bench.ask(3, open(5));
    let (second, _) = bench.job();
    bench.answer(first, failed());
    assert!(bench.replies().is_empty());
    let source = bench.source();
    bench.answer(second, Outcome::SourceReady(source));
    assert!(matches!(bench.replies()[..], [(3, Reply::Opened { .. })]));
}

#[test]
fn a_failed_stat_leaves_transfer_0_alone() {
    let mut bench = Bench::new();
    bench.receiving(0);
    bench.ask(2, stat());
    let (key, _) = bench.job();
    bench.answer(key, failed());
    assert_eq!(bench.refusal(2), ErrorCode::NotFound);
    bench.world.queue_full = true;
    bench.ask(3, stat());
    assert_eq!(bench.refusal(3), ErrorCode::Busy);
    bench.received(0, CRC);
    bench.ask(4, commit(0));
    let (key, _) = bench.job();
    bench.answer(key, Outcome::Committed);
    assert_eq!(bench.replies(), [(4, COMMITTED)]);
}

#[test]
fn a_failed_abandon_answers_nobody() {
    let mut bench = Bench::new();
    bench.receiving(0);
    bench.ask(2, close(0));
    assert_eq!(bench.replies(), [(2, Reply::Closed)]);
    let (key, job) = bench.job();
    assert!(matches!(job, Job::Abandon { .. }));
    bench.receiving(0);
    bench.answer(key, failed());
    assert!(bench.replies().is_empty());
    bench.ask(3, commit(0));
    bench.received(0, CRC);
    assert!(matches!(bench.job().1, Job::Commit { .. }));
}

#[test]
fn what_the_engine_cannot_start_is_answered() {
    let mut bench = Bench::new();
    bench.open(6);
    bench.world.engine_refuses = true;
    bench.ask(2, read(6));
    assert_eq!(bench.refusal(2), ErrorCode::Io);
    bench.ask(3, put(5));
    let (key, _) = bench.job();
    let target = bench.target();
    bench.answer(key, Outcome::TargetReady(target));
    assert_eq!(bench.refusal(3), ErrorCode::Io);
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
    // The read did not stay under way, and the number of the put is free.
    bench.world.engine_refuses = false;
    bench.ask(4, read(6));
    bench.ask(5, put(5));
    assert!(bench.replies().is_empty());
    // Tried again without what the session might still have of an earlier read.
    assert_eq!(bench.world.outbound, [6, 6, 6]);
}

#[test]
fn close_answers_the_request_that_waits() {
    let mut bench = Bench::new();
    bench.open(6);
    bench.ask(2, read(6));
    bench.ask(3, close(6));
    bench.assert_closed(2, 3);
    bench.receiving(5);
    bench.ask(4, commit(5));
    bench.ask(5, close(5));
    bench.assert_closed(4, 5);
    assert_eq!(bench.world.abandoned, [6, 5]);
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
}

#[test]
fn a_commit_under_way_is_not_called_back_by_a_close() {
    let mut bench = Bench::new();
    bench.receiving(5);
    bench.received(5, CRC);
    bench.ask(2, commit(5));
    let (key, _) = bench.job();
    bench.ask(3, close(5));
    assert_eq!(bench.replies(), [(3, Reply::Closed)]);
    bench.ask(4, put(5));
    assert_eq!(bench.refusal(4), ErrorCode::Protocol);
    bench.answer(key, Outcome::Committed);
    assert_eq!(bench.replies(), [(2, COMMITTED)]);
    bench.receiving(5);
}

#[test]
fn jobs_of_a_session_are_bounded_but_a_whole_file_is_committed() {
    let mut bench = Bench::new();
    bench.receiving(5);
    (0..MAX_JOBS).for_each(|n| bench.ask(10 + n as u32, stat()));
    assert!(bench.replies().is_empty());
    bench.ask(2, stat());
    assert_eq!(bench.refusal(2), ErrorCode::Busy);
    bench.ask(3, put(6));
    assert_eq!(bench.refusal(3), ErrorCode::Busy);
    bench.world.queue_full = true;
    bench.received(5, CRC);
    bench.ask(4, commit(5));
    let (key, job) = bench.world.jobs.pop().unwrap();
    assert!(matches!(job, Job::Commit { .. }));
    bench.answer(key, Outcome::Committed);
    assert_eq!(bench.replies(), [(4, COMMITTED)]);
    // An answer makes room for one more.
    bench.world.queue_full = false;
    let (key, _) = bench.job();
    bench.answer(key, Outcome::Made);
    assert_eq!(bench.replies(), [(10, Reply::Made)]);
    bench.ask(5, stat());
    assert!(bench.replies().is_empty());
    bench.ask(6, stat());
    assert_eq!(bench.refusal(6), ErrorCode::Busy);
}

#[test]
fn aborted_puts_count_until_their_jobs_are_over() {
    let mut bench = Bench::new();
    for _ in 0..MAX_JOBS {
        bench.ask(1, put(5));
        bench.ask(2, close(5));
        bench.assert_closed(1, 2);
    }
    bench.ask(3, put(5));
    assert_eq!(bench.refusal(3), ErrorCode::Busy);
    bench.ask(4, open(0));
    assert_eq!(bench.refusal(4), ErrorCode::Busy);
}

#[test]
fn transfers_of_a_session_are_bounded() {
    let mut bench = Bench::new();
    (0..MAX_TRANSFERS as u32).for_each(|n| bench.ask(n, put(n)));
    bench.ask(1000, put(1000));
    assert_eq!(bench.refusal(1000), ErrorCode::Busy);
    bench.ask(1001, put(0));
    assert_eq!(bench.refusal(1001), ErrorCode::Protocol);
}

#[test]
fn a_stopping_daemon_refuses_a_commit() {
    let mut bench = Bench::new();
    bench.receiving(5);
    bench.received(5, CRC);
    bench.world.stopped = true;
    bench.ask(2, commit(5));
    assert_eq!(bench.refusal(2), ErrorCode::Busy);
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let mut bench = Bench::new();
    bench.world.deaf = true;
    let asked = (1..1_000_000)
        .find(|&id| {
            bench.ask(id, close(1));
            !bench.world.closed.is_empty()
        })
        .expect("a bound");
    assert_eq!(bench.world.closed, [SESSION]);
    let replies = bench.replies().len();
    assert_eq!(replies as u32, asked);
    bench.ask(2, close(1));
    assert!(bench.replies().is_empty());
}

#[test]
fn a_message_that_is_none_ends_the_session_and_its_targets() {
    let mut bench = Bench::new();
    bench.receiving(5);
    bench
        .sessions
        .on_message(&mut bench.world, SESSION, &[0xff; 9]);
    assert_eq!(bench.world.closed, [SESSION]);
    bench.sessions.on_closed(&mut bench.world, SESSION);
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
}

#[test]
fn a_target_for_a_session_that_is_over_is_dropped() {
    let mut bench = Bench::new();
    bench.ask(1, put(5));
    let (key, _) = bench.job();
    bench.sessions.on_closed(&mut bench.world, SESSION);
    let target = bench.target();
    bench.answer(key, Outcome::TargetReady(target));
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
    assert!(bench.replies().is_empty() && bench.world.inbound.is_empty());
}
