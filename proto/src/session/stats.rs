//! What a session tells of itself.

use core::time::Duration;

use super::congestion::Controller;
use super::{Session, Watched};
use crate::drops::{DropReason, Drops};

/// What a session has done so far, and how its path looks now.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets given out by [`super::Session::poll_transmit`], of all kinds.
    pub packets_sent: u64,
    /// Packets that [`super::Session::handle_packet`] took in, of all kinds: all but those in `dropped`.
    pub packets_received: u64,
    /// Packets that it did not take in, and why.
    pub dropped: Drops,
    /// Bytes of block payload given out, retransmissions included.
    pub block_bytes_sent: u64,
    /// Bytes of block payload taken in, each block once.
    pub block_bytes_received: u64,
    /// Blocks given out for the first time.
    pub blocks_sent: u64,
    /// Blocks taken in, each once.
    pub blocks_received: u64,
    /// Data packets that were sent again.
    pub retransmitted: u64,
    /// Packets or blocks that arrived a second time; in `dropped` too.
    pub duplicates: u64,
    /// Packets that were declared lost, probes of the path's MTU not counted.
    pub lost: u64,
    /// Packets that were declared lost and arrived after all.
    pub spurious: u64,
    /// Packets that arrived at the peer marked with "congestion experienced".
    pub marked: u64,
    /// Times that silence called for a probe.
    pub probes: u64,
    /// Bytes of payload that a block may have now.
    pub payload_limit: u16,
    /// Packets sent to find out what the path takes.
    pub path_probes: u64,
    /// Times that the path was found to take less than before.
    pub black_holes: u64,
    /// Times that blocks became short because no long ones arrived, though the path took probes of their length.
    pub shortened: u64,
    /// Ack packets sent.
    pub acks_sent: u64,
    /// Ack packets received.
    pub acks_received: u64,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Shortest round-trip time.
    pub min_rtt: Duration,
    /// Congestion window in bytes of UDP payload.
    pub cwnd: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Blocks that may still be sent under the peer's credit.
    pub credit: u64,
    /// Blocks received and not yet released with [`super::Session::release_credit`].
    pub held: u64,
}

impl<B> Session<B> {
    /// Tells the sizes of the lists that it keeps, each with its name and its limit. For tests of the limits.
    #[cfg(feature = "sim")]
    pub fn footprint(&self, mut note: impl FnMut(&'static str, usize, usize)) {
        self.recovery.footprint(&mut note);
        self.acks.footprint(&mut note);
        self.inbox.footprint(&mut note);
        self.outbox.control.footprint(&mut note);
        self.outbox.blocks.footprint(&mut note);
    }

    /// Has [`Self::watched`] tell what becomes of these packets, and no longer of others. They are Control, Data or Probe, given out
    /// after those of earlier calls, and nothing is known of them yet.
    pub fn watch(&mut self, packet_numbers: impl IntoIterator<Item = u64>) {
        self.recovery.watch(packet_numbers);
    }

    /// What became so far of the packets that the last call of [`Self::watch`] named.
    #[must_use]
    pub const fn watched(&self) -> Watched {
        self.recovery.counters.watched
    }

    /// Counters, and how the path looks now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let dropped = &self.stats.dropped;
        Stats {
            duplicates: dropped[DropReason::DuplicatePacket] + dropped[DropReason::DuplicateBlock],
            lost: self.recovery.counters.lost,
            spurious: self.recovery.counters.spurious,
            probes: self.recovery.counters.probes,
            payload_limit: self.payload_limit,
            path_probes: self.outbox.pmtu.counters.probes,
            black_holes: self.outbox.pmtu.counters.black_holes,
            shortened: self.outbox.pmtu.counters.shortened,
            srtt: Duration::from_nanos(self.recovery.rtt.smoothed()),
            min_rtt: Duration::from_nanos(self.recovery.rtt.min()),
            cwnd: self.recovery.controller.window(),
            in_flight: self.recovery.in_flight(),
            credit: self.outbox.blocks.credit(),
            held: self.grants.held(),
            ..self.stats
        }
    }
}
