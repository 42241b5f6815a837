//! A run: hosts, network and disk, from one event to the next.

use core::time::Duration;

use super::client::{Client, Ending, Over};
use super::disk::Disk;
use super::invariants::{Broken, Watchdog};
use super::link::Link;
use super::network::{Address, Datagram, Network};
use super::random::Random;
use super::scenario::{Action, START, Scenario};
use super::server::Server;
use super::tally::{Count, Tally};
use super::trace::Trace;
use super::truth::{Sabotage, Surroundings, Truth};
use crate::net::Ecn;
use crate::session::{CloseCode, CloseReason, Session};
use crate::time::Time;
use zerocopy::IntoBytes;

/// Longest time that a run may take, in virtual time.
const LIMIT: Duration = Duration::from_secs(3600);
/// Most steps; a run has some ten thousand.
const MAX_STEPS: u64 = 5_000_000;
/// Beyond the timeouts of sessions: so long may nothing move.
const PATIENCE: Duration = Duration::from_secs(20);
/// Timers and round trips, beyond a timeout.
const SLACK: Duration = Duration::from_secs(2);
/// A path that damages more than so many packets per million excuses a lack of progress.
const TOO_BAD: u64 = 300_000;
/// A path that damages less than this does not make sessions time out.
const GOOD: u64 = 60_000;

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

