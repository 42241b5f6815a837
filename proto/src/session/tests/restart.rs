//! One side dies and comes back without a memory, or does not.

use super::*;
use crate::session::{Acceptor, AcceptorConfig, Occupancy, Verdict};

/// What a new process answers to these packets.
fn answers(packets: &[Vec<u8>], now: Time) -> Vec<Vec<u8>> {
    let mut reborn = Acceptor::new(AcceptorConfig::default(), &[1; 32]);
    let from = "192.0.2.1:4000".parse().unwrap();
    let judged = packets.iter().map(|bytes| {
        let packet = wire::open(bytes).unwrap();
        reborn.judge(now, from, &packet, &config(0), Occupancy::default())
    });
    judged
        .filter_map(|verdict| match verdict {
            Verdict::Answer(answer) => Some(answer.as_bytes().to_vec()),
            _ => None,
        })
        .collect()
}

const RESTARTED: Event<Block> = Event::Closed(CloseReason::PeerRestarted);

#[test]
fn the_first_packet_to_a_new_process_tells() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..20 {
        pair.client.put(1, index);
    }
    let lost = pair.client.send_all(pair.now);
    pair.now += DELAY;
    let resets = answers(&lost[..1], pair.now);
    pair.now += DELAY;
    pair.client.take(pair.now, &resets[0]).unwrap();
    let events = pair.client.drain_events();
    assert_eq!((events.len(), events.last()), (21, Some(&RESTARTED)));
    assert!(
        pair.client.send(pair.now).is_none(),
        "there is nobody to tell"
    );
}

#[test]
fn a_side_that_only_acknowledges_learns_it_too() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..20 {
        pair.client.put(1, index);
    }
    for packet in pair.client.send_all(pair.now) {
        pair.server.take(pair.now, &packet).unwrap();
    }
    pair.now += Duration::from_millis(5);
    let acks = pair.server.send_all(pair.now);
    assert!(!acks.is_empty());
    let resets = answers(&acks, pair.now);
    pair.server.take(pair.now, &resets[0]).unwrap();
    assert_eq!(pair.server.drain_events(), [RESTARTED]);
}

#[test]
fn a_side_that_only_listens_asks_soon_enough_to_learn_it() {
    let mut pair = Pair::new(config(0), config(100));
    let silent_since = pair.now;
    loop {
        pair.now = pair.client.session.poll_timeout().expect("not closed yet");
        pair.client.session.handle_timeout(pair.now);
        let packets = pair.client.send_all(pair.now);
        for reset in answers(&packets, pair.now) {
            pair.client.take(pair.now, &reset).unwrap();
        }
        if pair.client.session.is_closed() {
            break;
        }
    }
    assert_eq!(pair.client.drain_events(), [RESTARTED]);
    let waited = pair.now.saturating_since(silent_since);
    assert!(waited <= Duration::from_millis(2100), "{waited:?}");
}

#[test]
fn a_reset_that_answers_nothing_that_was_sent_is_not_believed() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..3 {
        pair.client.put(1, index);
    }
    let packets = pair.client.send_all(pair.now);
    let number = |packet: &[u8]| wire::open(packet).unwrap().header.packet_number.get();
    let acknowledged = number(&packets[0]);
    pair.server.take(pair.now, &packets[0]).unwrap();
    pair.now += Duration::from_millis(5);
    for ack in pair.server.send_all(pair.now) {
        pair.client.take(pair.now, &ack).unwrap();
    }
    let reset = |session, kind, number| Reset {
        session,
        kind,
        number,
    };
    for wrong in [
        reset(23, Kind::Data, acknowledged + 1),
        reset(22, Kind::Data, acknowledged),
        reset(22, Kind::Data, acknowledged + 100),
        reset(22, Kind::Data, u64::MAX),
        reset(22, Kind::Ack, 1 << 40),
        reset(22, Kind::Ack, u64::MAX),
        reset(22, Kind::Close, acknowledged + 1),
    ] {
        pair.client.take(pair.now, &wrong.packet()).unwrap();
        assert!(pair.client.session.is_connected(), "{wrong:?}");
    }
    let right = reset(22, Kind::Control, acknowledged + 1);
    pair.client.take(pair.now, &right.packet()).unwrap();
    assert_eq!(pair.client.events.last(), Some(&RESTARTED));
}

#[test]
fn a_reset_that_is_too_short_is_ignored() {
    let mut pair = Pair::new(config(0), config(100));
    let mut header = Header::new(Kind::Reset, 0);
    header.payload_len = U16::new(4);
    wire::seal(&mut header, wire::payload_crc(&[22, 0, 0, 0]));
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend([22, 0, 0, 0]);
    pair.client.take(pair.now, &bytes).unwrap();
    assert!(pair.client.session.is_connected());
}

/// How long a client goes on when its peer has vanished; `busy` with blocks in flight.
fn patience(busy: bool) -> Duration {
    let mut pair = Pair::new(config(0), config(100));
    if busy {
        for index in 0..20 {
            pair.client.put(1, index);
        }
    }
    let start = pair.client.session.last_received;
    let mut sent = 0;
    while let Some(at) = pair.client.session.poll_timeout() {
        pair.now = pair.now.max(at);
        pair.client.session.handle_timeout(pair.now);
        sent += pair.client.send_all(pair.now).len();
    }
    assert_eq!(
        pair.client.drain_events().last(),
        Some(&Event::Closed(CloseReason::TimedOut))
    );
    assert!(sent >= 8, "only {sent} packets were tried");
    pair.now.saturating_since(start)
}

#[test]
fn a_peer_that_is_gone_is_given_up_within_ten_seconds() {
    for busy in [true, false] {
        let patience = patience(busy);
        let bounds = Duration::from_secs(7)..Duration::from_millis(9_500);
        assert!(bounds.contains(&patience), "{patience:?}");
    }
}

#[test]
fn who_stood_still_for_long_asks_before_giving_up() {
    let mut pair = Pair::new(config(0), config(100));
    pair.now += Duration::from_secs(40);
    pair.client.session.handle_timeout(pair.now);
    assert!(pair.client.session.is_connected());
    pair.run(4);
    assert!(pair.client.session.is_connected() && pair.server.session.is_connected());
    let idle = pair.client.session.poll_timeout().unwrap();
    assert!(
        idle > pair.now + Duration::from_secs(1),
        "answered: {idle:?}"
    );
}

#[test]
fn a_peer_that_speaks_but_acknowledges_nothing_is_given_up() {
    let mut pair = Pair::new(config(0), config(100));
    pair.client.put(1, 0);
    let start = pair.now;
    while pair.client.session.is_connected() {
        pair.now += Duration::from_millis(100);
        assert!(pair.now < start + Duration::from_secs(40), "never given up");
        pair.client.session.handle_timeout(pair.now);
        pair.client.send_all(pair.now);
        pair.server.session.send_message(b"still here").unwrap();
        for packet in pair.server.send_all(pair.now) {
            pair.client.take(pair.now, &packet).unwrap();
        }
    }
    let patience = pair.now.saturating_since(start);
    assert!(patience >= Duration::from_secs(30), "{patience:?}");
    let closed = Event::Closed(CloseReason::TimedOut);
    assert!(pair.client.drain_events().contains(&closed));
}
