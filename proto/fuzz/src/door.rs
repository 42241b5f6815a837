//! Clients that greet a server's [`Acceptor`], and the sessions that come of it.
//!
//! The network between them loses, repeats and changes packets, and gives their checksums a new right value: so what is
//! behind the checksum is tried too. The script is a row of [`Step`]s.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use blk_proto::net::Ecn;
use blk_proto::session::{
    Acceptor, AcceptorConfig, BlockMeta, Config, Event, Occupancy, Parameters, RetryPolicy,
    Session, Transmit, Verdict, hello_id,
};
use blk_proto::time::Time;
use blk_proto::wire::{self, HEADER_LEN, Header, Kind, Packet};
use zerocopy::IntoBytes;

use crate::{change, reseal};

/// Clients, each at an address of its own.
const CLIENTS: usize = 6;
/// Places for sessions at the server.
const PLACES: usize = 4;
/// Half-open sessions from which on addresses must be proved.
const CROWD: usize = 2;
const T0: Time = Time::from_nanos(1_000_000_000);

/// A session of the server.
#[derive(Debug)]
struct Guest {
    session: Session<()>,
    from: usize,
    /// UDP payload that came from its address since it is there, and that went back.
    received: usize,
    sent: usize,
    validated: bool,
}

/// A server's door, and those who knock.
#[derive(Debug)]
pub struct Door {
    now: Time,
    acceptor: Acceptor,
    clients: Vec<Session<()>>,
    /// On the way to each client.
    coming: Vec<VecDeque<Vec<u8>>>,
    /// On the way to the server, from each client.
    going: Vec<VecDeque<Vec<u8>>>,
    guests: BTreeMap<u32, Guest>,
    next_id: u32,
    /// Whether the server takes sessions.
    serve: bool,
    /// Whether all packets were made by clients and server.
    honest: bool,
    judged: u64,
    verdicts: u64,
}

fn config() -> Config {
    Config {
        local: Parameters {
            initial_credit: 8,
            epoch: 3,
            ..Parameters::default()
        },
        max_queued_blocks: 4,
        max_unacked_blocks: 8,
        max_window: 64,
        ..Config::default()
    }
}

fn address(client: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, client as u8], 4000))
}

fn bytes(transmit: &Transmit<'_, ()>) -> Vec<u8> {
    let header = transmit.header();
    let mut packet = header.as_bytes().to_vec();
    packet.resize(usize::from(header.span.get()).max(HEADER_LEN), 0);
    match transmit {
        Transmit::Inline { payload, .. } => packet.extend_from_slice(payload),
        Transmit::Block { payload_len, .. } => {
            packet.resize(packet.len() + usize::from(*payload_len), 0);
        }
    }
    assert!(wire::open(&packet).is_ok() || header.version != wire::VERSION);
    packet
}

/// Gives a session something to send: a block as long as the peer takes, whatever it has announced, and a message.
fn feed(session: &mut Session<()>) {
    let len = session.max_block();
    let meta = BlockMeta {
        transfer: 1,
        offset: 0,
        len,
        crc: wire::payload_crc(&vec![0; len.into()]),
    };
    assert!(session.queue_block(meta, ()).is_err() || len > 0);
    // It may be full.
    let _ = session.send_message(&[1; 20]);
}

impl Door {
    /// A server that serves, or one that does not; clients that have not spoken yet.
    #[must_use]
    pub fn new(serve: bool, always_retry: bool) -> Self {
        let config_of_door = AcceptorConfig {
            serve,
            retry: if always_retry {
                RetryPolicy::Always
            } else {
                RetryPolicy::Above(CROWD)
            },
            max_sessions: PLACES,
            ..AcceptorConfig::default()
        };
        let connect = |client| Session::connect(config(), 100 + client as u32, T0);
        Self {
            now: T0,
            acceptor: Acceptor::new(config_of_door, &[7; 32]),
            clients: (0..CLIENTS).map(connect).collect(),
            coming: vec![VecDeque::new(); CLIENTS],
            going: vec![VecDeque::new(); CLIENTS],
            guests: BTreeMap::new(),
            next_id: 1000,
            serve,
            honest: true,
            judged: 0,
            verdicts: 0,
        }
    }

