//! A door with sessions behind it, and who comes to it.

use core::time::Duration;
use std::net::Ipv4Addr;

use super::*;
use crate::net::Ecn;
use crate::session::{CloseReason, Event, Parameters, Session, Transmit};
use crate::wire::{self, HEADER_LEN, Header};
use proptest::prelude::*;
use zerocopy::IntoBytes;

const T0: Time = Time::from_nanos(1_000_000_000);
const SECRET: [u8; 32] = [7; 32];

fn config() -> Config {
    Config {
        local: Parameters {
            initial_credit: 8,
            ..Parameters::default()
        },
        ..Config::default()
    }
}

fn source(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(198, a, b, c).into(), 4000)
}

fn send(session: &mut Session<()>, now: Time) -> Option<Vec<u8>> {
    let Transmit::Inline { header, payload } = session.poll_transmit(now, |()| true)? else {
        panic!("no blocks here");
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(usize::from(header.span.get()), 0);
    bytes.extend_from_slice(payload);
    Some(bytes)
}

fn hello(id: u32, now: Time) -> Vec<u8> {
    send(&mut Session::connect(config(), id, now), now).unwrap()
}

fn judge(acceptor: &mut Acceptor, now: Time, packet: &[u8], sessions: Occupancy) -> Verdict {
    let packet = wire::open(packet).unwrap();
    acceptor.judge(now, source(1), &packet, &config(), sessions)
}

fn acceptor(retry: RetryPolicy) -> Acceptor {
    let config = AcceptorConfig {
        retry,
        max_sessions: 10,
        ..AcceptorConfig::default()
    };
    Acceptor::new(config, &SECRET)
}

fn of(half_open: usize, total: usize) -> Occupancy {
    Occupancy { half_open, total }
}

/// The client's Hello after it has got a Retry.
fn with_cookie(acceptor: &mut Acceptor, id: u32) -> Vec<u8> {
    let mut client = Session::<()>::connect(config(), id, T0);
    let first = send(&mut client, T0).unwrap();
    let crowd = of(usize::MAX, 0);
    let Verdict::Answer(retry) = judge(acceptor, T0, &first, crowd) else {
        panic!("no Retry in a crowd");
    };
    assert_eq!(retry.kind(), Kind::Retry);
    assert!(retry.as_bytes().len() <= first.len());
    let packet = wire::open(retry.as_bytes()).unwrap();
    let now = T0 + Duration::from_millis(3);
    client.handle_packet(now, &packet, Ecn::NotCapable).unwrap();
    let again = send(&mut client, now).expect("it greets again at once");
    assert_eq!(client.stats().srtt, Duration::from_millis(3));
    // The same Retry once more changes nothing, and one for somebody else neither.
    client.handle_packet(now, &packet, Ecn::NotCapable).unwrap();
    assert!(send(&mut client, now).is_none());
    again
}

#[test]
fn an_address_is_proved_by_a_cookie() {
    let mut acceptor = acceptor(RetryPolicy::Above(3));
    let plain = Verdict::Accept {
        validated: false,
        evict: false,
    };
    assert_eq!(judge(&mut acceptor, T0, &hello(5, T0), of(2, 4)), plain);
    let again = with_cookie(&mut acceptor, 5);
    let proved = Verdict::Accept {
        validated: true,
        evict: false,
    };
    assert_eq!(judge(&mut acceptor, T0, &again, of(3, 4)), proved);
    let late = T0 + Duration::from_secs(60);
    assert!(matches!(
        judge(&mut acceptor, late, &again, of(3, 4)),
        Verdict::Answer(answer) if answer.kind() == Kind::Retry
    ));
    let packet = wire::open(&again).unwrap();
    let elsewhere = acceptor.judge(T0, source(2), &packet, &config(), of(3, 4));
    assert!(matches!(elsewhere, Verdict::Answer(answer) if answer.kind() == Kind::Retry));
    let counters = acceptor.counters();
    assert_eq!((counters.accepted, counters.validated), (2, 1));
    assert_eq!((counters.retries, counters.bad_cookies), (3, 2));
}

#[test]
fn every_client_can_be_asked_for_proof() {
    let mut acceptor = acceptor(RetryPolicy::Always);
    let first = judge(&mut acceptor, T0, &hello(5, T0), of(0, 0));
    assert!(matches!(first, Verdict::Answer(answer) if answer.kind() == Kind::Retry));
}

#[test]
fn a_full_table_has_room_only_for_who_proves_and_only_in_place_of_who_does_not() {
    let mut acceptor = acceptor(RetryPolicy::Above(3));
    let plain = hello(5, T0);
    let proved = with_cookie(&mut acceptor, 5);
    let kind = |verdict| match verdict {
        Verdict::Answer(answer) => Some(answer.kind()),
        _ => None,
    };
    let full = of(0, 10);
    for hello in [&plain, &proved] {
        let verdict = judge(&mut acceptor, T0, hello, full);
        assert_eq!(kind(verdict), Some(Kind::Refuse));
    }
    let half = of(1, 10);
    assert_eq!(
        kind(judge(&mut acceptor, T0, &plain, half)),
        Some(Kind::Retry)
    );
    let evicting = Verdict::Accept {
        validated: true,
        evict: true,
    };
    assert_eq!(judge(&mut acceptor, T0, &proved, half), evicting);
}

#[test]
fn refusals_say_why_and_are_limited() {
    let mut acceptor = Acceptor::new(
        AcceptorConfig {
            refusals_per_second: 3,
            ..AcceptorConfig::default()
        },
        &SECRET,
    );
    let mut other = config();
    other.local.epoch = 9;
    let mut client = Session::<()>::connect(config(), 5, T0);
    let bytes = send(&mut client, T0).unwrap();
    let packet = wire::open(&bytes).unwrap();
    let verdict = acceptor.judge(T0, source(1), &packet, &other, of(0, 0));
    let Verdict::Answer(answer) = verdict else {
        panic!("{verdict:?}");
    };
    let refuse = wire::open(answer.as_bytes()).unwrap();
    client.handle_packet(T0, &refuse, Ecn::NotCapable).unwrap();
    let reason = RefuseReason::Epoch { expected: 9 };
    let closed = Event::Closed(CloseReason::Refused(reason));
    assert_eq!(client.poll_event(), Some(closed));

    let mut foreign = bytes.clone();
    foreign[wire::VERSION_AT] = 200;
    let error = wire::open(&foreign).unwrap_err();
    for _ in 0..2 {
        let verdict = acceptor.judge_foreign(T0, &error);
        assert!(matches!(verdict, Verdict::Answer(answer) if answer.kind() == Kind::Refuse));
    }
    let limited = Verdict::Drop(DropReason::RateLimited);
    assert_eq!(acceptor.judge_foreign(T0, &error), limited);
    let short = wire::open(&foreign[..60]).unwrap_err();
    let version = Verdict::Drop(DropReason::Version);
    assert_eq!(acceptor.judge_foreign(T0, &short), version);
    let counters = acceptor.counters();
    assert_eq!((counters.refused, counters.rate_limited), (3, 1));
}

#[test]
fn a_side_that_takes_no_sessions_answers_no_hello_but_resets() {
    let config = AcceptorConfig {
        serve: false,
        resets_per_second: 2,
        ..AcceptorConfig::default()
    };
    let mut acceptor = Acceptor::new(config, &SECRET);
    let verdict = judge(&mut acceptor, T0, &hello(5, T0), of(0, 0));
    assert_eq!(verdict, Verdict::Drop(DropReason::NotServing));
    for (kind, answered) in [
        (Kind::Data, true),
        (Kind::Close, false),
        (Kind::Reset, false),
        (Kind::Refuse, false),
        (Kind::Retry, false),
        (Kind::HelloReply, false),
        (Kind::Ack, true),
    ] {
        let mut header = Header::new(kind, 77);
        wire::seal(&mut header, wire::payload_crc(&[]));
        let verdict = judge(&mut acceptor, T0, header.as_bytes(), of(0, 0));
        match verdict {
            Verdict::Answer(answer) if answered => {
                assert_eq!(answer.kind(), Kind::Reset);
                assert!(answer.as_bytes().len() <= 3 * HEADER_LEN);
            }
            Verdict::Drop(DropReason::NoSession) if !answered => {}
            _ => panic!("{kind:?}: {verdict:?}"),
        }
    }
    let mut header = Header::new(Kind::Data, 77);
    wire::seal(&mut header, wire::payload_crc(&[]));
    let verdict = judge(&mut acceptor, T0, header.as_bytes(), of(0, 0));
    assert_eq!(verdict, Verdict::Drop(DropReason::RateLimited));
    assert_eq!(acceptor.counters().resets, 2);
}

/// A server with its table of sessions, as an engine has it.
struct Server {
    acceptor: Acceptor,
    sessions: Vec<(SocketAddr, Session<()>)>,
    next_id: u32,
    most: usize,
}

impl Server {
    fn occupancy(&self) -> Occupancy {
        let half_open = self.sessions.iter().filter(|(_, s)| s.is_half_open());
        of(half_open.count(), self.sessions.len())
    }

    /// Takes in a packet; gives what goes back.
    fn take(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) -> Vec<Vec<u8>> {
        let packet = wire::open(bytes).unwrap();
        let greeted = handshake::hello_id(&packet);
        let to = packet.header.session.get();
        let known = self.sessions.iter().position(|(remote, session)| {
            *remote == from
                && match greeted {
                    Some(id) => session.peer_id() == Some(id),
                    None => session.local_id() == to,
                }
        });
        let at = match known {
            Some(at) => {
                let session = &mut self.sessions[at].1;
                session
                    .handle_packet(now, &packet, Ecn::NotCapable)
                    .unwrap();
                at
            }
            None => {
                let occupancy = self.occupancy();
                let verdict = self
                    .acceptor
                    .judge(now, from, &packet, &config(), occupancy);
                let (validated, evict) = match verdict {
                    Verdict::Accept { validated, evict } => (validated, evict),
                    Verdict::Answer(answer) => return vec![answer.as_bytes().to_vec()],
                    Verdict::Drop(_) => return Vec::new(),
                };
                if evict {
                    let oldest = self.sessions.iter().position(|(_, s)| s.is_half_open());
                    self.sessions.remove(oldest.expect("somebody is half open"));
                }
                self.next_id += 1;
                let mut session = Session::accept(config(), self.next_id, &packet, now).unwrap();
                if validated {
                    session.mark_validated();
                }
                self.sessions.push((from, session));
                self.sessions.len() - 1
            }
        };
        self.most = self.most.max(self.sessions.len());
        let session = &mut self.sessions[at].1;
        std::iter::from_fn(|| send(session, now)).collect()
    }

    fn run_timers(&mut self, now: Time) {
        for (_, session) in &mut self.sessions {
            session.handle_timeout(now);
        }
        self.sessions.retain(|(_, session)| !session.is_closed());
    }
}

/// An honest client comes while every millisecond brings `flood` forged Hellos, for three seconds. Gives the round trips
/// until it is connected, and the server.
fn under_flood(flood: u32, established: usize) -> (u32, Server) {
    let mut server = Server {
        acceptor: Acceptor::new(AcceptorConfig::default(), &SECRET),
        sessions: Vec::new(),
        next_id: 0,
        most: 0,
    };
    let step = Duration::from_millis(1);
    let mut now = T0;
    for number in 0..established as u32 {
        connect(&mut server, now, source(1 << 23 | number)).expect("there is room");
        assert_eq!(server.occupancy().half_open, 0);
    }
    let template = hello(9, T0);
    let mut forged = 0;
    for _ in 0..1000 {
        for _ in 0..flood {
            forged += 1;
            for answer in server.take(now, source(forged), &template) {
                assert!(answer.len() <= template.len());
            }
        }
        now += step;
        server.run_timers(now);
    }
    let rounds = connect(&mut server, now, source(1 << 22)).expect("an honest client is served");
    (rounds, server)
}

/// Connects a client that has 10 tries; gives how many it took.
fn connect(server: &mut Server, start: Time, from: SocketAddr) -> Option<u32> {
    let mut client = Session::<()>::connect(config(), 77, start);
    for round in 1..=10 {
        let now = start + Duration::from_millis(round);
        client.handle_timeout(now);
        while let Some(packet) = send(&mut client, now) {
            for answer in server.take(now, from, &packet) {
                let answer = wire::open(&answer).unwrap();
                client.handle_packet(now, &answer, Ecn::NotCapable).unwrap();
            }
        }
        let is_open = |(_, session): &(SocketAddr, Session<()>)| session.is_connected();
        if client.is_connected() && server.sessions.last().is_some_and(is_open) {
            return Some(round as u32);
        }
    }
    None
}

#[test]
fn a_flood_of_forged_hellos_keeps_no_honest_client_out() {
    let (rounds, server) = under_flood(100, 0);
    assert!(rounds <= 3, "{rounds} round trips");
    let counters = server.acceptor.counters();
    assert!(counters.retries > 90_000, "{counters:?}");
    assert_eq!(server.occupancy().half_open, 32, "the threshold");
    assert!(server.most <= 192);
}

#[test]
fn also_when_the_table_is_full() {
    let (_, server) = under_flood(100, 180);
    assert!(server.most <= 192, "{} sessions", server.most);
    let open = |(_, session): &&(SocketAddr, Session<()>)| session.is_connected();
    assert_eq!(server.sessions.iter().filter(open).count(), 181);
}

proptest! {
    #[test]
    fn an_unproven_address_gets_no_more_than_three_times_what_came_from_it(
        steps in proptest::collection::vec((0u8..6, 1u64..3000), 1..60),
    ) {
        let first = hello(5, T0);
        let opened = wire::open(&first).unwrap();
        let mut session = Session::<()>::accept(config(), 22, &opened, T0).unwrap();
        let (mut received, mut sent) = (first.len(), 0);
        let mut now = T0;
        for (step, wait) in steps {
            now += Duration::from_millis(wait);
            let kind = match step {
                0 => None,
                1 => {
                    session.close(CloseReason::Local(CloseCode::SHUTDOWN));
                    None
                }
                2 => Some(Kind::HelloReply),
                3 => Some(Kind::Reset),
                _ => Some(Kind::Hello),
            };
            let packet = match kind {
                Some(Kind::Hello) => hello(5, now),
                Some(kind) => {
                    let mut header = Header::new(kind, if kind == Kind::Reset { 0 } else { 22 });
                    wire::seal(&mut header, wire::payload_crc(&[]));
                    header.as_bytes().to_vec()
                }
                None => Vec::new(),
            };
            if !packet.is_empty() {
                received += packet.len();
                let packet = wire::open(&packet).unwrap();
                session.handle_packet(now, &packet, Ecn::NotCapable).unwrap();
            }
            session.handle_timeout(now);
            while let Some(packet) = send(&mut session, now) {
                sent += packet.len();
            }
            prop_assert!(!session.is_connected() && sent <= 3 * received);
        }
    }
}
