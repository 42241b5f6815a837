//! Receiver-driven credit: how many blocks the peer may send, and which of them have come.
//!
//! ```text
//!   block numbers   0 ─────── base ──────────────── granted ────
//!                    all here  some here: one bit each   not yet allowed
//!
//!   granted = released + window, and never more than the bitmap can tell apart from base on
//! ```
//!
//! So the blocks that have been received and not released, and those still to come under the grant, together never
//! exceed the window; and a number is accepted exactly once, for ever.

use super::types::Violation;

/// Bits of the bitmap for each block of the window: so far the numbers in use may spread when a block has to be sent
/// many times while those after it come through.
const SPREAD: u64 = 4;
const WORD_BITS: u64 = 64;

/// The receiving side of a session's credit.
#[derive(Debug)]
pub(super) struct Grants {
    window: u64,
    max_window: u64,
    /// All numbers below have been received.
    base: u64,
    /// One bit for each number from `base` on, at number modulo the length.
    bitmap: Vec<u64>,
    /// Numbers below may be sent.
    granted: u64,
    /// What the peer was last told of it.
    announced: u64,
    received: u64,
    released: u64,
}

impl Grants {
    pub(super) fn new(window: u64, max_window: u64) -> Self {
        let mut grants = Self {
            window: 0,
            max_window,
            base: 0,
            bitmap: Vec::new(),
            granted: 0,
            announced: 0,
            received: 0,
            released: 0,
        };
        grants.set_window(window);
        grants.announced = grants.granted;
        grants
    }

    /// Blocks that the peer may send, all told.
    pub(super) const fn granted(&self) -> u64 {
        self.granted
    }

    /// Blocks that were granted and not released.
    pub(super) const fn outstanding(&self) -> u64 {
        self.granted - self.released
    }

    /// Blocks that have come, each counted once.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Blocks that were received and not released.
    pub(super) const fn held(&self) -> u64 {
        self.received - self.released
    }

    /// Takes note of a block; says whether it is here for the first time.
    pub(super) fn accept(&mut self, number: u64) -> Result<bool, Violation> {
        if number >= self.granted {
            return Err(Violation::CreditExceeded {
                number,
                granted: self.granted,
            });
        }
        if number < self.base || self.bit(number) {
            return Ok(false);
        }
        self.received += 1;
        if number != self.base {
            self.flip(number);
            return Ok(true);
        }
        self.base += 1;
        while self.base < self.granted && self.bit(self.base) {
            self.flip(self.base);
            self.base += 1;
        }
        self.grant();
        Ok(true)
    }

    /// So many blocks have been dealt with. More than are held do not count.
    pub(super) fn release(&mut self, blocks: u64) {
        self.released = self.released.saturating_add(blocks).min(self.received);
        self.grant();
    }

    /// Sets how many blocks this side can hold. What has been granted stays granted.
    pub(super) fn set_window(&mut self, blocks: u64) {
        self.window = blocks.min(self.max_window);
        let bits = (self.window * SPREAD).next_power_of_two().max(WORD_BITS);
        if bits > self.bits() {
            self.grow(bits);
        }
        self.grant();
    }

    /// Whether the peer should hear of new credit: it grew by a quarter of the window, or the peer has used up what it
    /// knows of.
    pub(super) const fn should_announce(&self) -> bool {
        let news = self.granted - self.announced;
        let starved = self.received >= self.announced;
        news > 0 && (starved || news >= self.window / 4)
    }

    /// The peer is being told of [`Self::granted`].
    pub(super) const fn on_announced(&mut self) {
        self.announced = self.granted;
    }

    fn grant(&mut self) {
        let allowed = self.released.saturating_add(self.window);
        let distinct = self.base.saturating_add(self.bits());
        self.granted = self.granted.max(allowed.min(distinct));
    }

    const fn bits(&self) -> u64 {
        self.bitmap.len() as u64 * WORD_BITS
    }

