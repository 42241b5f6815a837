//! Files in place.

use std::sync::Arc;

use blk_datapath::disk::Ways;
use blk_datapath::engine::{ReceivedFile, TransferError};
use blk_proto::message::{Allocation, ErrorCode, Reply, Request};

use super::world::{Bench, CRC, SESSION, close, open, read};
use crate::namespace::{Job, OpenFile, Outcome, RangedJob, RangedOutcome};
use crate::service::ports::At;

pub(super) const FILE: u32 = 5;
const WRITE: u32 = 6;

pub(super) fn open_file() -> Request {
    Request::OpenFile {
        transfer: FILE,
        export: "media".to_owned(),
        path: b"source".to_vec(),
        create: None,
    }
}

pub(super) fn write(offset: u64, len: u64) -> Request {
    Request::Write {
        transfer: WRITE,
        file: FILE,
        offset,
        len,
    }
}

fn write_done() -> Request {
    Request::WriteDone {
        transfer: WRITE,
        crc: CRC,
    }
}

fn read_range(transfer: u32, offset: u64, len: u64) -> Request {
    Request::ReadRange {
        transfer,
        file: FILE,
        offset,
        len,
    }
}

fn sync() -> Request {
    Request::Sync { file: FILE }
}

pub(super) fn answer(reply: Reply) -> Outcome {
    Outcome::Ranged(RangedOutcome::Answer(reply))
}

impl Bench {
    /// A file of two pages, open for writing; uses request 1.
    pub(super) fn open_for_writing(&mut self) -> Arc<OpenFile> {
        self.ask(1, open_file());
        let (key, job) = self.job();
        assert!(matches!(job, Job::Ranged(RangedJob::Open { .. })));
        let file = self.editable(&[7; 8192]);
        let attributes = file.attributes().unwrap();
        let opened = RangedOutcome::Opened {
            file: Arc::clone(&file),
            attributes,
        };
        self.answer(key, Outcome::Ranged(opened));
        assert_eq!(self.replies(), [(1, Reply::Opened { attributes })]);
        file
    }

    /// A write that may send blocks; uses request 2.
    fn writing(&mut self, file: &Arc<OpenFile>) {
        self.ask(2, write(4096, 4096));
        let (key, job) = self.job();
        let Job::Ranged(RangedJob::Lock { guard, .. }) = job else {
            panic!("{job:?}");
        };
        assert!(!file.lock(4096, 4096).is_held(None), "asked for later");
        self.answer(key, Outcome::Ranged(RangedOutcome::Locked(guard)));
        assert_eq!(self.replies(), [(2, Reply::WriteReady)]);
    }

    fn range_received(&mut self, outcome: Result<ReceivedFile, TransferError>) {
        let at = At {
            session: SESSION,
            transfer: WRITE,
        };
        self.sessions.on_received(&mut self.world, at, outcome);
    }
}

fn whole(crc: u32) -> ReceivedFile {
    ReceivedFile {
        bytes: 4096,
        crc,
        ways: Ways {
            direct: 4096,
            copied: 0,
        },
    }
}

#[test]
fn a_range_is_written_when_all_is_there_and_the_client_has_said_so() {
    for done_first in [true, false] {
        let mut bench = Bench::new();
        let file = bench.open_for_writing();
        bench.writing(&file);
        assert_eq!(bench.world.coverages[0].start(), 4096);
        assert_eq!(bench.world.coverages[0].end(), 8192);
        if done_first {
            bench.ask(3, write_done());
            assert!(bench.replies().is_empty());
            bench.range_received(Ok(whole(CRC)));
        } else {
            bench.range_received(Ok(whole(CRC)));
            assert!(bench.replies().is_empty());
            bench.ask(3, write_done());
        }
        let written = Reply::Written {
            zero_copy_bytes: 4096,
            copied_bytes: 0,
        };
        assert_eq!(bench.replies(), [(3, written)]);
        // The number is free, and the file still open.
        bench.writing(&file);
    }
}

