use super::*;
use crate::wire::{self, Header, Kind, VERSION};
use std::collections::VecDeque;
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
        if let Some(meta) = self.session.handle_packet(now, &packet)? {
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
    packet.resize(usize::from(header.span), 0);
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
        assert_eq!(pair.client.drain_events(), [Event::Connected]);
        assert_eq!(pair.server.drain_events(), [Event::Connected]);
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

#[test]
fn blocks_and_messages_cross() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..50 {
        pair.client.put(7, index);
    }
    pair.client.session.send_message(b"put").unwrap();
    pair.server.session.send_message(b"ready").unwrap();
    pair.wait(Duration::from_millis(5));
    assert_eq!(pair.server.received.len(), 50);
    for (index, (meta, payload)) in pair.server.received.iter().enumerate() {
        assert_eq!((meta.transfer, meta.offset), (7, index as u64 * 512));
        assert_eq!(payload, &vec![index as u8; 512]);
        assert_eq!(meta.crc, wire::payload_crc(payload));
    }
    assert_eq!(pair.server.events, [Event::Message(b"put".to_vec())]);
    let events = pair.client.drain_events();
    assert!(events.contains(&Event::Message(b"ready".to_vec())));
    let released = events
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::Released {
                    transfer: 7,
                    acked: true,
                    ..
                }
            )
        })
        .count();
    assert_eq!(released, 50);
    assert!(pair.client.session.is_drained() && pair.server.session.is_drained());
    assert_eq!(pair.client.session.stats().retransmitted, 0);
}

#[test]
fn the_payload_lands_on_the_announced_offset() {
    let mut server = config(10);
    server.local.payload_offset = 192;
    let mut pair = Pair::new(
        Config {
            l4_overhead: 62,
            ..config(0)
        },
        server,
    );
    pair.client.put(1, 0);
    let packet = pair.client.send(pair.now).unwrap();
    assert_eq!(wire::open(&packet).unwrap().header.span, 192 - 62);
}

#[test]
fn credit_holds_the_sender_back_until_released() {
    let mut pair = Pair::new(config(0), config(8));
    for index in 0..20 {
        pair.client.put(1, index);
    }
    pair.wait(Duration::from_millis(20));
    assert_eq!(pair.server.received.len(), 8);
    assert_eq!(pair.server.session.stats().held, 8);
    pair.server.session.release_credit(3);
    pair.wait(Duration::from_millis(5));
    assert_eq!(pair.server.received.len(), 11);
    pair.server.session.release_credit(8);
    pair.wait(Duration::from_millis(5));
    assert_eq!(pair.server.received.len(), 19);
}

#[test]
fn lost_news_of_credit_are_asked_for() {
    let mut pair = Pair::new(config(0), config(4));
    for index in 0..8 {
        pair.client.put(1, index);
    }
    pair.wait(Duration::from_millis(20));
    pair.server.session.release_credit(4);
    assert!(
        !pair.server.send_all(pair.now).is_empty(),
        "this Ack is lost"
    );
    pair.wait(Duration::from_millis(600));
    assert_eq!(pair.server.received.len(), 8);
}

#[test]
fn a_window_can_be_opened_later() {
    let mut pair = Pair::new(config(0), config(0));
    pair.client.put(1, 0);
    pair.wait(Duration::from_millis(5));
    assert!(pair.server.received.is_empty());
    pair.server.session.set_window(10);
    pair.wait(Duration::from_millis(1));
    assert_eq!(pair.server.received.len(), 1);
}

#[test]
fn a_lost_block_is_sent_again_when_idle_and_delivered_once() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..3 {
        pair.client.put(1, index);
    }
    let packets = pair.client.send_all(pair.now);
    assert_eq!(packets.len(), 3);
    pair.now += DELAY;
    for packet in &packets[1..] {
        pair.server.take(pair.now, packet).unwrap();
        pair.server.take(pair.now, packet).unwrap();
    }
    let acks = pair.server.send_all(pair.now);
    assert_eq!(acks.len(), 1, "the gap is reported at once");
    pair.client.take(pair.now, &acks[0]).unwrap();
    pair.now += Duration::from_millis(2);
    pair.client.session.handle_timeout(pair.now);
    assert!(
        pair.client
            .session
            .poll_transmit(pair.now, |_| false)
            .is_none()
    );
    let retry = pair.client.session.poll_timeout().unwrap();
    assert!(retry <= pair.now + Duration::from_millis(1));
    let again = pair.client.send(pair.now).unwrap();
    let (first, again) = (
        wire::open(&packets[0]).unwrap(),
        wire::open(&again).unwrap(),
    );
    assert_eq!(first.header.block_number, again.header.block_number);
    assert_ne!(first.header.packet_number, again.header.packet_number);
    for packet in [again, first] {
        if let Some(meta) = pair
            .server
            .session
            .handle_packet(pair.now, &packet)
            .unwrap()
        {
            pair.server.received.push((meta, packet.payload.to_vec()));
        }
    }
    pair.wait(Duration::from_millis(5));
    assert_eq!(pair.server.received.len(), 3);
    let stats = pair.server.session.stats();
    assert_eq!((stats.duplicates, stats.blocks_received), (3, 3));
    assert_eq!(pair.client.session.stats().retransmitted, 1);
}

