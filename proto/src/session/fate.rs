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

/// What became of the packets that were watched ([`super::Session::watch`]).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// So many are known to have arrived, those among them that counted as lost before.
    pub arrived: u64,
    /// So many counted as lost. Each one was, as soon as something that was sent after it had arrived, and it had not.
    pub lost: u64,
}
