//! Handshake and refusals.

use super::*;
use crate::wire::{VERSION, WireError};

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
    assert_eq!(sent, [0, 100, 300, 700, 1500, 2500, 3500, 4500]);
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
    let refusal = Refusal::of_version(&error, Versions::SUPPORTED)
        .unwrap()
        .packet()
        .unwrap();
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
    let busy = Refusal::to(&wire::open(&hello).unwrap(), RefuseReason::Busy).unwrap();
    client.take(T0, &busy.packet().unwrap()).unwrap();
    assert_eq!(
        client.events,
        [Event::Closed(CloseReason::Refused(RefuseReason::Busy))]
    );
}

#[test]
fn a_reply_that_comes_too_late_changes_nothing() {
    let mut client = Side::new(Session::connect(config(0), 1, T0));
    let hello = client.send(T0).unwrap();
    let packet = wire::open(&hello).unwrap();
    let mut server = Side::new(Session::accept(config(5), 2, &packet, T0).unwrap());
    let reply = server.send(T0).unwrap();
    let late = T0 + Duration::from_secs(6);
    client.session.handle_timeout(late);
    client.take(late, &reply).unwrap();
    assert!(client.session.is_closed());
    assert!(client.send(late).is_none(), "there is nobody to tell");
}

/// A client that speaks these versions, and what it does when a server says that it speaks those.
fn refused_by(ours: (u8, u8), theirs: (u8, u8)) -> (Side, Vec<u8>) {
    let versions = |(lowest, highest)| Versions { lowest, highest };
    let config = Config {
        versions: versions(ours),
        ..config(0)
    };
    let mut client = Side::new(Session::connect(config, 77, T0));
    let hello = client.send(T0).unwrap();
    assert_eq!(hello[wire::VERSION_AT], ours.1, "the highest first");
    let error = WireError::UnsupportedVersion {
        version: ours.1,
        session: 77,
    };
    let refusal = Refusal::of_version(&error, versions(theirs)).unwrap();
    let refusal = refusal.packet().unwrap().to_vec();
    client.take(T0, &refusal).unwrap();
    (client, refusal)
}

#[test]
fn a_client_falls_back_to_a_version_that_both_speak() {
    let (mut client, refusal) = refused_by((VERSION, VERSION + 3), (1, VERSION));
    let hello = client.send(T0).expect("it greets again at once");
    assert_eq!(hello[wire::VERSION_AT], VERSION);
    client.take(T0, &refusal).unwrap();
    assert!(
        client.events.is_empty(),
        "a copy of the refusal says nothing new"
    );
    let config = Config {
        versions: Versions {
            lowest: 1,
            highest: VERSION,
        },
        ..config(5)
    };
    let packet = wire::open(&hello).unwrap();
    let mut server = Side::new(Session::accept(config, 2, &packet, T0).unwrap());
    let reply = server.send(T0).unwrap();
    client.take(T0, &reply).unwrap();
    assert_eq!(client.events, [Event::Connected]);
}

#[test]
fn without_a_shared_version_it_says_so() {
    let (client, _) = refused_by((VERSION, VERSION + 3), (VERSION + 4, VERSION + 9));
    let reason = RefuseReason::Version {
        lowest: VERSION + 4,
        highest: VERSION + 9,
    };
    let closed = CloseReason::Refused(reason);
    assert_eq!(client.events, [Event::Closed(closed)]);
    assert!(closed.to_string().contains("versions 6 to 11"), "{closed}");
}

#[test]
fn a_forged_refusal_cannot_talk_two_sides_down() {
    let (mut client, _) = refused_by((VERSION, VERSION + 1), (VERSION, VERSION));
    let hello = client.send(T0).unwrap();
    let packet = wire::open(&hello).unwrap();
    // The server speaks the higher version after all.
    let server = Config {
        versions: Versions {
            lowest: VERSION,
            highest: VERSION + 1,
        },
        ..config(5)
    };
    let mut server = Side::new(Session::accept(server, 2, &packet, T0).unwrap());
    let reply = server.send(T0).unwrap();
    assert_eq!(client.take(T0, &reply), Err(Violation::Handshake));
    // And it is told.
    let close = client.send(T0).unwrap();
    server.take(T0, &close).unwrap();
    let reason = CloseReason::ByPeer(CloseCode::PARAMETERS);
    assert_eq!(server.events.last(), Some(&Event::Closed(reason)));
}

#[test]
fn a_server_whose_parameters_cannot_be_obeyed_is_told() {
    let mut client = Side::new(Session::connect(config(0), 1, T0));
    let hello = client.send(T0).unwrap();
    let mut strange = config(5);
    strange.local.payload_offset = 60;
    let packet = wire::open(&hello).unwrap();
    let mut server = Side::new(Session::accept(strange, 2, &packet, T0).unwrap());
    let reply = server.send(T0).unwrap();
    assert_eq!(client.take(T0, &reply), Err(Violation::Handshake));
    let close = client.send(T0).expect("the server is told");
    server.take(T0, &close).unwrap();
    let reason = CloseReason::ByPeer(CloseCode::PARAMETERS);
    assert_eq!(server.events.last(), Some(&Event::Closed(reason)));
}

#[test]
fn queues_are_told_both_ways() {
    let with_queues = |queues| {
        let mut config = config(0);
        config.local.queues = queues;
        config
    };
    let pair = Pair::new(with_queues(3), with_queues(8));
    let told = |side: &Side| side.session.peer().map(|peer| peer.queues);
    assert_eq!((told(&pair.client), told(&pair.server)), (Some(8), Some(3)));
}
