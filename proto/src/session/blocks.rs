//! The sending side's blocks: waiting for their first transmission, in flight, lost, and given back.
//!
//! ```text
//!   push ──► queue ──first transmission──► in flight ──acknowledged──► released
//!              │        (takes a number)    │     ▲                       ▲
//!              │                          lost    │ retransmission        │
//!              │                            ▼     │                       │
//!              │                           lost ──┘ ──late acknowledgement┤
//!              └──────────────────────── cancel ──────────────────────────┘
//! ```
//!
//! A block that is cancelled (or has become too long for the path) after its first transmission leaves a hole in the numbers. Its slot stays, empty, and if
//! its packet was lost, a packet without payload goes in its place: else the receiver would wait for the number for
//! ever, and one block of credit would be gone.

use std::collections::VecDeque;

use super::types::BlockMeta;

/// How many lost blocks are looked at for one that may be retransmitted now.
const MAX_LOOKED_AT: usize = 16;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    Free,
    InFlight,
    Lost,
}

#[derive(Debug)]
struct Slot<B> {
    state: State,
    number: u64,
    meta: BlockMeta,
    /// `None` once cancelled.
    block: Option<B>,
}

/// A block that is the caller's again.
#[derive(Debug)]
pub(super) struct Released<B> {
    pub(super) transfer: u32,
    pub(super) block: B,
    pub(super) acked: bool,
}

/// A slot that is to be transmitted.
#[derive(Copy, Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) slot: u32,
    pub(super) number: u64,
    pub(super) meta: BlockMeta,
    /// It was cancelled: send a packet without payload.
    pub(super) void: bool,
}

/// The blocks that a session has been given to send.
#[derive(Debug)]
pub(super) struct Blocks<B> {
    queue: VecDeque<(BlockMeta, B)>,
    slots: Vec<Slot<B>>,
    free: Vec<u32>,
    /// Slot and number, for a slot may have been freed and taken again since.
    lost: VecDeque<(u32, u64)>,
    released: VecDeque<Released<B>>,
    next_number: u64,
    /// Numbers below may be sent.
    max_blocks: u64,
    max_queued: usize,
    max_unacked: usize,
}

