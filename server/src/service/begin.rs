//! Puts that go on where an earlier one of the same source ended: `Begin`.
//!
//! ```text
//!   Begin ─► Creating ──TargetReady──► Receiving what is missing
//!     │          ▲  │ the lock of the partial is not free yet
//!     │          │  ▼
//!     └──► Waiting: a put to the same name is under way. Is something written, or heard of its client?
//!             yes ─► it keeps the partial; this put is one that cannot be resumed
//!             no  ─► it has to give way: its client is dead, and blockd does not know it yet
//! ```
//!
//! Nothing is reserved or made while the partial is locked.
//!
//! A client that was killed says nothing, and blockd takes its session for alive for another 20 s. Whoever runs the copy
//! again before they are over shall not have to send the file from its beginning.

use std::time::{Duration, Instant};

use blk_datapath::engine::{Coverage, hole};
use blk_datapath::files::{PendingTarget, TargetSpec, are_holes};
use blk_proto::message::{ErrorCode, Extent, Failure, Identity, MAX_RANGES, Reply};

use super::flows::News;
use super::ports::{At, Ports};
use super::registry::PutName;
use super::reply::failure;
use super::sessions::Sessions;
use super::transfer::{Pending, Transfer};
use crate::namespace::{Job, Outcome};

/// A put of which nothing was written for so long may not go on: its client is asked for a sign of life …
const SILENCE: Duration = Duration::from_millis(500);

/// … and has so long to give it. More than a round trip, and than a busy machine keeps a program waiting.
const ANSWER: Duration = Duration::from_secs(2);

/// How often it is looked whether it has given way, and whether the partial is free.
const LOOK: Duration = Duration::from_millis(40);

/// So often at most for a put to give way: a second longer than it takes.
const WAY_LOOKS: u32 = 75;

/// So often at most for the partial of a put that has ended: until its last writes are over and it is durable.
const LOOKS: u32 = 250;

/// The same when no put is known that has it: somebody looks at it, for a moment.
const FEW_LOOKS: u32 = 25;

/// A put that is begun.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    pub(super) export: String,
    pub(super) path: Vec<u8>,
    pub(super) spec: TargetSpec,
    pub(super) identity: Option<Identity>,
    /// Where the file has no data.
    pub(super) holes: Vec<(u64, u64)>,
}

/// What is waited for before the target is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum WaitFor {
    /// Whether another put of the same name goes on: the bytes that it had.
    Silence { token: u64, covered: u64 },
    /// That it gives way.
    Way {
        token: u64,
        covered: u64,
        since: Instant,
        looks: u32,
    },
    /// The lock of the partial: the last writes of the other put end, and it is kept.
    Lock { looks: u32 },
}

impl WaitFor {
    fn time(self) -> Duration {
        match self {
            Self::Silence { .. } => SILENCE,
            Self::Way { .. } | Self::Lock { .. } => LOOK,
        }
    }
}

impl Begin {
    fn check(&self) -> Result<(), Failure> {
        if self.holes.len() > MAX_RANGES || !are_holes(&self.holes, 0, self.spec.size) {
            let message = "the holes of the file are not as they have to be";
            return Err(failure(ErrorCode::Protocol, message));
        }
        Ok(())
    }

    fn job(&self) -> Job {
        Job::CreateTarget {
            export: self.export.clone(),
            path: self.path.clone(),
            spec: self.spec,
            identity: self.identity,
            holes: self.holes.clone(),
        }
    }

    /// By what another put to the same name is found.
    pub(super) fn name(&self) -> Option<PutName> {
        self.identity?;
        Some(PutName {
            export: self.export.clone(),
            path: self.path.clone(),
        })
    }

    /// What of the target is there already, holes included, for its coverage.
    pub(super) fn coverage(&self, target: &PendingTarget) -> Coverage {
        let present = present(target.done(), &self.holes);
        let coverage = Coverage::range(0, self.spec.size, &present);
        match target.observer() {
            Some(observer) => coverage.observed(observer),
            None => coverage,
        }
    }
}

