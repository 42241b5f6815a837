//! How a session begins, and how it is refused, put off or forgotten: the packets outside of an open session.
//!
//! ```text
//!     client                                              server
//!       │ ── Hello ────────────────────────────────────────► │ Acceptor: keeps nothing
//!       │ ◄─────────────────────────────── Refuse ────────── │   no: version, epoch, parameters, no room
//!       │ ◄─────────────────────────────── Retry: cookie ─── │   many are half open: prove your address
//!       │ ── Hello with the cookie ────────────────────────► │
//!       │ ◄─────────────────────────────── HelloReply ────── │ a session, half open until a packet with its id comes
//!       │ ◄── Control, Data, Ack, Probe, both ways ────────► │
//!       │ ◄─────────────────────────────── Reset ─────────── │ restarted: the session is unknown
//! ```
//!
//! | file | concern |
//! |---|---|
//! | `body` | Hello and HelloReply, and their extensions |
//! | `versions` | which version two sides speak |
//! | `refuse`, `retry`, `reset` | the other packets |
//! | `budget` | no more than three times as much goes to an unproven address as came from it |
//!
//! No answer to a Hello is longer than it, so a server cannot be used to amplify traffic; and a server's session sends
//! nothing but replies until a packet with its own id has proved that the client receives at its address.

mod body;
mod budget;
mod refuse;
mod reset;
mod retry;
mod versions;

use super::config::Config;
use crate::wire::{Kind, Packet};

pub(super) use body::{Greeting, MIN_HELLO_PAYLOAD, REPLY_PAYLOAD};
pub(super) use budget::AddressBudget;
pub(super) use refuse::read_refuse;
pub use refuse::{Refusal, RefuseReason};
pub use reset::Reset;
pub(super) use reset::{RECENT_ACKS, RESET_LEN};
pub(super) use retry::{COOKIE_LEN, RETRY_LEN, Retry, retry_packet};
pub use versions::{Versions, negotiate};

/// The client's session id in a Hello; `None` if the packet is no well-formed Hello.
///
/// With the source address it tells a Hello that was sent again, which belongs to the session that
/// [`super::Session::accept`] made for it, from that of a new client.
#[must_use]
pub fn hello_id(packet: &Packet<'_>) -> Option<u32> {
    read_hello(packet).map(|greeting| greeting.id)
}

/// What a Hello says; `None` if the packet is no well-formed Hello.
pub(super) fn read_hello<'a>(packet: &Packet<'a>) -> Option<Greeting<'a>> {
    (packet.kind == Kind::Hello)
        .then(|| Greeting::read_hello(packet.payload))
        .flatten()
}

/// Judges a Hello. Gives what it says and the span of Data packets to its sender.
pub(super) fn judge_hello<'a>(
    config: &Config,
    packet: &Packet<'a>,
) -> Result<(Greeting<'a>, u16), Refusal> {
    let refuse = |session, reason| Refusal { session, reason };
    let Some(greeting) = read_hello(packet) else {
        // Not addressable, or not worth an answer.
        return Err(refuse(0, RefuseReason::Parameters));
    };
    let expected = config.local.epoch;
    if greeting.parameters.epoch != expected {
        return Err(refuse(greeting.id, RefuseReason::Epoch { expected }));
    }
    match greeting.parameters.span_for(config.l4_overhead) {
        Some(span) => Ok((greeting, span)),
        None => Err(refuse(greeting.id, RefuseReason::Parameters)),
    }
}
