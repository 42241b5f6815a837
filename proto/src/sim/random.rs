//! A small seeded generator (SplitMix64), so that a seed means the same run on every machine and for ever.

/// Mixes 64 bits so that every bit of the result depends on every bit of the input (the finaliser of SplitMix64).
#[must_use]
pub const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The increment of SplitMix64: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers that depends on its seed only.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(STEP) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// A sequence of its own for a part of the simulation, so that what one part draws does not change another's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// 64 random bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A secret.
    #[must_use]
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }

    /// From `low` to `high`, both included; `low` if `high` is less.
    pub const fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.saturating_sub(low)).saturating_add(1)
    }

    /// As [`Self::within`], with each order of magnitude as likely as the next. `low` is at least 1.
    pub fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let (from, to) = ((low as f64).ln(), (high as f64).ln());
        let at = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((from + at * (to - from)).exp() as u64).clamp(low, high)
    }

    /// True in so many of a million cases. Draws a number even if the answer is certain.
    pub const fn chance(&mut self, per_million: u64) -> bool {
        self.next() % 1_000_000 < per_million
    }

    /// One of these; there must be one.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0, from.len() as u64 - 1) as usize]
    }

    /// Swaps each element with one of the `distance` before it, or itself.
    pub fn shuffle<T>(&mut self, items: &mut [T], distance: usize) {
        for at in (1..items.len()).rev() {
            let other = self.within(at.saturating_sub(distance) as u64, at as u64);
            items.swap(at, other as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            [
                random.next(),
                random.within(3, 9),
                random.magnitude(1, 1000),
            ]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn limits_are_kept_and_reached() {
        let mut random = Random::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| random.within(3, 5)).collect();
        assert!((3..=5).all(|n| drawn.contains(&n)) && drawn.iter().all(|n| (3..=5).contains(n)));
        assert!((0..1000).all(|_| (10..=1000).contains(&random.magnitude(10, 1000))));
        assert!((0..1000).all(|_| !random.chance(0) && random.chance(1_000_000)));
        let hits = (0..10_000).filter(|_| random.chance(100_000)).count();
        assert!((800..1200).contains(&hits), "{hits} of 10000 at 10 %");
    }

    #[test]
    fn shuffling_moves_everything_nearby_and_loses_nothing() {
        let mut items: Vec<usize> = (0..500).collect();
        Random::new(3).shuffle(&mut items, 20);
        assert_ne!(items, (0..500).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..500).collect::<Vec<_>>());
    }
}
