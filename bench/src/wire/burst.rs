//! Loss in bursts: the model of Gilbert and Elliott, as netem's `loss gemodel`.
//!
//! ```text
//!            enter
//!    good ----------> bad     each frame moves the state first, and is then lost with the chance of that state
//!         <----------
//!            leave
//! ```
//!
//! The mean length of a burst is `1 / leave` frames, the share of time in it `enter / (enter + leave)`.

use super::random::Random;

/// Chances, 0..=1, for each frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BurstLoss {
    /// From the good state to the bad one.
    pub enter: f64,
    /// Back.
    pub leave: f64,
    /// Loss in the bad state.
    pub bad: f64,
    /// Loss in the good state.
    pub good: f64,
}

/// The state of one direction.
#[derive(Debug)]
pub struct Bursts {
    random: Random,
    bad: bool,
}

impl Bursts {
    /// Starts in the good state.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            bad: false,
        }
    }

    /// Whether the next frame is lost. Takes two random numbers, whatever the answer.
    pub fn loses(&mut self, model: &BurstLoss) -> bool {
        let moves = if self.bad { model.leave } else { model.enter };
        if self.random.chance(moves) {
            self.bad = !self.bad;
        }
        self.random
            .chance(if self.bad { model.bad } else { model.good })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_come_in_bursts_of_the_right_length_and_share() {
        let model = BurstLoss {
            enter: 0.01,
            leave: 0.25,
            bad: 1.0,
            good: 0.0,
        };
        let mut bursts = Bursts::new(5);
        let lost: Vec<bool> = (0..200_000).map(|_| bursts.loses(&model)).collect();
        let count = lost.iter().filter(|lost| **lost).count() as f64;
        let starts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
        let share = count / 200_000.0;
        assert!((0.034..0.043).contains(&share), "share {share}");
        assert!(
            (3.6..4.4).contains(&(count / starts)),
            "length {}",
            count / starts
        );
    }

    #[test]
    fn a_model_that_never_enters_loses_nothing() {
        let model = BurstLoss {
            enter: 0.0,
            leave: 0.5,
            bad: 1.0,
            good: 0.0,
        };
        let mut bursts = Bursts::new(1);
        assert!((0..1_000).all(|_| !bursts.loses(&model)));
    }
}
