//! What packets carried, and what becomes of them.

use super::pmtu::Probe;

/// What a packet carried.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A block: its slot and number.
    Block { slot: u32, number: u64 },
    /// A piece of the control stream: where it begins, and its bytes.
    Control { offset: u64, len: u16 },
    /// Nothing; it asked for an Ack.
    Ping,
    /// Nothing; its length was to be tried.
    Probe(Probe),
}

/// Learns what became of packets.
pub(super) trait Fate {
    /// Its packet arrived. May be told of one that was lost before, and more than once.
    fn on_acked(&mut self, content: Content);
    /// Its packet was lost.
    fn on_lost(&mut self, content: Content);
}

/// What became of the packets that are watched ([`super::Session::watch`]). Each one is in one of the counts, or its fate is open.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// So many are known to have arrived.
    pub arrived: u64,
    /// So many count as lost: something that was sent after them has arrived, and they have not. One that arrives late is taken out
    /// again.
    pub lost: u64,
}
