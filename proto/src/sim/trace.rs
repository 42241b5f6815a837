//! A run told packet by packet, for who looks for the cause of a failure.

use core::time::Duration;

use super::network::{Address, Datagram};
use super::scenario::START;
use crate::time::Time;
use crate::wire;

/// Where the lines go.
pub type Sink = fn(&str);

/// Tells what happens to packets, if somebody listens.
#[derive(Copy, Clone, Debug, Default)]
pub struct Trace(Option<Sink>);

impl Trace {
    /// Tells it to this one.
    #[must_use]
    pub const fn to(sink: Sink) -> Self {
        Self(Some(sink))
    }

    /// A packet was sent or has arrived.
    pub fn packet(&self, now: Time, what: &str, packet: &Datagram) {
        if let Some(sink) = self.0 {
            let (from, to) = (name(packet.from), name(packet.to));
            sink(&format!(
                "{:>12?} {from} > {to} {what} {}",
                since(now),
                describe(&packet.bytes)
            ));
        }
    }

    /// Something else happened.
    pub fn event(&self, now: Time, what: impl FnOnce() -> String) {
        if let Some(sink) = self.0 {
            sink(&format!("{:>12?} {}", since(now), what()));
        }
    }
}

fn since(now: Time) -> Duration {
    now.saturating_since(START)
}

fn name(address: Address) -> String {
    match address.client() {
        Some(client) => format!("client {client}"),
        None if address == Address::SERVER => "server".into(),
        None => "nobody".into(),
    }
}

fn describe(bytes: &[u8]) -> String {
    match wire::open(bytes) {
        Err(error) => format!("{} bytes: {error}", bytes.len()),
        Ok(packet) => {
            let header = packet.header;
            format!(
                "{:?} for {:08x}, number {}, block {}, offset {}, {} bytes",
                packet.kind,
                header.session.get(),
                header.packet_number.get(),
                header.block_number.get(),
                header.offset.get(),
                bytes.len()
            )
        }
    }
}
