//! What several processes claim of one program, and what is left of those that died.

use std::collections::HashMap;

use aya::maps::{Map, MapData, MapInfo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::packets::{hello, udp, udp_from};
use super::*;
use crate::error::SlotError;
use crate::limit::HandshakeLimit;
use crate::maps::Maps;
use crate::netns::{A, is_root, pair};

/// References to the program's maps such as another process takes.
fn another(loaded: &Loaded) -> Maps {
    let ids = loaded.program().unwrap().info().unwrap().map_ids().unwrap();
    let mut maps: HashMap<String, Map> = HashMap::new();
    for id in ids.unwrap() {
        let name = MapInfo::from_id(id).unwrap();
        let map = Map::from_map_data(MapData::from_id(id).unwrap()).unwrap();
        maps.insert(name.name_as_str().unwrap().to_owned(), map);
    }
    Maps::new(|name| maps.remove(name)).unwrap()
}

/// Runs a packet as one that came by this queue of an interface.
fn on_queue(loaded: &Loaded, interface: u32, queue: u32, packet: &[u8]) -> Verdict {
    let context = context(packet.len(), interface, queue);
    run_on(loaded, packet, Some(&context)).1
}

#[test]
fn each_has_what_is_its_own() {
    if !is_root("each_has_what_is_its_own") {
        return;
    }
    use Verdict::{HandshakeLimit as Limited, NotAllowed, NotOurs, Redirected, TooShort};
    let mut loaded = load(1);
    let (mut first, mut second) = (another(&loaded), another(&loaded));
    let sockets = [af_xdp(), af_xdp(), af_xdp()];
    // A client, then two services, each with limits of its own.
    loaded.maps.register(0, FIRST + 5, &sockets[0]).unwrap();
    first.serve(FIRST, 0).unwrap();
    first
        .tables_mut()
        .allow("10.0.0.0/24".parse().unwrap())
        .unwrap();
    first.tables_mut().enforce_allow_list(true).unwrap();
    first.register(0, FIRST, &sockets[1]).unwrap();
    second.serve(FIRST + 1, 0).unwrap();
    second
        .tables_mut()
        .allow("10.0.1.0/24".parse().unwrap())
        .unwrap();
    second.tables_mut().enforce_allow_list(true).unwrap();
    let limit = HandshakeLimit::new(1, 1).unwrap();
    second
        .tables_mut()
        .set_handshake_limit(Some(limit))
        .unwrap();
    second.register(0, FIRST + 1, &sockets[2]).unwrap();
    let cases = [
        ("10.0.0.9:7", FIRST, Redirected),
        ("10.0.1.9:7", FIRST, NotAllowed),
        ("[fd00::1]:7", FIRST, NotAllowed),
        ("10.0.1.9:7", FIRST + 1, Redirected),
        ("10.0.0.9:7", FIRST + 1, NotAllowed),
        ("10.0.0.9:7", FIRST + 5, Redirected),
        ("10.0.1.9:7", FIRST + 5, Redirected),
        ("192.0.2.1:7", FIRST + 5, Redirected),
        ("192.0.2.1:7", FIRST + 2, NotOurs),
    ];
    for (source, port, verdict) in cases {
        let packet = udp_from(source, 0, port, &[0x55; 100]);
        expect(&loaded, &packet, verdict, &format!("{source} to {port}"));
    }
    expect(&loaded, &udp(false, 0, FIRST + 5, 9), TooShort, "a client");
    // The handshakes of one are not those of the other.
    let to = |port: u16| {
        let mut packet = hello("10.0.1.9:7");
        packet[36..38].copy_from_slice(&port.to_be_bytes());
        packet
    };
    expect(&loaded, &to(FIRST + 1), Redirected, "the first token");
    expect(&loaded, &to(FIRST + 1), Limited, "no second one");
    first
        .tables_mut()
        .allow("10.0.1.0/24".parse().unwrap())
        .unwrap();
    first.tables_mut().set_handshake_limit(Some(limit)).unwrap();
    expect(&loaded, &to(FIRST), Redirected, "a bucket of its own");
    for _ in 0..5 {
        expect(&loaded, &to(FIRST + 5), Redirected, "clients have none");
    }
    // One goes in order, and takes nothing of the other with it.
    drop(first);
    let packet = udp_from("10.0.1.9:7", 0, FIRST + 1, &[0x55; 100]);
    expect(&loaded, &packet, Redirected, "the second service");
    expect(&loaded, &to(FIRST + 1), Limited, "and its limit");
}

#[test]
fn what_a_dead_process_leaves_holds_for_nobody() {
    if !is_root("what_a_dead_process_leaves_holds_for_nobody") {
        return;
    }
    use Verdict::{NoSocket, NotAllowed, NotOurs, Redirected};
    let (a, _b) = pair("xdp-dead", 2);
    a.run(|| {
        let index = crate::link_state(&A.into()).unwrap().index;
        let mut loaded = load(2);
        let on = |loaded: &Loaded, queue, port| {
            on_queue(loaded, index, queue, &udp(false, 0, port, 100))
        };
        let mut dead = another(&loaded);
        let socket = af_xdp();
        dead.serve(FIRST, 1).unwrap();
        dead.tables_mut().enforce_allow_list(true).unwrap();
        assert_eq!(on(&loaded, 1, FIRST), NotOurs, "not before its socket");
        dead.register(1, FIRST, &socket).unwrap();
        assert_eq!(on(&loaded, 0, FIRST), NotAllowed, "on all queues");
        dead.tables_mut()
            .allow("10.0.0.0/8".parse().unwrap())
            .unwrap();
        assert_eq!(on(&loaded, 0, FIRST), NoSocket);
        assert_eq!(on(&loaded, 1, FIRST), Redirected);
        // Killed: the kernel closes the socket, and nobody cleans up.
        drop(socket);
        std::mem::forget(dead);
        assert!(soon(|| on(&loaded, 1, FIRST) == NotOurs));
        for queue in 0..2 {
            assert_eq!(on(&loaded, queue, FIRST), NotOurs);
            let short = udp_from("192.0.2.1:7", 0, FIRST, b"short");
            assert_eq!(on_queue(&loaded, index, queue, &short), NotOurs);
        }
        // A client gets the queue, with the same slot for its port: that does not make the service live again.
        let client = af_xdp();
        loaded.maps.register(1, FIRST + 16, &client).unwrap();
        assert_eq!(on(&loaded, 1, FIRST + 16), Redirected);
        assert_eq!(on(&loaded, 1, FIRST), NotOurs);
        assert_eq!(on(&loaded, 0, FIRST), NotOurs);
        // The next service on that port begins with an empty list.
        let mut next = another(&loaded);
        let socket = af_xdp();
        next.serve(FIRST, 0).unwrap();
        next.register(0, FIRST, &socket).unwrap();
        assert_eq!(on(&loaded, 0, FIRST), Redirected, "nothing is enforced");
        next.tables_mut().enforce_allow_list(true).unwrap();
        assert_eq!(on(&loaded, 0, FIRST), NotAllowed, "and nobody on the list");
        assert_eq!(on(&loaded, 1, FIRST), NotAllowed);
        assert_eq!(on(&loaded, 1, FIRST + 16), Redirected, "the client");
    });
}

#[test]
fn a_port_of_another_queue_is_not_claimed_again() {
    if !is_root("a_port_of_another_queue_is_not_claimed_again") {
        return;
    }
    let mut loaded = load(2);
    let mut other = another(&loaded);
    let sockets = [af_xdp(), af_xdp()];
    loaded.maps.register(0, FIRST, &sockets[0]).unwrap();
    let error = other.register(1, FIRST, &sockets[1]).unwrap_err();
    assert!(
        matches!(error, SlotError::PortElsewhere { port: FIRST }),
        "{error:?}"
    );
    other.register(1, FIRST + 16, &sockets[1]).unwrap();
    loaded.maps.unregister(0, FIRST).unwrap();
    other.unregister(1, FIRST + 16).unwrap();
    other.register(1, FIRST, &sockets[1]).unwrap();
}

#[test]
fn room_that_dead_services_have_is_found() {
    if !is_root("room_that_dead_services_have_is_found") {
        return;
    }
    // Those of the dead stay open, and many systems begin with 1024.
    let limits = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limits.maximum,
            ..limits
        },
    )
    .unwrap();
    let (a, _b) = pair("xdp-room", 1);
    a.run(|| {
        let loaded = load(1);
        // Each has died with its list.
        for port in 1..=crate::abi::SERVICES_MAX as u16 + 3 {
            let mut dead = another(&loaded);
            dead.serve(port, 0).unwrap();
            for n in 0..crate::abi::RULES_MAX / 200 {
                let network = std::net::IpAddr::from(n.to_be_bytes()).into();
                dead.tables_mut().allow(network).unwrap();
            }
            std::mem::forget(dead);
        }
    });
}
