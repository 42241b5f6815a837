//! Where every frame is: one byte per frame, changed only by a checked transition.

use super::FrameCounts;

/// The one place a frame can be in.
///
/// `TxFree` and `TxHeld` are both the TX or completion ring; they differ in what the completion gives back:
/// a frame to the free list, or a [`Held`](super::Held) token to its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// On the free list.
    Free,
    /// On the fill ring, or already picked from it by the kernel.
    Fill,
    /// Received, in the hands of the worker as `Frame<Rx>`.
    Rx,
    /// Part of a disk operation, or on its way into or out of one, as `Frame<Disk>`.
    Disk,
    /// Kept for (re)transmission as `Frame<Held>`.
    Held,
    /// On the TX ring; freed by its completion.
    TxFree,
    /// On the TX ring; its completion gives `Frame<Held>` back.
    TxHeld,
}

/// The state of every frame of one UMEM, and how many frames are in each state.
///
/// The counts are kept on each transition, so reading them is free. The table exists to be checked: a
/// transition from a state in which the frame is not means that a frame was used twice or given back
/// early, which on a storage path is silent corruption, so it ends the thread (panic) instead.
#[derive(Debug)]
pub(crate) struct StateTable {
    states: Vec<State>,
    counts: FrameCounts,
}

impl StateTable {
    /// A table of `frames` frames, all free.
    pub(crate) fn new(frames: u32) -> Self {
        Self {
            states: vec![State::Free; frames as usize],
            counts: FrameCounts {
                free: frames as usize,
                ..FrameCounts::default()
            },
        }
    }

    /// Moves frame `index` from `from` to `to`.
    ///
    /// # Panics
    ///
    /// When the frame is not in `from`, or there is no such frame.
    #[inline]
    pub(crate) fn transition(&mut self, index: u32, from: State, to: State) {
        match self.states.get_mut(index as usize) {
            Some(state) if *state == from => *state = to,
            found => broken(index, from, to, found.map(|state| *state)),
        }
        *self.counts.of_mut(from) -= 1;
        *self.counts.of_mut(to) += 1;
    }

    /// Panics unless frame `index` is in `state`.
    #[inline]
    pub(crate) fn check(&self, index: u32, state: State) {
        let found = self.states.get(index as usize).copied();
        if found != Some(state) {
            broken(index, state, state, found);
        }
    }

    /// The state of frame `index`, `None` when there is no such frame.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<State> {
        self.states.get(index as usize).copied()
    }

    /// The incremental counts.
    #[inline]
    pub(crate) fn counts(&self) -> FrameCounts {
        self.counts
    }

    /// Counts the table from scratch.
    pub(crate) fn recount(&self) -> FrameCounts {
        let mut counts = FrameCounts::default();
        for state in &self.states {
            *counts.of_mut(*state) += 1;
        }
        counts
    }

    /// How many frames the table has.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }
}

/// Frame conservation is broken: stop here, before the wrong bytes reach a disk or a peer.
#[cold]
#[inline(never)]
fn broken(index: u32, from: State, to: State, found: Option<State>) -> ! {
    panic!(
        "frame {index}: transition {from:?} -> {to:?}, but the frame is in {found:?}: frame conservation is broken"
    );
}

impl FrameCounts {
    /// The counter that a state belongs to.
    #[inline]
    fn of_mut(&mut self, state: State) -> &mut usize {
        match state {
            State::Free => &mut self.free,
            State::Fill => &mut self.fill,
            State::Rx => &mut self.rx,
            State::Disk => &mut self.disk,
            State::Held => &mut self.held,
            State::TxFree | State::TxHeld => &mut self.tx,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_keep_counts_equal_to_a_recount() {
        let mut table = StateTable::new(4);
        for (index, to) in [
            (0, State::Fill),
            (1, State::Disk),
            (2, State::TxFree),
            (3, State::TxHeld),
        ] {
            table.transition(index, State::Free, to);
            assert_eq!(table.counts(), table.recount());
        }
        assert_eq!(
            table.counts(),
            FrameCounts {
                free: 0,
                fill: 1,
                rx: 0,
                disk: 1,
                held: 0,
                tx: 2
            }
        );
        table.transition(0, State::Fill, State::Rx);
        table.transition(3, State::TxHeld, State::Held);
        assert_eq!(
            table.counts(),
            FrameCounts {
                free: 0,
                fill: 0,
                rx: 1,
                disk: 1,
                held: 1,
                tx: 1
            }
        );
        assert_eq!(table.counts(), table.recount());
        assert_eq!(table.counts().total(), table.len());
    }

    #[test]
    #[should_panic(expected = "frame conservation is broken")]
    fn a_second_release_panics() {
        let mut table = StateTable::new(2);
        table.transition(1, State::Free, State::Disk);
        table.transition(1, State::Disk, State::Free);
        table.transition(1, State::Disk, State::Free);
    }

    #[test]
    #[should_panic(expected = "but the frame is in None")]
    fn a_frame_that_does_not_exist_panics() {
        StateTable::new(2).transition(2, State::Free, State::Fill);
    }

    #[test]
    #[should_panic(expected = "frame conservation is broken")]
    fn checking_the_wrong_state_panics() {
        StateTable::new(2).check(0, State::Rx);
    }
}