    /// Word and mask of a number's bit.
    const fn place(&self, number: u64) -> (usize, u64) {
        // The length is a power of two.
        let bit = number & (self.bits() - 1);
        ((bit / WORD_BITS) as usize, 1 << (bit % WORD_BITS))
    }

    fn bit(&self, number: u64) -> bool {
        let (word, mask) = self.place(number);
        self.bitmap[word] & mask != 0
    }

    fn flip(&mut self, number: u64) {
        let (word, mask) = self.place(number);
        self.bitmap[word] ^= mask;
    }

    fn grow(&mut self, bits: u64) {
        let set: Vec<u64> = (self.base..self.granted)
            .filter(|&number| self.bit(number))
            .collect();
        self.bitmap = vec![0; (bits / WORD_BITS) as usize];
        for number in set {
            self.flip(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_number_once_and_none_beyond_the_grant() {
        let mut grants = Grants::new(4, 100);
        assert_eq!(grants.granted(), 4);
        assert_eq!(grants.accept(1), Ok(true));
        assert_eq!(grants.accept(1), Ok(false));
        assert_eq!(grants.accept(0), Ok(true));
        assert_eq!(grants.accept(0), Ok(false));
        assert_eq!(
            grants.accept(4),
            Err(Violation::CreditExceeded {
                number: 4,
                granted: 4
            })
        );
        grants.release(1);
        assert_eq!(grants.granted(), 5);
        assert_eq!(grants.accept(4), Ok(true));
        assert_eq!(grants.held(), 2);
    }

    #[test]
    fn news_of_credit_come_in_quarters_or_when_starved() {
        let mut grants = Grants::new(8, 100);
        for number in 0..4 {
            grants.accept(number).unwrap();
        }
        grants.release(1);
        assert!(!grants.should_announce());
        grants.release(1);
        assert!(grants.should_announce());
        grants.on_announced();
        for number in 4..10 {
            grants.accept(number).unwrap();
        }
        grants.release(1);
        assert!(grants.should_announce(), "the peer has nothing left");
    }

    #[test]
    fn releasing_too_much_grants_nothing() {
        let mut grants = Grants::new(4, 100);
        grants.release(1000);
        assert_eq!(grants.granted(), 4);
    }

    #[test]
    fn a_block_that_never_comes_stops_the_grant_at_the_bitmap() {
        let mut grants = Grants::new(16, 100);
        for number in 1..64 {
            assert_eq!(grants.accept(number), Ok(true));
            grants.release(1);
        }
        assert_eq!(grants.granted(), 64);
        assert_eq!(grants.accept(0), Ok(true));
        assert!(grants.granted() > 64);
    }

    #[test]
    fn a_smaller_window_takes_nothing_back() {
        let mut grants = Grants::new(100, 50);
        assert_eq!(grants.granted(), 50, "limited by the configuration");
        grants.set_window(10);
        assert_eq!(grants.granted(), 50);
        for number in 0..41 {
            grants.accept(number).unwrap();
        }
        grants.release(41);
        assert_eq!(grants.granted(), 51);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in proptest::collection::vec((0u64..400, 0u64..6, 0u64..60), 1..400)) {
            let mut grants = Grants::new(8, 50);
            let (mut model, mut window) = (BTreeSet::new(), 8);
            for (number, release, new_window) in steps {
                let number = grants.base + number % 80;
                match grants.accept(number) {
                    Ok(new) => prop_assert_eq!(new, model.insert(number)),
                    Err(_) => prop_assert!(number >= grants.granted()),
                }
                grants.release(release);
                if new_window < 10 {
                    grants.set_window(new_window * 8);
                    window = window.max((new_window * 8).min(50));
                }
                prop_assert!(grants.granted() - grants.base <= grants.bits());
                // Held, and still to come: never more than the largest window.
                prop_assert!(grants.granted() - grants.released <= window);
            }
        }
    }
}