#[test]
fn a_cancelled_transfer_comes_back_and_costs_no_credit() {
    let mut pair = Pair::new(config(0), config(4));
    for index in 0..4 {
        pair.client.put(1, index);
    }
    let lost = pair.client.send_all(pair.now);
    assert_eq!(lost.len(), 4);
    pair.client.put(1, 4);
    pair.client.put(2, 5);
    pair.client.session.cancel_transfer(1);
    let released = pair.client.drain_events();
    assert_eq!(released.len(), 5);
    assert!(released.iter().all(|e| matches!(
        e,
        Event::Released {
            transfer: 1,
            acked: false,
            ..
        }
    )));
    pair.wait(Duration::from_secs(1));
    assert_eq!(
        pair.server.received.len(),
        1,
        "only that of the other transfer"
    );
    assert_eq!(pair.server.received[0].0.transfer, 2);
    assert!(pair.client.session.is_drained());
    assert_eq!(pair.client.session.stats().credit, 3);
}

#[test]
fn closing_gives_everything_back_and_tells_the_peer() {
    let mut pair = Pair::new(config(0), config(4));
    for index in 0..10 {
        pair.client.put(1, index);
    }
    pair.run(1);
    pair.client
        .session
        .close(CloseReason::Local(CloseCode::SHUTDOWN));
    let events = pair.client.drain_events();
    assert_eq!(events.len(), 11);
    assert_eq!(
        events[10],
        Event::Closed(CloseReason::Local(CloseCode::SHUTDOWN))
    );
    let close = pair.client.send_all(pair.now);
    assert_eq!(close.len(), 1);
    pair.server.take(pair.now, &close[0]).unwrap();
    let reason = CloseReason::ByPeer(CloseCode::SHUTDOWN);
    assert_eq!(pair.server.events.last(), Some(&Event::Closed(reason)));
    assert!(
        pair.server.send_all(pair.now).is_empty(),
        "no answer to a Close"
    );
    assert!(pair.server.session.send_message(b"x").is_err());
    assert!(pair.server.session.poll_timeout().is_none());
}

#[test]
fn a_peer_that_missed_the_close_is_told_again_but_not_for_ever() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..64 {
        pair.client.put(1, index);
    }
    pair.server
        .session
        .close(CloseReason::Local(CloseCode::DONE));
    assert_eq!(pair.server.send_all(pair.now).len(), 1, "lost");
    let mut told = 0;
    for packet in pair.client.send_all(pair.now) {
        pair.server.take(pair.now, &packet).unwrap();
        told += pair.server.send_all(pair.now).len();
    }
    assert_eq!(told, 7, "at packets 1, 2, 4 … 64");
}

#[test]
fn silence_ends_a_session_and_keep_alive_prevents_it() {
    let mut pair = Pair::new(config(0), config(0));
    for _ in 0..40 {
        let at = pair.client.session.poll_timeout().unwrap();
        let server_at = pair.server.session.poll_timeout().unwrap();
        pair.now = pair.now.max(at.min(server_at));
        pair.client.session.handle_timeout(pair.now);
        pair.server.session.handle_timeout(pair.now);
        pair.run(3);
    }
    assert!(pair.now.saturating_since(T0) > Duration::from_secs(60));
    assert!(pair.client.session.is_connected() && pair.server.session.is_connected());

    let start = pair.now;
    while let Some(at) = pair.client.session.poll_timeout() {
        pair.now = pair.now.max(at);
        pair.client.session.handle_timeout(pair.now);
        pair.client.send_all(pair.now);
    }
    assert!(pair.now.saturating_since(start) <= Duration::from_secs(30));
    assert_eq!(
        pair.client.drain_events(),
        [Event::Closed(CloseReason::TimedOut)]
    );
}

