//! What a server does with the requests of one session.

use super::{Guest, Put, State};
use crate::sim::chat::Message;
use crate::sim::content::Contents;
use crate::sim::disk::Temporary;
use crate::sim::extents::Extents;
use crate::sim::frames::Frames;
use crate::sim::invariants::Broken;
use crate::sim::outgoing::Outgoing;
use crate::sim::pump::Block;
use crate::sim::random::Random;
use crate::sim::tally::Count;
use crate::sim::truth::{Sabotage, Surroundings};

/// About so many blocks does a get have at most.
const MOST_BLOCKS: u64 = 400;

impl Guest {
    /// Does what a message asks. `sizes`: payload of blocks to send, bytes of filler in the answer.
    pub(super) fn listen(
        &mut self,
        message: Message,
        (block_len, filler): (u64, usize),
        random: &mut Random,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        match message {
            Message::Open {
                transfer,
                contents,
                size,
            } => {
                self.open(transfer, (contents, size), around);
                self.pump.say(Message::Ready(transfer), filler);
            }
            Message::Commit(transfer) => {
                let put = self.puts.get_mut(&transfer);
                let put = put.filter(|put| put.state == State::Receiving);
                let put = put.ok_or_else(|| Broken::Unexpected(format!("{message:?}")))?;
                if !put.arrived.covers(put.size) {
                    let text = format!("{message:?} before all of {} has come", put.contents);
                    return Err(Broken::Unexpected(text));
                }
                put.state = State::Draining;
                self.advance(transfer, around)?;
            }
            Message::Get { transfer, file } => {
                let client = self.address.client().unwrap_or(u32::MAX);
                let answer = match around.disk.named(client, file) {
                    Some((contents, size)) => {
                        self.found.insert(transfer, (contents, size));
                        Message::Found {
                            transfer,
                            contents,
                            size,
                        }
                    }
                    None => Message::Missing(transfer),
                };
                self.pump.say(answer, filler);
            }
            Message::Read(transfer) => {
                let (contents, size) = self
                    .found
                    .remove(&transfer)
                    .ok_or_else(|| Broken::Unexpected(format!("{message:?}")))?;
                // Short blocks of a long file would make the run long, and show nothing new.
                let block_len = block_len.max(size / MOST_BLOCKS);
                let get = Outgoing::new((transfer, contents), (size, block_len), random);
                self.gets.push(get);
            }
            Message::Cancel(transfer) => self.cancel(transfer, around),
            Message::Noise => self.pump.say(Message::Noise, filler),
            other => return Err(Broken::Unexpected(format!("{other:?}"))),
        }
        Ok(())
    }

    fn open(
        &mut self,
        transfer: u32,
        (contents, size): (Contents, u64),
        around: &mut Surroundings<'_>,
    ) {
        let put = Put {
            contents,
            size,
            file: around.disk.create(contents, size),
            arrived: Extents::default(),
            writing: 0,
            state: State::Receiving,
        };
        self.puts.insert(transfer, put);
    }

    fn cancel(&mut self, transfer: u32, around: &mut Surroundings<'_>) {
        self.found.remove(&transfer);
        if let Some(put) = self.puts.remove(&transfer) {
            around.disk.remove(put.file);
        }
        if let Some(get) = self.gets.iter_mut().find(|get| get.transfer() == transfer) {
            get.cancel(&mut self.pump);
        }
    }

    /// Whether it has blocks to send that only wait for frames.
    pub(super) fn is_hungry(&self) -> bool {
        self.pump.session.queue_space() > 0 && self.gets.iter().any(Outgoing::has_pending)
    }

    pub(super) fn transfer_of(&self, file: Temporary) -> Option<u32> {
        let mut puts = self.puts.iter();
        puts.find(|(_, put)| put.file == file)
            .map(|(transfer, _)| *transfer)
    }

    /// Begins to sync when nothing is being written any more.
    pub(super) fn advance(
        &mut self,
        transfer: u32,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let Some(put) = self.puts.get_mut(&transfer) else {
            return Ok(());
        };
        if put.state != State::Draining || put.writing > 0 {
            return Ok(());
        }
        put.state = State::Syncing;
        if around.truth.is_sabotaged(Sabotage::NeverSync)
            || around.truth.is_sabotaged(Sabotage::AcknowledgeEarly)
        {
            return self.commit(transfer, around);
        }
        around
            .disk
            .sync(around.now, put.file, &mut around.network.tally);
        Ok(())
    }

    /// Gives a file its name and says so.
    pub(super) fn commit(
        &mut self,
        transfer: u32,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let Some(put) = self.puts.remove(&transfer) else {
            return Ok(());
        };
        around.disk.publish(put.file);
        self.pump.say(Message::Committed(transfer), 0);
        // A server that never syncs passes here, so that a crash can show it.
        if !around.disk.is_durable(put.contents) && !around.truth.is_sabotaged(Sabotage::NeverSync)
        {
            return Err(Broken::NotDurable(put.contents));
        }
        Ok(())
    }

    /// The session gave a block back.
    pub(super) fn on_returned(
        &mut self,
        transfer: u32,
        back: (Block, bool),
        frames: &mut Frames,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let excused = self.pump.may_cut_anew(&back.0);
        let get = self.gets.iter_mut().find(|get| get.transfer() == transfer);
        let get = get.ok_or(Broken::ReturnedTwice(back.0.offset))?;
        if !back.1 && excused {
            around.truth.on_cut_anew(get.contents());
            around
                .network
                .tally
                .add(Count::CutAnew, u64::from(!self.pump.session.is_closed()));
        }
        get.returned(around.now, back, frames, excused)
    }

    /// Says of files that were sent that they were.
    pub(super) fn finish_gets(&mut self) {
        let pump = &mut self.pump;
        self.gets.retain(|get| {
            if !get.is_done() {
                return true;
            }
            if !get.is_cancelled() {
                pump.say(Message::Done(get.transfer()), 0);
            }
            false
        });
    }
}
