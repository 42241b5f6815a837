//! A session before it is open: a client that greets, a server that waits for its client to speak.

use core::time::Duration;

use zerocopy::byteorder::little_endian::U16;

use crate::drops::DropReason;
use crate::time::Time;
use crate::wire::{self, HEADER_LEN, Header, Kind, Packet};

use super::handshake::{
    self, Greeting, MIN_HELLO_PAYLOAD, REPLY_PAYLOAD, RefuseReason, Retry, Versions, negotiate,
};
use super::receive::NotTaken;
use super::{CloseReason, Config, Session, State, Transmit, Violation};

/// How long a client waits for an answer before its second Hello; the wait doubles each time.
const FIRST_HELLO_WAIT: Duration = Duration::from_millis(100);
/// The longest it gets.
const MAX_HELLO_WAIT: Duration = Duration::from_secs(1);
/// So many cookies a client takes in one handshake. One is enough, unless it gets too old on the way.
const MAX_RETRIES: u32 = 8;

/// A client that has no session yet.
#[derive(Debug)]
pub(super) struct Greeter {
    started: Time,
    pub(super) give_up: Time,
    /// When to send the next Hello.
    pub(super) next_hello: Time,
    /// How long to wait after that one.
    wait: Duration,
    /// In which version it is sent.
    version: u8,
    /// What the server gave in a Retry.
    cookie: Vec<u8>,
    retries: u32,
}

impl Greeter {
    pub(super) fn new(config: &Config, now: Time) -> Self {
        Self {
            started: now,
            give_up: now + config.handshake_timeout,
            next_hello: now,
            wait: FIRST_HELLO_WAIT,
            version: config.versions.highest,
            cookie: Vec::new(),
            retries: 0,
        }
    }

    /// Greets again at once.
    fn again(&mut self, now: Time) {
        self.next_hello = now;
        self.wait = FIRST_HELLO_WAIT;
    }

    /// The round trip that a token coming back tells of; `None` if it cannot be one that was sent: it is the clock at the time.
    /// That it is a round trip at all nobody checks; what a wrong one does fades with the samples that follow.
    fn round_trip(&self, now: Time, token: u64) -> Option<u64> {
        (self.started.as_nanos()..=now.as_nanos())
            .contains(&token)
            .then(|| now.as_nanos() - token)
    }
}

/// A server's session whose client has not shown that it got the reply.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) give_up: Time,
    /// Token of a Hello that is to be answered.
    answer: Option<u64>,
    replied: Replied,
}

impl Waiter {
    pub(super) fn new(config: &Config, token: u64, now: Time) -> Self {
        Self {
            give_up: now + config.handshake_timeout,
            answer: Some(token),
            replied: Replied::Never,
        }
    }
}

/// Replies that a server has sent. The round trip can be taken from one, not from several (Karn's algorithm).
#[derive(Copy, Clone, Debug)]
enum Replied {
    Never,
    Once(Time),
    Often,
}

