//! Puts that go on from earlier ones, and those that stand in their way.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_datapath::engine::{Claim, ClaimedRun, SessionId, TransferError};
use blk_datapath::files::{PartialStore, PendingTarget, Resumption};
use blk_proto::message::{ErrorCode, Identity, Reply, Request};
use tempfile::TempDir;

use super::super::flows::{FlowMail, News};
use super::super::ports::At;
use super::super::reply::failure;
use super::world::{Bench, CRC, MEMBER, OTHER, SESSION, SPEC, WORKER, close, commit};
use crate::namespace::{Job, JobKey, Outcome};

/// The put that is there first.
const FIRST: At = At {
    session: SESSION,
    transfer: 5,
};

const ONE: Identity = [1; 16];

/// The other session's put has request 9 and the number 6.
const SECOND: u32 = 9;

fn begin(transfer: u32, identity: Identity) -> Request {
    Request::Begin {
        transfer,
        export: "media".to_owned(),
        path: b"name".to_vec(),
        size: SPEC.size,
        mode: SPEC.mode,
        mtime_ns: SPEC.mtime_ns,
        identity: Some(identity),
        holes: Vec::new(),
    }
}

/// An export with room for partial files, on the disk that holds the build.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let program = std::env::current_exe().unwrap();
        Self(tempfile::tempdir_in(program.parent().unwrap()).unwrap())
    }

    fn opened(&self) -> OwnedFd {
        fs::File::open(self.0.path()).unwrap().into()
    }

    fn resumable(&self) -> PendingTarget {
        let store = PartialStore::beneath(self.opened());
        let resumption = Resumption {
            store: &store,
            path: b"name",
            identity: ONE,
            refuse_in_use: true,
        };
        let begun = PendingTarget::begin(resumption, self.opened(), OsStr::new("name"), SPEC, &[]);
        let target = tokio_uring::start(begun).unwrap();
        assert!(target.is_resumable());
        target
    }
}

fn locked() -> Outcome {
    Outcome::Failed(failure(ErrorCode::Busy, "another put of this name"))
}

impl Bench {
    /// A put that can be resumed; uses request 1.
    fn resumable(&mut self, place: &Place) {
        self.ask(1, begin(FIRST.transfer, ONE));
        let (key, job) = self.job();
        assert!(matches!(
            job,
            Job::CreateTarget {
                identity: Some(ONE),
                ..
            }
        ));
        self.answer(key, Outcome::TargetReady(place.resumable()));
        assert!(matches!(self.replies()[..], [(1, Reply::Begun { .. })]));
    }

    fn begin_second(&mut self, identity: Identity) {
        self.ask_by(OTHER, SECOND, begin(6, identity));
    }

    /// The only job that is there makes a target, resumable or not.
    #[track_caller]
    fn creates(&mut self, is_resumable: bool) -> JobKey {
        let (key, job) = self.job();
        match job {
            Job::CreateTarget { identity, .. } => assert_eq!(identity.is_some(), is_resumable),
            job => panic!("{job:?}"),
        }
        assert!(self.world.jobs.is_empty());
        key
    }

    /// Time passes until the second put looks again.
    #[track_caller]
    fn look(&mut self) -> Duration {
        let (key, job) = self.job();
        let Job::Wait { time } = job else {
            panic!("{job:?}");
        };
        assert!(self.world.jobs.is_empty());
        self.answer(key, Outcome::Waited);
        time
    }

    /// The first put is asked to give way by one that has waited for so long.
    fn ask_to_give_way(&mut self, to: At, token: u64, waited: Duration) {
        let since = Instant::now().checked_sub(waited).unwrap();
        let news = News::GiveWay { since };
        let mail = FlowMail {
            at: to,
            token,
            news,
        };
        self.sessions.on_flow_mail(&mut self.world, mail);
    }

    fn token(&mut self) -> u64 {
        let transfer = self.sessions.transfer_mut(FIRST).unwrap();
        transfer.token().unwrap()
    }
}

const LONG: Duration = Duration::from_secs(3);

#[test]
fn a_put_that_goes_on_keeps_its_partial() {
    let (mut bench, place) = (Bench::new(), Place::new());
    bench.resumable(&place);
    bench.begin_second(ONE);
    // Something is written meanwhile.
    let coverage = Arc::clone(&bench.world.coverages[0]);
    assert_eq!(coverage.claim(0, 512), Claim::Granted);
    ClaimedRun::new(coverage, 0, 512).written(1, Default::default());
    bench.look();
    assert!(bench.world.mail.is_empty());
    let key = bench.creates(true);
    // It is locked, and not waited for.
    bench.answer(key, locked());
    let key = bench.creates(false);
    let target = bench.target();
    bench.answer(key, Outcome::TargetReady(target));
    assert_eq!(
        bench.replies(),
        [(SECOND, Reply::Begun { done: Vec::new() })]
    );
}