#[test]
fn a_range_that_differs_or_fails_is_told_so() {
    for (outcome, code) in [
        (Ok(whole(!CRC)), ErrorCode::ChecksumMismatch),
        (
            Err(TransferError::Disk(std::io::ErrorKind::StorageFull.into())),
            ErrorCode::NoSpace,
        ),
        (
            Err(TransferError::Disk(std::io::ErrorKind::FileTooLarge.into())),
            ErrorCode::TooLarge,
        ),
    ] {
        let mut bench = Bench::new();
        let file = bench.open_for_writing();
        bench.writing(&file);
        bench.range_received(outcome);
        bench.ask(3, write_done());
        assert_eq!(bench.refusal(3), code);
        bench.ask(4, write_done());
        assert_eq!(bench.refusal(4), ErrorCode::Protocol);
    }
}

#[test]
fn what_is_missing_of_a_range_is_asked_for() {
    let mut bench = Bench::new();
    let file = bench.open_for_writing();
    bench.writing(&file);
    bench.ask(3, write_done());
    let at = At {
        session: SESSION,
        transfer: WRITE,
    };
    let missing = vec![(4096, 512)];
    bench
        .sessions
        .on_incomplete(&mut bench.world, at, missing.clone());
    assert_eq!(bench.replies(), [(3, Reply::Missing { ranges: missing })]);
    bench.range_received(Ok(whole(CRC)));
    bench.ask(4, write_done());
    assert!(matches!(bench.replies()[..], [(4, Reply::Written { .. })]));
}

#[test]
fn a_range_is_held_until_the_last_of_its_writes_is_over() {
    let mut bench = Bench::new();
    let file = bench.open_for_writing();
    bench.writing(&file);
    bench.ask(3, close(WRITE));
    assert_eq!(bench.replies(), [(3, Reply::Closed)]);
    assert_eq!(bench.world.abandoned, [WRITE]);
    // As a write in flight has it.
    let in_flight = bench.world.coverages.pop();
    let next = file.lock(0, 1 << 20);
    assert!(!next.is_held(None));
    drop(in_flight);
    assert!(next.is_held(None));
}

#[test]
fn a_write_that_waits_for_its_range_can_be_closed() {
    let mut bench = Bench::new();
    let file = bench.open_for_writing();
    bench.ask(2, write(0, 4096));
    let (key, _) = bench.job();
    bench.ask(3, close(WRITE));
    bench.assert_closed(2, 3);
    let guard = file.lock(0, 4096);
    bench.answer(key, Outcome::Ranged(RangedOutcome::Locked(guard)));
    assert!(bench.world.inbound.is_empty() && bench.replies().is_empty());
    assert!(file.lock(0, 4096).is_held(None), "it was not given back");
}

#[test]
fn ranges_are_checked() {
    let mut bench = Bench::new();
    bench.open_for_writing();
    let end = 1 << 62;
    let requests = [
        (write(1, 4096), ErrorCode::Unsupported),
        (write(0, 4095), ErrorCode::Unsupported),
        (write(0, 0), ErrorCode::Unsupported),
        (write(end, end), ErrorCode::TooLarge),
        (write(0, (16 << 20) + 4096), ErrorCode::TooLarge),
        (write(u64::MAX - 4095, 4096), ErrorCode::TooLarge),
        (read_range(WRITE, 0, 8193), ErrorCode::TooLarge),
        (read_range(WRITE, 512, 4096), ErrorCode::Unsupported),
        (read_range(WRITE, 0, 0), ErrorCode::Unsupported),
        (read_range(FILE, 0, 4096), ErrorCode::Protocol),
        (
            Request::ReadInline {
                file: FILE,
                offset: 0,
                len: 32 * 1024 + 1,
            },
            ErrorCode::TooLarge,
        ),
        (
            Request::Allocate {
                file: FILE,
                offset: 0,
                len: 0,
                how: Allocation::Punch,
            },
            ErrorCode::Protocol,
        ),
        (
            Request::Truncate {
                file: FILE,
                size: u64::MAX,
            },
            ErrorCode::TooLarge,
        ),
        (Request::Sync { file: 77 }, ErrorCode::Protocol),
        (read(FILE), ErrorCode::Protocol),
        (Request::Share { transfer: FILE }, ErrorCode::Protocol),
    ];
    for (id, (request, code)) in (10..).zip(requests) {
        let asked = format!("{request:?}");
        bench.ask(id, request);
        assert_eq!(bench.refusal(id), code, "{asked}");
    }
    assert!(bench.world.jobs.is_empty());
}

