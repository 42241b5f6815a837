//! What a client does with its session: puts, gets, and talk about nothing.

use core::time::Duration;

use super::{Active, Client, Running, Task};
use crate::session::{CloseCode, CloseReason};
use crate::sim::chat::Message;
use crate::sim::content::Contents;
use crate::sim::extents::Extents;
use crate::sim::frames::Place;
use crate::sim::invariants::Broken;
use crate::sim::outgoing::Outgoing;
use crate::sim::pump::Block;
use crate::sim::random::Random;
use crate::sim::tally::Count;
use crate::sim::truth::{Sabotage, Surroundings};

impl Client {
    /// Starts tasks, sends blocks and noise, and says goodbye when all is done.
    pub(super) fn work(&mut self, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        if !running.pump.session.is_connected() {
            return Ok(());
        }
        self.talk(around);
        self.start_tasks();
        self.feed(around)?;
        self.say_goodbye();
        Ok(())
    }

    fn talk(&mut self, around: &Surroundings<'_>) {
        let Some(running) = &mut self.running else {
            return;
        };
        while self.noise > 0 && running.next_noise <= around.now {
            let filler = match self.random.within(0, 9) {
                0 => self.random.within(0, 65_000),
                _ => self.random.within(0, 300),
            };
            running.pump.say(Message::Noise, filler as usize);
            self.noise -= 1;
            let pause = self.random.within(1, 2 * self.plan.noise.1);
            running.next_noise = running.next_noise.max(around.now) + Duration::from_nanos(pause);
        }
    }

    fn start_tasks(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        for (place, task) in self.plan.tasks.iter().enumerate() {
            if running.active.len() >= self.plan.parallel {
                break;
            }
            let is_active = running.active.values().any(|(active, _)| *active == place);
            if self.finished[place] || is_active {
                continue;
            }
            // What is got must have been put before.
            if matches!(task, Task::Get { .. }) && self.finished[..place].contains(&false) {
                break;
            }
            let transfer = running.next_transfer;
            running.next_transfer += 1;
            let active = match *task {
                Task::Get { file, .. } => {
                    running.pump.say(Message::Get { transfer, file }, 0);
                    Active::Asking
                }
                Task::Put { file, size, .. } => {
                    self.versions += 1;
                    let contents = Contents {
                        client: self.number,
                        file,
                        version: self.versions,
                    };
                    let outgoing = running.open(
                        (transfer, contents),
                        (size, self.plan.block_len),
                        &mut self.random,
                    );
                    Active::Opening(outgoing)
                }
            };
            running.active.insert(transfer, (place, active));
        }
    }

    fn feed(&mut self, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let used = self.frames.count(Place::Session) + self.frames.count(Place::Nic);
        let mut free = self.plan.send_frames.saturating_sub(used);
        for (transfer, (place, active)) in &mut running.active {
            let Active::Sending(outgoing) = active else {
                continue;
            };
            let twice = around.truth.is_sabotaged(Sabotage::SendTwice);
            outgoing.feed(&mut running.pump, &mut self.frames, &mut free, twice)?;
            let Task::Put { cancel_at, .. } = self.plan.tasks[*place] else {
                continue;
            };
            if cancel_at.is_some_and(|at| outgoing.queued() >= at) {
                outgoing.cancel(&mut running.pump);
                running.pump.say(Message::Cancel(*transfer), 0);
                around.network.tally.hit(Count::Cancelled);
                self.finished[*place] = true;
                active.leave();
            } else if outgoing.is_done() {
                running.pump.say(Message::Commit(*transfer), 0);
                active.commit();
            }
        }
        self.leave_transfers(around);
        Ok(())
    }

    fn leave_transfers(&mut self, around: &mut Surroundings<'_>) {
        let Some(running) = &mut self.running else {
            return;
        };
        let (tasks, pump) = (&self.plan.tasks, &mut running.pump);
        running.active.retain(|transfer, (place, active)| {
            // A put that was cancelled before any block of it was sent.
            if matches!(active, Active::Leaving(outgoing) if outgoing.is_done()) {
                return false;
            }
            let (Task::Get { cancel_at, .. }, Active::Receiving { blocks, .. }) =
                (tasks[*place], &*active)
            else {
                return true;
            };
            if cancel_at.is_none_or(|at| *blocks < at) {
                return true;
            }
            pump.say(Message::Cancel(*transfer), 0);
            around.network.tally.hit(Count::Cancelled);
            self.finished[*place] = true;
            false
        });
    }

