//! Where packets to claimed ports go.

use super::packets::udp;
use super::*;
use crate::abi::SLOTS_PER_QUEUE;
use crate::error::{SlotError, TableError};
use crate::netns::{A, is_root, pair};

#[test]
fn packets_to_our_ports_are_redirected_when_a_socket_is_there() {
    if !is_root("packets_to_our_ports_are_redirected_when_a_socket_is_there") {
        return;
    }
    let mut loaded = load(1);
    let (port, socket) = (FIRST + 2, af_xdp());
    loaded.maps.register(0, port, &socket).unwrap();
    for ipv6 in [false, true] {
        for tags in 0..3 {
            let what = format!("IPv6 {ipv6}, {tags} tags");
            let ours = udp(ipv6, tags, port, 1024);
            expect(&loaded, &ours, Verdict::Redirected, &what);
            for other in [port - 1, port + 16] {
                let neighbour = udp(ipv6, tags, other, 1024);
                expect(&loaded, &neighbour, Verdict::NotOurs, &what);
            }
        }
    }
    let packet = udp(false, 0, port, 100);
    loaded.maps.unregister(0, port + 16).unwrap();
    expect(&loaded, &packet, Verdict::Redirected, "not its own slot");
    loaded.maps.unregister(0, port).unwrap();
    loaded.maps.unregister(0, port).unwrap();
    expect(&loaded, &packet, Verdict::NotOurs, "unregistered");
    loaded.maps.register(0, port, &socket).unwrap();
    expect(&loaded, &packet, Verdict::Redirected, "registered again");
    drop(socket);
    let closed = || run_on(&loaded, &packet, None).1 == Verdict::NotOurs;
    assert!(soon(closed), "socket closed");
    let short = udp(false, 0, port, 9);
    expect(&loaded, &short, Verdict::NotOurs, "nothing of it is left");
}

#[test]
fn a_packet_in_several_fragments_is_redirected() {
    if !is_root("a_packet_in_several_fragments_is_redirected") {
        return;
    }
    let (loaded, _sockets) = load_with_sockets();
    for len in [3500, 9000, 60_000] {
        let packet = udp(false, 0, FIRST, len);
        expect(&loaded, &packet, Verdict::Redirected, &len.to_string());
    }
}

#[test]
fn ports_are_told_apart_exactly() {
    if !is_root("ports_are_told_apart_exactly") {
        return;
    }
    for ours in [1, 9000, 65_535] {
        let mut loaded = load(1);
        let socket = af_xdp();
        loaded.maps.register(0, ours, &socket).unwrap();
        for port in 0..=u16::MAX {
            // A sample, since each is a system call.
            let near = port.abs_diff(ours) <= 20 || port % 16 == ours % 16 && port % 7 == 0;
            if port % 97 != 0 && !near && port != u16::MAX {
                continue;
            }
            let verdict = if port == ours {
                Verdict::Redirected
            } else {
                Verdict::NotOurs
            };
            expect(
                &loaded,
                &udp(false, 0, port, 64),
                verdict,
                &port.to_string(),
            );
        }
    }
}

#[test]
fn each_queue_has_its_own_slots() {
    if !is_root("each_queue_has_its_own_slots") {
        return;
    }
    let (a, _b) = pair("xdp-queues", 3);
    a.run(|| {
        let index = crate::link_state(&A.into()).unwrap().index;
        let mut loaded = load(2); // the program is older than the third queue
        let sockets = [af_xdp(), af_xdp()];
        loaded.maps.serve(FIRST, 1).unwrap();
        loaded.maps.register(1, FIRST, &sockets[0]).unwrap();
        loaded.maps.register(1, FIRST + 3, &sockets[1]).unwrap();
        // A service's packets are that on all queues; those of others on their own only.
        for (port, elsewhere) in [(FIRST, Verdict::NoSocket), (FIRST + 3, Verdict::NotOurs)] {
            let packet = udp(true, 1, port, 100);
            for queue in 0..3 {
                let verdict = if queue == 1 {
                    Verdict::Redirected
                } else {
                    elsewhere
                };
                let context = context(packet.len(), index, queue);
                let told = run_on(&loaded, &packet, Some(&context));
                assert_eq!(told, (action(verdict), verdict), "queue {queue}");
            }
        }
    });
}

