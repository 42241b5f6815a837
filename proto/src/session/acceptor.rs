//! The server's front door: what becomes of a packet that belongs to no session.
//!
//! It keeps nothing about anybody, so a flood costs it time and never memory:
//!
//! | packet | becomes |
//! |---|---|
//! | Hello, its sender's address unproven, few sessions half open | a session, half open until a packet with its id comes |
//! | the same while many are half open, or always by configuration | Retry: the client greets again with a cookie |
//! | Hello with a good cookie | a session whose client's address counts as proven |
//! | Hello that cannot be had: version, epoch, parameters, no room | Refuse |
//! | Data, Control, Probe, Ack for a session that is not here | Reset, so many a second |
//! | anything else | dropped and counted |
//!
//! A flood of forged Hellos fills the half-open places up to the threshold, and from then on is answered with Retries
//! that nobody reads. An honest client reads its own, and its cookie gets it a place even when the table is full, as long
//! as half-open sessions can be pushed out for it ([`Verdict::Accept::evict`]).

mod bucket;
mod cookie;

use std::net::SocketAddr;

use super::CLOSE_LEN;
use super::config::Config;
use super::handshake::{self, Refusal, RefuseReason, Reset, Versions, retry_packet};
use super::types::CloseCode;
use crate::drops::DropReason;
use crate::time::Time;
use crate::wire::{self, HEADER_LEN, Header, Kind, Packet, REFUSE_LEN, WireError};

use zerocopy::IntoBytes;

use bucket::Bucket;
use cookie::CookieMaker;

/// When a client has to prove its address before it gets a session.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// Each time. Costs every client a round trip.
    Always,
    /// While at least so many sessions are half open.
    Above(usize),
}

/// How an [`Acceptor`] behaves. Start from [`AcceptorConfig::default`].
#[derive(Copy, Clone, Debug)]
pub struct AcceptorConfig {
    /// Whether this side takes sessions. A client's program does not, but it has an acceptor too, for the Resets.
    pub serve: bool,
    /// The versions that this side speaks.
    pub versions: Versions,
    /// When addresses have to be proven.
    pub retry: RetryPolicy,
    /// Most sessions at once.
    pub max_sessions: usize,
    /// Most Resets a second.
    pub resets_per_second: u32,
    /// Most Refuses a second.
    pub refusals_per_second: u32,
}

impl Default for AcceptorConfig {
    fn default() -> Self {
        Self {
            serve: true,
            versions: Versions::SUPPORTED,
            retry: RetryPolicy::Above(32),
            max_sessions: 192,
            resets_per_second: 1000,
            refusals_per_second: 10_000,
        }
    }
}

/// How many sessions there are.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Those of which nothing proves that the client receives at its address ([`super::Session::is_half_open`]).
    pub half_open: usize,
    /// All.
    pub total: usize,
}

/// What shall become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Make a session of it ([`super::Session::accept`]).
    Accept {
        /// The client has proved its address: call [`super::Session::mark_validated`].
        validated: bool,
        /// There is no place left: take one of a half-open session first.
        evict: bool,
    },
    /// Send this back to where it came from; nothing else.
    Answer(Answer),
    /// Nothing; it is counted under this reason.
    Drop(DropReason),
}

/// A whole packet (the UDP payload) that belongs to no session.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Answer {
    kind: Kind,
    bytes: [u8; ANSWER_LEN],
    len: usize,
}

const ANSWER_LEN: usize = handshake::RETRY_LEN;
const _: () = assert!(REFUSE_LEN <= ANSWER_LEN && handshake::RESET_LEN <= ANSWER_LEN);
const _: () = assert!(CLOSE_LEN <= ANSWER_LEN);

impl Answer {
    fn new(kind: Kind, packet: &[u8]) -> Self {
        let mut bytes = [0; ANSWER_LEN];
        bytes[..packet.len()].copy_from_slice(packet);
        Self {
            kind,
            bytes,
            len: packet.len(),
        }
    }

    /// A Close for the session that the receiver knows by the id `session`, of which nothing else is left here.
    #[must_use]
    pub fn close(session: u32, code: CloseCode) -> Self {
        let payload = code.0.to_le_bytes();
        let mut header = Header::new(Kind::Close, session);
        header.payload_len = (payload.len() as u16).into();
        wire::seal(&mut header, wire::payload_crc(&payload));
        let mut packet = [0; CLOSE_LEN];
        packet[..HEADER_LEN].copy_from_slice(header.as_bytes());
        packet[HEADER_LEN..].copy_from_slice(&payload);
        Self::new(Kind::Close, &packet)
    }

    /// Retry, Refuse, Reset or Close.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The reason under which the packet that it answers is counted.
    #[must_use]
    pub const fn reason(&self) -> DropReason {
        match self.kind {
            Kind::Retry => DropReason::Unproven,
            Kind::Refuse => DropReason::Refused,
            Kind::Close => DropReason::SessionClosed,
            _ => DropReason::NoSession,
        }
    }

