//! A client's host: a list of files to put and to get, tried again on a new session when one has failed.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::content::Contents;
use super::extents::Extents;
use super::frames::{Frame, Frames, Place};
use super::invariants::Broken;
use super::network::{Address, Datagram};
use super::outgoing::Outgoing;
use super::pump::{Happening, NIC_INTERVAL, Pump};
use super::random::Random;
use super::tally::{Count, Tally};
use super::truth::{Sabotage, Surroundings};
use crate::net::Ecn;
use crate::session::{
    Acceptor, AcceptorConfig, BlockMeta, CloseCode, CloseReason, Occupancy, Session, Verdict,
};
use crate::time::Time;
use crate::wire::{self, Packet};

mod plan;
mod tasks;

pub use plan::{ClientPlan, Task};

#[derive(Debug)]
enum Active {
    /// Open was said.
    Opening(Outgoing),
    Sending(Outgoing),
    Committing(Outgoing),
    /// Cancelled; its blocks have not all come back.
    Leaving(Outgoing),
    /// Get was said.
    Asking,
    Receiving {
        contents: Contents,
        size: u64,
        arrived: Extents,
        blocks: u64,
    },
}

/// What a client's process is doing.
#[derive(Debug)]
struct Running {
    pump: Pump,
    /// By transfer: the task's place in the list, and how far it is.
    active: BTreeMap<u32, (usize, Active)>,
    next_transfer: u32,
    established: bool,
    /// Blocks that have come and whose frames are not free, with the time at which they are.
    digesting: VecDeque<(Time, Frame)>,
    next_noise: Time,
    /// When the pump wants to be called again.
    wake: Option<Time>,
}

/// Why and when a client's session ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: CloseReason,
    /// Whether the session had been established.
    pub established: bool,
}

/// A client's host and its user, who remembers what is done.
#[derive(Debug)]
pub struct Client {
    number: u32,
    plan: ClientPlan,
    random: Random,
    frames: Frames,
    /// Of the host, for Resets.
    acceptor: Acceptor,
    running: Option<Running>,
    finished: Vec<bool>,
    /// Noise still to be sent.
    noise: u64,
    /// Attempts to put files so far; each has a version of its own.
    versions: u32,
    /// Sessions in a row that were not established.
    failures: u32,
    /// Sessions whose blocks or messages did not arrive.
    stuck: u32,
    /// Sessions so far.
    sessions: u32,
    retry_at: Time,
    /// Its process does not run before.
    down_until: Time,
    /// Counts what has moved, for the watchdog.
    moves: u64,
    over: Option<Over>,
    ending: Option<Ending>,
    scratch: Vec<u8>,
}

/// How it ended for a client.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// Everything was done.
    Finished,
    /// There was no way to the server.
    GaveUp,
}

/// Whether one side says that what it sends does not arrive.
pub const fn is_stuck(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Undelivered | CloseReason::ByPeer(CloseCode::UNDELIVERED)
    )
}

