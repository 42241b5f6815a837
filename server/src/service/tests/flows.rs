//! Transfers that several sessions carry.

use std::sync::Arc;

use blk_datapath::disk::Ways;
use blk_datapath::engine::{Claim, ReceivedFile, SentFile, TransferError};
use blk_proto::message::{ErrorCode, Reply, Request};

use super::super::ports::At;
use super::world::{Bench, COMMITTED, CRC, MEMBER, OTHER, SESSION, close, commit, put, read};
use crate::namespace::{Job, Outcome};

const HERE: At = At {
    session: SESSION,
    transfer: 5,
};

fn whole() -> ReceivedFile {
    ReceivedFile {
        bytes: 4096,
        crc: CRC,
        ways: Ways {
            direct: 4096,
            copied: 0,
        },
    }
}

impl Bench {
    /// A put that another session has joined.
    fn shared_put() -> (Self, u64) {
        let mut bench = Self::new();
        bench.receiving(5);
        let token = bench.share(5);
        assert_eq!(bench.join(token), Reply::Joined);
        (bench, token)
    }

    /// A read that another session takes part in: request 2.
    fn shared_read() -> Self {
        let mut bench = Self::new();
        bench.open(5);
        let token = bench.share(5);
        assert_eq!(bench.join(token), Reply::Joined);
        bench.ask(2, read(5));
        assert_eq!(bench.deliver(), ["send"]);
        bench
    }

    /// The engine tells the end of the work that it was given as number `work`.
    fn sent(&mut self, at: At, work: usize, outcome: Result<SentFile, TransferError>) {
        let work = Arc::clone(&self.world.works[work]);
        self.sessions.on_sent(&mut self.world, at, work, outcome);
    }

    fn assert_refused(&mut self, reply: Reply, wanted: ErrorCode) {
        match reply {
            Reply::Failed(failure) => assert_eq!(failure.code, wanted),
            reply => panic!("{reply:?}"),
        }
    }
}

#[test]
fn flows_of_a_put_share_its_coverage() {
    let (bench, _) = Bench::shared_put();
    let [first, second] = &bench.world.coverages[..] else {
        panic!("{:?}", bench.world.coverages);
    };
    assert!(Arc::ptr_eq(first, second));
    let [(5, file), (50, same)] = &bench.world.inbound[..] else {
        panic!("{:?}", bench.world.inbound);
    };
    assert!(Arc::ptr_eq(file, same));
}

#[test]
fn whoever_sees_the_end_of_a_put_tells_its_owner() {
    let (mut bench, _) = Bench::shared_put();
    bench.ask(2, commit(5));
    bench
        .sessions
        .on_received(&mut bench.world, MEMBER, Ok(whole()));
    assert!(bench.world.jobs.is_empty());
    assert_eq!(bench.deliver(), ["received"]);
    let (key, job) = bench.job();
    assert!(matches!(job, Job::Commit { .. }));
    // The member forgets it, and a second report changes nothing.
    assert_eq!(bench.deliver(), ["over"]);
    assert_eq!(bench.world.abandoned, [50]);
    bench
        .sessions
        .on_received(&mut bench.world, HERE, Ok(whole()));
    bench.answer(key, Outcome::Committed);
    assert_eq!(bench.replies(), [(2, COMMITTED)]);
    assert!(bench.world.jobs.is_empty() && bench.world.mail.is_empty());
    // Its number is free again.
    bench.ask_by(OTHER, 9, put(50));
    assert!(matches!(bench.job().1, Job::CreateTarget { .. }));
}

#[test]
fn a_failure_of_any_flow_fails_the_put() {
    let (mut bench, _) = Bench::shared_put();
    let failure = TransferError::Protocol("on purpose");
    bench
        .sessions
        .on_received(&mut bench.world, MEMBER, Err(failure));
    assert_eq!(bench.deliver(), ["received"]);
    bench
        .sessions
        .on_received(&mut bench.world, HERE, Ok(whole()));
    bench.ask(2, commit(5));
    assert_eq!(bench.refusal(2), ErrorCode::Protocol);
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
}

#[test]
fn a_commit_of_a_file_with_holes_tells_them_and_may_be_asked_again() {
    let (mut bench, _) = Bench::shared_put();
    for by_member in [true, false] {
        bench.ask(2, commit(5));
        let at = if by_member { MEMBER } else { HERE };
        bench
            .sessions
            .on_incomplete(&mut bench.world, at, vec![(512, 1024)]);
        let mail = bench.deliver();
        assert_eq!(mail.len(), usize::from(by_member));
        let ranges = vec![(512, 1024)];
        assert_eq!(bench.replies(), [(2, Reply::Missing { ranges })]);
    }
    bench.ask(3, commit(5));
    bench.received(5, CRC);
    assert!(matches!(bench.job().1, Job::Commit { .. }));
}

