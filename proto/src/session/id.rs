//! What a session id says about the process that chose it.

/// The session id of an engine: which place in which worker's table, and which of those that were ever there.
///
/// ```text
///   31            18 17        10 9          0
///   │ generation: 14 │ worker: 8 │ index: 10 │
/// ```
///
/// * `index`: the place in the table of the worker's sessions.
/// * `worker`: the number of the worker, which is that of its receive queue. A packet that reaches another worker took a
///   wrong turn in the NIC, and that is worth knowing; and whatever spreads packets over workers can read the right one
///   from the four bytes at [`crate::wire::SESSION_AT`], without a table.
/// * `generation`: never 0, one more each time the place is used again. It starts at random, so the ids of a process's
///   two lives differ, but for one in 16,383.
///
/// On the wire it is a number without meaning to the other side, which may choose its own in another way.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u32);

const INDEX_BITS: u32 = 10;
const WORKER_BITS: u32 = 8;
const GENERATION_BITS: u32 = 14;
const _: () = assert!(INDEX_BITS + WORKER_BITS + GENERATION_BITS == u32::BITS);

impl ConnectionId {
    /// Places in one worker's table.
    pub const INDEXES: usize = 1 << INDEX_BITS;
    /// Workers of one process.
    pub const WORKERS: usize = 1 << WORKER_BITS;
    /// Generations of a place, 1 to this.
    pub const MAX_GENERATION: u32 = (1 << GENERATION_BITS) - 1;

    /// Puts an id together; `None` if one of the numbers has no room, or the generation is 0.
    #[must_use]
    pub const fn new(generation: u32, worker: u32, index: usize) -> Option<Self> {
        let fits = generation != 0
            && generation <= Self::MAX_GENERATION
            && (worker as usize) < Self::WORKERS
            && index < Self::INDEXES;
        if !fits {
            return None;
        }
        Some(Self(
            generation << (INDEX_BITS + WORKER_BITS) | worker << INDEX_BITS | index as u32,
        ))
    }

    /// The id that these bits of a packet stand for.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// What stands on the wire; never 0 for an id that [`Self::new`] made.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The place in the worker's table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize & (Self::INDEXES - 1)
    }

    /// The worker.
    #[must_use]
    pub const fn worker(self) -> u32 {
        (self.0 >> INDEX_BITS) & (Self::WORKERS as u32 - 1)
    }

    /// How often the place had been used.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 >> (INDEX_BITS + WORKER_BITS)
    }

    /// A place's first generation, from any random number.
    #[must_use]
    pub const fn first_generation(random: u32) -> u32 {
        1 + random % Self::MAX_GENERATION
    }

    /// The generation after this one.
    #[must_use]
    pub const fn next_generation(generation: u32) -> u32 {
        1 + generation % Self::MAX_GENERATION
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_gives_back_what_it_is_made_of(
            generation in 1..=ConnectionId::MAX_GENERATION,
            worker in 0..ConnectionId::WORKERS as u32,
            index in 0..ConnectionId::INDEXES,
        ) {
            let id = ConnectionId::new(generation, worker, index).unwrap();
            prop_assert_ne!(id.bits(), 0);
            prop_assert_eq!((id.generation(), id.worker(), id.index()), (generation, worker, index));
            prop_assert_eq!(ConnectionId::from_bits(id.bits()), id);
        }

        #[test]
        fn generations_are_never_0_and_walk_through_all(random: u32) {
            let first = ConnectionId::first_generation(random);
            prop_assert!((1..=ConnectionId::MAX_GENERATION).contains(&first));
            let mut generation = ConnectionId::next_generation(first);
            let mut steps = 1;
            while generation != first {
                prop_assert!((1..=ConnectionId::MAX_GENERATION).contains(&generation));
                generation = ConnectionId::next_generation(generation);
                steps += 1;
            }
            prop_assert_eq!(steps, ConnectionId::MAX_GENERATION);
        }
    }

    #[test]
    fn what_has_no_room_makes_no_id() {
        let too_many = ConnectionId::MAX_GENERATION + 1;
        for (generation, worker, index) in [(0, 1, 1), (too_many, 1, 1), (1, 256, 1), (1, 1, 1024)]
        {
            assert_eq!(ConnectionId::new(generation, worker, index), None);
        }
    }
}