#[test]
fn a_put_whose_client_answers_does_not_give_way() {
    let (mut bench, place) = (Bench::new(), Place::new());
    bench.resumable(&place);
    bench.begin_second(ONE);
    bench.look();
    // It is silent for some time, but not since it was asked.
    bench.world.silence = Duration::from_secs(1);
    let token = bench.token();
    bench.ask_to_give_way(FIRST, token, LONG);
    assert!(bench.replies().is_empty() && bench.world.abandoned.is_empty());
    // It is asked until that is enough.
    let mut asked = 0;
    while matches!(bench.world.jobs[0].1, Job::Wait { .. }) {
        asked += bench
            .deliver()
            .iter()
            .filter(|word| **word == "give way")
            .count();
        bench.look();
    }
    assert!(asked > 10, "asked {asked} times only");
    bench.creates(true);
    // Neither does one that had no time to answer.
    bench.world.silence = 2 * LONG;
    bench.ask_to_give_way(FIRST, token, Duration::from_millis(100));
    assert!(bench.replies().is_empty() && bench.world.abandoned.is_empty());
    bench.received(FIRST.transfer, CRC);
    bench.ask(2, commit(FIRST.transfer));
    assert!(matches!(bench.job().1, Job::Commit { .. }));
}

#[test]
fn a_put_whose_client_is_dead_gives_way_to_any_of_its_name() {
    for identity in [ONE, [2; 16]] {
        let (mut bench, place) = (Bench::new(), Place::new());
        bench.resumable(&place);
        bench.begin_second(identity);
        bench.look();
        bench.world.silence = 2 * LONG;
        let token = bench.token();
        let coverage = Arc::clone(&bench.world.coverages[0]);
        bench.ask_to_give_way(FIRST, token, LONG);
        assert_eq!(bench.world.abandoned, [FIRST.transfer]);
        // Not a byte more for it, whatever its flows have.
        assert_eq!(coverage.claim(0, 512), Claim::Closed);
        bench.deliver();
        let kept = bench
            .world
            .jobs
            .iter()
            .position(|(_, job)| matches!(job, Job::Keep { .. }));
        let (_, kept) = bench.world.jobs.remove(kept.unwrap());
        // The second one looks until the lock is free.
        bench.look();
        for _ in 0..3 {
            let key = bench.creates(true);
            bench.answer(key, locked());
            bench.look();
        }
        // Without a word: whoever may still write has the lock until he is done.
        drop(kept);
        drop(coverage);
        bench.world.coverages.clear();
        let key = bench.creates(true);
        bench.answer(key, Outcome::TargetReady(place.resumable()));
        assert!(matches!(
            bench.replies()[..],
            [(SECOND, Reply::Begun { .. })]
        ));
        // Should the first one be alive after all, it is told.
        bench.ask(2, commit(FIRST.transfer));
        assert_eq!(bench.refusal(2), ErrorCode::Busy);
    }
}

#[test]
fn an_heir_that_is_asked_before_it_inherits_is_asked_again() {
    let (mut bench, place) = (Bench::new(), Place::new());
    bench.resumable(&place);
    let token = bench.share(FIRST.transfer);
    assert_eq!(bench.join(token), Reply::Joined);
    bench.sessions.on_closed(&mut bench.world, SESSION);
    let adopt = bench.world.mail.remove(0);
    bench.world.silence = 2 * LONG;
    // Lost: it is the owner, and does not have it yet.
    bench.ask_to_give_way(MEMBER, token, LONG);
    assert!(bench.world.jobs.is_empty() && bench.world.mail.is_empty());
    assert_eq!(adopt.0, WORKER);
    bench.sessions.on_flow_mail(&mut bench.world, adopt.1);
    bench.ask_to_give_way(MEMBER, token, LONG);
    assert!(matches!(bench.job().1, Job::Keep { .. }));
}