/// The client's side.
impl<B> Session<B> {
    /// The next Hello, when it is time.
    pub(super) fn greet(&mut self, now: Time) -> Option<Transmit<'_, B>> {
        let State::Greeting(greeter) = &mut self.state else {
            return None;
        };
        if greeter.next_hello > now {
            return None;
        }
        greeter.next_hello = now + greeter.wait;
        greeter.wait = greeter.wait.saturating_mul(2).min(MAX_HELLO_WAIT);
        let (version, cookie) = (greeter.version, core::mem::take(&mut greeter.cookie));
        self.write_greeting(now.as_nanos(), MIN_HELLO_PAYLOAD, &cookie);
        if let State::Greeting(greeter) = &mut self.state {
            greeter.cookie = cookie;
        }
        self.stats.packets_sent += 1;
        let mut header = Header::new(Kind::Hello, 0);
        header.version = version;
        let payload = self.scratch.as_slice();
        header.payload_len = U16::new(payload.len() as u16);
        wire::seal(&mut header, wire::payload_crc(payload));
        Some(Transmit::Inline { header, payload })
    }

    pub(super) fn on_hello_reply(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
    ) -> Result<(), NotTaken> {
        let State::Greeting(greeter) = &self.state else {
            return Err(DropReason::WrongState.into());
        };
        let greeting = Greeting::read_reply(packet.payload).ok_or(Violation::Handshake)?;
        let version = greeter.version;
        let round_trip = greeter.round_trip(now, greeting.token);
        // From here on there is somebody to tell when it comes to nothing.
        self.peer_id = greeting.id;
        if negotiate(self.config.versions, greeting.versions) != Some(version) {
            return Err(Violation::Handshake.into());
        }
        let span = greeting
            .parameters
            .span_for(self.config.l4_overhead)
            .ok_or(Violation::Handshake)?;
        if let Some(sample) = round_trip {
            self.on_handshake_rtt(sample);
        }
        self.meet(greeting.parameters, span);
        self.last_received = now;
        self.become_connected(now);
        // The server waits for a packet with its id; the application may have none to send.
        self.ping_due = true;
        Ok(())
    }

    /// A version that the server does not speak: once more in one that both do. Anything else is final.
    pub(super) fn on_refuse(&mut self, now: Time, packet: &Packet<'_>) -> Result<(), NotTaken> {
        let reason = handshake::read_refuse(packet.payload).ok_or(DropReason::Handshake)?;
        let State::Greeting(greeter) = &mut self.state else {
            return Err(DropReason::WrongState.into());
        };
        if let RefuseReason::Version { lowest, highest } = reason {
            let shared = negotiate(self.config.versions, Versions { lowest, highest });
            if let Some(version) = shared.filter(|version| *version < greeter.version) {
                greeter.version = version;
                greeter.cookie.clear();
                greeter.again(now);
                return Ok(());
            }
            if shared == Some(greeter.version) && greeter.version < self.config.versions.highest {
                // Answers an earlier Hello, in the version that was refused.
                return Err(DropReason::Handshake.into());
            }
        }
        self.close(CloseReason::Refused(reason));
        Ok(())
    }

    /// The server wants to see a cookie.
    pub(super) fn on_retry(&mut self, now: Time, packet: &Packet<'_>) -> Result<(), NotTaken> {
        let retry = Retry::read(packet.payload).ok_or(DropReason::Handshake)?;
        let State::Greeting(greeter) = &mut self.state else {
            return Err(DropReason::WrongState.into());
        };
        let round_trip = greeter.round_trip(now, retry.token);
        let is_new = greeter.cookie != retry.cookie && greeter.retries < MAX_RETRIES;
        let sample = round_trip
            .filter(|_| is_new && retry.id == self.local_id)
            .ok_or(DropReason::Handshake)?;
        self.recovery.on_handshake(sample);
        greeter.retries += 1;
        greeter.cookie.clear();
        greeter.cookie.extend_from_slice(retry.cookie);
        greeter.again(now);
        Ok(())
    }
}

/// The server's side.
impl<B> Session<B> {
    /// The client's address was proved before the session was made: [`super::Verdict::Accept`] said so.
    pub fn mark_validated(&mut self) {
        self.budget.validate();
    }

    /// Whether nothing proves yet that the client receives at its address. Such sessions may be many, and all forged;
    /// each ends after [`Config::handshake_timeout`].
    #[must_use]
    pub const fn is_half_open(&self) -> bool {
        matches!(self.state, State::Accepted(_)) && !self.budget.is_validated()
    }

    pub(super) fn on_repeated_hello(&mut self, packet: &Packet<'_>) -> Result<(), NotTaken> {
        let greeting = handshake::read_hello(packet);
        match (&mut self.state, greeting) {
            (State::Accepted(waiter), Some(greeting)) if greeting.id == self.peer_id => {
                waiter.answer = Some(greeting.token);
                Ok(())
            }
            _ => Err(DropReason::Handshake.into()),
        }
    }

    /// Writes a reply for a Hello that waits for one, unless it is more than an unproven address may get.
    pub(super) fn write_hello_reply(&mut self, now: Time) -> Option<Kind> {
        let State::Accepted(waiter) = &mut self.state else {
            return None;
        };
        let token = waiter.answer.take()?;
        if !self.budget.spend(HEADER_LEN + REPLY_PAYLOAD) {
            return None;
        }
        waiter.replied = match waiter.replied {
            Replied::Never => Replied::Once(now),
            Replied::Once(_) | Replied::Often => Replied::Often,
        };
        self.write_greeting(token, REPLY_PAYLOAD, &[]);
        Some(Kind::HelloReply)
    }

    /// The client has received a reply: it knows the server's id.
    pub(super) fn confirm(&mut self, now: Time) {
        if let State::Accepted(Waiter {
            replied: Replied::Once(at),
            ..
        }) = self.state
        {
            let sample = now.as_nanos().saturating_sub(at.as_nanos());
            self.on_handshake_rtt(sample);
        }
        self.budget.validate();
        self.become_connected(now);
    }

    fn write_greeting(&mut self, token: u64, len: usize, cookie: &[u8]) {
        let mut parameters = self.config.local;
        parameters.initial_credit = self.grants.granted();
        self.grants.on_announced();
        let greeting = Greeting {
            id: self.local_id,
            versions: self.config.versions,
            token,
            parameters,
            cookie,
        };
        greeting.write(len, &mut self.scratch);
    }
}
