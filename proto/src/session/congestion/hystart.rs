//! The end of slow start before the queue is full: HyStart++ (RFC 9406), with a threshold that suits short round trips.

/// Round trips that a round needs to say something.
const SAMPLES: u32 = 4;
/// Rounds of slower growth, after which the delay counts as a queue and not as noise.
const CAREFUL_ROUNDS: u32 = 5;
/// Growth is divided by this in those rounds.
const CAREFUL_DIVISOR: u64 = 4;
/// Limits of the delay that calls for care. RFC 9406 has 4 ms for the least, which is 40 round trips of a fast network;
/// 2 ms is what two busy hosts make of their own.
const LEAST: u64 = 2_000_000;
const MOST: u64 = 16_000_000;

#[derive(Debug)]
pub(super) struct HyStart {
    last_min: u64,
    current_min: u64,
    samples: u32,
    /// While growing slower: the rounds left, and the round trip that would show it was noise.
    careful: Option<(u32, u64)>,
}

impl HyStart {
    pub(super) const fn new() -> Self {
        Self {
            last_min: u64::MAX,
            current_min: u64::MAX,
            samples: 0,
            careful: None,
        }
    }

    /// Takes a round trip of the current round.
    pub(super) fn sample(&mut self, rtt: u64) {
        self.current_min = self.current_min.min(rtt);
        self.samples += 1;
        if self.samples < SAMPLES {
            return;
        }
        match self.careful {
            Some((_, baseline)) if self.current_min < baseline => self.careful = None,
            None if self.last_min != u64::MAX => {
                let slack = (self.last_min / 8).clamp(LEAST, MOST);
                if self.current_min >= self.last_min.saturating_add(slack) {
                    self.careful = Some((CAREFUL_ROUNDS, self.current_min));
                }
            }
            _ => {}
        }
    }

    /// By how much the window grows when so many bytes were acknowledged.
    pub(super) const fn growth(&self, acked: u64) -> u64 {
        match self.careful {
            Some(_) => acked / CAREFUL_DIVISOR,
            None => acked,
        }
    }

    /// A round is over; says whether slow start is.
    pub(super) fn end_round(&mut self) -> bool {
        self.last_min = self.current_min;
        self.current_min = u64::MAX;
        self.samples = 0;
        match &mut self.careful {
            Some((rounds, _)) => {
                *rounds -= 1;
                *rounds == 0
            }
            None => false,
        }
    }
}
