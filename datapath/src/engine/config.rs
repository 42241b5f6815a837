//! How an engine is set up, and what it counts.

use std::time::Duration;

use blk_proto::drops::Drops;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// UDP port of this end: packets for other ports are not ours.
    pub port: u16,
    /// Largest payload this end takes and sends in one packet, from the interface's MTU.
    pub max_payload: u16,
    /// Whether a `Hello` from outside makes a session.
    pub accept: bool,
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
    /// A handshake has so long.
    pub handshake_timeout: Duration,
}

/// Counters of one engine, cumulative.
#[derive(Debug, Default, Clone, Copy)]
pub struct EngineCounters {
    /// Frames taken from the RX ring.
    pub frames_received: u64,
    /// Frames whose packets were dropped, by the engine or by a session, and why.
    pub dropped: Drops,
    /// Blocks of transfers that are not (or no longer) here.
    pub blocks_stray: u64,
    /// Blocks whose bytes were here already: late, or sent twice by flows that share a transfer.
    pub blocks_duplicate: u64,
    /// Frames put into the TX ring.
    pub frames_sent: u64,
}