    fn say_goodbye(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let idle = running.active.is_empty() && self.noise == 0;
        if idle && !self.finished.contains(&false) && running.pump.is_drained() {
            let reason = CloseReason::Local(CloseCode::DONE);
            running.pump.session.close(reason);
            running.wake = None;
        }
    }

    /// The server has said something.
    pub(super) fn answer(
        &mut self,
        message: Message,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let unexpected = || Broken::Unexpected(format!("{message:?}"));
        let (transfer, expected) = match message {
            Message::Noise => return Ok(()),
            Message::Ready(transfer) => (transfer, true),
            Message::Committed(transfer) | Message::Missing(transfer) => (transfer, true),
            Message::Found { transfer, .. } | Message::Done(transfer) => (transfer, true),
            _ => (0, false),
        };
        if !expected {
            return Err(unexpected());
        }
        // Answers for what was cancelled meanwhile.
        let Some((place, active)) = running.active.remove(&transfer) else {
            return Ok(());
        };
        let next = match (message, active) {
            (Message::Ready(_), Active::Opening(outgoing)) => Some(Active::Sending(outgoing)),
            (Message::Committed(_), Active::Committing(outgoing)) => {
                around.truth.on_acknowledged(outgoing.contents());
                around.network.tally.hit(Count::Committed);
                None
            }
            (Message::Missing(_), Active::Asking) => None,
            (Message::Found { contents, size, .. }, Active::Asking) => {
                running.pump.say(Message::Read(transfer), 0);
                Some(Active::Receiving {
                    contents,
                    size,
                    arrived: Extents::default(),
                    blocks: 0,
                })
            }
            (
                Message::Done(_),
                Active::Receiving {
                    contents,
                    size,
                    arrived,
                    ..
                },
            ) => {
                if !arrived.covers(size) {
                    return Err(Broken::Unexpected(format!(
                        "Done before all of {contents} has come"
                    )));
                }
                around.network.tally.hit(Count::Fetched);
                None
            }
            _ => return Err(unexpected()),
        };
        match next {
            Some(active) => {
                running.active.insert(transfer, (place, active));
            }
            None => self.finished[place] = true,
        }
        Ok(())
    }

    /// The session gave a block back.
    pub(super) fn on_returned(
        &mut self,
        transfer: u32,
        back: (Block, bool),
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let excused = running.pump.may_cut_anew(&back.0);
        let lost = Broken::ReturnedTwice(back.0.offset);
        let (_, active) = running
            .active
            .get_mut(&transfer)
            .ok_or_else(|| lost.clone())?;
        let (Active::Sending(outgoing) | Active::Leaving(outgoing)) = active else {
            return Err(lost);
        };
        if !back.1 && excused {
            around.truth.on_cut_anew(outgoing.contents());
            around
                .network
                .tally
                .add(Count::CutAnew, u64::from(!running.pump.session.is_closed()));
        }
        outgoing.returned(around.now, back, &mut self.frames, excused)?;
        if matches!(active, Active::Leaving(outgoing) if outgoing.is_done()) {
            running.active.remove(&transfer);
        }
        Ok(())
    }
}

impl Running {
    fn open(&mut self, what: (u32, Contents), sizes: (u64, u64), random: &mut Random) -> Outgoing {
        let open = Message::Open {
            transfer: what.0,
            contents: what.1,
            size: sizes.0,
        };
        self.pump.say(open, 0);
        Outgoing::new(what, sizes, random)
    }
}

impl Active {
    /// Its blocks are on their way back.
    fn leave(&mut self) {
        *self = match core::mem::replace(self, Self::Asking) {
            Self::Sending(outgoing) => Self::Leaving(outgoing),
            other => other,
        };
    }

    /// All its blocks are acknowledged.
    fn commit(&mut self) {
        *self = match core::mem::replace(self, Self::Asking) {
            Self::Sending(outgoing) => Self::Committing(outgoing),
            other => other,
        };
    }
}
