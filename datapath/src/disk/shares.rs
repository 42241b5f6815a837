//! What one device may hold of what all devices share: copy buffers, and operations in flight.
//!
//! A disk that is slow, or dead, keeps what it was given. So nobody gets all: a device is given one more only while it holds
//! less than [`FACTOR`] times what is free (dynamic thresholds, Choudhury and Hahne, IEEE/ACM Transactions on Networking
//! 6(2), 1998). One device alone gets two thirds, a second one two thirds of the rest, and so on: the next one that comes
//! finds something, without anything being set aside for it.

/// How many times what is free a device may hold.
const FACTOR: usize = 2;

/// How many each device holds; devices as statx(2) names them. Few, so they are searched in turn.
#[derive(Debug, Default)]
pub(super) struct Shares(Vec<(u64, usize)>);

impl Shares {
    /// Whether a device may have one more, with so many free.
    pub(super) fn allows(&self, device: u64, free: usize) -> bool {
        self.of(device) < FACTOR.saturating_mul(free)
    }

    /// It has one more.
    pub(super) fn add(&mut self, device: u64) {
        match self.0.iter_mut().find(|of| of.0 == device) {
            Some(of) => of.1 += 1,
            None => self.0.push((device, 1)),
        }
    }

    /// It has one less.
    pub(super) fn remove(&mut self, device: u64) {
        let Some(at) = self.0.iter().position(|of| of.0 == device) else {
            debug_assert!(false, "device {device} holds nothing");
            return;
        };
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.swap_remove(at);
        }
    }

    fn of(&self, device: u64) -> usize {
        let held = self.0.iter().find(|of| of.0 == device);
        held.map_or(0, |of| of.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_all_and_who_comes_last_gets_some() {
        let (mut shares, mut free) = (Shares::default(), 16);
        let mut take_all = |shares: &mut Shares, device| {
            let mut taken = 0;
            while shares.allows(device, free) {
                shares.add(device);
                free -= 1;
                taken += 1;
            }
            taken
        };
        let taken: Vec<_> = (1..=3)
            .map(|device| take_all(&mut shares, device))
            .collect();
        assert_eq!(taken, [11, 4, 1]);
        // What is given back counts.
        (0..11).for_each(|_| shares.remove(1));
        assert_eq!((shares.of(1), shares.0.len()), (0, 2));
        assert!(shares.allows(1, 11) && !shares.allows(1, 0));
        // One of one is not refused.
        assert!(Shares::default().allows(7, 1));
    }
}
