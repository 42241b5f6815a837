//! A run: hosts, network and disk, from one event to the next.

use core::time::Duration;

use super::client::{Client, Over};
use super::disk::Disk;
use super::invariants::Broken;
use super::link::Link;
use super::network::{Address, Datagram, Network};
use super::random::Random;
use super::scenario::{START, Scenario};
use super::server::Server;
use super::tally::{Count, Tally};
use super::trace::Trace;
use super::truth::{Sabotage, Surroundings, Truth};
use crate::time::Time;
use parking::Parking;
use watch::Watch;

/// Longest time that a run may take, in virtual time.
const LIMIT: Duration = Duration::from_secs(3600);
/// Most steps; a run has some ten thousand.
const MAX_STEPS: u64 = 5_000_000;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened in it.
    pub tally: Tally,
    /// How long it took, in virtual time.
    pub duration: Duration,
    /// Points in time at which something happened.
    pub steps: u64,
}

/// Everything that takes part in a run.
#[derive(Debug)]
pub struct World {
    now: Time,
    scenario: Scenario,
    random: Random,
    network: Network,
    disk: Disk,
    truth: Truth,
    server: Option<Server>,
    server_wake: Option<Time>,
    clients: Vec<(Client, Option<Time>)>,
    watches: Vec<Watch>,
    parking: Parking,
    /// The next of the scenario's actions.
    next_action: usize,
    forged: u32,
    steps: u64,
}

impl World {
    /// A run of this scenario, with a mistake in it if wanted.
    #[must_use]
    pub fn new(scenario: Scenario, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(!scenario.seed);
        let links = if scenario.shared {
            1
        } else {
            scenario.parties.len()
        };
        let parties = &scenario.parties;
        let mut link = |plan: &_| Link::new(Clone::clone(plan), random.fork());
        let up = parties
            .iter()
            .take(links)
            .map(|party| link(&party.up))
            .collect();
        let down = parties
            .iter()
            .take(links)
            .map(|party| link(&party.down))
            .collect();
        let clients = (0..)
            .zip(parties)
            .map(|(number, party)| {
                (
                    Client::new(number, party.plan.clone(), random.fork()),
                    Some(START),
                )
            })
            .collect();
        Self {
            now: START,
            network: Network::new(up, down),
            disk: Disk::new(scenario.disk.clone(), random.fork()),
            truth: Truth::new(sabotage),
            server: Some(Server::new(scenario.server.clone(), random.fork())),
            server_wake: None,
            clients,
            watches: parties
                .iter()
                .map(|party| Watch::new(&scenario, party))
                .collect(),
            parking: Parking::default(),
            next_action: 0,
            forged: 0,
            steps: 0,
            random,
            scenario,
        }
    }

    /// Tells of every packet.
    #[must_use]
    pub const fn traced(mut self, trace: Trace) -> Self {
        self.network.trace = trace;
        self
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// Something does not hold; when it was noticed.
    pub fn run(mut self) -> Result<Outcome, (Time, Broken)> {
        let result = self.run_to_end();
        match result {
            Ok(()) => Ok(Outcome {
                tally: self.network.tally,
                duration: self.now.saturating_since(START),
                steps: self.steps,
            }),
            Err(broken) => Err((self.now, broken)),
        }
    }

    fn run_to_end(&mut self) -> Result<(), Broken> {
        while let Some(next) = self.step()? {
            self.now = next.max(self.now + Duration::from_nanos(1));
            self.steps += 1;
            let took = self.now.saturating_since(START);
            if took > LIMIT {
                return Err(Broken::NoEnd(took));
            }
            if self.steps > MAX_STEPS {
                return Err(Broken::BusyLoop);
            }
        }
        self.truth.check_acknowledged(&self.disk)?;
        for (number, (client, _)) in (0..).zip(&self.clients) {
            if client.over() == Some(Over::GaveUp) && !self.scenario.is_hopeless() {
                return Err(Broken::GaveUp(number));
            }
        }
        Ok(())
    }

    /// All that happens now; gives the time of the next event, until all is over.
    fn step(&mut self) -> Result<Option<Time>, Broken> {
        self.act()?;
        self.forge()?;
        self.deliver()?;
        let mut around = Surroundings {
            now: self.now,
            network: &mut self.network,
            disk: &mut self.disk,
            truth: &mut self.truth,
        };
        for (number, (client, wake)) in (0..).zip(&mut self.clients) {
            let is_still = self.parking.is_still(Address::of_client(number));
            if !is_still && wake.is_some_and(|at| at <= around.now) {
                *wake = client.turn(&mut around)?;
            }
        }
        if let Some(server) = &mut self.server
            && !self.parking.is_still(Address::SERVER)
            && self.server_wake.is_some_and(|at| at <= around.now)
        {
            self.server_wake = server.turn(&mut around)?;
        }
        self.watch()?;
        Ok(self.next_event())
    }

    /// When something happens next; `None` when all is over: the clients are done, and the server has forgotten them.
    fn next_event(&self) -> Option<Time> {
        let over = self
            .clients
            .iter()
            .all(|(client, _)| client.over().is_some());
        let quiet = self.server.as_ref().is_some_and(Server::is_quiet);
        if over && quiet && self.network.next_arrival().is_none() {
            return None;
        }
        let action = self
            .scenario
            .actions
            .get(self.next_action)
            .map(|(at, _)| *at);
        let moves = |host: Address| !self.parking.is_still(host);
        let wakes = (0..)
            .zip(&self.clients)
            .filter(|(number, _)| moves(Address::of_client(*number)))
            .filter_map(|(_, (_, wake))| *wake);
        let others = [
            self.network.next_arrival(),
            self.server_wake.filter(|_| moves(Address::SERVER)),
            self.parking.next(),
            action,
            self.next_forged(),
        ];
        let next = wakes.chain(others.into_iter().flatten()).min();
        // Nothing at all is a hang, which the watchdogs will notice.
        let dogs = self.watches.iter().map(|watch| watch.dog.deadline()).min();
        next.into_iter()
            .chain(dogs)
            .min()
            .or(Some(self.now + Duration::from_secs(1)))
    }

    fn deliver(&mut self) -> Result<(), Broken> {
        while let Some((host, ring)) = self.parking.resume(self.now) {
            match host.client() {
                Some(number) => self.clients[number as usize].1 = Some(self.now),
                None => self.server_wake = self.server.as_ref().map(|_| self.now),
            }
            for packet in ring {
                self.hand_over(packet)?;
            }
        }
        while let Some(packet) = self.network.receive(self.now) {
            if !self.parking.is_still(packet.to) {
                self.hand_over(packet)?;
            } else if let Err(packet) = self.parking.keep(packet) {
                self.network.tally.hit(Count::RingOverrun);
                self.network.done(packet);
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, packet: Datagram) -> Result<(), Broken> {
        let mut around = Surroundings {
            now: self.now,
            network: &mut self.network,
            disk: &mut self.disk,
            truth: &mut self.truth,
        };
        match (packet.to.client(), &mut self.server) {
            (Some(number), _) => {
                if let Some((client, wake)) = self.clients.get_mut(number as usize) {
                    client.receive(&packet, &mut around)?;
                    *wake = Some(self.now);
                }
            }
            (None, Some(server)) => {
                server.receive(&packet, &mut around)?;
                self.server_wake = Some(self.now);
            }
            (None, None) => self.network.tally.hit(Count::HostDown),
        }
        self.network.done(packet);
        Ok(())
    }
}

mod acts;
mod parking;
#[cfg(test)]
mod tests;
mod watch;
