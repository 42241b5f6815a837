//! Where packets to our ports go.

use super::packets::udp;
use super::*;
use crate::error::{SlotError, TableError};
use crate::netns::{A, is_root, pair};

#[test]
fn packets_to_our_ports_are_redirected_when_a_socket_is_there() {
    if !is_root("packets_to_our_ports_are_redirected_when_a_socket_is_there") {
        return;
    }
    let mut loaded = load(1);
    let socket = af_xdp();
    loaded.register(0, 2, &socket).unwrap();
    for ipv6 in [false, true] {
        for tags in 0..3 {
            let what = format!("IPv6 {ipv6}, {tags} tags");
            let ours = udp(ipv6, tags, FIRST + 2, 1024);
            expect(&loaded, &ours, Verdict::Redirected, &what);
            let neighbour = udp(ipv6, tags, FIRST + 1, 1024);
            expect(&loaded, &neighbour, Verdict::NoSocket, &what);
        }
    }
    loaded.unregister(0, 2).unwrap();
    let packet = udp(false, 0, FIRST + 2, 100);
    expect(&loaded, &packet, Verdict::NoSocket, "unregistered");
    loaded.register(0, 2, &socket).unwrap();
    expect(&loaded, &packet, Verdict::Redirected, "registered again");
    drop(socket);
    expect(&loaded, &packet, Verdict::NoSocket, "socket closed");
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

/// Checks the verdict of ports: all around the range, and a sample of the rest, since each is a system call.
fn check_range(loaded: &Loaded, ports: PortRange) {
    for port in 0..=u16::MAX {
        let near = port
            .abs_diff(ports.first())
            .min(port.abs_diff(ports.last()))
            <= 10;
        if port % 97 != 0 && !near && port != u16::MAX {
            continue;
        }
        let verdict = if (ports.first()..=ports.last()).contains(&port) {
            Verdict::NoSocket
        } else {
            Verdict::NotOurs
        };
        expect(loaded, &udp(false, 0, port, 64), verdict, &port.to_string());
    }
}

#[test]
fn the_range_of_ports_is_exact_and_can_be_changed() {
    if !is_root("the_range_of_ports_is_exact_and_can_be_changed") {
        return;
    }
    let mut loaded = load(1);
    let id = loaded.program().unwrap().info().unwrap().id();
    check_range(&loaded, PortRange::new(FIRST, PORTS).unwrap());
    for (first, last) in [(1, 1), (9000, 9000), (40_000, 65_535), (1, 65_535)] {
        let ports = PortRange::between(first, last).unwrap();
        loaded.tables_mut().set_ports(ports).unwrap();
        assert_eq!(loaded.tables().ports(), ports);
        check_range(&loaded, ports);
    }
    let after = loaded.program().unwrap().info().unwrap().id();
    assert_eq!(id, after, "not loaded again");
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
        let socket = af_xdp();
        loaded.register(1, 3, &socket).unwrap();
        let packet = udp(true, 1, FIRST + 3, 100);
        for queue in 0..3 {
            let verdict = if queue == 1 {
                Verdict::Redirected
            } else {
                Verdict::NoSocket
            };
            let context = context(packet.len(), index, queue);
            let told = run_on(&loaded, &packet, Some(&context));
            assert_eq!(told, (action(verdict), verdict), "queue {queue}");
        }
    });
}

#[test]
fn workers_share_a_queue_by_port() {
    if !is_root("workers_share_a_queue_by_port") {
        return;
    }
    let (a, _b) = pair("xdp-workers", 2);
    a.run(|| {
        let index = crate::link_state(&A.into()).unwrap().index;
        let ports = PortRange::new(FIRST, 40).unwrap();
        let mut loaded = Loaded::new(ports, 2).unwrap();
        let socket = af_xdp();
        // Without a word, a worker for each port, as many as there are slots.
        for (set, workers) in [(None, 16), (Some(1), 1), (Some(3), 3), (Some(16), 16)] {
            loaded.tables_mut().set_workers(1, set).unwrap();
            assert_eq!(loaded.tables().workers(1).unwrap(), workers);
            assert_eq!(loaded.tables().workers(0).unwrap(), 16, "the other queue");
            let worker = workers - 1;
            loaded.register(1, worker, &socket).unwrap();
            for port in 0..40 {
                let packet = udp(false, 0, FIRST + port, 100);
                let context = context(packet.len(), index, 1);
                let verdict = if u32::from(port) % workers == worker {
                    Verdict::Redirected
                } else {
                    Verdict::NoSocket
                };
                let told = run_on(&loaded, &packet, Some(&context));
                assert_eq!(told.1, verdict, "{workers} workers, port {port}");
            }
            let error = loaded.register(1, workers, &socket).unwrap_err();
            assert!(matches!(error, SlotError::NoSuchWorker { .. }), "{error:?}");
            loaded.unregister(1, worker).unwrap();
        }
        for workers in [0, 17, u32::MAX] {
            let error = loaded.tables_mut().set_workers(0, Some(workers));
            assert!(matches!(error, Err(TableError::Workers(_))), "{error:?}");
        }
        let error = loaded.tables_mut().set_workers(2, None);
        let no_queue = matches!(
            error,
            Err(TableError::NoSuchQueue {
                queue: 2,
                queues: 2
            })
        );
        assert!(no_queue, "{error:?}");
    });
}