impl Client {
    /// A host with nothing running.
    #[must_use]
    pub fn new(number: u32, plan: ClientPlan, mut random: Random) -> Self {
        let config = AcceptorConfig {
            serve: false,
            ..AcceptorConfig::default()
        };
        let frames = plan.config.local.initial_credit as usize + plan.send_frames + 1;
        Self {
            number,
            frames: Frames::new(frames),
            acceptor: Acceptor::new(config, &random.bytes()),
            running: None,
            finished: vec![false; plan.tasks.len()],
            noise: plan.noise.0,
            versions: 0,
            failures: 0,
            stuck: 0,
            sessions: 0,
            retry_at: plan.start,
            down_until: plan.start,
            moves: 0,
            over: None,
            ending: None,
            plan,
            random,
            scratch: Vec::new(),
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub const fn over(&self) -> Option<Over> {
        self.over
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_up(&self, now: Time) -> bool {
        self.down_until <= now
    }

    /// Counts what has moved.
    #[must_use]
    pub const fn moves(&self) -> u64 {
        self.moves
    }

    /// What it is like.
    #[must_use]
    pub const fn plan(&self) -> &ClientPlan {
        &self.plan
    }

    /// The session that ended since the last call.
    pub const fn take_ending(&mut self) -> Option<Ending> {
        self.ending.take()
    }

    /// Takes in a packet.
    ///
    /// # Errors
    /// Something does not hold.
    pub fn receive(
        &mut self,
        datagram: &Datagram,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        if self.frames.count(Place::Free) == 0 {
            let total = self.frames.total();
            return Err(Broken::NoFrame { held: total, total });
        }
        let Ok(packet) = wire::open(&datagram.bytes) else {
            return Ok(());
        };
        let is_ours = |running: &&mut Running| running.pump.is_for_it(&packet);
        let Some(running) = self.running.as_mut().filter(is_ours) else {
            return self.answer_stray(&packet, around);
        };
        running.wake = Some(around.now);
        if let Some(meta) = running.pump.handle(around.now, &packet, datagram.ecn)? {
            self.take_block(meta, packet.payload, around)?;
        }
        Ok(())
    }

    /// A packet for a session that is not here, but perhaps was in an earlier life of the process.
    fn answer_stray(
        &mut self,
        packet: &Packet<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let source = Address::SERVER.socket();
        let (config, nobody) = (&self.plan.config, Occupancy::default());
        let verdict = self
            .acceptor
            .judge(around.now, source, packet, config, nobody);
        let Verdict::Answer(answer) = verdict else {
            return Ok(());
        };
        around.network.tally.hit(Count::Resets);
        let mut bytes = around.network.buffer();
        bytes.extend_from_slice(answer.as_bytes());
        let datagram = Datagram {
            from: Address::of_client(self.number),
            to: Address::SERVER,
            ecn: Ecn::Capable0,
            bytes,
        };
        around.network.send(around.now, datagram)
    }

    fn take_block(
        &mut self,
        meta: BlockMeta,
        payload: &[u8],
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        around.network.tally.hit(Count::Delivered);
        self.moves += 1;
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let frame = self.frames.take(Place::Disk)?;
        let took = Duration::from_nanos(self.random.within(0, self.plan.digestion));
        let earliest = running.digesting.back().map_or(around.now, |(at, _)| *at);
        running
            .digesting
            .push_back((earliest.max(around.now + took), frame));
        let Some((_, active)) = running.active.get_mut(&meta.transfer) else {
            return Ok(());
        };
        let end = meta.offset + u64::from(meta.len);
        let misplaced = Broken::Misplaced {
            transfer: meta.transfer,
            offset: meta.offset,
        };
        let Active::Receiving {
            contents,
            size,
            arrived,
            blocks,
        } = active
        else {
            return Err(misplaced);
        };
        if end > *size {
            return Err(misplaced);
        }
        if !contents.matches(meta.offset, payload, &mut self.scratch) {
            return Err(Broken::WrongBytes {
                contents: *contents,
                offset: meta.offset,
                len: payload.len(),
                place: "in a packet that a session let through",
            });
        }
        *blocks += 1;
        let overlap = arrived.insert(meta.offset, end);
        around.truth.check_overlap(*contents, meta.offset, overlap)
    }

    /// All that the host does when it wakes up; says when to wake it again.
    ///
    /// # Errors
    /// Something does not hold.
    pub fn turn(&mut self, around: &mut Surroundings<'_>) -> Result<Option<Time>, Broken> {
        self.frames.tick(around.now)?;
        if self.over.is_some() {
            return Ok(self.frames.next_leaving());
        }
        if self.running.is_none() {
            if self.retry_at > around.now {
                return Ok(Some(self.retry_at));
            }
            self.connect(around);
        }
        self.digest(around.now)?;
        if let Some(running) = &mut self.running {
            running.pump.tick(around.now);
        }
        let is_connected = |running: &Running| running.pump.session.is_connected();
        let is_deaf = around.truth.is_sabotaged(Sabotage::StopListening)
            && self.running.as_ref().is_some_and(is_connected);
        if !is_deaf {
            self.listen(around)?;
        }
        self.work(around)?;
        self.transmit(around)
    }

    fn connect(&mut self, around: &mut Surroundings<'_>) {
        let id = loop {
            let id = self.random.next() as u32;
            if id != 0 {
                break id;
            }
        };
        let session = Session::connect(self.plan.config.clone(), id, around.now);
        let addresses = (Address::of_client(self.number), Address::SERVER);
        around
            .network
            .tally
            .add(Count::Reconnected, u64::from(self.sessions > 0));
        self.sessions += 1;
        self.running = Some(Running {
            pump: Pump::new(session, &self.plan.config, addresses, self.plan.nic),
            active: BTreeMap::new(),
            next_transfer: 0,
            established: false,
            digesting: VecDeque::new(),
            next_noise: around.now,
            wake: Some(around.now),
        });
    }

    /// Frees the frames of blocks that have been dealt with.
    fn digest(&mut self, now: Time) -> Result<(), Broken> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        while running.digesting.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, frame)) = running.digesting.pop_front() else {
                break;
            };
            self.frames.give(now, &frame, Place::Disk)?;
            running.pump.session.release_credit(1);
        }
        Ok(())
    }

    fn listen(&mut self, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        while let Some(running) = &mut self.running
            && let Some(happening) = running.pump.next(&mut around.network.tally)?
        {
            match happening {
                Happening::Connected => {
                    running.established = true;
                    self.moves += 1;
                    self.failures = 0;
                    around.network.tally.hit(Count::Connected);
                }
                Happening::Message(message) => {
                    self.moves += 1;
                    self.answer(message, around)?;
                }
                Happening::Returned {
                    transfer,
                    block,
                    acked,
                } => {
                    self.moves += u64::from(acked);
                    self.on_returned(transfer, (block, acked), around)?;
                }
                Happening::Closed(reason) => {
                    self.on_closed(reason, around)?;
                    break;
                }
            }
        }
        Ok(())
    }

    fn on_closed(
        &mut self,
        reason: CloseReason,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let number = self.number;
        around
            .network
            .trace
            .event(around.now, || format!("client {number}: {reason}"));
        let tally = &mut around.network.tally;
        match reason {
            CloseReason::Violation(violation) => return Err(Broken::Violation(violation)),
            CloseReason::ByPeer(CloseCode::VIOLATION) => {
                return Err(Broken::Unexpected(reason.to_string()));
            }
            CloseReason::ByPeer(_) => tally.hit(Count::ClosedByPeer),
            CloseReason::TimedOut => tally.hit(Count::TimedOut),
            CloseReason::Undelivered => tally.hit(Count::Undelivered),
            CloseReason::HandshakeTimeout => tally.hit(Count::HandshakeTimedOut),
            CloseReason::PeerRestarted => tally.hit(Count::PeerRestarted),
            CloseReason::Refused(_) => tally.hit(Count::Refused),
            CloseReason::Local(CloseCode::DONE) => self.over = Some(Over::Finished),
            CloseReason::Local(_) => {}
        }
        self.ending = Some(Ending {
            reason,
            established: running.established,
        });
        self.failures += u32::from(!running.established);
        self.stuck += u32::from(is_stuck(reason));
        self.moves += 1;
        if self.failures.max(self.stuck) >= self.plan.patience && self.over.is_none() {
            self.over = Some(Over::GaveUp);
            around.network.tally.hit(Count::GaveUp);
        }
        Ok(())
    }

    fn transmit(&mut self, around: &mut Surroundings<'_>) -> Result<Option<Time>, Broken> {
        let Some(running) = &mut self.running else {
            return Ok(Some(self.retry_at));
        };
        running.wake = running
            .pump
            .transmit(around.now, &mut self.frames, around.network)?;
        running.pump.check(running.digesting.len() as u64)?;
        let held = (running.digesting.len(), running.pump.inside());
        self.frames.check(held.0, held.1)?;
        let mut wakes = [running.wake, None, None, self.frames.next_leaving()];
        if running.pump.is_over() && running.wake.is_none() {
            self.retire(around)?;
            return Ok(Some(self.retry_at));
        }
        if running.pump.session.is_closed() {
            // Its last event is to be fetched.
            return Ok(Some(around.now + NIC_INTERVAL));
        }
        wakes[1] = running.digesting.front().map(|(at, _)| *at);
        let talks = running.established && self.noise > 0 && !running.pump.session.is_closed();
        wakes[2] = talks.then_some(running.next_noise);
        Ok(wakes.into_iter().flatten().min())
    }

    /// Forgets a session that is over.
    fn retire(&mut self, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        running.pump.retire(&mut around.network.tally);
        for (_, frame) in running.digesting {
            self.frames.give(around.now, &frame, Place::Disk)?;
        }
        let pause = self.random.magnitude(1_000_000, 1_000_000_000);
        self.retry_at = around.now + Duration::from_nanos(pause);
        Ok(())
    }

    /// The user gives the session up, to try again; says whether there was one.
    pub fn hang_up(&mut self) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        let reason = CloseReason::Local(CloseCode::SHUTDOWN);
        let is_open = running.pump.session.is_connected();
        if is_open {
            running.pump.session.close(reason);
        }
        is_open
    }

    /// The process dies, and is started again by its user then.
    pub fn crash(&mut self, until: Time, tally: &mut Tally) {
        if let Some(running) = self.running.take() {
            running.pump.retire(tally);
        }
        let total = self.frames.total();
        self.frames = Frames::new(total);
        self.retry_at = until;
        self.down_until = until;
    }
}
