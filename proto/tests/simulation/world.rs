//! A scenario made from a seed, and its run.

use std::time::Duration;

use blk_proto::session::{CloseCode, CloseReason, Config, Parameters};
use blk_proto::time::Time;

use crate::host::{Host, Plan};
use crate::network::{Faults, Network};
use crate::random::Random;

const START: Time = Time::from_nanos(1_000_000_000);
/// Longest time that a scenario may take.
const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// All was delivered; else the hosts were cut off from each other for good.
    pub finished: bool,
    pub delivered: u64,
    pub cancelled: u64,
    pub retransmitted: u64,
    pub spurious: u64,
    pub duration: Duration,
}

pub struct World {
    now: Time,
    random: Random,
    client: Host,
    server: Host,
    out: Network,
    back: Network,
    /// The hosts will be cut off from each other.
    doomed: bool,
    finished: bool,
}

fn plan(random: &mut Random) -> Plan {
    let transfers: Vec<u64> = (0..random.within(0, 4))
        .map(|_| random.magnitude(1, 1500))
        .collect();
    let total: u64 = transfers.iter().sum();
    let cancel = (total > 0 && random.chance(300_000)).then(|| {
        let transfer = random.within(0, transfers.len() as u64 - 1);
        (transfer as u32, random.within(1, total))
    });
    Plan {
        transfers,
        cancel,
        messages: random.magnitude(1, 120),
        window: random.magnitude(1, 600),
        disk: random.pick(&[0, 100_000, 1_000_000, 20_000_000]),
        nic: random.pick(&[0, 0, 50_000, 3_000_000]),
    }
}

fn config(random: &mut Random) -> Config {
    Config {
        local: Parameters {
            max_payload: random.pick(&[512, 1024, 3584]),
            ..Parameters::default()
        },
        max_in_flight: random.magnitude(16 << 10, 32 << 20),
        max_queued_blocks: random.magnitude(1, 500) as usize,
        max_unacked_blocks: random.magnitude(1, 2000) as usize,
        handshake_timeout: Duration::from_secs(60),
        ..Config::default()
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let doomed = random.chance(70_000);
        let cut_off =
            doomed.then(|| START + Duration::from_nanos(random.magnitude(1_000, 3_000_000_000)));
        let mut faults = || Faults::new(&mut random, START, cut_off);
        let (out, back) = (faults(), faults());
        let (client_plan, server_plan) = (plan(&mut random), plan(&mut random));
        let (client_config, server_config) = (config(&mut random), config(&mut random));
        let mut fork = || Random::new(random.next());
        Self {
            now: START,
            client: Host::new(1, client_plan, client_config, fork()),
            server: Host::new(2, server_plan, server_config, fork()),
            out: Network::new(out, fork()),
            back: Network::new(back, fork()),
            random,
            doomed,
            finished: false,
        }
    }

    pub fn run(mut self) -> Outcome {
        self.client.connect(self.now);
        while !self.is_over() {
            self.step();
            assert!(
                self.now.saturating_since(START) < LIMIT,
                "no end: client done {}, server done {}",
                self.client.is_done(),
                self.server.is_done()
            );
        }
        assert!(
            self.finished || self.doomed,
            "cut off after {:?}, but the network was up: {:?}, {:?}",
            self.now.saturating_since(START),
            self.client.closed,
            self.server.closed
        );
        let mut outcome = Outcome {
            finished: self.finished,
            delivered: (self.client.delivered.len() + self.server.delivered.len()) as u64,
            cancelled: 0,
            retransmitted: 0,
            spurious: 0,
            duration: self.now.saturating_since(START),
        };
        for host in [&self.client, &self.server] {
            outcome.cancelled += host.returned - host.acked;
            if let Some(session) = &host.session {
                outcome.retransmitted += session.stats().retransmitted;
                outcome.spurious += session.stats().spurious;
            }
        }
        outcome
    }

    /// Both sides have closed, or there never was a server's session.
    fn is_over(&self) -> bool {
        let closed = |host: &Host| host.closed.is_some() || host.session.is_none();
        self.client.closed.is_some() && closed(&self.server)
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(datagram) = self.out.receive(now) {
            self.server.receive(now, &datagram);
        }
        while let Some(datagram) = self.back.receive(now) {
            self.client.receive(now, &datagram);
        }
        self.finish();
        let most = self.random.within(1, 64);
        let next = [
            self.client.turn(now, most, &mut self.out),
            self.server.turn(now, most, &mut self.back),
            self.out.next_arrival(),
            self.back.next_arrival(),
        ];
        let next = next.into_iter().flatten().min();
        self.now = next.unwrap_or(now).max(now + Duration::from_nanos(1));
    }

    /// When all is delivered, the client says goodbye.
    fn finish(&mut self) {
        if self.finished || !self.client.is_done() || !self.server.is_done() {
            return;
        }
        self.client.check_received(&self.server);
        self.server.check_received(&self.client);
        self.finished = true;
        if let Some(session) = &mut self.client.session {
            session.close(CloseReason::Local(CloseCode::DONE));
        }
    }
}
