//! How much one session may have served by the worker itself before the others have their turn.

/// Bytes that are read for one session in one turn of the worker: some tenths of a millisecond, and more than a client needs that has
/// many small requests under way.
const TURN_MAX: usize = 1 << 20;
/// What a read of less counts as: it takes about as long.
const LEAST: usize = 4096;

/// What was read for one session in the present turn.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    turn: u64,
    spent: usize,
}

impl Allowance {
    /// Takes a read of `len` bytes off what is left in this turn; `false`: it is too much.
    pub(super) fn take(&mut self, turn: u64, len: usize) -> bool {
        if self.turn != turn {
            *self = Self { turn, spent: 0 };
        }
        let spent = self.spent + len.max(LEAST);
        if spent > TURN_MAX {
            return false;
        }
        self.spent = spent;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_has_its_share() {
        let mut allowance = Allowance::default();
        for turn in 1..3 {
            let large = (0..1000).filter(|_| allowance.take(turn, 32 * 1024));
            assert_eq!(large.count(), 32);
            assert!(!allowance.take(turn, 1));
        }
        let small = (0..1000).filter(|_| allowance.take(3, 1));
        assert_eq!(small.count(), 256);
    }
}