#[test]
fn a_commit_has_the_engine_look_for_holes() {
    let (mut bench, _) = Bench::shared_put();
    let coverage = Arc::clone(&bench.world.coverages[0]);
    assert_eq!(coverage.take_missing(10), None);
    bench.ask(2, commit(5));
    assert_eq!(coverage.take_missing(10), Some(vec![(0, 4096)]));
}

#[test]
fn members_take_part_in_a_read() {
    for join_first in [true, false] {
        let mut bench = Bench::new();
        bench.open(5);
        let token = bench.share(5);
        if join_first {
            assert_eq!(bench.join(token), Reply::Joined);
            assert!(bench.world.outbound.is_empty());
            bench.ask(2, read(5));
            assert_eq!(bench.deliver(), ["send"]);
        } else {
            bench.ask(2, read(5));
            assert_eq!(bench.join(token), Reply::Joined);
        }
        assert_eq!(bench.world.outbound, [5, 50]);
        assert!(Arc::ptr_eq(&bench.world.works[0], &bench.world.works[1]));
        let sent = SentFile {
            bytes: 4096,
            crc: CRC,
        };
        bench.sent(MEMBER, 0, Ok(sent));
        assert_eq!(bench.deliver(), ["sent"]);
        bench.sent(HERE, 0, Ok(sent));
        assert_eq!(bench.replies(), [(2, Reply::ReadDone { crc: CRC })]);
        bench.ask(3, close(5));
        assert_eq!(bench.deliver(), ["over"]);
        assert_eq!(bench.world.abandoned, [5, 50]);
    }
}

#[test]
fn a_failed_read_stops_all_flows() {
    let mut bench = Bench::new();
    bench.open(5);
    let token = bench.share(5);
    assert_eq!(bench.join(token), Reply::Joined);
    bench.ask(2, read(5));
    bench.deliver();
    let failure = TransferError::SourceShrank { offset: 1 };
    bench.sent(MEMBER, 0, Err(failure));
    assert_eq!(bench.deliver(), ["sent"]);
    assert_eq!(bench.refusal(2), ErrorCode::Io);
    assert_eq!(bench.deliver(), ["stop"]);
    assert_eq!(bench.world.abandoned, [5, 50]);
    // It is still open, and shared.
    bench.ask(3, read(5));
    assert_eq!(bench.deliver(), ["send"]);
}

#[test]
fn a_member_that_goes_leaves_the_rest_alone() {
    let (mut bench, _) = Bench::shared_put();
    bench.sessions.on_closed(&mut bench.world, OTHER);
    assert!(bench.deliver().is_empty());
    bench.ask(2, commit(5));
    bench.received(5, CRC);
    assert!(matches!(bench.job().1, Job::Commit { .. }));
    assert!(bench.deliver().is_empty());
}

#[test]
fn a_member_may_close_its_part() {
    let (mut bench, _) = Bench::shared_put();
    bench.ask_by(OTHER, 9, close(50));
    assert_eq!(bench.replies(), [(9, Reply::Closed)]);
    assert!(bench.deliver().is_empty());
    bench.ask_by(OTHER, 10, commit(50));
    assert_eq!(bench.refusal(10), ErrorCode::Protocol);
}

#[test]
fn a_member_inherits_a_put() {
    let (mut bench, token) = Bench::shared_put();
    bench.ask(2, commit(5));
    bench.sessions.on_closed(&mut bench.world, SESSION);
    assert!(bench.world.jobs.is_empty(), "the target is kept");
    assert_eq!(bench.deliver(), ["adopt"]);
    bench.ask_by(OTHER, 9, commit(50));
    bench
        .sessions
        .on_received(&mut bench.world, MEMBER, Ok(whole()));
    let (key, job) = bench.job();
    assert!(matches!(job, Job::Commit { .. }));
    bench.answer(key, Outcome::Committed);
    assert_eq!(bench.replies(), [(9, COMMITTED)]);
    assert!(bench.world.mail.is_empty());
    let reply = bench.join(token);
    bench.assert_refused(reply, ErrorCode::NotFound);
}

#[test]
fn the_last_flow_of_a_put_takes_it_along() {
    let (mut bench, _) = Bench::shared_put();
    bench.sessions.on_closed(&mut bench.world, SESSION);
    // The heir ends before it learns of its luck.
    bench.sessions.on_closed(&mut bench.world, OTHER);
    assert!(bench.world.jobs.is_empty());
    assert_eq!(bench.deliver(), ["adopt"]);
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
}