#[test]
fn several_ranges_are_read_at_once_and_a_stale_end_answers_nobody() {
    let mut bench = Bench::new();
    bench.open_for_writing();
    bench.ask(2, read_range(20, 0, 8192));
    bench.ask(3, read_range(21, 4096, 4096));
    assert_eq!(bench.world.outbound, [20, 21]);
    let at = |transfer| At {
        session: SESSION,
        transfer,
    };
    let sent = || {
        Ok(blk_datapath::engine::SentFile {
            bytes: 4096,
            crc: CRC,
        })
    };
    let (first, second) = (
        Arc::clone(&bench.world.works[0]),
        Arc::clone(&bench.world.works[1]),
    );
    let world = &mut bench.world;
    bench
        .sessions
        .on_sent(world, at(21), Arc::clone(&first), sent());
    assert!(bench.replies().is_empty());
    bench
        .sessions
        .on_sent(&mut bench.world, at(21), second, sent());
    assert_eq!(bench.replies(), [(3, Reply::ReadDone { crc: CRC })]);
    // The file is closed, the read goes on.
    bench.ask(4, close(FILE));
    assert_eq!(bench.replies(), [(4, Reply::Closed)]);
    bench
        .sessions
        .on_sent(&mut bench.world, at(20), first, sent());
    assert_eq!(bench.replies(), [(2, Reply::ReadDone { crc: CRC })]);
}

#[test]
fn what_the_namespace_thread_does_is_answered_as_it_says() {
    let mut bench = Bench::new();
    bench.open_for_writing();
    bench.ask(2, sync());
    let (key, _) = bench.job();
    bench.answer(key, answer(Reply::Done));
    assert_eq!(bench.replies(), [(2, Reply::Done)]);
    bench.ask(3, Request::FileAttributes { file: FILE });
    assert!(matches!(
        bench.replies()[..],
        [(3, Reply::Attributes(attributes))] if attributes.size == 8192
    ));
    // Also when the file is closed meanwhile.
    bench.ask(4, sync());
    let (key, _) = bench.job();
    bench.ask(5, close(FILE));
    assert_eq!(bench.replies(), [(5, Reply::Closed)]);
    bench.answer(key, answer(Reply::Done));
    assert_eq!(bench.replies(), [(4, Reply::Done)]);
    bench.ask(6, sync());
    assert_eq!(bench.refusal(6), ErrorCode::Protocol);
}

#[test]
fn holes_of_a_file_to_be_read_are_not_sent() {
    let mut bench = Bench::new();
    bench.open(9);
    let holes = Request::Holes {
        transfer: 9,
        offset: 0,
    };
    bench.ask(2, holes);
    let (key, job) = bench.job();
    assert!(matches!(job, Job::Ranged(RangedJob::Holes { .. })));
    let found = Reply::Holes {
        ranges: vec![(0, 4096)],
        next: None,
    };
    bench.answer(key, answer(found.clone()));
    assert_eq!(bench.replies(), [(2, found)]);
    let sparse = |holes: &[(u64, u64)]| Request::ReadSparse {
        transfer: 9,
        offset: 0,
        len: 4096,
        holes: holes.to_vec(),
    };
    for bad in [&[(0, 8192)][..], &[(1, 4095)], &[(0, 0)]] {
        bench.ask(3, sparse(bad));
        assert_eq!(bench.refusal(3), ErrorCode::Protocol);
    }
    bench.ask(4, sparse(&[(0, 4096)]));
    // There is nothing else in it.
    let zeros = crc32fast::hash(&[0; 4096]);
    assert_eq!(bench.world.works[0].sent().unwrap().crc, zeros);
}

#[test]
fn the_end_of_a_session_ends_what_it_had_open() {
    let mut bench = Bench::new();
    let file = bench.open_for_writing();
    bench.writing(&file);
    bench.ask(3, open(40));
    bench.sessions.on_closed(&mut bench.world, SESSION);
    bench.world.coverages.clear();
    assert!(file.lock(0, 1 << 20).is_held(None));
    assert_eq!(Arc::strong_count(&file), 1);
}
