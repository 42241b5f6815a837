//! Explicit congestion notification (RFC 3168).

/// The two ECN bits of an IP header.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not take part: congested routers drop the packet.
    #[default]
    NotCapable = 0,
    /// The transport takes part; ECT(1), which RFC 9331 gives to low-latency queues.
    Capable1 = 1,
    /// The transport takes part; ECT(0), what this protocol sends.
    Capable0 = 2,
    /// A router on the way is congested.
    Congested = 3,
}

impl Ecn {
    /// From the low two bits of a traffic class.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::NotCapable,
            1 => Self::Capable1,
            2 => Self::Capable0,
            _ => Self::Congested,
        }
    }
}
