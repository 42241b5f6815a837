//! A server's front door: packets that belong to no session.

use std::collections::BTreeMap;

use super::{Guest, Server};
use crate::net::Ecn;
use crate::session::{Answer, Occupancy, Refusal, RefuseReason, Session, Verdict, hello_id};
use crate::sim::invariants::Broken;
use crate::sim::network::{Address, Datagram};
use crate::sim::pump::Pump;
use crate::sim::tally::Count;
use crate::sim::truth::{Sabotage, Surroundings};
use crate::wire::{self, Kind, Packet};

impl Server {
    /// The session that was made for a client with this id at this address.
    pub(super) fn greeted_by(&self, from: Address, client: Option<u32>) -> Option<u32> {
        let client = client?;
        let mut guests = self.guests.iter();
        guests
            .find(|(_, guest)| guest.address == from && guest.greeted == Some(client))
            .map(|(id, _)| *id)
    }

    /// A Hello that comes for the first time.
    pub(super) fn greet(
        &mut self,
        from: Address,
        hello: &Packet<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let occupancy = self.occupancy();
        let verdict = self.acceptor.judge(
            around.now,
            from.socket(),
            hello,
            &self.plan.config,
            occupancy,
        );
        let Verdict::Accept { validated, evict } = verdict else {
            return self.obey(verdict, from, around);
        };
        if evict {
            self.evict(around)?;
        }
        if !self.has_room() {
            let refusal = Refusal::to(hello, RefuseReason::Busy);
            let refusal = refusal.ok_or_else(|| Broken::Unexpected("a Hello without id".into()))?;
            let verdict = self.acceptor.refuse(around.now, refusal);
            return self.obey(verdict, from, around);
        }
        self.accept(from, hello, validated, around)
    }

    fn accept(
        &mut self,
        from: Address,
        hello: &Packet<'_>,
        validated: bool,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let id = self.new_id();
        let config = self.plan.config.clone();
        let mut session = match Session::accept(config, id, hello, around.now) {
            Ok(session) => session,
            Err(refusal) => {
                let verdict = self.acceptor.refuse(around.now, refusal);
                return self.obey(verdict, from, around);
            }
        };
        if validated {
            session.mark_validated();
            around.network.ledger.proved(from);
        }
        let ends = (Address::SERVER, from);
        let guest = Guest {
            pump: Pump::new(session, &self.plan.config, ends, self.plan.nic),
            address: from,
            greeted: hello_id(hello),
            window: self.plan.config.local.initial_credit,
            held: 0,
            puts: BTreeMap::new(),
            found: BTreeMap::new(),
            gets: Vec::new(),
            wake: Some(around.now),
        };
        self.guests.insert(id, guest);
        if around.truth.is_sabotaged(Sabotage::Amplify) {
            let mut bytes = around.network.buffer();
            bytes.resize(wire::MAX_PAYLOAD, 0);
            around.network.send(around.now, to_client(from, bytes))?;
        }
        Ok(())
    }

    /// A packet for a session that is not here.
    pub(super) fn answer_stray(
        &mut self,
        from: Address,
        packet: &Packet<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let occupancy = self.occupancy();
        let verdict = self.acceptor.judge(
            around.now,
            from.socket(),
            packet,
            &self.plan.config,
            occupancy,
        );
        self.obey(verdict, from, around)
    }

    /// Does what the acceptor says of a packet that makes no session.
    pub(super) fn obey(
        &self,
        verdict: Verdict,
        to: Address,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Broken> {
        let Verdict::Answer(answer) = verdict else {
            return Ok(());
        };
        count(&answer, around);
        let mut bytes = around.network.buffer();
        bytes.extend_from_slice(answer.as_bytes());
        around.network.send(around.now, to_client(to, bytes))
    }

    /// Whether there are a place and frames for one session more.
    fn has_room(&self) -> bool {
        let kept: u64 = self.guests.values().map(|guest| guest.window).sum();
        let window = self.plan.config.local.initial_credit;
        let frames = kept + self.orphans + window <= self.plan.receive_frames;
        frames && self.guests.len() < self.plan.max_sessions
    }

    /// How many sessions there are. Without frames for another one, all places are taken.
    fn occupancy(&self) -> Occupancy {
        let is_half_open = |guest: &&Guest| guest.pump.session.is_half_open();
        Occupancy {
            half_open: self.guests.values().filter(is_half_open).count(),
            total: match self.has_room() {
                true => self.guests.len(),
                false => self.plan.max_sessions,
            },
        }
    }

    /// Takes the place of a half-open session.
    fn evict(&mut self, around: &mut Surroundings<'_>) -> Result<(), Broken> {
        let mut guests = self.guests.iter();
        let victim = guests.find(|(_, guest)| guest.pump.session.is_half_open());
        let victim = victim.map(|(id, guest)| (*id, guest.address));
        let (id, address) = victim.ok_or_else(|| Broken::Unexpected("nobody to evict".into()))?;
        around.truth.on_evicted(address);
        around.network.tally.hit(Count::Evicted);
        self.retire(id, around);
        Ok(())
    }

    fn new_id(&mut self) -> u32 {
        loop {
            let id = self.random.next() as u32;
            if id != 0 && !self.guests.contains_key(&id) {
                return id;
            }
        }
    }
}

fn count(answer: &Answer, around: &mut Surroundings<'_>) {
    let tally = &mut around.network.tally;
    match answer.kind() {
        Kind::Retry => tally.hit(Count::Retries),
        Kind::Reset => tally.hit(Count::Resets),
        _ => {}
    }
}

const fn to_client(to: Address, bytes: Vec<u8>) -> Datagram {
    Datagram {
        from: Address::SERVER,
        to,
        ecn: Ecn::Capable0,
        bytes,
    }
}