#[test]
fn hellos_are_repeated_with_growing_pauses_until_the_timeout() {
    let mut client = Side::new(Session::connect(config(0), 1, T0));
    let mut sent = Vec::new();
    let mut now = T0;
    loop {
        for packet in client.send_all(now) {
            assert_eq!(wire::open(&packet).unwrap().kind, Kind::Hello);
            sent.push(now.saturating_since(T0).as_millis());
        }
        let Some(at) = client.session.poll_timeout() else {
            break;
        };
        now = at;
        client.session.handle_timeout(now);
    }
    assert_eq!(sent, [0, 100, 300, 700, 1500, 3100]);
    assert_eq!(now, T0 + Duration::from_secs(5));
    assert_eq!(
        client.drain_events(),
        [Event::Closed(CloseReason::HandshakeTimeout)]
    );
    assert!(client.send(now).is_none());
}

#[test]
fn a_repeated_hello_is_answered_again_and_a_foreign_one_is_not() {
    let mut client = Side::new(Session::connect(config(0), 1, T0));
    let hello = client.send(T0).unwrap();
    let again = client.send(T0 + Duration::from_millis(100)).unwrap();
    assert_eq!(hello_id(&wire::open(&again).unwrap()), Some(1));
    let mut server =
        Side::new(Session::accept(config(5), 2, &wire::open(&hello).unwrap(), T0).unwrap());
    assert_eq!(server.send_all(T0).len(), 1, "lost");
    assert!(server.send_all(T0).is_empty());
    let mut foreign = Side::new(Session::connect(config(0), 3, T0));
    let foreign = foreign.send(T0).unwrap();
    server.take(T0, &foreign).unwrap();
    assert!(server.send_all(T0).is_empty());

    let now = T0 + Duration::from_millis(101);
    server.take(now, &again).unwrap();
    let reply = server.send_all(now);
    assert_eq!(reply.len(), 1);
    client
        .take(now + Duration::from_millis(1), &reply[0])
        .unwrap();
    assert_eq!(client.events, [Event::Connected]);
    let stats = client.session.stats();
    assert_eq!(
        stats.srtt,
        Duration::from_millis(2),
        "from the Hello that was answered"
    );
    assert_eq!(stats.credit, 5);
}

#[test]
fn an_unconfirmed_session_ends() {
    let mut client = Side::new(Session::connect(config(0), 1, T0));
    let hello = client.send(T0).unwrap();
    let mut server =
        Side::new(Session::accept(config(5), 2, &wire::open(&hello).unwrap(), T0).unwrap());
    server.send_all(T0);
    let at = server.session.poll_timeout().unwrap();
    server.session.handle_timeout(at);
    assert_eq!(
        server.drain_events(),
        [Event::Closed(CloseReason::HandshakeTimeout)]
    );
}

#[test]
fn another_version_is_refused_in_words() {
    let mut client = Side::new(Session::connect(config(0), 77, T0));
    let mut hello = client.send(T0).unwrap();
    hello[wire::VERSION_AT] = VERSION + 1;
    let error = wire::open(&hello).unwrap_err();
    let refusal = Refusal::of_version(&error).unwrap().packet().unwrap();
    assert!(refusal.len() <= hello.len());
    client.take(T0, &refusal).unwrap();
    let reason = RefuseReason::Version {
        lowest: VERSION,
        highest: VERSION,
    };
    assert_eq!(client.events, [Event::Closed(CloseReason::Refused(reason))]);
}

#[test]
fn wrong_epoch_bad_geometry_and_a_full_server_are_refused() {
    let refusal = |client: Config, server: Config| {
        let mut client = Side::new(Session::connect(client, 77, T0));
        let hello = client.send(T0).unwrap();
        let packet = wire::open(&hello).unwrap();
        let refusal = Session::<Block>::accept(server, 2, &packet, T0).unwrap_err();
        client.take(T0, &refusal.packet().unwrap()).unwrap();
        assert_eq!(
            client.events,
            [Event::Closed(CloseReason::Refused(refusal.reason))]
        );
        refusal.reason
    };
    let mut other = config(0);
    other.local.epoch = 4;
    assert_eq!(
        refusal(config(0), other),
        RefuseReason::Epoch { expected: 4 }
    );
    for change in [
        |p: &mut Parameters| p.payload_offset = 60,
        |p: &mut Parameters| p.payload_offset = 1000,
        |p: &mut Parameters| p.granule = 0,
        |p: &mut Parameters| p.max_payload = 100,
    ] {
        let mut bad = config(0);
        change(&mut bad.local);
        assert_eq!(refusal(bad, config(0)), RefuseReason::Parameters);
    }
    let mut client = Side::new(Session::connect(config(0), 5, T0));
    let hello = client.send(T0).unwrap();
    let busy = Refusal::busy(&wire::open(&hello).unwrap()).unwrap();
    client.take(T0, &busy.packet().unwrap()).unwrap();
    assert_eq!(
        client.events,
        [Event::Closed(CloseReason::Refused(RefuseReason::Busy))]
    );
}

