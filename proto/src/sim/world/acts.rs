//! What happens to hosts, and what strangers send.

use core::time::Duration;

use super::World;
use crate::net::Ecn;
use crate::session::{Session, Transmit};
use crate::sim::invariants::Broken;
use crate::sim::network::{Address, Datagram};
use crate::sim::scenario::{Action, START};
use crate::sim::server::Server;
use crate::sim::tally::Count;
use crate::sim::truth::Surroundings;
use crate::time::Time;
use zerocopy::IntoBytes;

impl World {
    /// Does what the scenario has for now.
    pub(super) fn act(&mut self) -> Result<(), Broken> {
        while let Some(&(at, action)) = self.scenario.actions.get(self.next_action)
            && at <= self.now
        {
            self.next_action += 1;
            self.network.trace.event(self.now, || action.to_string());
            match action {
                Action::CrashServer => self.stop_server(false)?,
                Action::StopServer => self.stop_server(true)?,
                Action::StartServer => {
                    let plan = self.scenario.server.clone();
                    self.server = Some(Server::new(plan, self.random.fork()));
                }
                Action::CrashClient { client, until } => self.stop_client(client, until),
                Action::HangUp { client } => self.hang_up(client),
                Action::Freeze { host, until } => {
                    self.network.tally.hit(Count::Frozen);
                    self.parking.stop(host, until);
                }
            }
        }
        Ok(())
    }

    fn around(&mut self) -> Surroundings<'_> {
        Surroundings {
            now: self.now,
            network: &mut self.network,
            disk: &mut self.disk,
            truth: &mut self.truth,
        }
    }

    /// The server's process ends; `politely`: it says so to its clients before.
    fn stop_server(&mut self, politely: bool) -> Result<(), Broken> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        if politely {
            server.say_goodbye(&mut self.around())?;
        }
        server.die(&mut self.around());
        self.server_wake = None;
        self.parking.forget(Address::SERVER);
        let count = if politely {
            Count::ServerStopped
        } else {
            Count::ServerCrashed
        };
        self.network.tally.hit(count);
        // Also after a polite end, as if the machine had lost its power.
        self.disk.crash(&mut self.network.tally);
        self.network.ledger.forget();
        self.truth.check_acknowledged(&self.disk)
    }

    fn stop_client(&mut self, client: u32, until: Time) {
        let Some((host, wake)) = self.clients.get_mut(client as usize) else {
            return;
        };
        if host.over().is_some() {
            return;
        }
        host.crash(until, &mut self.network.tally);
        self.parking.forget(Address::of_client(client));
        *wake = Some(until);
        self.network.tally.hit(Count::ClientCrashed);
    }

    fn hang_up(&mut self, client: u32) {
        if let Some((host, wake)) = self.clients.get_mut(client as usize)
            && host.hang_up()
        {
            *wake = Some(self.now);
            self.network.tally.hit(Count::HungUp);
        }
    }

    /// When the next forged Hello is sent.
    pub(super) fn next_forged(&self) -> Option<Time> {
        let flood = self.scenario.flood?;
        let after = Duration::from_nanos(flood.every.saturating_mul(u64::from(self.forged)));
        (self.forged < flood.hellos).then(|| START + after)
    }

    /// Sends Hellos in the name of others.
    pub(super) fn forge(&mut self) -> Result<(), Broken> {
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
            if let Transmit::Inline { payload, .. } = transmit {
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
}
