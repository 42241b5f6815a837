//! How sessions end.

use super::*;
use crate::session::{ack, ranges};

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
    ack::encode(&[ranges::Run::new(0, 1000)], 0, 0, 0, &mut ack);
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
fn a_host_that_stood_still_asks_before_it_gives_up() {
    let mut pair = Pair::new(config(0), config(4));
    pair.run(10);
    let limits = Config::default();
    // Long enough for a peer that owes an answer, but nobody was asked.
    pair.now += limits.unanswered_timeout + limits.keep_alive;
    pair.client.session.handle_timeout(pair.now);
    let asked = pair.client.send_all(pair.now);
    assert!(!asked.is_empty() && !pair.client.session.is_closed());
    let next = pair.client.session.poll_timeout().unwrap();
    assert!(next > pair.now, "a deadline in the past");
    pair.client.session.handle_timeout(next);
    assert!(!pair.client.session.is_closed());
    // Nobody answers, for as long as it takes from the question on.
    let give_up = pair.now + (limits.unanswered_timeout - limits.keep_alive);
    while !pair.client.session.is_closed() {
        pair.now = pair.client.session.poll_timeout().unwrap();
        pair.client.session.handle_timeout(pair.now);
        pair.client.send_all(pair.now);
    }
    assert_eq!(pair.now, give_up);
    assert_eq!(
        pair.client.drain_events(),
        [Event::Closed(CloseReason::TimedOut)]
    );
}