#[test]
fn sixteen_ports_share_a_queue() {
    if !is_root("sixteen_ports_share_a_queue") {
        return;
    }
    let mut loaded = load(1);
    let sockets: Vec<_> = (0..SLOTS_PER_QUEUE as u16).map(|_| af_xdp()).collect();
    for (port, socket) in (FIRST..).zip(&sockets) {
        loaded.maps.register(0, port, socket).unwrap();
    }
    for port in FIRST - 16..FIRST + 32 {
        let verdict = if (FIRST..FIRST + 16).contains(&port) {
            Verdict::Redirected
        } else {
            Verdict::NotOurs
        };
        expect(
            &loaded,
            &udp(false, 0, port, 64),
            verdict,
            &port.to_string(),
        );
    }
    let error = loaded.maps.register(0, FIRST + 16, &af_xdp()).unwrap_err();
    assert!(
        matches!(error, SlotError::Taken { queue: 0, .. }),
        "{error:?}"
    );
    expect(
        &loaded,
        &udp(false, 0, FIRST, 64),
        Verdict::Redirected,
        "as before",
    );
}

#[test]
fn packets_without_a_socket_go_to_the_kernel_on_the_cpus_given() {
    if !is_root("packets_without_a_socket_go_to_the_kernel_on_the_cpus_given") {
        return;
    }
    let (a, _b) = pair("xdp-cpus", 2);
    a.run(kernel_cpus);
}

fn kernel_cpus() {
    let index = crate::link_state(&A.into()).unwrap().index;
    let mut loaded = load(2);
    let socket = af_xdp();
    loaded.maps.serve(FIRST, 1).unwrap();
    loaded.maps.register(1, FIRST, &socket).unwrap();
    let packet = udp(true, 1, FIRST, 100);
    let expect = |loaded: &Loaded, queue, verdict, what: &str| {
        let context = context(packet.len(), index, queue);
        let told = run_on(loaded, &packet, Some(&context));
        assert_eq!(told, (action(verdict), verdict), "{what}");
    };
    expect(&loaded, 0, Verdict::NoSocket, "none configured");
    for cpus in [&[0][..], &[1, 0], &[1], &[0, 0, 1]] {
        loaded.maps.tables_mut().set_kernel_cpus(cpus).unwrap();
        expect(&loaded, 0, Verdict::KernelCpu, &format!("{cpus:?}"));
        expect(&loaded, 1, Verdict::Redirected, "a socket");
        let other = udp(false, 0, FIRST - 1, 100);
        assert_eq!(
            run(&loaded, &other).1,
            Verdict::NotOurs,
            "another port stays"
        );
    }
    let error = loaded.maps.tables_mut().set_kernel_cpus(&[0, 100_000]);
    assert!(
        matches!(error, Err(TableError::NoSuchCpu(100_000))),
        "{error:?}"
    );
    let error = loaded.maps.tables_mut().set_kernel_cpus(&[0; 65]);
    assert!(
        matches!(error, Err(TableError::TooManyCpus(65))),
        "{error:?}"
    );
    expect(&loaded, 0, Verdict::KernelCpu, "as before");
    loaded.maps.tables_mut().set_kernel_cpus(&[]).unwrap();
    expect(&loaded, 0, Verdict::NoSocket, "none any more");
}

#[test]
fn slots_are_guarded() {
    if !is_root("slots_are_guarded") {
        return;
    }
    let mut loaded = load(2);
    let (first, second) = (af_xdp(), af_xdp());
    let port = FIRST + 3;
    loaded.maps.register(1, port, &first).unwrap();
    let error = loaded.maps.register(1, port, &second).unwrap_err();
    let taken = |error: &SlotError| matches!(error, SlotError::Taken { queue: 1, .. });
    assert!(taken(&error), "{error:?}");
    loaded.maps.unregister(1, port).unwrap();
    loaded.maps.register(1, port, &second).unwrap();

    let error = loaded.maps.register(2, port, &first).unwrap_err();
    let no_queue = matches!(
        error,
        SlotError::NoSuchQueue {
            queue: 2,
            queues: 2
        }
    );
    assert!(no_queue, "{error:?}");
    assert!(loaded.maps.unregister(2, port).is_err());
    let error = loaded.maps.serve(port, 2).unwrap_err();
    assert!(matches!(error, TableError::NoSuchQueue { .. }), "{error:?}");

    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for error in [
        loaded.maps.register(0, FIRST, &udp).unwrap_err(),
        loaded.maps.register(0, FIRST, &file).unwrap_err(),
        loaded.maps.register(0, FIRST, &-1).unwrap_err(),
    ] {
        assert!(matches!(error, SlotError::NotASocket { .. }), "{error:?}");
    }
}
