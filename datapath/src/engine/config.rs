//! How an engine is set up, and what it counts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use blk_proto::drops::Drops;
use blk_proto::session::{AcceptorConfig, RetryPolicy, Stats};
use rustix::rand::{GetRandomFlags, getrandom};

/// A number of workers, or of flows. Its clones are the same number: of several workers, the first ones run already when it is
/// known how many of the others can be had.
#[derive(Debug, Clone)]
pub struct Headcount(Arc<AtomicU16>);

impl Headcount {
    /// So many now.
    #[must_use]
    pub fn get(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }

    /// So many from now on, for all who know of it.
    pub fn set(&self, count: u16) {
        self.0.store(count, Ordering::Relaxed);
    }
}

impl From<u16> for Headcount {
    fn from(count: u16) -> Self {
        Self(Arc::new(AtomicU16::new(count)))
    }
}

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// UDP port of this end: packets for other ports are not ours.
    pub port: u16,
    /// Largest payload this end takes in one packet, from the interface's MTU.
    pub max_payload: u16,
    /// Largest payload this end takes in packets of several frames; `None`: it takes none. What the link is made for
    /// ([`Umem::has_fragments`](crate::umem::Umem::has_fragments)).
    pub long_payload: Option<u16>,
    /// Largest payload this end sends in one packet: less where the route says that it takes less.
    pub max_send_payload: u16,
    /// Whether a `Hello` from outside makes a session.
    pub accept: bool,
    /// The number of this worker, which is that of its receive queue; below 256. Its sessions' ids name it.
    pub worker: u32,
    /// A server: how many workers there are, each with a receive queue that flows can reach. A client: how many flows it
    /// would like to have.
    pub workers: Headcount,
    /// When a client has to prove its address before it gets a session.
    pub retry: RetryPolicy,
    /// Frames kept in the fill ring.
    pub fill_target: usize,
    /// Frames for received blocks, divided among the sessions: open chunks and writes in flight.
    pub receive_frames: u64,
    /// Frames that sending may use: blocks being read, queued, and in flight.
    pub send_frames: usize,
    /// Sessions there may be at once; a further one is told that this end is busy.
    pub max_sessions: usize,
    /// Without a packet for so long, a session is over.
    pub idle_timeout: Duration,
    /// Without a packet for so long from a peer that owes an answer, a session is over.
    pub unanswered_timeout: Duration,
    /// A handshake has so long.
    pub handshake_timeout: Duration,
}

impl EngineConfig {
    pub(super) fn acceptor(&self) -> AcceptorConfig {
        AcceptorConfig {
            serve: self.accept,
            retry: self.retry,
            max_sessions: self.max_sessions,
            ..AcceptorConfig::default()
        }
    }
}

/// What makes an engine differ from all others, and from its own earlier life.
pub struct Seed {
    /// Keys the cookies; nobody else may know it.
    pub secret: [u8; 32],
    /// Keys the generations of the session ids; nobody else may know it.
    pub generations: [u8; 16],
}

impl Seed {
    /// From the kernel's random numbers.
    ///
    /// # Errors
    /// The kernel gives none.
    pub fn random() -> io::Result<Self> {
        let (mut secret, mut generations) = ([0; 32], [0; 16]);
        for buffer in [&mut secret[..], &mut generations[..]] {
            // Up to 256 bytes come whole, or not at all (getrandom(2)).
            let filled = getrandom(&mut *buffer, GetRandomFlags::empty())?;
            if filled != buffer.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self {
            secret,
            generations,
        })
    }
}

/// Counters of one engine, cumulative.
#[derive(Debug, Default, Clone, Copy)]
pub struct EngineCounters {
    /// Frames taken from the link.
    pub frames_received: u64,
    /// Of these, packets that an AF_XDP socket did not get, because they came on another queue of its interface.
    pub frames_stray: u64,
    /// Frames whose packets were dropped, by the engine or by a session, and why.
    pub dropped: Drops,
    /// Blocks of transfers that are not (or no longer) here.
    pub blocks_stray: u64,
    /// Blocks whose bytes were here already: late, or sent twice by flows that share a transfer.
    pub blocks_duplicate: u64,
    /// Blocks that were longer than a frame.
    pub blocks_long: u64,
    /// Blocks that did not lie where the disk takes them, and were moved: their packets had other headers than were announced,
    /// or they were short ones where packets may lie in several frames.
    pub blocks_moved: u64,
    /// Frames given to the link.
    pub frames_sent: u64,
    /// Of these, blocks that were copied, because other VLAN tags than at this end shall make their place at the other.
    pub blocks_shifted: u64,
    /// Bytes of block payload taken in, each block once.
    pub payload_received: u64,
    /// Bytes of block payload given to the link, retransmissions included.
    pub payload_sent: u64,
}

impl EngineCounters {
    /// Adds what a session has done.
    pub(super) fn add_session(&mut self, stats: &Stats) {
        self.dropped += &stats.dropped;
        self.payload_received += stats.block_bytes_received;
        self.payload_sent += stats.block_bytes_sent;
    }
}
