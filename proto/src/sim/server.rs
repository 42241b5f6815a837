//! The server's host: sessions, a frame pool that they share, and what is done with each request.

use std::collections::BTreeMap;

use super::chat::Message;
use super::content::Contents;
use super::disk::{Done, Temporary};
use super::extents::Extents;
use super::frames::{Frames, Place};
use super::invariants::Broken;
use super::network::{Address, Datagram};
use super::outgoing::Outgoing;
use super::pump::{Happening, NIC_INTERVAL, Nic, Pump};
use super::random::Random;
use super::tally::Count;
use super::truth::{Sabotage, Surroundings};
use crate::session::{
    Acceptor, AcceptorConfig, BlockMeta, CloseCode, CloseReason, Config, Reset, RetryPolicy,
    hello_id,
};
use crate::time::Time;
use crate::wire::{self, Kind};

/// What a server's host is like.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// Of its sessions; the window is what it grants to each.
    pub config: Config,
    /// Frames that may hold received blocks, of all sessions together.
    pub receive_frames: u64,
    /// Frames that may hold blocks to send.
    pub send_frames: usize,
    /// When clients must prove their address.
    pub retry: RetryPolicy,
    /// Sessions that it has at once, at most.
    pub max_sessions: usize,
    /// Payload of the blocks that it sends.
    pub block_len: u64,
    /// Its NIC.
    pub nic: Nic,
    /// It changes its windows when a put begins, to anything up to what was announced.
    pub breathes: bool,
    /// Chance per million that it says something of its own when it answers.
    pub chatter: u64,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    Receiving,
    /// Commit was asked for; writes are in flight.
    Draining,
    Syncing,
}

/// A file being received.
#[derive(Debug)]
struct Put {
    contents: Contents,
    size: u64,
    file: Temporary,
    arrived: Extents,
    writing: usize,
    state: State,
}

/// A session with a client.
#[derive(Debug)]
struct Guest {
    pump: Pump,
    address: Address,
    /// The client's session id.
    greeted: Option<u32>,
    /// Frames that are kept for it.
    window: u64,
    /// Blocks of it that are on the disk's queue.
    held: u64,
    puts: BTreeMap<u32, Put>,
    /// Files found and not yet asked for.
    found: BTreeMap<u32, (Contents, u64)>,
    gets: Vec<Outgoing>,
    /// When its pump wants to be called again.
    wake: Option<Time>,
}

/// A server's process.
#[derive(Debug)]
pub struct Server {
    plan: ServerPlan,
    random: Random,
    frames: Frames,
    acceptor: Acceptor,
    /// By session id.
    guests: BTreeMap<u32, Guest>,
    /// Blocks on the disk's queue whose session is gone.
    orphans: u64,
    scratch: Vec<u8>,
}

impl Server {
    /// A process that has just started.
    #[must_use]
    pub fn new(plan: ServerPlan, mut random: Random) -> Self {
        let config = AcceptorConfig {
            retry: plan.retry,
            max_sessions: plan.max_sessions,
            ..AcceptorConfig::default()
        };
        // One more frame: every packet is received into one, also those that carry no block.
        let frames = plan.receive_frames as usize + plan.send_frames + 1;
        Self {
            frames: Frames::new(frames),
            acceptor: Acceptor::new(config, &random.bytes()),
            plan,
            random,
            guests: BTreeMap::new(),
            orphans: 0,
            scratch: Vec::new(),
        }
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
        let packet = match wire::open(&datagram.bytes) {
            Ok(packet) => packet,
            Err(error) => {
                let verdict = self.acceptor.judge_foreign(around.now, &error);
                return self.obey(verdict, datagram.from, around);
            }
        };
        let id = match packet.kind {
            Kind::Hello => match self.greeted_by(datagram.from, hello_id(&packet)) {
                Some(id) => id,
                None => return self.greet(datagram.from, &packet, around),
            },
            Kind::Reset => {
                let client = Reset::read(&packet).map(|reset| reset.session);
                self.greeted_by(datagram.from, client).unwrap_or_default()
            }
            _ => packet.header.session.get(),
        };
        let Some(guest) = self.guests.get_mut(&id) else {
            return self.answer_stray(datagram.from, &packet, around);
        };
        if guest.address != datagram.from {
            return Ok(());
        }
        guest.wake = Some(around.now);
        let may_forget = guest.pump.session.is_connected() && guest.pump.inside() == 0;
        if may_forget && around.truth.take_sabotage(Sabotage::Forget) {
            self.retire(id, around);
            return Ok(());
        }
        let taken = guest.pump.handle(around.now, &packet, datagram.ecn)?;
        if guest.pump.session.is_connected() {
            around.network.ledger.proved(datagram.from);
        }
        match taken {
            Some(meta) => self.take_block(id, meta, packet.payload, around),
            None => Ok(()),
        }
    }