#[test]
fn a_member_that_is_asked_to_commit_becomes_the_owner() {
    let (mut bench, _) = Bench::shared_put();
    bench.ask(2, commit(5));
    bench.ask_by(OTHER, 9, commit(50));
    assert_eq!(bench.deliver(), ["yield"]);
    assert_eq!(bench.refusal(2), ErrorCode::Protocol);
    assert_eq!(bench.deliver(), ["adopt"]);
    // The former owner is a member now, and tells the new one.
    bench
        .sessions
        .on_received(&mut bench.world, HERE, Ok(whole()));
    assert_eq!(bench.deliver(), ["received"]);
    let (key, job) = bench.job();
    assert!(matches!(job, Job::Commit { .. }));
    assert_eq!(bench.deliver(), ["over"]);
    bench.answer(key, Outcome::Committed);
    assert_eq!(bench.replies(), [(9, COMMITTED)]);
}

#[test]
fn a_claim_that_comes_too_late_is_refused() {
    let (mut bench, _) = Bench::shared_put();
    bench.ask_by(OTHER, 9, commit(50));
    bench.ask(3, close(5));
    bench.replies();
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
    assert_eq!(bench.deliver(), ["yield", "over"]);
    assert_eq!(bench.deliver(), ["refused"]);
    assert_eq!(bench.refusal(9), ErrorCode::Protocol);
}

#[test]
fn a_member_goes_on_with_a_read() {
    for done_before in [true, false] {
        let mut bench = Bench::new();
        bench.open(5);
        let token = bench.share(5);
        assert_eq!(bench.join(token), Reply::Joined);
        bench.ask(2, read(5));
        bench.deliver();
        bench.sessions.on_closed(&mut bench.world, SESSION);
        assert_eq!(bench.deliver(), ["adopt"]);
        let work = Arc::clone(&bench.world.works[0]);
        let flow = work.add_flow();
        let finish = || {
            let range = work.take(flow).unwrap();
            assert!(work.done(flow, range, CRC));
            work.sent().unwrap()
        };
        if done_before {
            let sent = finish();
            bench.sent(MEMBER, 0, Ok(sent));
            assert!(bench.replies().is_empty());
            bench.ask_by(OTHER, 9, read(50));
        } else {
            bench.ask_by(OTHER, 9, read(50));
            assert!(bench.replies().is_empty());
            let sent = finish();
            bench.sent(MEMBER, 0, Ok(sent));
        }
        assert_eq!(bench.replies(), [(9, Reply::ReadDone { crc: CRC })]);
        assert_eq!(bench.world.outbound, [5, 50], "nothing is sent again");
    }
}

#[test]
fn what_cannot_be_shared_or_joined_is_refused() {
    let mut bench = Bench::new();
    bench.ask(2, Request::Share { transfer: 5 });
    assert_eq!(bench.refusal(2), ErrorCode::Protocol);
    let reply = bench.join(12345);
    bench.assert_refused(reply, ErrorCode::NotFound);
    bench.receiving(5);
    let token = bench.share(5);
    assert_eq!(bench.share(5), token);
    bench.world.engine_refuses = true;
    let reply = bench.join(token);
    bench.assert_refused(reply, ErrorCode::Io);
    bench.world.engine_refuses = false;
    assert_eq!(bench.join(token), Reply::Joined);
    let reply = bench.join(token);
    bench.assert_refused(reply, ErrorCode::Protocol);
}

#[test]
fn what_a_member_tells_an_owner_that_has_ended_reaches_the_next_one() {
    let (mut bench, _) = Bench::shared_put();
    bench
        .sessions
        .on_received(&mut bench.world, MEMBER, Ok(whole()));
    bench.sessions.on_closed(&mut bench.world, SESSION);
    assert_eq!(bench.deliver(), ["received", "adopt"]);
    assert_eq!(bench.deliver(), ["received"]);
    bench.ask_by(OTHER, 9, commit(50));
    let (key, job) = bench.job();
    assert!(matches!(job, Job::Commit { .. }));
    bench.answer(key, Outcome::Committed);
    assert_eq!(bench.replies(), [(9, COMMITTED)]);
}

#[test]
fn a_commit_looks_whether_the_file_is_whole() {
    let (mut bench, _) = Bench::shared_put();
    let coverage = Arc::clone(&bench.world.coverages[0]);
    assert_eq!(coverage.claim(0, 4096), Claim::Granted);
    coverage.written(0, 4096, CRC, whole().ways);
    // Whoever wrote it has told nobody.
    bench.ask(2, commit(5));
    assert!(matches!(bench.job().1, Job::Commit { .. }));
}