#[test]
fn a_lock_that_stays_is_waited_for_so_long_and_then_gone_without() {
    // Whoever has it, no put that is known here does.
    let mut bench = Bench::new();
    bench.begin_second(ONE);
    let mut looks = 0;
    let last = loop {
        let (key, job) = bench.job();
        match job {
            Job::CreateTarget {
                identity: Some(_), ..
            } => bench.answer(key, locked()),
            Job::Wait { .. } => {
                looks += 1;
                bench.answer(key, Outcome::Waited);
            }
            Job::CreateTarget { identity: None, .. } => break key,
            job => panic!("{job:?}"),
        }
        assert!(bench.world.jobs.len() == 1 && bench.replies().is_empty());
    };
    assert!((5..=50).contains(&looks), "{looks} looks");
    // What is refused now is refused.
    bench.answer(last, Outcome::Failed(failure(ErrorCode::Busy, "no")));
    assert_eq!(bench.refusal(SECOND), ErrorCode::Busy);
}

#[test]
fn the_put_after_one_that_has_ended_waits_longer_also_under_another_identity() {
    let (mut bench, place) = (Bench::new(), Place::new());
    bench.resumable(&place);
    bench.ask(2, close(FIRST.transfer));
    assert_eq!(bench.replies(), [(2, Reply::Closed)]);
    let (_, kept) = bench.job();
    assert!(matches!(kept, Job::Keep { .. }));
    bench.begin_second([2; 16]);
    for _ in 0..100 {
        let key = bench.creates(true);
        bench.answer(key, locked());
        bench.look();
    }
    bench.creates(true);
}

#[test]
fn a_failure_other_than_the_lock_is_answered_at_once() {
    let mut bench = Bench::new();
    bench.begin_second(ONE);
    let key = bench.creates(true);
    let full = failure(ErrorCode::NoSpace, "full");
    bench.answer(key, Outcome::Failed(full));
    assert_eq!(bench.refusal(SECOND), ErrorCode::NoSpace);
    assert!(bench.world.jobs.is_empty());
}

#[test]
fn a_put_that_waits_can_be_closed() {
    let (mut bench, place) = (Bench::new(), Place::new());
    bench.resumable(&place);
    bench.begin_second(ONE);
    bench.ask_by(OTHER, 10, close(6));
    bench.assert_closed(SECOND, 10);
    bench.look();
    assert!(bench.world.jobs.is_empty() && bench.replies().is_empty());
}

#[test]
fn what_is_discarded_is_dropped_and_what_is_closed_is_kept() {
    for discarded in [true, false] {
        let (mut bench, place) = (Bench::new(), Place::new());
        bench.resumable(&place);
        let transfer = FIRST.transfer;
        let request = match discarded {
            true => Request::Discard { transfer },
            false => close(transfer),
        };
        bench.ask(2, request);
        assert_eq!(bench.replies(), [(2, Reply::Closed)]);
        assert_eq!(bench.world.coverages[0].claim(0, 512), Claim::Closed);
        match bench.job().1 {
            Job::Abandon { .. } => assert!(discarded),
            Job::Keep { .. } => assert!(!discarded),
            job => panic!("{job:?}"),
        }
    }
}

#[test]
fn a_member_that_discards_has_it_done() {
    let (mut bench, place) = (Bench::new(), Place::new());
    bench.resumable(&place);
    let token = bench.share(FIRST.transfer);
    assert_eq!(bench.join(token), Reply::Joined);
    let transfer = MEMBER.transfer;
    bench.ask_by(OTHER, 9, Request::Discard { transfer });
    while !bench.world.mail.is_empty() {
        bench.deliver();
    }
    assert_eq!(bench.replies(), [(9, Reply::Closed)]);
    assert!(matches!(bench.job().1, Job::Abandon { .. }));
}

#[test]
fn a_disk_error_keeps_what_is_there_and_a_wrong_checksum_does_not() {
    let disk = || TransferError::Disk(std::io::ErrorKind::StorageFull.into());
    for is_disk in [true, false] {
        let (mut bench, place) = (Bench::new(), Place::new());
        bench.resumable(&place);
        bench.ask(2, commit(FIRST.transfer));
        if is_disk {
            bench
                .sessions
                .on_received(&mut bench.world, FIRST, Err(disk()));
        } else {
            bench.received(FIRST.transfer, !CRC);
        }
        bench.refusal(2);
        match bench.job().1 {
            Job::Keep { .. } => assert!(is_disk),
            Job::Abandon { .. } => assert!(!is_disk),
            job => panic!("{job:?}"),
        }
    }
}

#[test]
fn one_session_may_put_one_file_twice() {
    let (mut bench, place) = (Bench::new(), Place::new());
    bench.resumable(&place);
    bench.ask(2, begin(6, ONE));
    let key = bench.creates(true);
    assert_eq!(SessionId(key.session), SESSION);
    bench.answer(key, locked());
    bench.creates(false);
}
