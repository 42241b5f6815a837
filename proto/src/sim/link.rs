//! One direction of a bad path.
//!
//! ```text
//!             MTU   partition      queue           loss, bursts    duplicates,       delay, jitter,
//!   send ──►   │ ──►   │ ──► tail drop, ECN ──► ─┬─── lost ✗ ──►   replays,     ──►  detours        ──► arrival
//!              ✗       ✗     rate             garbage              corruption, cuts
//! ```

use core::time::Duration;

use super::network::{Datagram, Yard};
use super::random::Random;
use super::tally::{Count, Tally};
use crate::net::Ecn;
use crate::time::Time;

/// Bytes of IP and UDP headers in front of what a host sends.
pub const LOWER_HEADERS: usize = 28;

/// A two-state channel (Gilbert and Elliott): in the bad state most packets are lost. Chances per million packets.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// That a packet finds the state turned bad.
    pub enter: u64,
    /// That it turns good again.
    pub leave: u64,
    /// That a packet is lost in the bad state.
    pub loss: u64,
    /// Nanoseconds after which it is good again in any case, or a sender that slows down would wait for ever.
    pub longest: u64,
}

/// A time in which nothing comes through.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Its start.
    pub from: Time,
    /// Its end.
    pub to: Time,
    /// The other direction works.
    pub one_way: bool,
}

/// What is wrong with one direction of a path. Chances are per million packets, times in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPlan {
    /// Single losses.
    pub loss: u64,
    /// Losses in bursts.
    pub bursts: Option<Bursts>,
    /// Packets that arrive twice.
    pub duplication: u64,
    /// Packets of which a copy arrives up to 20 seconds later.
    pub replay: u64,
    /// Packets of which up to 4 bytes change.
    pub corruption: u64,
    /// Packets that are cut.
    pub truncation: u64,
    /// Random bytes, sent along.
    pub garbage: u64,
    /// Of each packet.
    pub delay: u64,
    /// Up to so much more.
    pub jitter: u64,
    /// The jitter is that of a queue: it does not reorder.
    pub keeps_order: bool,
    /// Packets that take a detour.
    pub detours: u64,
    /// How much longer a detour is.
    pub detour: u64,
    /// Bytes per second; 0: no limit.
    pub rate: u64,
    /// Bytes that wait in front of it; more are dropped.
    pub queue: u64,
    /// Packets that find more bytes waiting are marked; 0: none.
    pub mark_above: u64,
    /// Largest IP packet, from a time on; before the first of them any.
    pub mtu: Vec<(Time, usize)>,
    /// Nothing comes through.
    pub outages: Vec<Outage>,
}

impl LinkPlan {
    /// Share of packets that do not arrive whole while there is no outage, per million, roughly.
    #[must_use]
    pub fn damage(&self) -> u64 {
        let bursts = self.bursts.map_or(0, |bursts| {
            bursts.loss * bursts.enter / (bursts.enter + bursts.leave).max(1)
        });
        self.loss + bursts + self.corruption + self.truncation
    }

    /// Whether an outage is going on.
    #[must_use]
    pub fn is_cut(&self, now: Time) -> bool {
        self.outage(now).is_some()
    }

    fn outage(&self, now: Time) -> Option<&Outage> {
        self.outages
            .iter()
            .find(|outage| (outage.from..outage.to).contains(&now))
    }
}

/// One direction of a path.
#[derive(Debug)]
pub struct Link {
    plan: LinkPlan,
    random: Random,
    /// The channel of [`LinkPlan::bursts`] is bad, until then at the latest.
    bad: Option<Time>,
    /// When the last packet in the queue has been sent.
    busy_until: Time,
    /// Arrival of the packet that arrives last.
    latest: Time,
    mtu: usize,
    /// Of [`LinkPlan::mtu`], those that are in force or were.
    steps: usize,
}

