//! The protocol's UDP ports on an interface.

use crate::error::PortRangeError;

/// The UDP ports that are the protocol's on an interface.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PortRange {
    first: u16,
    count: u16,
}

impl PortRange {
    /// `count` ports from `first` on.
    ///
    /// # Errors
    /// [`PortRangeError`] unless there is at least one port, and none of them is 0 or beyond 65535.
    pub const fn new(first: u16, count: u16) -> Result<Self, PortRangeError> {
        if first == 0 || count == 0 || first as u32 + count as u32 > 65536 {
            return Err(PortRangeError { first, count });
        }
        Ok(Self { first, count })
    }

    /// The ports from `first` to `last`, both included.
    ///
    /// # Errors
    /// [`PortRangeError`] when `first` is 0 or beyond `last`.
    pub const fn between(first: u16, last: u16) -> Result<Self, PortRangeError> {
        if first == 0 || last < first {
            return Err(PortRangeError { first, count: 0 });
        }
        Self::new(first, last - first + 1)
    }

    /// The first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.first + (self.count - 1)
    }

    /// How many ports.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_that_cannot_be_are_refused() {
        for (first, count) in [(0, 1), (1, 0), (65535, 2), (65521, 16), (2, 65535)] {
            let refused = PortRange::new(first, count);
            assert_eq!(refused, Err(PortRangeError { first, count }));
        }
        for (first, count) in [(1, 1), (1, 65535), (65535, 1), (65520, 16), (9000, 1000)] {
            let range = PortRange::new(first, count).unwrap();
            assert_eq!((range.first(), range.count()), (first, count));
            assert_eq!(PortRange::between(first, range.last()), Ok(range));
        }
        assert!(PortRange::between(0, 5).is_err());
        assert!(PortRange::between(9001, 9000).is_err());
        assert_eq!(PortRange::new(65535, 1).unwrap().last(), 65535);
    }
}
