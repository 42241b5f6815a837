//! Which version of the protocol two sides speak with each other.

use crate::wire::VERSION;

/// A range of protocol versions, both ends of it included.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    /// The lowest.
    pub lowest: u8,
    /// The highest.
    pub highest: u8,
}

impl Versions {
    /// What this implementation speaks.
    pub const SUPPORTED: Self = Self {
        lowest: VERSION,
        highest: VERSION,
    };

    /// Whether `version` is one of them.
    #[must_use]
    pub const fn contains(self, version: u8) -> bool {
        self.lowest <= version && version <= self.highest
    }
}

/// The version that two sides speak: the highest that both know; `None` if they share none, or one of the ranges is
/// empty.
///
/// A client greets in the highest that it knows. A server that does not know that one refuses and says its range; the
/// client takes the highest shared one and greets again. When the reply comes, the client asks this function once more,
/// with the range in the reply: an answer other than the version it used means that somebody in between forged the
/// refusal to talk the two down (compare RFC 9368, section 4).
#[must_use]
pub fn negotiate(ours: Versions, theirs: Versions) -> Option<u8> {
    let highest = ours.highest.min(theirs.highest);
    (ours.contains(highest) && theirs.contains(highest)).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn versions(lowest: u8, highest: u8) -> Versions {
        Versions { lowest, highest }
    }

    #[test]
    fn the_highest_shared_version_is_taken() {
        for (ours, theirs, expected) in [
            ((2, 2), (2, 2), Some(2)),
            ((2, 5), (1, 3), Some(3)),
            ((1, 3), (2, 5), Some(3)),
            ((2, 9), (4, 4), Some(4)),
            ((1, 2), (3, 4), None),
            ((3, 4), (1, 2), None),
            ((0, 255), (255, 255), Some(255)),
        ] {
            let (ours, theirs) = (versions(ours.0, ours.1), versions(theirs.0, theirs.1));
            assert_eq!(negotiate(ours, theirs), expected, "{ours:?} {theirs:?}");
            assert_eq!(negotiate(theirs, ours), expected, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn an_empty_range_shares_nothing() {
        assert_eq!(negotiate(versions(1, 9), versions(5, 4)), None);
        assert_eq!(negotiate(versions(5, 4), versions(1, 9)), None);
    }
}
