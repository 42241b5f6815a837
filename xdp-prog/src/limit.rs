//! How many handshake packets one source may send.

use std::time::Duration;

/// A token bucket for the handshake packets of each source: an IPv4 address, or an IPv6 network of 64 bits.
///
/// Each packet takes a token; the bucket gets `rate` of them a second and holds `burst`. It is full at first.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct HandshakeLimit {
    rate: u32,
    burst: u32,
}

/// Not a limit that the program can keep.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a limit of {rate} handshakes per second with bursts of {burst}: both must be between 1 and {}",
    HandshakeLimit::MOST
)]
pub struct HandshakeLimitError {
    /// Handshake packets per second.
    pub rate: u32,
    /// Handshake packets at once.
    pub burst: u32,
}

impl HandshakeLimit {
    /// The highest rate, and the longest burst.
    pub const MOST: u32 = 1_000_000;

    /// `rate` handshake packets per second and source, and `burst` at once.
    ///
    /// # Errors
    /// [`HandshakeLimitError`] unless both are between 1 and [`MOST`](Self::MOST).
    pub const fn new(rate: u32, burst: u32) -> Result<Self, HandshakeLimitError> {
        let error = HandshakeLimitError { rate, burst };
        if rate == 0 || burst == 0 || rate > Self::MOST || burst > Self::MOST {
            return Err(error);
        }
        Ok(Self { rate, burst })
    }

    /// Handshake packets per second.
    #[must_use]
    pub const fn rate(self) -> u32 {
        self.rate
    }

    /// Handshake packets at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// The time between two tokens, and the time that fills an empty bucket but for one token, in nanoseconds.
    pub(crate) const fn nanoseconds(self) -> (u64, u64) {
        let interval = Duration::from_secs(1).as_nanos() as u64 / self.rate as u64;
        (interval, interval * (self.burst as u64 - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_bounded_and_turned_into_times() {
        for (rate, burst) in [(0, 1), (1, 0), (1_000_001, 1), (1, 1_000_001)] {
            assert!(HandshakeLimit::new(rate, burst).is_err(), "{rate} {burst}");
        }
        let limit = HandshakeLimit::new(100, 20).unwrap();
        assert_eq!((limit.rate(), limit.burst()), (100, 20));
        assert_eq!(limit.nanoseconds(), (10_000_000, 190_000_000));
        let fastest = HandshakeLimit::new(1_000_000, 1).unwrap();
        assert_eq!(fastest.nanoseconds(), (1000, 0));
    }
}