impl Sessions {
    /// Begins a put, as soon as no dead one stands in its way.
    pub(super) fn on_begin(&mut self, ports: &mut impl Ports, at: At, id: u32, begin: Begin) {
        if let Err(refusal) = begin.check().and_then(|()| self.check_new(at)) {
            return self.reply(ports, at.session, id, Reply::Failed(refusal));
        }
        let other = begin.name().and_then(|name| self.registry.find_put(&name));
        match other {
            // One session may put one file twice; it is not dead.
            Some((token, owner, coverage))
                if (owner.worker, owner.at.session) != (self.worker, at.session) =>
            {
                let covered = coverage.covered();
                let wait_for = WaitFor::Silence { token, covered };
                self.wait(ports, at, id, Box::new(begin), wait_for);
            }
            Some(_) => self.create(ports, at, id, Box::new(begin), 0),
            None => {
                let name = begin.name();
                let settling = name.is_some_and(|name| self.registry.has_just_ended(&name));
                let looks = if settling { LOOKS } else { FEW_LOOKS };
                self.create(ports, at, id, Box::new(begin), looks);
            }
        }
    }

    /// Has the namespace thread tell when it is time to look again.
    fn wait(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        id: u32,
        begin: Box<Begin>,
        wait_for: WaitFor,
    ) {
        let time = wait_for.time();
        match self.submit_for(ports, at, id, Job::Wait { time }) {
            Ok(pending) => self.put(
                at,
                Transfer::Waiting {
                    begin,
                    wait_for,
                    pending,
                },
            ),
            Err(refusal) => self.reply(ports, at.session, id, Reply::Failed(refusal)),
        }
    }

    /// It is time to look.
    pub(super) fn waited(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        id: u32,
        begin: Box<Begin>,
        wait_for: WaitFor,
    ) {
        let other = begin.name().and_then(|name| self.registry.find_put(&name));
        let still = |token: u64| other.filter(|(now, ..)| *now == token);
        match wait_for {
            WaitFor::Silence { token, covered } => match still(token) {
                Some((_, _, coverage)) if coverage.covered() != covered => {
                    self.create(ports, at, id, begin, 0);
                }
                Some(_) => {
                    let since = Instant::now();
                    self.tell_owner(ports, token, News::GiveWay { since });
                    let wait_for = WaitFor::Way {
                        token,
                        covered,
                        since,
                        looks: WAY_LOOKS,
                    };
                    self.wait(ports, at, id, begin, wait_for);
                }
                None => self.create(ports, at, id, begin, LOOKS),
            },
            WaitFor::Way {
                token,
                covered,
                since,
                looks,
            } => match still(token) {
                Some((_, _, coverage)) if looks > 0 && coverage.covered() == covered => {
                    self.tell_owner(ports, token, News::GiveWay { since });
                    let wait_for = WaitFor::Way {
                        token,
                        covered,
                        since,
                        looks: looks - 1,
                    };
                    self.wait(ports, at, id, begin, wait_for);
                }
                // It is alive.
                Some(_) => self.create(ports, at, id, begin, 0),
                None => self.create(ports, at, id, begin, LOOKS),
            },
            WaitFor::Lock { looks } => self.create(ports, at, id, begin, looks),
        }
    }

    /// Has the target made; while it is locked, so often at most.
    fn create(&mut self, ports: &mut impl Ports, at: At, id: u32, begin: Box<Begin>, looks: u32) {
        match self.submit_for(ports, at, id, begin.job()) {
            Ok(pending) => self.put(
                at,
                Transfer::Beginning {
                    begin,
                    looks,
                    pending,
                },
            ),
            Err(refusal) => self.reply(ports, at.session, id, Reply::Failed(refusal)),
        }
    }