impl Link {
    /// A link without traffic.
    #[must_use]
    pub const fn new(plan: LinkPlan, random: Random) -> Self {
        Self {
            plan,
            random,
            bad: None,
            busy_until: Time::from_nanos(0),
            latest: Time::from_nanos(0),
            mtu: usize::MAX,
            steps: 0,
        }
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn plan(&self) -> &LinkPlan {
        &self.plan
    }

    /// Takes a packet; what becomes of it arrives in the yard.
    pub fn carry(&mut self, now: Time, mut packet: Datagram, yard: &mut Yard, tally: &mut Tally) {
        if self.random.chance(self.plan.garbage) {
            let garbage = self.garbage(&packet, yard);
            tally.hit(Count::Garbage);
            self.deliver(now, garbage, yard, tally);
        }
        let Some(departure) = self.enter(now, &mut packet, tally) else {
            return yard.drop(packet);
        };
        if self.is_lost(now, tally) {
            return yard.drop(packet);
        }
        if self.random.chance(self.plan.duplication) {
            tally.hit(Count::Duplicated);
            let copy = yard.copy(&packet);
            self.deliver(departure, copy, yard, tally);
        }
        if self.random.chance(self.plan.replay) {
            tally.hit(Count::Replayed);
            let later = departure
                + Duration::from_nanos(self.random.magnitude(100_000_000, 20_000_000_000));
            let copy = yard.copy(&packet);
            yard.arrive(later, copy);
        }
        self.damage(&mut packet, tally);
        self.deliver(departure, packet, yard, tally);
    }

    /// MTU, outages, and the queue. Gives the time at which the packet leaves it.
    fn enter(&mut self, now: Time, packet: &mut Datagram, tally: &mut Tally) -> Option<Time> {
        while let Some(&(from, mtu)) = self.plan.mtu.get(self.steps).filter(|step| step.0 <= now) {
            if self.steps > 0 {
                tally.hit(if mtu < self.mtu {
                    Count::MtuFell
                } else {
                    Count::MtuRose
                });
            }
            debug_assert!(from <= now);
            self.mtu = mtu;
            self.steps += 1;
        }
        if packet.bytes.len() + LOWER_HEADERS > self.mtu {
            tally.hit(Count::TooLong);
            return None;
        }
        if let Some(outage) = self.plan.outage(now) {
            tally.hit(if outage.one_way {
                Count::PartitionedOneWay
            } else {
                Count::Partitioned
            });
            return None;
        }
        if self.plan.rate == 0 {
            return Some(now);
        }
        let len = (packet.bytes.len() + LOWER_HEADERS) as u64;
        let nanos = |bytes: u64| bytes.saturating_mul(1_000_000_000) / self.plan.rate;
        let waiting = self.busy_until.saturating_since(now).as_nanos() as u64;
        if waiting > nanos(self.plan.queue) {
            tally.hit(Count::TailDropped);
            return None;
        }
        if self.plan.mark_above > 0
            && waiting > nanos(self.plan.mark_above)
            && packet.ecn != Ecn::NotCapable
        {
            tally.hit(Count::Marked);
            packet.ecn = Ecn::Congested;
        }
        self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanos(len));
        Some(self.busy_until)
    }

    fn is_lost(&mut self, now: Time, tally: &mut Tally) -> bool {
        if self.random.chance(self.plan.loss) {
            tally.hit(Count::Lost);
            return true;
        }
        let Some(bursts) = self.plan.bursts else {
            return false;
        };
        let is_bad = self.bad.is_some_and(|until| until > now);
        let turns = self
            .random
            .chance(if is_bad { bursts.leave } else { bursts.enter });
        self.bad = match (is_bad, turns) {
            (false, true) => Some(now + Duration::from_nanos(bursts.longest)),
            (true, false) => self.bad,
            _ => None,
        };
        let lost = self.bad.is_some() && self.random.chance(bursts.loss);
        tally.add(Count::LostInBurst, u64::from(lost));
        lost
    }

    fn damage(&mut self, packet: &mut Datagram, tally: &mut Tally) {
        let bytes = &mut packet.bytes;
        if self.random.chance(self.plan.corruption) && !bytes.is_empty() {
            tally.hit(Count::Corrupted);
            for _ in 0..self.random.within(1, 4) {
                let at = self.random.within(0, bytes.len() as u64 - 1) as usize;
                bytes[at] ^= self.random.within(1, 255) as u8;
            }
        }
        if self.random.chance(self.plan.truncation) && !bytes.is_empty() {
            tally.hit(Count::Truncated);
            bytes.truncate(self.random.within(0, bytes.len() as u64 - 1) as usize);
        }
    }

    fn garbage(&mut self, like: &Datagram, yard: &mut Yard) -> Datagram {
        let mut bytes = yard.buffer();
        let len = self.random.within(0, 100) as usize;
        bytes.resize(len, 0);
        bytes.fill_with(|| self.random.next() as u8);
        like.with(bytes)
    }

    fn deliver(&mut self, departure: Time, packet: Datagram, yard: &mut Yard, tally: &mut Tally) {
        let mut nanos = self.plan.delay + self.random.within(0, self.plan.jitter);
        if self.random.chance(self.plan.detours) {
            nanos += self.plan.detour;
        } else if self.plan.keeps_order {
            let earliest = self.latest.saturating_since(departure).as_nanos() as u64;
            nanos = nanos.max(earliest.min(self.plan.delay + self.plan.jitter));
        }
        let at = departure + Duration::from_nanos(nanos);
        if at < self.latest {
            tally.hit(Count::Reordered);
        }
        self.latest = self.latest.max(at);
        yard.arrive(at, packet);
    }
}

#[cfg(test)]
mod tests;