    /// A block goes to the disk, or nowhere if its transfer is gone.
    fn take_block(
        &mut self,
        id: u32,
        meta: BlockMeta,
        payload: &[u8],
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        around.network.tally.hit(Count::Delivered);
        let Some(guest) = self.guests.get_mut(&id) else {
            return Ok(());
        };
        let Some(put) = guest.puts.get_mut(&meta.transfer) else {
            guest.pump.session.release_credit(1);
            return Ok(());
        };
        let end = meta.offset + u64::from(meta.len);
        if end > put.size || put.state != State::Receiving {
            return Err(Broken::Misplaced {
                transfer: meta.transfer,
                offset: meta.offset,
            });
        }
        if !put
            .contents
            .matches(meta.offset, payload, &mut self.scratch)
        {
            return Err(Broken::WrongBytes {
                contents: put.contents,
                offset: meta.offset,
                len: payload.len(),
                place: "in a packet that a session let through",
            });
        }
        let overlap = put.arrived.insert(meta.offset, end);
        around
            .truth
            .check_overlap(put.contents, meta.offset, overlap)?;
        let frame = self.frames.take(Place::Disk)?;
        self.frames.bytes_mut(&frame).extend_from_slice(payload);
        guest.held += 1;
        put.writing += 1;
        let misplaced = around.truth.is_sabotaged(Sabotage::WriteElsewhere);
        let offset = meta.offset + u64::from(misplaced);
        let place = (put.file, put.contents, offset);
        if around.truth.is_sabotaged(Sabotage::ReleaseEarly) {
            guest.held -= 1;
            guest.pump.session.release_credit(1);
        }
        if around.truth.is_sabotaged(Sabotage::LoseFrame) {
            let _ = self.frames.take(Place::Disk)?;
        }
        around
            .disk
            .write(around.now, place, (id, frame), &mut around.network.tally);
        Ok(())
    }

    /// All that the host does when it wakes up; says when to wake it again.
    ///
    /// # Errors
    /// Something does not hold.
    pub fn turn(&mut self, around: &mut Surroundings<'_>) -> Result<Option<Time>, Broken> {
        self.frames.tick(around.now)?;
        self.finish_disk_operations(around)?;
        let ids: Vec<u32> = self.due(around.now);
        for id in ids {
            self.drive(id, around)?;
        }
        self.check(around)?;
        let wakes = self.guests.values().filter_map(|guest| guest.wake);
        let again = (self.send_frames_free() > 0 && self.guests.values().any(Guest::is_hungry))
            .then(|| around.now + NIC_INTERVAL);
        let others = [around.disk.next_done(), self.frames.next_leaving(), again];
        Ok(wakes.chain(others.into_iter().flatten()).min())
    }