#[test]
fn packets_without_a_socket_go_to_the_kernel_on_the_cpus_given() {
    if !is_root("packets_without_a_socket_go_to_the_kernel_on_the_cpus_given") {
        return;
    }
    let mut loaded = load(1);
    let socket = af_xdp();
    loaded.register(0, 1, &socket).unwrap();
    let (without, with) = (udp(false, 0, FIRST, 100), udp(true, 1, FIRST + 1, 100));
    expect(&loaded, &without, Verdict::NoSocket, "none configured");
    for cpus in [&[0][..], &[1, 0], &[1], &[0, 0, 1]] {
        loaded.tables_mut().set_kernel_cpus(cpus).unwrap();
        expect(&loaded, &without, Verdict::KernelCpu, &format!("{cpus:?}"));
        expect(&loaded, &with, Verdict::Redirected, "a socket");
        let other = udp(false, 0, FIRST - 1, 100);
        expect(&loaded, &other, Verdict::NotOurs, "another port stays");
    }
    let error = loaded.tables_mut().set_kernel_cpus(&[0, 100_000]);
    assert!(
        matches!(error, Err(TableError::NoSuchCpu(100_000))),
        "{error:?}"
    );
    let error = loaded.tables_mut().set_kernel_cpus(&[0; 65]);
    assert!(
        matches!(error, Err(TableError::TooManyCpus(65))),
        "{error:?}"
    );
    expect(&loaded, &without, Verdict::KernelCpu, "as before");
    loaded.tables_mut().set_kernel_cpus(&[]).unwrap();
    expect(&loaded, &without, Verdict::NoSocket, "none any more");
}

#[test]
fn slots_are_guarded() {
    if !is_root("slots_are_guarded") {
        return;
    }
    let mut loaded = load(2);
    let (first, second) = (af_xdp(), af_xdp());
    loaded.register(1, 3, &first).unwrap();
    let error = loaded.register(1, 3, &second).unwrap_err();
    assert!(
        matches!(
            error,
            SlotError::Taken {
                queue: 1,
                worker: 3
            }
        ),
        "{error:?}"
    );
    loaded.unregister(1, 3).unwrap();
    loaded.unregister(1, 3).unwrap();
    loaded.register(1, 3, &second).unwrap();

    let error = loaded.register(2, 0, &first).unwrap_err();
    assert!(
        matches!(
            error,
            SlotError::NoSuchQueue {
                queue: 2,
                queues: 2
            }
        ),
        "{error:?}"
    );
    let error = loaded.register(0, 4, &first).unwrap_err();
    assert!(
        matches!(
            error,
            SlotError::NoSuchWorker {
                worker: 4,
                workers: 4
            }
        ),
        "{error:?}"
    );
    // A slot can be emptied though its queue has fewer workers now.
    loaded.unregister(0, 15).unwrap();
    let error = loaded.unregister(0, 16).unwrap_err();
    assert!(
        matches!(
            error,
            SlotError::NoSuchWorker {
                worker: 16,
                workers: 16
            }
        ),
        "{error:?}"
    );

    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for error in [
        loaded.register(0, 0, &udp).unwrap_err(),
        loaded.register(0, 0, &file).unwrap_err(),
        loaded.register(0, 0, &-1).unwrap_err(),
    ] {
        assert!(matches!(error, SlotError::NotASocket { .. }), "{error:?}");
    }
}
