//! All paths between the hosts, and the packets on their way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};

use super::invariants::{Amplification, Broken};
use super::link::Link;
use super::tally::{Count, Tally};
use super::trace::Trace;
use crate::net::Ecn;
use crate::time::Time;

/// Where a host is. Stands for an IP address and port.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u32);

impl Address {
    /// The server's.
    pub const SERVER: Self = Self(0);
    /// Addresses from here on belong to nobody.
    const NOBODY: u32 = 1 << 16;

    /// That of a client.
    #[must_use]
    pub const fn of_client(client: u32) -> Self {
        Self(client + 1)
    }

    /// One that belongs to nobody; packets to it vanish.
    #[must_use]
    pub const fn of_nobody(number: u32) -> Self {
        Self(Self::NOBODY + number % Self::NOBODY)
    }

    /// The same, as sessions' acceptors want it.
    #[must_use]
    pub fn socket(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + self.0), 7000))
    }

    /// Which client is there.
    #[must_use]
    pub const fn client(self) -> Option<u32> {
        if self.0 == 0 || self.0 >= Self::NOBODY {
            return None;
        }
        Some(self.0 - 1)
    }
}

/// A UDP datagram on its way.
#[derive(Debug)]
pub struct Datagram {
    /// Its source.
    pub from: Address,
    /// Its destination.
    pub to: Address,
    /// What a congested router said.
    pub ecn: Ecn,
    /// The UDP payload.
    pub bytes: Vec<u8>,
}

/// Packets on their way, and memory for others.
#[derive(Debug, Default)]
pub struct Yard {
    /// Time of arrival, a number that keeps the order of equal times, and the place in `slots`.
    arrivals: BinaryHeap<Reverse<(Time, u64, u32)>>,
    slots: Vec<Option<Datagram>>,
    free: Vec<u32>,
    buffers: Vec<Vec<u8>>,
    count: u64,
}

impl Yard {
    /// Memory for a packet, empty.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// A copy of a packet.
    pub fn copy(&mut self, packet: &Datagram) -> Datagram {
        let mut bytes = self.buffer();
        bytes.extend_from_slice(&packet.bytes);
        packet.with(bytes)
    }

    /// It will arrive then.
    pub fn arrive(&mut self, at: Time, packet: Datagram) {
        self.count += 1;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        self.slots[slot as usize] = Some(packet);
        self.arrivals.push(Reverse((at, self.count, slot)));
    }

    /// The packet is of no use any more.
    pub fn drop(&mut self, packet: Datagram) {
        let mut bytes = packet.bytes;
        bytes.clear();
        self.buffers.push(bytes);
    }

    /// All packets with their times, in the order in which they arrive.
    #[cfg(test)]
    pub(super) fn into_arrivals(mut self) -> Vec<(Time, Datagram)> {
        let mut arrivals = Vec::new();
        while let Some(Reverse((at, ..))) = self.arrivals.peek().copied() {
            arrivals.extend(self.next(at).map(|packet| (at, packet)));
        }
        arrivals
    }

    fn next(&mut self, now: Time) -> Option<Datagram> {
        let Reverse((at, _, slot)) = *self.arrivals.peek()?;
        if at > now {
            return None;
        }
        self.arrivals.pop();
        self.free.push(slot);
        self.slots[slot as usize].take()
    }
}

impl Datagram {
    /// A packet on the same way with other bytes.
    #[must_use]
    pub const fn with(&self, bytes: Vec<u8>) -> Self {
        Self {
            from: self.from,
            to: self.to,
            ecn: self.ecn,
            bytes,
        }
    }
}

/// The paths between the server and its clients.
#[derive(Debug)]
pub struct Network {
    /// Of each client, to the server. One for all, if they share it.
    up: Vec<Link>,
    /// And back.
    down: Vec<Link>,
    yard: Yard,
    /// What the server has exchanged with whom.
    pub ledger: Amplification,
    /// What has happened.
    pub tally: Tally,
    /// Tells of each packet.
    pub trace: Trace,
}

impl Network {
    /// `up` and `down` are the links of the clients, in order; the last of them serves those that have none of their own.
    #[must_use]
    pub fn new(up: Vec<Link>, down: Vec<Link>) -> Self {
        Self {
            up,
            down,
            yard: Yard::default(),
            ledger: Amplification::default(),
            tally: Tally::default(),
            trace: Trace::default(),
        }
    }

    /// The link to the server and the link back of a client.
    #[must_use]
    pub fn links(&self, client: u32) -> Option<(&Link, &Link)> {
        let place = |links: &[Link]| (client as usize).min(links.len().saturating_sub(1));
        Some((
            self.up.get(place(&self.up))?,
            self.down.get(place(&self.down))?,
        ))
    }

    /// Memory for a packet that a host is about to send.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.yard.buffer()
    }

    /// A host sends a packet.
    ///
    /// # Errors
    /// The server sends more to an address than it may.
    pub fn send(&mut self, now: Time, packet: Datagram) -> Result<(), Broken> {
        self.tally.hit(Count::Sent);
        self.trace.packet(now, "sends", &packet);
        let (links, client) = if packet.to == Address::SERVER {
            (&mut self.up, packet.from.client().unwrap_or(0))
        } else {
            self.ledger.sent(packet.to, packet.bytes.len())?;
            let Some(client) = packet.to.client() else {
                self.yard.drop(packet);
                return Ok(());
            };
            (&mut self.down, client)
        };
        let place = (client as usize).min(links.len().saturating_sub(1));
        match links.get_mut(place) {
            Some(link) => link.carry(now, packet, &mut self.yard, &mut self.tally),
            None => self.yard.drop(packet),
        }
        Ok(())
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Time> {
        self.yard.arrivals.peek().map(|Reverse((at, ..))| *at)
    }

    /// A packet that has arrived; give it to [`Self::done`] afterwards.
    pub fn receive(&mut self, now: Time) -> Option<Datagram> {
        let packet = self.yard.next(now)?;
        self.tally.hit(Count::Arrived);
        self.trace.packet(now, "gets", &packet);
        if packet.to == Address::SERVER {
            self.ledger.received(packet.from, packet.bytes.len());
        }
        Some(packet)
    }

    /// A packet was dealt with.
    pub fn done(&mut self, packet: Datagram) {
        self.yard.drop(packet);
    }
}
