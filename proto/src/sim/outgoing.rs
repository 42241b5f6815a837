//! A file being sent: cut into blocks, given to the session, cut anew when blocks come back.

use std::collections::VecDeque;

use super::content::Contents;
use super::frames::{Frames, Place};
use super::invariants::Broken;
use super::pump::{Block, Pump};
use super::random::Random;
use crate::session::BlockMeta;
use crate::time::Time;
use crate::wire;

/// Blocks are queued in an order that differs from that in the file by so many places.
const DISORDER: usize = 20;

/// A file being sent.
#[derive(Debug)]
pub struct Outgoing {
    transfer: u32,
    contents: Contents,
    /// Offsets and lengths that no block has yet.
    pending: VecDeque<(u64, u64)>,
    /// Blocks that the session has.
    inside: usize,
    /// Blocks that were queued so far.
    queued: u64,
    cancelled: bool,
}

impl Outgoing {
    /// Sends so many bytes, in blocks of at most `block_len`.
    #[must_use]
    pub fn new(
        (transfer, contents): (u32, Contents),
        (size, block_len): (u64, u64),
        random: &mut Random,
    ) -> Self {
        let step = block_len.max(1);
        let starts = (0..size).step_by(step as usize);
        let mut pending: Vec<_> = starts
            .map(|start| (start, step.min(size - start)))
            .collect();
        random.shuffle(&mut pending, DISORDER);
        Self {
            transfer,
            contents,
            pending: pending.into(),
            inside: 0,
            queued: 0,
            cancelled: false,
        }
    }

    /// Number of the transfer.
    #[must_use]
    pub const fn transfer(&self) -> u32 {
        self.transfer
    }

    /// What is being sent.
    #[must_use]
    pub const fn contents(&self) -> Contents {
        self.contents
    }

    /// Blocks that were queued so far.
    #[must_use]
    pub const fn queued(&self) -> u64 {
        self.queued
    }

    /// Whether it was cancelled.
    #[must_use]
    pub const fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Whether some of it has not been given to the session.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether every block is acknowledged, or was given back after it was cancelled.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.inside == 0 && self.pending.is_empty()
    }

    /// Queues as many blocks as the session takes and there are frames for: `free` of them may be used, and so many
    /// fewer may be afterwards.
    ///
    /// `twice`: the first block is queued twice.
    ///
    /// # Errors
    /// The session refuses a block though it has room for it.
    pub fn feed(
        &mut self,
        pump: &mut Pump,
        frames: &mut Frames,
        free: &mut usize,
        twice: bool,
    ) -> Result<(), Broken> {
        while pump.session.queue_space() > 0 && *free > 0 {
            let Some((offset, len)) = self.pending.pop_front() else {
                break;
            };
            let limit = u64::from(pump.max_block()).max(1);
            let now = len.min(limit);
            if now < len {
                self.pending.push_front((offset + now, len - now));
            }
            if twice && self.queued == 0 {
                self.pending.push_back((offset, now));
            }
            let frame = frames.take(Place::Session)?;
            let bytes = frames.bytes_mut(&frame);
            bytes.resize(now as usize, 0);
            self.contents.fill(offset, bytes);
            let meta = BlockMeta {
                transfer: self.transfer,
                offset,
                len: now as u16,
                crc: wire::payload_crc(bytes),
            };
            let block = Block {
                frame,
                offset,
                len: meta.len,
            };
            if pump.queue(meta, block).is_err() {
                return Err(Broken::Unexpected(format!(
                    "no room for a block of {now} bytes"
                )));
            }
            *free -= 1;
            self.inside += 1;
            self.queued += 1;
        }
        Ok(())
    }

    /// A block came back. `excused`: it may have come back without an acknowledgement.
    ///
    /// # Errors
    /// It must not have.
    pub fn returned(
        &mut self,
        now: Time,
        (block, acked): (Block, bool),
        frames: &mut Frames,
        excused: bool,
    ) -> Result<(), Broken> {
        frames.give(now, &block.frame, Place::Session)?;
        self.inside -= 1;
        if acked || self.cancelled {
            return Ok(());
        }
        if !excused {
            return Err(Broken::GivenUp(self.transfer));
        }
        self.pending.push_back((block.offset, u64::from(block.len)));
        Ok(())
    }

    /// Nothing more of it is to be sent.
    pub fn cancel(&mut self, pump: &mut Pump) {
        self.cancelled = true;
        self.pending.clear();
        pump.session.cancel_transfer(self.transfer);
    }
}