    /// One step: what happens by the first byte, to whom by the second, and how by the others.
    ///
    /// # Panics
    /// Something that must hold does not.
    pub fn step(&mut self, [op, who, a0, a1, b0, b1, b2, b3]: [u8; 8]) {
        let who = usize::from(who) % CLIENTS;
        let (a, b) = (
            u16::from_le_bytes([a0, a1]),
            u32::from_le_bytes([b0, b1, b2, b3]),
        );
        match op % 12 {
            0 => self.client_sends(who),
            1 => self.reach_server(who, |_| {}),
            2 => self.reach_client(who),
            3 => self.server_sends(),
            4 => self.time_passes(u64::from(a) * [1000, 1_000_000][b as usize & 1]),
            5 => {
                self.going[who].pop_front();
                self.coming[who].pop_front();
            }
            6 => {
                self.honest = false;
                self.reach_server(who, |packet| {
                    change(packet, a.into(), b0);
                    change(packet, b1.into(), b2);
                    reseal(packet);
                });
            }
            7 => {
                self.honest = false;
                if let Some(packet) = self.coming[who].front_mut() {
                    change(packet, a.into(), b0);
                    reseal(packet);
                }
                self.reach_client(who);
            }
            // From another address than it was sent from.
            8 => {
                self.honest = false;
                if let Some(packet) = self.going[who].pop_front() {
                    self.arrive(usize::from(b0) % CLIENTS, &packet);
                }
            }
            9 => {
                if let Some(packet) = self.going[who].front().cloned() {
                    self.arrive(who, &packet);
                }
            }
            10 => self.forge(who, a, b),
            _ => self.clients[who] = Session::connect(config(), u32::from(a) + 1, self.now),
        }
        self.check();
    }

    fn client_sends(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.handle_timeout(self.now);
        feed(client);
        while let Some(transmit) = client.poll_transmit(self.now, |()| true) {
            self.going[who].push_back(bytes(&transmit));
            assert!(self.going[who].len() < 2000, "it sends without end");
        }
        self.going[who].truncate(64);
        while client.poll_event().is_some() {}
    }

    fn reach_server(&mut self, who: usize, via: impl FnOnce(&mut Vec<u8>)) {
        if let Some(mut packet) = self.going[who].pop_front() {
            via(&mut packet);
            self.arrive(who, &packet);
        }
    }

    fn reach_client(&mut self, who: usize) {
        let Some(bytes) = self.coming[who].pop_front() else {
            return;
        };
        if let Ok(packet) = wire::open(&bytes) {
            let result = self.clients[who].handle_packet(self.now, &packet, Ecn::Capable0);
            assert!(result.is_ok() || !self.honest, "{result:?}");
        }
    }

    /// A packet arrives at the server, from the address of client `from`.
    fn arrive(&mut self, from: usize, bytes: &[u8]) {
        let packet = match wire::open(bytes) {
            Ok(packet) => packet,
            Err(error) => {
                self.judged += 1;
                let verdict = self.acceptor.judge_foreign(self.now, &error);
                return self.carry_out(from, bytes, None, verdict);
            }
        };
        let to = packet.header.session.get();
        let id = match packet.kind {
            Kind::Hello => self.greeted(from, &packet),
            _ => Some(to).filter(|id| self.guests.contains_key(id)),
        };
        if let Some(guest) = id.and_then(|id| self.guests.get_mut(&id)) {
            if guest.from == from {
                guest.received += bytes.len();
                // A violation closes the session, and its silence ends it.
                let _ = guest
                    .session
                    .handle_packet(self.now, &packet, Ecn::Capable0);
            }
            return;
        }
        self.judged += 1;
        let sessions = self.occupancy();
        let verdict = self
            .acceptor
            .judge(self.now, address(from), &packet, &config(), sessions);
        self.carry_out(from, bytes, Some(&packet), verdict);
    }

    /// The session that was made for an earlier one of the same Hello.
    fn greeted(&self, from: usize, packet: &Packet<'_>) -> Option<u32> {
        let id = hello_id(packet)?;
        let is_it = |guest: &Guest| guest.from == from && guest.session.peer_id() == Some(id);
        self.guests
            .iter()
            .find_map(|(own, guest)| is_it(guest).then_some(*own))
    }

    fn occupancy(&self) -> Occupancy {
        let half_open = |guest: &&Guest| guest.session.is_half_open();
        Occupancy {
            half_open: self.guests.values().filter(half_open).count(),
            total: self.guests.len(),
        }
    }