impl<B> Blocks<B> {
    pub(super) fn new(max_queued: usize, max_unacked: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            slots: Vec::new(),
            free: Vec::new(),
            lost: VecDeque::new(),
            released: VecDeque::new(),
            next_number: 0,
            max_blocks: 0,
            max_queued,
            max_unacked,
        }
    }

    /// Tells the sizes of what is kept, and their limits ([`super::Session::footprint`]).
    #[cfg(feature = "sim")]
    pub(super) fn footprint(&self, note: &mut impl FnMut(&'static str, usize, usize)) {
        let released = self.max_queued + self.max_unacked;
        note("queued blocks", self.queue.len(), self.max_queued);
        note("unacknowledged blocks", self.slots.len(), self.max_unacked);
        note("lost blocks", self.lost.len(), 2 * self.max_unacked);
        note("blocks not fetched", self.released.len(), released);
    }

    /// How many blocks [`Self::push`] takes. Those that wait to be fetched from [`Self::pop_released`] count too.
    pub(super) fn space(&self) -> usize {
        self.max_queued
            .saturating_sub(self.queue.len() + self.released.len())
    }

    pub(super) fn push(&mut self, meta: BlockMeta, block: B) {
        self.queue.push_back((meta, block));
    }

    /// Raises the credit; says whether it grew.
    pub(super) fn grant(&mut self, max_blocks: u64) -> bool {
        let grew = max_blocks > self.max_blocks;
        self.max_blocks = self.max_blocks.max(max_blocks);
        grew
    }

    /// Blocks that may still be sent under the credit.
    pub(super) const fn credit(&self) -> u64 {
        self.max_blocks.saturating_sub(self.next_number)
    }

    /// Whether blocks wait, and only for credit.
    pub(super) fn is_starved(&self) -> bool {
        !self.queue.is_empty() && self.credit() == 0
    }

    /// Whether [`Self::transmit`] would give a block.
    pub(super) fn is_ready(&self) -> bool {
        !self.queue.is_empty() && self.credit() > 0 && self.unacked() < self.max_unacked
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.unacked() == 0
    }

    /// Whether lost blocks wait.
    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Blocks that the peer is known to have, cancelled ones among them.
    pub(super) fn acked(&self) -> u64 {
        self.next_number - self.unacked() as u64
    }

    /// Blocks that were sent and are not acknowledged: slots in use.
    pub(super) fn unacked(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn block(&self, slot: u32) -> Option<&B> {
        self.slots.get(slot as usize)?.block.as_ref()
    }

    /// A lost block to send again, if there is one that `idle` allows; it counts as sent.
    pub(super) fn retransmit(&mut self, mut idle: impl FnMut(&B) -> bool) -> Option<Outgoing> {
        for _ in 0..self.lost.len().min(MAX_LOOKED_AT) {
            let (index, number) = self.lost.pop_front()?;
            let slot = &mut self.slots[index as usize];
            if slot.state != State::Lost || slot.number != number {
                continue;
            }
            if slot.block.as_ref().is_some_and(|block| !idle(block)) {
                self.lost.push_back((index, number));
                continue;
            }
            slot.state = State::InFlight;
            return Some(Outgoing {
                slot: index,
                number,
                meta: slot.meta,
                void: slot.block.is_none(),
            });
        }
        None
    }

    /// The next block to send for the first time, if credit and memory allow; it counts as sent.
    pub(super) fn transmit(&mut self) -> Option<Outgoing> {
        if self.credit() == 0 || self.unacked() >= self.max_unacked {
            return None;
        }
        let (meta, block) = self.queue.pop_front()?;
        let number = self.next_number;
        self.next_number += 1;
        let slot = Slot {
            state: State::InFlight,
            number,
            meta,
            block: Some(block),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        Some(Outgoing {
            slot: index,
            number,
            meta,
            void: false,
        })
    }

    /// The peer has this block. Harmless for one that it is known to have. Gives the payload's length, if it is news and
    /// the packet had one.
    pub(super) fn on_acked(&mut self, index: u32, number: u64) -> Option<u16> {
        let slot = &mut self.slots[index as usize];
        if slot.state == State::Free || slot.number != number {
            return None;
        }
        slot.state = State::Free;
        self.free.push(index);
        let block = slot.block.take()?;
        self.released.push_back(Released {
            transfer: slot.meta.transfer,
            block,
            acked: true,
        });
        Some(slot.meta.len)
    }

    /// The last packet with this block was lost. Gives the payload's length, if it is news and the packet had one.
    pub(super) fn on_lost(&mut self, index: u32, number: u64) -> Option<u16> {
        let slot = &mut self.slots[index as usize];
        if slot.state != State::InFlight || slot.number != number {
            return None;
        }
        slot.state = State::Lost;
        self.lost.push_back((index, number));
        slot.block.as_ref().map(|_| slot.meta.len)
    }

    /// Gives back all blocks of a transfer.
    pub(super) fn cancel(&mut self, transfer: u32) {
        self.give_back(|meta| meta.transfer == transfer);
    }

    /// Gives back all blocks with a longer payload than this, which the path does not take.
    pub(super) fn give_back_longer(&mut self, limit: u16) {
        self.give_back(|meta| meta.len > limit);
    }

    /// Gives back all blocks.
    pub(super) fn cancel_all(&mut self) {
        self.give_back(|_| true);
    }

    fn give_back(&mut self, which: impl Fn(&BlockMeta) -> bool) {
        for slot in self.slots.iter_mut().filter(|slot| which(&slot.meta)) {
            if let Some(block) = slot.block.take() {
                self.released.push_back(Released {
                    transfer: slot.meta.transfer,
                    block,
                    acked: false,
                });
            }
        }
        for _ in 0..self.queue.len() {
            let Some((meta, block)) = self.queue.pop_front() else {
                break;
            };
            if which(&meta) {
                self.released.push_back(Released {
                    transfer: meta.transfer,
                    block,
                    acked: false,
                });
            } else {
                self.queue.push_back((meta, block));
            }
        }
    }

    /// The next block that is the caller's again.
    pub(super) fn pop_released(&mut self) -> Option<Released<B>> {
        self.released.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(transfer: u32) -> BlockMeta {
        BlockMeta {
            transfer,
            offset: 0,
            len: 512,
            crc: 0,
        }
    }

    fn blocks(queued: &[u32], credit: u64) -> Blocks<usize> {
        let mut blocks = Blocks::new(10, 4);
        for (index, transfer) in queued.iter().enumerate() {
            blocks.push(meta(*transfer), index);
        }
        blocks.grant(credit);
        blocks
    }

    fn released(blocks: &mut Blocks<usize>) -> Vec<(usize, bool)> {
        std::iter::from_fn(|| blocks.pop_released().map(|r| (r.block, r.acked))).collect()
    }

    #[test]
    fn credit_and_memory_limit_first_transmissions() {
        let mut b = blocks(&[1; 8], 2);
        assert_eq!(b.transmit().unwrap().number, 0);
        assert_eq!(b.transmit().unwrap().number, 1);
        assert!(b.transmit().is_none() && b.is_starved());
        assert!(b.grant(100) && !b.grant(50));
        assert!(b.transmit().is_some() && b.transmit().is_some());
        assert!(
            b.transmit().is_none() && !b.is_starved(),
            "four unacknowledged is the limit"
        );
        b.on_acked(2, 2);
        assert_eq!(b.transmit().unwrap().slot, 2, "slots are used again");
    }

    #[test]
    fn a_lost_block_keeps_its_number() {
        let mut b = blocks(&[1, 1], 9);
        let first = b.transmit().unwrap();
        b.transmit().unwrap();
        b.on_lost(first.slot, first.number);
        assert!(
            b.retransmit(|_| false).is_none(),
            "it still sits in the NIC queue"
        );
        let again = b.retransmit(|_| true).unwrap();
        assert_eq!((again.slot, again.number), (first.slot, first.number));
        assert!(b.retransmit(|_| true).is_none());
        b.on_acked(0, 0);
        b.on_acked(0, 0);
        assert_eq!(released(&mut b), [(0, true)]);
    }

    #[test]
    fn a_late_acknowledgement_stops_the_retransmission() {
        let mut b = blocks(&[1, 1], 9);
        let first = b.transmit().unwrap();
        b.on_lost(first.slot, first.number);
        b.on_acked(first.slot, first.number);
        let second = b.transmit().unwrap();
        assert_eq!(second.slot, first.slot);
        assert!(b.retransmit(|_| true).is_none());
        b.on_acked(first.slot, first.number);
        assert_eq!(
            released(&mut b),
            [(0, true)],
            "a stale acknowledgement frees nothing"
        );
    }

    #[test]
    fn cancelling_leaves_a_void_to_retransmit() {
        let mut b = blocks(&[1, 2, 1], 2);
        let (first, second) = (b.transmit().unwrap(), b.transmit().unwrap());
        b.cancel(1);
        assert_eq!(released(&mut b), [(0, false), (2, false)]);
        b.on_lost(first.slot, first.number);
        let void = b.retransmit(|_| true).unwrap();
        assert!(void.void && void.number == 0);
        b.on_acked(void.slot, void.number);
        b.on_acked(second.slot, second.number);
        assert_eq!(released(&mut b), [(1, true)]);
        assert!(b.is_drained());
    }

    #[test]
    fn what_is_too_long_comes_back() {
        let mut b = blocks(&[], 2);
        for (index, len) in [600, 512, 600, 512].into_iter().enumerate() {
            b.push(BlockMeta { len, ..meta(1) }, index);
        }
        let (long, short) = (b.transmit().unwrap(), b.transmit().unwrap());
        b.give_back_longer(512);
        assert_eq!(released(&mut b), [(0, false), (2, false)]);
        assert_eq!(b.on_lost(long.slot, long.number), None, "a void by now");
        assert_eq!(b.on_lost(short.slot, short.number), Some(512));
        assert!(b.retransmit(|_| true).unwrap().void);
        assert!(!b.retransmit(|_| true).unwrap().void);
        assert_eq!(b.on_acked(long.slot, long.number), None);
        assert_eq!(b.on_acked(short.slot, short.number), Some(512));
        assert_eq!(b.on_acked(short.slot, short.number), None, "no news");
        assert_eq!(released(&mut b), [(1, true)]);
        b.grant(3);
        let last = b.transmit().unwrap();
        assert_eq!((last.number, last.meta.len), (2, 512));
    }

    #[test]
    fn unfetched_releases_take_up_space() {
        let mut b = blocks(&[1; 3], 9);
        assert_eq!(b.space(), 7);
        b.cancel_all();
        assert_eq!(b.space(), 7);
        released(&mut b);
        assert_eq!(b.space(), 10);
    }
}
