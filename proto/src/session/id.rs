//! What a session id says about the process that chose it.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

/// The session id of an engine: which place in which worker's table, and which of those that were ever there.
///
/// ```text
///   31            18 17        10 9          0
///   │ generation: 14 │ worker: 8 │ index: 10 │
/// ```
///
/// * `index`: the place in the table of the worker's sessions.
/// * `worker`: the number of the worker. A packet that reaches another worker took a wrong turn in the NIC, and that is
///   worth knowing; whatever spreads packets over workers can read the right one from the four bytes at
///   [`crate::wire::SESSION_AT`], without a table; and a client can, to choose source ports that reach all of them.
/// * `generation`: never 0, drawn at random each time the place is used ([`Generations`]), and never the same twice in a
///   row. So the ids of a process's two lives differ, but for one in 16,383; and who has an id, or had many, cannot tell
///   the next one.
///
/// A packet with the right id from an address is what proves that its sender receives there. Without seeing the reply it
/// has to be guessed: index and worker are no secret, so that takes 8,192 packets of 56 bytes on average, all forged from
/// one address, within the handshake timeout. This keeps off stray and casual forgeries; it is no key. Who must withstand
/// more has cookies asked for each time ([`super::RetryPolicy::Always`]): those have 128 bits to guess.
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

    /// Which of the sessions that were ever at the place, at random.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 >> (INDEX_BITS + WORKER_BITS)
    }
}

/// Draws generations that nobody without the key can predict: SipHash-2-4 of a counter.
pub struct Generations {
    key: [u8; 16],
    drawn: u64,
}

impl core::fmt::Debug for Generations {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Generations(secret)")
    }
}

impl Generations {
    /// `key` must be random, and known to nobody else.
    #[must_use]
    pub const fn new(key: &[u8; 16]) -> Self {
        Self {
            key: *key,
            drawn: 0,
        }
    }

    /// A generation, 1 to [`ConnectionId::MAX_GENERATION`], other than `last`.
    pub fn draw(&mut self, last: u32) -> u32 {
        let most = u64::from(ConnectionId::MAX_GENERATION);
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u64(self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        // One of all but one, and those from `last` on are moved up by one.
        let all_but_one = most - u64::from((1..=most).contains(&u64::from(last)));
        let generation = 1 + (hasher.finish() % all_but_one) as u32;
        generation + u32::from(last != 0 && generation >= last)
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
        fn generations_are_in_range_and_never_the_last_one(key: [u8; 16], first in 0..=ConnectionId::MAX_GENERATION) {
            let mut generations = Generations::new(&key);
            let mut last = first;
            for _ in 0..100 {
                let next = generations.draw(last);
                prop_assert!((1..=ConnectionId::MAX_GENERATION).contains(&next));
                prop_assert_ne!(next, last);
                last = next;
            }
        }
    }

    #[test]
    fn generations_follow_no_step_and_depend_on_the_key() {
        let draw = |key| {
            let mut generations = Generations::new(&[key; 16]);
            (0..1000).map(|_| generations.draw(0)).collect::<Vec<_>>()
        };
        let drawn = draw(1);
        assert_ne!(drawn, draw(2));
        let steps: std::collections::HashSet<i64> = drawn
            .windows(2)
            .map(|pair| i64::from(pair[1]) - i64::from(pair[0]))
            .collect();
        assert!(steps.len() > 900, "{} steps", steps.len());
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