    fn carry_out(
        &mut self,
        from: usize,
        bytes: &[u8],
        hello: Option<&Packet<'_>>,
        verdict: Verdict,
    ) {
        self.verdicts += 1;
        match verdict {
            Verdict::Answer(answer) => {
                // A Reset is a little longer than a ping.
                let factor = if answer.kind() == Kind::Reset { 3 } else { 1 };
                let answer = answer.as_bytes();
                assert!(answer.len() <= factor * bytes.len(), "more than is due");
                assert!(wire::open(answer).is_ok());
                self.coming[from].push_back(answer.to_vec());
            }
            Verdict::Drop(_) => {}
            Verdict::Accept { validated, evict } => {
                let sessions = self.occupancy();
                assert!(evict == (sessions.total >= PLACES));
                assert!(!evict || (validated && sessions.half_open > 0));
                if evict {
                    let half_open = |(_, guest): &(&u32, &Guest)| guest.session.is_half_open();
                    let id = self.guests.iter().find(half_open).map(|(id, _)| *id);
                    self.guests.remove(&id.expect("there is one"));
                }
                let hello = hello.expect("only a Hello makes a session");
                self.next_id += 1;
                let mut session = Session::accept(config(), self.next_id, hello, self.now)
                    .expect("it was judged good");
                if validated {
                    session.mark_validated();
                }
                let guest = Guest {
                    session,
                    from,
                    received: bytes.len(),
                    sent: 0,
                    validated,
                };
                self.guests.insert(self.next_id, guest);
            }
        }
    }

    fn server_sends(&mut self) {
        let now = self.now;
        self.guests.retain(|_, guest| {
            guest.session.handle_timeout(now);
            feed(&mut guest.session);
            let mut closed = false;
            while let Some(event) = guest.session.poll_event() {
                guest.validated |= event == Event::Connected;
                closed |= matches!(event, Event::Closed(_));
            }
            let mut count = 0;
            while let Some(transmit) = guest.session.poll_transmit(now, |()| true) {
                let packet = bytes(&transmit);
                guest.sent += packet.len();
                self.coming[guest.from].push_back(packet);
                count += 1;
                assert!(count < 2000, "it sends without end");
            }
            !closed
        });
        self.coming
            .iter_mut()
            .for_each(|coming| coming.truncate(64));
    }

    fn time_passes(&mut self, nanos: u64) {
        self.now += Duration::from_nanos(nanos);
    }

    fn forge(&mut self, from: usize, a: u16, b: u32) {
        let Some(kind) = Kind::from_byte((a % 11) as u8) else {
            return;
        };
        self.honest = false;
        let ids = [0, 1, 1001, 1002];
        let mut header = Header::new(kind, ids[b as usize % ids.len()]);
        header.version = (b >> 2) as u8 % 4;
        header.packet_number = u64::from(b >> 4 & 7).into();
        let mut packet = header.as_bytes().to_vec();
        packet.resize(HEADER_LEN + (b >> 7) as usize % 600, (b >> 17) as u8);
        reseal(&mut packet);
        self.arrive(from, &packet);
    }

    fn check(&self) {
        assert!(self.guests.len() <= PLACES);
        assert_eq!(self.judged, self.verdicts);
        for guest in self.guests.values() {
            // RFC 9000, section 8.1.
            let allowed = guest.validated || guest.sent <= 3 * guest.received;
            assert!(allowed, "{} for {} bytes", guest.sent, guest.received);
        }
    }

    /// On a network that does nothing to packets any more, every client gets a session, or an answer.
    ///
    /// # Panics
    /// One of them still waits.
    pub fn finish(&mut self) {
        if !self.honest {
            return;
        }
        self.guests.clear();
        for who in 0..CLIENTS {
            self.coming[who].clear();
            self.going[who].clear();
        }
        self.clients[0] = Session::connect(config(), 99, self.now);
        for _ in 0..20 {
            self.client_sends(0);
            while !self.going[0].is_empty() {
                self.reach_server(0, |_| {});
            }
            self.server_sends();
            while !self.coming[0].is_empty() {
                self.reach_client(0);
            }
            self.time_passes(100_000_000);
            self.check();
        }
        let client = &self.clients[0];
        assert!(client.is_connected() || client.is_closed() || !self.serve);
    }
}