    /// The packet.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl core::fmt::Debug for Answer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Answer({:?}, {} bytes)", self.kind, self.len)
    }
}

/// Counts what became of packets that belong to no session.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptorCounters {
    /// Hellos that made a session.
    pub accepted: u64,
    /// Of these, those with a good cookie.
    pub validated: u64,
    /// Retries.
    pub retries: u64,
    /// Hellos with a cookie that was no good: too old, or forged.
    pub bad_cookies: u64,
    /// Refuses.
    pub refused: u64,
    /// Resets.
    pub resets: u64,
    /// Packets that would have been answered, were it not for the limits.
    pub rate_limited: u64,
}

/// Judges the packets that belong to no session.
#[derive(Debug)]
pub struct Acceptor {
    config: AcceptorConfig,
    cookies: CookieMaker,
    resets: Bucket,
    refusals: Bucket,
    counters: AcceptorCounters,
}

impl Acceptor {
    /// `secret` must be random, and known to nobody else: the cookies are as hard to forge as it is to guess.
    #[must_use]
    pub fn new(config: AcceptorConfig, secret: &[u8; 32]) -> Self {
        Self {
            config,
            cookies: CookieMaker::new(secret),
            resets: Bucket::new(config.resets_per_second),
            refusals: Bucket::new(config.refusals_per_second),
            counters: AcceptorCounters::default(),
        }
    }

    /// What became of packets so far.
    #[must_use]
    pub const fn counters(&self) -> AcceptorCounters {
        self.counters
    }

    /// Judges a packet from `source` that belongs to no session. `config` is that of the session it may get. A Hello
    /// that is repeated belongs to the session made for the first one, and not here.
    pub fn judge(
        &mut self,
        now: Time,
        source: SocketAddr,
        packet: &Packet<'_>,
        config: &Config,
        sessions: Occupancy,
    ) -> Verdict {
        if packet.kind == Kind::Hello {
            return self.judge_hello(now, source, packet, config, sessions);
        }
        let Some(reset) = Reset::answering(packet) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        if !self.resets.take(now) {
            return self.rate_limited();
        }
        self.counters.resets += 1;
        Verdict::Answer(Answer::new(Kind::Reset, &reset.packet()))
    }

    /// Judges what [`crate::wire::open`] did not let through.
    pub fn judge_foreign(&mut self, now: Time, error: &WireError) -> Verdict {
        match Refusal::of_version(error, self.config.versions) {
            Some(refusal) if self.config.serve => self.refuse(now, refusal),
            Some(_) => Verdict::Drop(DropReason::NotServing),
            None => Verdict::Drop(error.into()),
        }
    }

    /// The answer to a Hello that turned out to be impossible to accept after all; counts and limits as those from
    /// [`Self::judge`].
    pub fn refuse(&mut self, now: Time, refusal: Refusal) -> Verdict {
        let Some(packet) = refusal.packet() else {
            return Verdict::Drop(DropReason::Handshake);
        };
        if !self.refusals.take(now) {
            return self.rate_limited();
        }
        self.counters.refused += 1;
        Verdict::Answer(Answer::new(Kind::Refuse, &packet))
    }

    fn judge_hello(
        &mut self,
        now: Time,
        source: SocketAddr,
        packet: &Packet<'_>,
        config: &Config,
        sessions: Occupancy,
    ) -> Verdict {
        if !self.config.serve {
            return Verdict::Drop(DropReason::NotServing);
        }
        let greeting = match handshake::judge_hello(config, packet) {
            Ok((greeting, _)) => greeting,
            Err(refusal) => return self.refuse(now, refusal),
        };
        let (id, cookie) = (greeting.id, greeting.cookie);
        let validated = self.cookies.is_good(now, source, id, cookie);
        self.counters.bad_cookies += u64::from(!validated && !cookie.is_empty());
        let is_full = sessions.total >= self.config.max_sessions;
        let may_evict = is_full && sessions.half_open > 0;
        let is_crowded = match self.config.retry {
            RetryPolicy::Always => true,
            RetryPolicy::Above(most) => sessions.half_open >= most,
        };
        if !validated && (is_crowded || may_evict) {
            self.counters.retries += 1;
            let cookie = self.cookies.make(now, source, id);
            let retry = retry_packet(id, greeting.token, &cookie);
            return Verdict::Answer(Answer::new(Kind::Retry, &retry));
        }
        if is_full && !may_evict {
            return match Refusal::to(packet, RefuseReason::Busy) {
                Some(refusal) => self.refuse(now, refusal),
                None => Verdict::Drop(DropReason::Handshake),
            };
        }
        self.counters.accepted += 1;
        self.counters.validated += u64::from(validated);
        Verdict::Accept {
            validated,
            evict: may_evict,
        }
    }

    fn rate_limited(&mut self) -> Verdict {
        self.counters.rate_limited += 1;
        Verdict::Drop(DropReason::RateLimited)
    }
}

#[cfg(test)]
mod tests;
