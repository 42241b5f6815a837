//! What must hold whatever the network, the disk and the other host do; and two ledgers that watch over the whole run.

use core::time::Duration;
use std::collections::BTreeMap;

use super::content::Contents;
use super::frames::Place;
use super::network::Address;
use crate::session::{CloseReason, Violation};
use crate::time::Time;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Bytes that are not those of the file.
    #[error("wrong bytes of {contents} at offset {offset}, {len} bytes, seen {place}")]
    WrongBytes {
        /// Whose they should be.
        contents: Contents,
        /// Where.
        offset: u64,
        /// How many.
        len: usize,
        /// Where it was noticed.
        place: &'static str,
    },
    /// What a session says of a block is not what is in its packet.
    #[error("the session reports {reported} bytes of payload, the packet has {actual}")]
    WrongMeta {
        /// By the session.
        reported: usize,
        /// In the packet.
        actual: usize,
    },
    /// A block number that a session gave out twice.
    #[error("block number {0} was delivered twice")]
    DeliveredTwice(u64),
    /// Bytes of a file that came a second time, though their sender never had to cut them anew.
    #[error(
        "{overlap} bytes of {contents} at offset {offset} came twice under different block numbers"
    )]
    SentTwice {
        /// Of which file.
        contents: Contents,
        /// Where.
        offset: u64,
        /// How many.
        overlap: u64,
    },
    /// A block of a transfer that does not exist, or beyond its end.
    #[error("a block at offset {offset} of transfer {transfer} is not part of what is being sent")]
    Misplaced {
        /// The transfer.
        transfer: u32,
        /// Where.
        offset: u64,
    },
    /// A message is not the next one.
    #[error("message {found} came, {expected} was the next")]
    MessageOrder {
        /// The next.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A message's bytes are wrong.
    #[error("message {0} is not what was sent")]
    MessageBytes(u64),
    /// A message that makes no sense in the state of its receiver.
    #[error("unexpected message: {0}")]
    Unexpected(String),
    /// An honest peer was accused.
    #[error("an honest peer is said to have broken the protocol: {0}")]
    Violation(#[from] Violation),
    /// A put was acknowledged while some of its bytes would not have survived a crash.
    #[error("{0} was acknowledged before it was durable")]
    NotDurable(Contents),
    /// What was acknowledged is gone.
    #[error("{0} was acknowledged, and is not on the disk after a crash")]
    CommitLost(Contents),
    /// A frame is not where it should be.
    #[error("frame {frame} should be {expected:?} and is {found:?}")]
    FrameMisplaced {
        /// Which.
        frame: u32,
        /// Where it should be.
        expected: Place,
        /// Where it is.
        found: Place,
    },
    /// Frames were lost or doubled.
    #[error("{found} frames are {place:?}, their owners count {expected}")]
    FrameCount {
        /// Where.
        place: Place,
        /// By the owners.
        expected: usize,
        /// By the pool.
        found: usize,
    },
    /// A packet came and there was no frame for it: too much credit was given.
    #[error("a packet was dropped for lack of frames: {held} of {total} are held")]
    NoFrame {
        /// Not free.
        held: usize,
        /// In the pool.
        total: usize,
    },
    /// A session holds more than it was allowed to grant.
    #[error("{held} blocks are held, {window} were granted at a time")]
    HeldBeyondGrant {
        /// Received and not released.
        held: u64,
        /// The window.
        window: u64,
    },
    /// The session's count of held blocks is not the host's.
    #[error("the session counts {session} held blocks, the host {host}")]
    HeldCount {
        /// By the session.
        session: u64,
        /// By the host.
        host: u64,
    },
    /// A block came back that the session did not have.
    #[error("block {0} came back twice")]
    ReturnedTwice(u64),
    /// A block came back unacknowledged though nobody cancelled it.
    #[error("a block of transfer {0} was given up without a reason")]
    GivenUp(u32),
    /// The session is over and still has blocks.
    #[error("{0} blocks were not given back at the end of their session")]
    Leaked(usize),
    /// An event after the last one.
    #[error("an event after the session's end: {0}")]
    EventAfterClosed(String),
    /// A session ended though the network was fine.
    #[error("client {client}'s session ended though nothing was wrong: {reason}")]
    ClosedWithoutCause {
        /// Whose.
        client: u32,
        /// Why, as the session says.
        reason: CloseReason,
    },
    /// Something inside a session outgrew its limit.
    #[error("{what}: {size}, more than the limit of {limit}")]
    Memory {
        /// What.
        what: &'static str,
        /// How much there is of it.
        size: usize,
        /// How much there may be.
        limit: usize,
    },
    /// A session asks to be called again at once, for ever.
    #[error("a session does not come to rest")]
    BusyLoop,
    /// Nothing moves.
    #[error("client {client} has not moved for {}, though the network permits", seconds(*.idle))]
    NoProgress {
        /// Who.
        client: u32,
        /// For how long.
        idle: Duration,
    },
    /// The scenario takes for ever.
    #[error("no end after {}", seconds(*.0))]
    NoEnd(Duration),
    /// More was sent to an unproved address than it may trigger.
    #[error("{sent} bytes were sent to {to:?}, which sent {received} and proved nothing")]
    Amplified {
        /// The address.
        to: Address,
        /// To it.
        sent: u64,
        /// From it.
        received: u64,
    },
    /// A client was not cut off for good, and gave up.
    #[error("client {0} gave up")]
    GaveUp(u32),
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Bytes that a server has exchanged with an address that has not proved that it receives there (RFC 9000, section 8.1).
#[derive(Debug, Default)]
pub struct Amplification {
    unproved: BTreeMap<Address, Traffic>,
}

#[derive(Copy, Clone, Debug, Default)]
struct Traffic {
    received: u64,
    sent: u64,
    proved: bool,
}

/// A server may send so many times what it has received.
const AMPLIFICATION: u64 = 3;

impl Amplification {
    /// The server has received so many bytes from there.
    pub fn received(&mut self, from: Address, len: usize) {
        self.unproved.entry(from).or_default().received += len as u64;
    }

    /// The server sends so many bytes there.
    ///
    /// # Errors
    /// That is more than it may.
    pub fn sent(&mut self, to: Address, len: usize) -> Result<(), Broken> {
        let traffic = self.unproved.entry(to).or_default();
        traffic.sent += len as u64;
        if traffic.proved || traffic.sent <= AMPLIFICATION * traffic.received {
            return Ok(());
        }
        Err(Broken::Amplified {
            to,
            sent: traffic.sent,
            received: traffic.received,
        })
    }

    /// The address has sent something that only a receiver of the server's packets can know.
    pub fn proved(&mut self, address: Address) {
        self.unproved.entry(address).or_default().proved = true;
    }

    /// The server has died, and what it knew.
    pub fn forget(&mut self) {
        self.unproved.clear();
    }
}

/// Sees to it that something moves when nothing stands in the way.
#[derive(Debug)]
pub struct Watchdog {
    patience: Duration,
    moves: u64,
    since: Time,
}

impl Watchdog {
    /// Barks after this time without a move.
    #[must_use]
    pub const fn new(now: Time, patience: Duration) -> Self {
        Self {
            patience,
            moves: 0,
            since: now,
        }
    }

    /// `moves` counts what has moved so far; `excused`: something stands in the way.
    ///
    /// # Errors
    /// Nothing has moved for too long.
    pub fn look(
        &mut self,
        now: Time,
        client: u32,
        moves: u64,
        excused: bool,
    ) -> Result<(), Broken> {
        if excused || moves != self.moves {
            self.moves = moves;
            self.since = now;
        }
        let idle = now.saturating_since(self.since);
        if idle > self.patience {
            return Err(Broken::NoProgress { client, idle });
        }
        Ok(())
    }

    /// When to look at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.since + self.patience + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Time = Time::from_nanos(1_000_000_000);

    #[test]
    fn amplification_is_noticed_until_the_address_is_proved() {
        let (mut ledger, to) = (Amplification::default(), Address(9));
        ledger.received(to, 100);
        assert_eq!(ledger.sent(to, 300), Ok(()));
        let broken = ledger.sent(to, 1).unwrap_err();
        assert!(matches!(broken, Broken::Amplified { sent: 301, .. }));
        ledger.proved(to);
        assert_eq!(ledger.sent(to, 1_000_000), Ok(()));
        ledger.forget();
        assert!(
            ledger.sent(to, 1).is_err(),
            "a server's next life knows nobody"
        );
    }

    #[test]
    fn the_watchdog_barks_when_nothing_moves() {
        let mut dog = Watchdog::new(T0, Duration::from_secs(10));
        let at = |seconds| T0 + Duration::from_secs(seconds);
        assert_eq!(dog.look(at(10), 0, 0, false), Ok(()));
        assert_eq!(dog.look(at(11), 0, 1, false), Ok(()));
        assert_eq!(dog.look(at(30), 0, 1, true), Ok(()), "excused");
        assert_eq!(dog.look(at(40), 0, 1, false), Ok(()));
        assert!(dog.look(dog.deadline(), 0, 1, false).is_err());
    }
}