    /// Whether it has no sessions, and nothing to do.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.guests.is_empty() && self.frames.count(Place::Free) == self.frames.total()
    }

    fn due(&self, now: Time) -> Vec<u32> {
        let due = |guest: &Guest| guest.is_hungry() || guest.wake.is_some_and(|at| at <= now);
        self.guests
            .iter()
            .filter(|(_, guest)| due(guest))
            .map(|(id, _)| *id)
            .collect()
    }

    fn check(&self, around: &Surroundings<'_>) -> Result<(), Broken> {
        let sending = self.guests.values().map(|guest| guest.pump.inside()).sum();
        self.frames.check(around.disk.frames(), sending)?;
        for guest in self.guests.values() {
            guest.pump.check(guest.held)?;
        }
        Ok(())
    }

    fn finish_disk_operations(&mut self, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        while let Some(done) = around.disk.poll(around.now, &self.frames)? {
            match done {
                Done::Written {
                    file,
                    frame,
                    session,
                } => {
                    self.frames.give(around.now, &frame, Place::Disk)?;
                    self.on_written(file, session, around)?;
                }
                Done::Synced(file) => self.on_synced(file, around)?,
            }
        }
        Ok(())
    }

    fn on_written(
        &mut self,
        file: Temporary,
        session: u32,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let Some(guest) = self.guests.get_mut(&session) else {
            self.orphans = self.orphans.saturating_sub(1);
            return Ok(());
        };
        guest.wake = Some(around.now);
        if !around.truth.is_sabotaged(Sabotage::ReleaseEarly) {
            guest.held -= 1;
            guest.pump.session.release_credit(1);
        }
        if let Some((&transfer, put)) = guest.puts.iter_mut().find(|(_, put)| put.file == file) {
            put.writing -= 1;
            return guest.advance(transfer, around);
        }
        Ok(())
    }

    fn on_synced(&mut self, file: Temporary, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        for guest in self.guests.values_mut() {
            let Some(transfer) = guest.transfer_of(file) else {
                continue;
            };
            guest.wake = Some(around.now);
            return guest.commit(transfer, around);
        }
        Ok(())
    }

    /// One session's turn.
    fn drive(&mut self, id: u32, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        let mut free = self.send_frames_free();
        let Some(guest) = self.guests.get_mut(&id) else {
            return Ok(());
        };
        guest.pump.tick(around.now);
        let mut filler = 0;
        if self.random.chance(self.plan.chatter) {
            filler = self.random.magnitude(1, 60_000) as usize;
        }
        while let Some(happening) = guest.pump.next(&mut around.network.tally)? {
            match happening {
                Happening::Connected => {}
                Happening::Message(message) => {
                    let sizes = (self.plan.block_len, std::mem::take(&mut filler));
                    guest.listen(message, sizes, &mut self.random, around)?;
                    if self.plan.breathes && matches!(message, Message::Open { .. }) {
                        let window = self.random.within(1, guest.window);
                        guest.pump.set_window(window);
                    }
                }
                Happening::Returned {
                    transfer,
                    block,
                    acked,
                } => guest.on_returned(transfer, (block, acked), &mut self.frames, around)?,
                Happening::Closed(reason) => {
                    if reason == CloseReason::Undelivered {
                        around.truth.on_given_up(guest.address);
                    }
                    on_closed(reason)?;
                }
            }
        }
        for get in &mut guest.gets {
            get.feed(&mut guest.pump, &mut self.frames, &mut free, false)?;
        }
        guest.finish_gets();
        guest.wake = guest
            .pump
            .transmit(around.now, &mut self.frames, around.network)?;
        if guest.pump.is_over() && guest.wake.is_none() {
            self.retire(id, around);
        }
        Ok(())
    }

    fn send_frames_free(&self) -> usize {
        let used = self.frames.count(Place::Session) + self.frames.count(Place::Nic);
        self.plan.send_frames.saturating_sub(used)
    }

    /// Forgets a session that is over.
    fn retire(&mut self, id: u32, around: &mut Surroundings<'_>) {
        let Some(guest) = self.guests.remove(&id) else {
            return;
        };
        guest.pump.retire(&mut around.network.tally);
        self.orphans += guest.held;
        for put in guest.puts.values() {
            around.disk.remove(put.file);
        }
    }

    /// Closes all sessions, and says so once.
    ///
    /// # Errors
    /// Something does not hold.
    pub fn say_goodbye(&mut self, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        for guest in self.guests.values_mut() {
            let reason = CloseReason::Local(CloseCode::SHUTDOWN);
            guest.pump.session.close(reason);
            guest.wake = Some(around.now);
        }
        self.turn(around).map(|_| ())
    }

    /// The process dies; so does what its sessions counted.
    pub fn die(self, around: &mut Surroundings<'_>) {
        for guest in self.guests.values() {
            guest.pump.retire(&mut around.network.tally);
        }
    }
}

/// The honest clients of these simulations give a server no reason to accuse them.
const fn on_closed(reason: CloseReason) -> Result<(), Broken> {
    match reason {
        CloseReason::Violation(violation) => Err(Broken::Violation(violation)),
        _ => Ok(()),
    }
}

mod door;
mod guest;