#[test]
fn a_read_that_failed_while_nobody_waited_is_begun_anew() {
    let mut bench = Bench::shared_read();
    bench.sessions.on_closed(&mut bench.world, SESSION);
    assert_eq!(bench.deliver(), ["adopt"]);
    let failure = TransferError::SourceShrank { offset: 1 };
    bench.sent(MEMBER, 0, Err(failure));
    assert_eq!(bench.world.abandoned, [50]);
    bench.ask_by(OTHER, 9, read(50));
    assert_eq!(bench.world.outbound, [5, 50, 50]);
    assert!(!Arc::ptr_eq(&bench.world.works[0], &bench.world.works[2]));
}

#[test]
fn an_heir_that_could_not_send_takes_part_in_the_read_it_goes_on_with() {
    let mut bench = Bench::new();
    bench.open(5);
    let token = bench.share(5);
    assert_eq!(bench.join(token), Reply::Joined);
    bench.ask(2, read(5));
    bench.world.mail.clear();
    bench.sessions.on_closed(&mut bench.world, SESSION);
    assert_eq!(bench.deliver(), ["adopt"]);
    bench.ask_by(OTHER, 9, read(50));
    assert_eq!(bench.world.outbound, [5, 50]);
    assert!(Arc::ptr_eq(&bench.world.works[0], &bench.world.works[1]));
    assert!(bench.replies().is_empty());
}

#[test]
fn the_end_of_an_earlier_read_answers_no_later_one() {
    let mut bench = Bench::shared_read();
    let sent = SentFile {
        bytes: 4096,
        crc: CRC,
    };
    bench.sent(HERE, 0, Ok(sent));
    assert_eq!(bench.replies(), [(2, Reply::ReadDone { crc: CRC })]);
    bench.ask(3, read(5));
    bench.deliver();
    bench.sent(MEMBER, 0, Ok(SentFile { crc: 7, ..sent }));
    assert_eq!(bench.deliver(), ["sent"]);
    assert!(bench.replies().is_empty());
    bench.sent(MEMBER, 2, Ok(sent));
    assert_eq!(bench.deliver(), ["sent"]);
    assert_eq!(bench.replies(), [(3, Reply::ReadDone { crc: CRC })]);
}

#[test]
fn a_claim_that_crosses_the_inheritance_is_carried_out() {
    let (mut bench, _) = Bench::shared_put();
    bench.ask_by(OTHER, 9, commit(50));
    bench.sessions.on_closed(&mut bench.world, SESSION);
    assert_eq!(bench.deliver(), ["yield", "adopt"]);
    // Back to who asked, which is the owner by now.
    assert_eq!(bench.deliver(), ["yield"]);
    bench
        .sessions
        .on_received(&mut bench.world, MEMBER, Ok(whole()));
    let (key, job) = bench.job();
    assert!(matches!(job, Job::Commit { .. }));
    // It is no member of its own.
    assert!(bench.world.mail.is_empty());
    bench.answer(key, Outcome::Committed);
    assert_eq!(bench.replies(), [(9, COMMITTED)]);
}

#[test]
fn a_claim_whose_transfer_was_closed_meanwhile_is_answered() {
    let (mut bench, _) = Bench::shared_put();
    bench.ask_by(OTHER, 9, commit(50));
    assert_eq!(bench.deliver(), ["yield"]);
    bench.ask_by(OTHER, 10, close(50));
    assert_eq!(bench.replies(), [(10, Reply::Closed)]);
    // It comes back to the former owner, which is a member still.
    assert_eq!(bench.deliver(), ["adopt"]);
    assert_eq!(bench.refusal(9), ErrorCode::Protocol);
    assert_eq!(bench.deliver(), ["adopt"]);
    bench.ask(3, commit(5));
    bench.received(5, CRC);
    assert!(matches!(bench.job().1, Job::Commit { .. }));
}

#[test]
fn a_flow_that_ends_later_than_the_others_takes_part_in_the_next_read() {
    for late in [HERE, MEMBER] {
        let mut bench = Bench::new();
        bench.open(5);
        let token = bench.share(5);
        assert_eq!(bench.join(token), Reply::Joined);
        bench.world.busy = Some(late.transfer);
        bench.ask(2, read(5));
        assert_eq!(bench.deliver(), ["send"]);
        assert_eq!(bench.world.abandoned, [late.transfer]);
        assert_eq!(bench.world.outbound, [5, 50]);
        assert!(bench.replies().is_empty());
    }
}