/// A host's view of trouble.
#[derive(Debug)]
struct Watch {
    dog: Watchdog,
    /// When something last stood in its way.
    trouble: Time,
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
        let idle = scenario.server.config.idle_timeout;
        let watch = |party: &super::scenario::Party| Watch {
            dog: Watchdog::new(START, PATIENCE + idle.max(party.plan.config.idle_timeout)),
            trouble: Time::default(),
        };
        Self {
            now: START,
            network: Network::new(up, down),
            disk: Disk::new(scenario.disk.clone(), random.fork()),
            truth: Truth::new(sabotage),
            server: Some(Server::new(scenario.server.clone(), random.fork())),
            server_wake: None,
            clients,
            watches: parties.iter().map(watch).collect(),
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
            if client.over() == Some(Over::GaveUp) && self.scenario.doomed.is_none() {
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
        for (client, wake) in &mut self.clients {
            if wake.is_some_and(|at| at <= around.now) {
                *wake = client.turn(&mut around)?;
            }
        }
        if let Some(server) = &mut self.server
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
        let wakes = self.clients.iter().filter_map(|(_, wake)| *wake);
        let others = [
            self.network.next_arrival(),
            self.server_wake,
            action,
            self.next_forged(),
        ];
        let next = wakes.chain(others.into_iter().flatten()).min();
        // Nothing at all is a hang, which the watchdogs will notice.
        let dogs = self.watches.iter().map(|watch| watch.dog.deadline()).min();
        next.into_iter()
            .chain(dogs)
            .min()
            .or(Some(self.now + PATIENCE))
    }

    fn act(&mut self) -> Result<(), Broken> {
        while let Some(&(at, action)) = self.scenario.actions.get(self.next_action)
            && at <= self.now
        {
            self.next_action += 1;
            let mut around = Surroundings {
                now: self.now,
                network: &mut self.network,
                disk: &mut self.disk,
                truth: &mut self.truth,
            };
            match action {
                Action::CrashServer => {
                    let Some(server) = self.server.take() else {
                        continue;
                    };
                    server.die(&mut around);
                    self.server_wake = None;
                    self.network.tally.hit(Count::ServerCrashed);
                    self.disk.crash(&mut self.network.tally);
                    self.network
                        .trace
                        .event(self.now, || "the server is killed".into());
                    self.network.ledger.forget();
                    self.truth.check_acknowledged(&self.disk)?;
                }
                Action::StartServer => {
                    self.network
                        .trace
                        .event(self.now, || "the server is started".into());
                    self.server = Some(Server::new(
                        self.scenario.server.clone(),
                        self.random.fork(),
                    ));
                }
                Action::CrashClient { client, until } => {
                    if let Some((host, wake)) = self.clients.get_mut(client as usize)
                        && host.over().is_none()
                    {
                        around
                            .network
                            .trace
                            .event(around.now, || format!("client {client} is killed"));
                        host.crash(until, &mut around);
                        *wake = Some(until);
                        self.network.tally.hit(Count::ClientCrashed);
                    }
                }
            }
        }
        Ok(())
    }

    fn next_forged(&self) -> Option<Time> {
        let flood = self.scenario.flood?;
        let after = Duration::from_nanos(flood.every.saturating_mul(u64::from(self.forged)));
        (self.forged < flood.hellos).then(|| START + after)
    }

    /// Sends Hellos in the name of others.
    fn forge(&mut self) -> Result<(), Broken> {
        while self.next_forged().is_some_and(|at| at <= self.now) {
            self.forged += 1;
            let id = (self.random.next() as u32).max(1);
            let config = self.scenario.parties[0].plan.config.clone();
            let mut session = Session::<()>::connect(config, id, self.now);
            let Some(transmit) = session.poll_transmit(self.now, |()| true) else {
                continue;
            };
            let mut bytes = self.network.buffer();
            bytes.extend_from_slice(transmit.header().as_bytes());
            if let crate::session::Transmit::Inline { payload, .. } = transmit {
                bytes.extend_from_slice(payload);
            }
            self.network.tally.hit(Count::Forged);
            let packet = Datagram {
                from: Address::of_nobody(self.random.next() as u32),
                to: Address::SERVER,
                ecn: Ecn::Capable0,
                bytes,
            };
            self.network.send(self.now, packet)?;
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), Broken> {
        while let Some(packet) = self.network.receive(self.now) {
            let mut around = Surroundings {
                now: self.now,
                network: &mut self.network,
                disk: &mut self.disk,
                truth: &mut self.truth,
            };
            match packet.to.client() {
                Some(number) => {
                    if let Some((client, wake)) = self.clients.get_mut(number as usize) {
                        client.receive(&packet, &mut around)?;
                        *wake = Some(self.now);
                    }
                }
                None => match &mut self.server {
                    Some(server) => {
                        server.receive(&packet, &mut around)?;
                        self.server_wake = Some(self.now);
                    }
                    None => self.network.tally.hit(Count::HostDown),
                },
            }
            self.network.done(packet);
        }
        Ok(())
    }

    /// Looks whether everybody moves who could, and whether sessions ended for a reason.
    fn watch(&mut self) -> Result<(), Broken> {
        let now = self.now;
        let server_down = self.server.is_none() || self.disk.is_stalled(now);
        for (number, (client, _)) in (0..).zip(&mut self.clients) {
            let Some((up, down)) = self.network.links(number) else {
                continue;
            };
            let watch = &mut self.watches[number as usize];
            let damage = up.plan().damage().max(down.plan().damage());
            let troubled = server_down
                || up.plan().is_cut(now)
                || down.plan().is_cut(now)
                || !client.is_up(now);
            if troubled {
                watch.trouble = now;
            }
            let excused = troubled || damage > TOO_BAD || client.over().is_some();
            watch.dog.look(now, number, client.moves(), excused)?;
            if let Some(ending) = client.take_ending() {
                let calm = now.saturating_since(watch.trouble);
                let timeout = client
                    .plan()
                    .config
                    .idle_timeout
                    .max(self.scenario.server.config.idle_timeout);
                let expected =
                    is_expected(ending) || self.truth.was_evicted(Address::of_client(number));
                if damage < GOOD && calm > timeout + SLACK && !expected {
                    return Err(Broken::ClosedWithoutCause {
                        client: number,
                        reason: ending.reason,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Endings that need no trouble on the path.
const fn is_expected(ending: Ending) -> bool {
    match ending.reason {
        CloseReason::Local(code) => code.0 == CloseCode::DONE.0,
        // The server has no room.
        CloseReason::Refused(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
