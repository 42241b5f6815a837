//! Two sessions, and a clean network between them where a test wants one.

mod delivery;
mod endings;
mod handshake;
mod hostile;
mod long;
mod path;
mod restart;
mod transfer;

use core::time::Duration;

use super::*;
use crate::net::Ecn;
use crate::wire::{self, Header, Kind};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

type Block = Vec<u8>;

const T0: Time = Time::from_nanos(1_000_000_000);
const DELAY: Duration = Duration::from_micros(50);

fn config(credit: u64) -> Config {
    Config {
        local: Parameters {
            initial_credit: credit,
            ..Parameters::default()
        },
        ..Config::default()
    }
}

/// One side, and what it has said and heard.
struct Side {
    session: Session<Block>,
    events: Vec<Event<Block>>,
    received: Vec<(BlockMeta, Vec<u8>)>,
}

impl Side {
    fn new(session: Session<Block>) -> Self {
        Self {
            session,
            events: Vec::new(),
            received: Vec::new(),
        }
    }

    fn send(&mut self, now: Time) -> Option<Vec<u8>> {
        self.session.poll_transmit(now, |_| true).map(|t| bytes(&t))
    }

    fn send_all(&mut self, now: Time) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.send(now)).collect()
    }

    fn take(&mut self, now: Time, bytes: &[u8]) -> Result<(), Violation> {
        let packet = wire::open(bytes).unwrap();
        if let Some(meta) = self.session.handle_packet(now, &packet, Ecn::Capable0)? {
            self.received.push((meta, packet.payload.to_vec()));
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
        Ok(())
    }

    fn put(&mut self, transfer: u32, index: u64) {
        let payload = vec![index as u8; 512];
        let meta = BlockMeta {
            transfer,
            offset: index * 512,
            len: 512,
            crc: wire::payload_crc(&payload),
        };
        self.session.queue_block(meta, payload).unwrap();
    }

    fn drain_events(&mut self) -> Vec<Event<Block>> {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
        std::mem::take(&mut self.events)
    }
}

fn bytes(transmit: &Transmit<'_, Block>) -> Vec<u8> {
    let header = transmit.header();
    let mut packet = header.as_bytes().to_vec();
    packet.resize(usize::from(header.span.get()), 0);
    packet.extend_from_slice(match transmit {
        Transmit::Inline { payload, .. } => payload,
        Transmit::Block { block, .. } => block,
    });
    packet
}

/// Client and server after the handshake.
struct Pair {
    client: Side,
    server: Side,
    now: Time,
}

impl Pair {
    fn new(client: Config, server: Config) -> Self {
        let mut client = Side::new(Session::connect(client, 11, T0));
        let hello = client.send(T0).unwrap();
        let packet = wire::open(&hello).unwrap();
        let mut server = Side::new(Session::accept(server, 22, &packet, T0).unwrap());
        let reply = server.send(T0).unwrap();
        assert!(reply.len() <= hello.len());
        assert!(!server.session.is_connected() && server.session.queue_space() == 0);
        client.take(T0, &reply).unwrap();
        let mut pair = Self {
            client,
            server,
            now: T0,
        };
        pair.run(10);
        assert!(pair.client.session.is_connected() && pair.server.session.is_connected());
        for side in [&mut pair.client, &mut pair.server] {
            let events = side.drain_events();
            assert_eq!(events[0], Event::Connected);
            assert!(matches!(events[1..], [] | [Event::PayloadLimit(_)]));
        }
        pair
    }

    /// A clean network for so many round trips.
    fn run(&mut self, rounds: u32) {
        for _ in 0..rounds {
            let (out, back) = (
                self.client.send_all(self.now),
                self.server.send_all(self.now),
            );
            self.now += DELAY;
            out.iter()
                .for_each(|p| self.server.take(self.now, p).unwrap());
            back.iter()
                .for_each(|p| self.client.take(self.now, p).unwrap());
            self.client.session.handle_timeout(self.now);
            self.server.session.handle_timeout(self.now);
        }
    }

    fn wait(&mut self, duration: Duration) {
        let steps = duration.as_nanos() / DELAY.as_nanos();
        self.run(steps as u32);
    }
}