/// What a server makes of a packet with these contents from its client.
fn provoke(kind: Kind, set: impl Fn(&mut Header), payload: &[u8]) -> Result<(), Violation> {
    let mut pair = Pair::new(config(0), config(4));
    let mut header = Header::new(kind, 22);
    header.packet_number = U64::new(50);
    header.payload_len = U16::new(payload.len() as u16);
    set(&mut header);
    wire::seal(&mut header, wire::payload_crc(payload));
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(payload);
    let result = pair.server.take(pair.now, &bytes);
    if let Err(violation) = result {
        assert!(pair.server.session.is_closed());
        assert_eq!(
            pair.server.drain_events(),
            [Event::Closed(CloseReason::Violation(violation))]
        );
        let close = pair.server.send(pair.now).unwrap();
        pair.client.take(pair.now, &close).unwrap();
        let reason = CloseReason::ByPeer(CloseCode::VIOLATION);
        assert_eq!(pair.client.events, [Event::Closed(reason)]);
    }
    result
}

#[test]
fn each_violation_closes_the_session() {
    let beyond = 1u64 << 62;
    assert_eq!(
        provoke(Kind::Data, |h| h.packet_number = U64::new(beyond), b"x"),
        Err(Violation::PacketNumber(beyond))
    );
    assert_eq!(
        provoke(Kind::Data, |h| h.block_number = U64::new(4), b"x"),
        Err(Violation::CreditExceeded {
            number: 4,
            granted: 4
        })
    );
    assert_eq!(
        provoke(Kind::Data, |_| {}, &[0; 3585]),
        Err(Violation::PayloadTooLong {
            len: 3585,
            max: 3584
        })
    );
    let end = i64::MAX as u64;
    assert_eq!(
        provoke(Kind::Data, |h| h.offset = U64::new(end), b"x"),
        Err(Violation::FileOffset(end))
    );
    assert_eq!(
        provoke(Kind::Control, |h| h.offset = U64::new(u64::MAX), b"x"),
        Err(Violation::ControlWindow(u64::MAX))
    );
    assert_eq!(
        provoke(Kind::Ack, |_| {}, b"x"),
        Err(Violation::MalformedAck)
    );
    assert_eq!(
        provoke(Kind::Close, |_| {}, b"x"),
        Err(Violation::MalformedClose)
    );
    let mut ack = Vec::new();
    ack::encode(&[ranges::Run::new(0, 1000)], 0, 0, &mut ack);
    assert!(matches!(
        provoke(Kind::Ack, |_| {}, &ack),
        Err(Violation::AckOfUnsent { largest: 999, .. })
    ));
    assert_eq!(provoke(Kind::Data, |_| {}, b"x"), Ok(()));
}

#[test]
fn packets_for_others_and_out_of_turn_are_ignored() {
    for (kind, session) in [
        (Kind::Data, 23),
        (Kind::Hello, 0),
        (Kind::HelloReply, 22),
        (Kind::Refuse, 22),
    ] {
        assert_eq!(
            provoke(kind, |h| h.session = U32::new(session), b"x"),
            Ok(())
        );
    }
}

#[test]
fn blocks_that_cannot_be_sent_are_handed_back() {
    let mut pair = Pair::new(config(0), config(4));
    let meta = |len| BlockMeta {
        transfer: 1,
        offset: 0,
        len,
        crc: 0,
    };
    assert_eq!(
        pair.client.session.queue_block(meta(0), vec![]),
        Err(vec![])
    );
    assert!(
        pair.client
            .session
            .queue_block(meta(3585), vec![1])
            .is_err()
    );
    while pair.client.session.queue_space() > 0 {
        pair.client.session.queue_block(meta(1), vec![1]).unwrap();
    }
    assert!(pair.client.session.queue_block(meta(1), vec![1]).is_err());
}

#[test]
fn delayed_acks_are_batched() {
    let mut pair = Pair::new(config(0), config(4096));
    let before = pair.server.session.stats().acks_sent;
    for index in 0..1280 {
        pair.client.put(1, index);
    }
    let mut queue: VecDeque<_> = pair.client.send_all(pair.now).into();
    let mut received = 0;
    while let Some(packet) = queue.pop_front() {
        pair.server.take(pair.now, &packet).unwrap();
        received += 1;
        for ack in pair.server.send_all(pair.now) {
            pair.client.take(pair.now, &ack).unwrap();
        }
        queue.extend(pair.client.send_all(pair.now));
    }
    assert_eq!(received, 1280);
    assert_eq!(pair.server.session.stats().acks_sent - before, 1280 / 64);
}