    /// The target is made, or could not be.
    pub(super) fn created(
        &mut self,
        ports: &mut impl Ports,
        at: At,
        (mut begin, looks, pending): (Box<Begin>, u32, Pending),
        outcome: Outcome,
    ) {
        let id = pending.request;
        if is_locked(&begin, &outcome) {
            if looks > 0 {
                let looks = looks - 1;
                return self.wait(ports, at, id, begin, WaitFor::Lock { looks });
            }
            // Without the partial, then.
            begin.identity = None;
            return self.create(ports, at, id, begin, 0);
        }
        let answer = match outcome {
            Outcome::TargetReady(target) => {
                let done = target.done().to_vec();
                let coverage = begin.coverage(&target);
                let name = begin.name().filter(|_| target.is_resumable());
                self.receive(ports, at, target, coverage, name)
                    .map_or_else(Reply::Failed, |()| Reply::Begun { done })
            }
            Outcome::Failed(failure) => Reply::Failed(failure),
            outcome => Reply::Failed(super::outcomes::misplaced(&outcome)),
        };
        self.reply(ports, at.session, id, answer);
    }

    /// Another put of the same name wants the partial of this one, of which nothing has been written for a while. It gets
    /// it if the client of this one does not answer either.
    pub(super) fn give_way(&mut self, ports: &mut impl Ports, at: At, token: u64, since: Instant) {
        match self.transfer_mut(at) {
            Some(Transfer::Receiving { .. }) => {}
            // It was handed on.
            Some(Transfer::Joined { .. }) => {
                return self.forward(ports, at, token, News::GiveWay { since });
            }
            _ => return,
        }
        let asked = since.elapsed();
        let is_dead = ports
            .silence(at.session)
            .is_none_or(|silence| silence >= asked);
        if asked < ANSWER || !is_dead {
            return;
        }
        tracing::info!(
            session = at.session.0,
            "a put does not go on, and its client does not answer; another one of the same name takes its place"
        );
        ports.abandon(at);
        let Some(transfer) = self.take(at) else {
            return;
        };
        let (request, target) = transfer.into_remains();
        self.put(at, Transfer::Superseded);
        if let Some(target) = target {
            self.let_go(ports, at.session, target);
        }
        // Last: who waits for the way looks whether the transfer is shared still.
        self.end_shared(ports, token);
        if let Some(request) = request {
            self.reply(ports, at.session, request, Reply::Failed(superseded()));
        }
    }
}

/// What the client of a put is told that had to give way.
pub(super) fn superseded() -> Failure {
    let message = "another put of the same file to this name has taken this one's place";
    failure(ErrorCode::Busy, message)
}

/// Whether somebody else has the partial.
fn is_locked(begin: &Begin, outcome: &Outcome) -> bool {
    let is_busy = matches!(outcome, Outcome::Failed(failure) if failure.code == ErrorCode::Busy);
    is_busy && begin.identity.is_some()
}

/// What is there of a file, in order: what an earlier put brought, and the holes. What overlaps a hole is not taken: the
/// checksum counts each byte once.
fn present(done: &[Extent], holes: &[(u64, u64)]) -> Vec<Extent> {
    let mut present: Vec<Extent> = done.to_vec();
    present.extend(holes.iter().map(|&(offset, len)| hole(offset, len)));
    // The holes are last among those of the same offset, and stable.
    present.sort_by_key(|extent| extent.offset);
    let mut end = 0;
    present.retain(|extent| {
        let apart = extent.len > 0 && extent.offset >= end;
        if apart {
            end = extent.offset.saturating_add(extent.len);
        }
        apart
    });
    present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_what_is_done_are_put_in_order() {
        let done = |offset, len| Extent {
            offset,
            len,
            crc: 7,
        };
        let holes = [(4096, 4096), (16384, 4096)];
        let found = present(&[done(0, 4096), done(8192, 8192)], &holes);
        let bounds: Vec<_> = found
            .iter()
            .map(|it| (it.offset, it.len, it.crc == 7))
            .collect();
        assert_eq!(
            bounds,
            [
                (0, 4096, true),
                (4096, 4096, false),
                (8192, 8192, true),
                (16384, 4096, false)
            ]
        );
        assert_eq!(found[1], hole(4096, 4096));
    }

    #[test]
    fn no_byte_is_there_twice() {
        let twice = Extent {
            offset: 0,
            len: 8192,
            crc: 7,
        };
        assert_eq!(present(&[twice], &[(4096, 4096)]), [twice]);
    }
}
