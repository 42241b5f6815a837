//! What a run exercised, counted, so that it can be seen that every fault was reached.

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// Something that a simulation counts.
        #[derive(Copy, Clone, Debug, PartialEq, Eq)]
        pub enum Count {
            $($(#[$doc])* $name,)*
        }

        impl Count {
            /// All of them, in the order of [`Tally`].
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is, for people.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

counts! {
    /// Packets that hosts gave to the network.
    Sent = "packets sent",
    /// Packets that came out of it.
    Arrived = "packets that arrived",
    /// Single random losses.
    Lost = "lost at random",
    /// Losses in the bad state of a Gilbert-Elliott channel.
    LostInBurst = "lost in bursts",
    /// Losses in a partition of both directions.
    Partitioned = "lost in partitions",
    /// Losses in a partition of one direction only.
    PartitionedOneWay = "lost in partitions of one direction",
    /// Dropped at the tail of a full queue.
    TailDropped = "dropped by a full queue",
    /// Longer than the MTU, dropped without a word.
    TooLong = "longer than the MTU, dropped",
    /// Changes of an MTU in mid-run.
    MtuFell = "the MTU fell",
    /// Changes of an MTU in mid-run.
    MtuRose = "the MTU rose",
    /// Marked with "congestion experienced".
    Marked = "marked by ECN",
    /// Arrived twice.
    Duplicated = "duplicated",
    /// Arrived once more, long after.
    Replayed = "replayed seconds later",
    /// Overtaken by packets sent later.
    Reordered = "reordered",
    /// Some bytes changed.
    Corrupted = "corrupted",
    /// Cut short.
    Truncated = "truncated",
    /// Random bytes from nowhere.
    Garbage = "garbage",
    /// Hellos from forged addresses.
    Forged = "forged Hellos",
    /// Packets for a host that was down.
    HostDown = "for a host that was down",
    /// The server died.
    ServerCrashed = "crashes of the server",
    /// The server ended in good order.
    ServerStopped = "orderly ends of the server",
    /// A client's user gave a session up.
    HungUp = "sessions that a client gave up",
    /// A host stood still for a while.
    Frozen = "hosts that stood still",
    /// Packets for a host that stands still that did not fit its ring.
    RingOverrun = "lost because a host stood still",
    /// A client died.
    ClientCrashed = "crashes of a client",
    /// Blocks or syncs that had to wait for a stalled disk.
    DiskStalled = "disk operations that met a stall",
    /// Unsynced bytes that a crash took.
    UnsyncedLost = "unsynced extents lost in crashes",
    /// Sessions that were established, seen from clients.
    Connected = "sessions established",
    /// Sessions of a client after its first.
    Reconnected = "sessions after a failed one",
    /// Sessions that ended by silence.
    TimedOut = "sessions that timed out",
    /// Sessions of which nothing but pings arrived.
    Undelivered = "sessions on paths that carried only pings",
    /// Hellos that nobody answered for too long.
    HandshakeTimedOut = "handshakes that timed out",
    /// Refusals, all reasons.
    Refused = "sessions refused",
    /// Sessions whose peer was said to have forgotten them.
    PeerRestarted = "sessions ended by a Reset",
    /// Hellos that were answered with a cookie.
    Retries = "cookies given",
    /// Packets that were answered with a Reset.
    Resets = "Resets sent",
    /// Half-open sessions that had to make room.
    Evicted = "half-open sessions that made room",
    /// Sessions that the other side closed.
    ClosedByPeer = "sessions closed by the peer",
    /// Blocks delivered to an application.
    Delivered = "blocks delivered",
    /// Blocks that came back without an acknowledgement, their transfer cancelled or session over.
    Returned = "blocks given back unacknowledged",
    /// Transfers cancelled.
    Cancelled = "transfers cancelled",
    /// Messages delivered.
    Messages = "messages delivered",
    /// Puts acknowledged as durable.
    Committed = "puts acknowledged as durable",
    /// Gets that arrived whole.
    Fetched = "gets that arrived whole",
    /// Data packets sent again.
    Retransmitted = "packets retransmitted",
    /// Losses that were none.
    Spurious = "losses that were none",
    /// Probe timeouts.
    Probes = "probe timeouts",
    /// Changes of what a block may have.
    PayloadLimits = "changes of the payload limit",
    /// Blocks that came back because they are too long for the path.
    CutAnew = "blocks that came back to be cut anew",
    /// Sessions whose sender had to wait for credit.
    Starved = "times a sender had to wait for credit",
    /// Clients that gave up, cut off for good or on a path that became too narrow.
    GaveUp = "clients cut off for good that gave up",
}

/// How often each [`Count`] happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally([u64; Count::ALL.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; Count::ALL.len()])
    }
}

impl Tally {
    /// It happened once.
    pub const fn hit(&mut self, count: Count) {
        self.0[count as usize] += 1;
    }

    /// It happened so many times.
    pub const fn add(&mut self, count: Count, times: u64) {
        self.0[count as usize] += times;
    }

    /// How often it happened.
    #[must_use]
    pub const fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> impl Iterator<Item = Count> + '_ {
        Count::ALL
            .iter()
            .copied()
            .filter(|count| self.get(*count) == 0)
    }
}

impl core::fmt::Display for Tally {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for count in Count::ALL {
            writeln!(f, "{:>14}  {}", self.get(*count), count.words())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.hit(Count::Lost);
        other.add(Count::Lost, 2);
        other.hit(Count::GaveUp);
        one.merge(&other);
        assert_eq!((one.get(Count::Lost), one.get(Count::GaveUp)), (3, 1));
        assert_eq!(one.missing().count(), Count::ALL.len() - 2);
        assert!(one.to_string().contains("3  lost at random"));
    }
}
