//! How much the path loses for reasons that are no congestion.
//!
//! Congestion loses packets when the queue is full, a bad link at any time. So what is lost while the queue is empty tells
//! how much of the rest is the link's own as well. Without that, a host whose own delays look like a queue would yield to
//! each loss of a bad link.

/// A loss is explained by up to so many times what is usual: rounds are short, and losses come in no order.
const SPREAD: f64 = 3.0;
/// Rounds that count.
const MEMORY: f64 = 32.0;

/// The part of the bytes that are lost while the queue is empty, smoothed.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct AmbientLoss {
    part: f64,
}

impl AmbientLoss {
    /// A round with an empty queue is over.
    pub(super) fn learn(&mut self, lost: u64, acked: u64) {
        self.part += (part(lost, acked) - self.part) / MEMORY;
    }

    /// Whether what a round lost is no more than the link itself loses.
    pub(super) fn explains(&self, lost: u64, acked: u64) -> bool {
        part(lost, acked) <= SPREAD * self.part
    }
}

fn part(lost: u64, acked: u64) -> f64 {
    lost as f64 / (lost + acked).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_without_a_queue_explain_as_many_with_one() {
        let mut ambient = AmbientLoss::default();
        assert!(!ambient.explains(1, 99), "nothing is known");
        for _ in 0..100 {
            ambient.learn(1, 99);
        }
        assert!(ambient.explains(1, 99) && ambient.explains(2, 98));
        assert!(!ambient.explains(5, 95), "that many are congestion");
        for _ in 0..200 {
            ambient.learn(0, 100);
        }
        assert!(!ambient.explains(1, 99), "the link has become good");
        assert!(ambient.explains(0, 0));
    }
}
