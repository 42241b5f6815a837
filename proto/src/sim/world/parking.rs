//! Hosts that stand still for a while: a stopped process, a virtual machine that is not scheduled.

use std::collections::BTreeMap;

use crate::sim::network::{Address, Datagram};
use crate::time::Time;

/// Packets that wait in the NIC of a host that stands still; more are dropped.
const RING: usize = 48;

#[derive(Debug)]
struct Still {
    until: Time,
    ring: Vec<Datagram>,
}

/// The hosts that stand still, and what their NICs have received.
#[derive(Debug, Default)]
pub struct Parking {
    hosts: BTreeMap<Address, Still>,
}

impl Parking {
    /// A host stops until then.
    pub fn stop(&mut self, host: Address, until: Time) {
        let still = Still {
            until,
            ring: Vec::new(),
        };
        self.hosts.entry(host).or_insert(still).until = until;
    }

    /// The process on a host has died, and its NIC's ring with it.
    pub fn forget(&mut self, host: Address) {
        self.hosts.remove(&host);
    }

    /// Whether a host stands still.
    #[must_use]
    pub fn is_still(&self, host: Address) -> bool {
        self.hosts.contains_key(&host)
    }

    /// Keeps a packet for a host that stands still; `Err` if its ring is full.
    ///
    /// # Errors
    /// The packet.
    pub fn keep(&mut self, packet: Datagram) -> Result<(), Datagram> {
        match self.hosts.get_mut(&packet.to) {
            Some(still) if still.ring.len() < RING => {
                still.ring.push(packet);
                Ok(())
            }
            _ => Err(packet),
        }
    }

    /// A host that goes on now, and what its NIC has received.
    pub fn resume(&mut self, now: Time) -> Option<(Address, Vec<Datagram>)> {
        let mut hosts = self.hosts.iter();
        let host = *hosts.find(|(_, still)| still.until <= now)?.0;
        self.hosts.remove(&host).map(|still| (host, still.ring))
    }

    /// When the next one goes on.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.hosts.values().map(|still| still.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Ecn;
    use core::time::Duration;

    #[test]
    fn a_ring_keeps_the_first_packets_for_later() {
        let (mut parking, host) = (Parking::default(), Address::of_client(1));
        let (now, later) = (Time::default(), Time::default() + Duration::from_secs(1));
        let packet = || Datagram {
            from: Address::SERVER,
            to: host,
            ecn: Ecn::Capable0,
            bytes: Vec::new(),
        };
        assert!(parking.keep(packet()).is_err(), "it does not stand still");
        parking.stop(host, later);
        assert_eq!(
            (parking.is_still(host), parking.next()),
            (true, Some(later))
        );
        let kept = (0..RING + 9)
            .filter(|_| parking.keep(packet()).is_ok())
            .count();
        assert_eq!(kept, RING);
        assert!(parking.resume(now).is_none());
        assert!(
            parking
                .resume(later)
                .is_some_and(|(who, ring)| who == host && ring.len() == RING)
        );
        assert!(!parking.is_still(host));
    }
}
