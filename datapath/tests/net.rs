//! Interfaces, routes and neighbours, asked for in fresh network namespaces. Needs root.

#[path = "../../xdp-prog/tests/netns/mod.rs"]
mod netns;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use blk_datapath::net::{
    Changes, Interface, InterfaceError, NeighbourError, Route, RouteError, neighbour,
    resolve_neighbour, route_to, verify_neighbour,
};
use blk_datapath::probe::refuse_stacked;
use netns::{A, B, Namespace, is_root, pair};

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Long enough for a loaded machine; nothing waits for it when things work.
const PATIENCE: Duration = Duration::from_secs(10);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The index of an interface of the caller's namespace.
fn index(name: &str) -> u32 {
    Interface::by_name(name).unwrap().index
}

#[test]
fn an_interface_is_described() {
    if !is_root("an_interface_is_described") {
        return;
    }
    let (a, b) = pair("net-interface", 3);
    a.ip(&format!("link set {A} mtu 9000"));
    a.ip(&format!("addr add 192.0.2.1 peer 192.0.2.9/32 dev {A}"));
    a.run(|| {
        let interface = Interface::by_name(A).unwrap();
        assert_eq!(Interface::by_index(interface.index).unwrap(), interface);
        assert_eq!((interface.name.as_str(), interface.mac), (A, Some(MAC_A)));
        assert_eq!((interface.mtu, interface.up), (9000, true));
        assert_eq!(interface.rx_queues, 3);
        assert_eq!(interface.driver.as_deref(), Some("veth"));
        for expected in ["10.77.0.1", "fd00:77::1", "192.0.2.1"] {
            assert!(
                interface.addresses.contains(&address(expected)),
                "{interface:?}"
            );
        }
        for other in ["10.77.0.2", "192.0.2.9", "127.0.0.1"] {
            assert!(
                !interface.addresses.contains(&address(other)),
                "{interface:?}"
            );
        }
        let lo = Interface::by_name("lo").unwrap();
        assert_eq!((lo.mac, lo.rx_queues), (Some([0; 6]), 1));
        assert!(lo.up && lo.addresses.contains(&address("127.0.0.1")));
    });
    b.run(|| {
        // Without a carrier it is not up, whatever the switch says.
        assert!(Interface::by_name(B).unwrap().up);
        a.ip(&format!("link set {A} down"));
        assert!(!Interface::by_name(B).unwrap().up);
    });
    assert!(!a.run(|| Interface::by_name(A).unwrap().up));
}

#[test]
fn an_address_that_is_not_yet_verified_is_not_ours() {
    if !is_root("an_address_that_is_not_yet_verified_is_not_ours") {
        return;
    }
    let (a, b) = pair("net-dad", 1);
    b.ip(&format!("addr add fd00:77::99/64 dev {B} nodad"));
    a.ip(&format!("addr add fd00:77::99/64 dev {A}"));
    a.run(|| {
        let taken = address("fd00:77::99");
        let listed = || Interface::by_name(A).unwrap().addresses.contains(&taken);
        assert!(!listed(), "tentative");
        let deadline = Instant::now() + PATIENCE;
        while !a.ip(&format!("addr show dev {A}")).contains("dadfailed") {
            assert!(Instant::now() < deadline, "the duplicate was not noticed");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!listed(), "a duplicate");
    });
}

#[test]
fn queues_in_use_count_not_those_made() {
    if !is_root("queues_in_use_count_not_those_made") {
        return;
    }
    let (a, _b) = pair("net-queues", 4);
    a.run(|| {
        assert_eq!(Interface::by_name(A).unwrap().rx_queues, 4);
        let ethtool = std::process::Command::new("ethtool")
            .args(["-L", A, "rx", "2"])
            .status()
            .expect("ethtool");
        assert!(ethtool.success());
        assert_eq!(Interface::by_name(A).unwrap().rx_queues, 2);
    });
}

#[test]
fn interfaces_that_are_not_there_or_not_ethernet_are_named() {
    if !is_root("interfaces_that_are_not_there_or_not_ethernet_are_named") {
        return;
    }
    let namespace = Namespace::new("net-none");
    namespace.ip("tuntap add dev blktun mode tun");
    namespace.run(|| {
        for name in ["blk-none", "", "a-name-longer-than-fifteen"] {
            let error = Interface::by_name(name).unwrap_err();
            assert!(
                matches!(error, InterfaceError::NotFound(_)),
                "{name}: {error:?}"
            );
            assert!(error.to_string().contains(name));
        }
        for number in [0, 4711, u32::MAX] {
            let error = Interface::by_index(number).unwrap_err();
            assert!(
                matches!(error, InterfaceError::NotFound(_)),
                "{number}: {error:?}"
            );
        }
        let tunnel = Interface::by_name("blktun").unwrap();
        let error = tunnel.ethernet_address().unwrap_err().to_string();
        assert!(
            error.starts_with("blktun is not an Ethernet interface"),
            "{error}"
        );
    });
}

#[test]
fn what_is_below_a_stacked_interface_is_named() {
    if !is_root("what_is_below_a_stacked_interface_is_named") {
        return;
    }
    let (a, _b) = pair("net-stacked", 1);
    a.ip("link add blkbr type bridge");
    a.ip(&format!("link set {A} master blkbr"));
    a.ip("link add blkmac link blkbr type macvlan mode private");
    a.run(|| {
        let refused = |name: &str| {
            refuse_stacked(&Interface::by_name(name).unwrap()).map_err(|error| error.to_string())
        };
        let port = format!("serve on a port ({A})");
        let below = "serve on the interface below (blkbr)";
        for (name, what, advice) in [
            ("blkbr", "blkbr is a bridge", port.as_str()),
            ("blkmac", "blkmac is a macvlan on blkbr", below),
        ] {
            let error = refused(name).unwrap_err();
            assert!(error.contains(what) && error.contains(advice), "{error}");
        }
        assert_eq!(refused(A), Ok(()), "a port is served");
        assert_eq!(refused("lo"), Ok(()));
    });
    for kind in ["bond", "vlan"] {
        let mut add = std::process::Command::new("ip");
        let name = format!("blk{kind}");
        add.args(["link", "add"]);
        if kind == "vlan" {
            add.args(["link", A, "name", &name, "type", kind, "id", "7"]);
        } else {
            add.args([&name, "type", kind]);
        }
        // Not every kernel has these, and the words are tested without them, too.
        if !a.run(|| add.output()).expect("ip").status.success() {
            eprintln!("this kernel makes no {kind}");
            continue;
        }
        let error = a.run(|| refuse_stacked(&Interface::by_name(&name).unwrap()).unwrap_err());
        assert!(error.to_string().contains("serve on"), "{error}");
    }
}

#[test]
fn routes_are_the_kernels() {
    if !is_root("routes_are_the_kernels") {
        return;
    }
    let (a, _b) = pair("net-route", 1);
    a.ip("route add 198.51.100.0/24 via 10.77.0.2");
    a.ip("route add 2001:db8::/32 via fd00:77::2");
    a.ip(&format!(
        "route add 203.0.113.0/24 via inet6 fd00:77::2 dev {A}"
    ));
    for (kind, v4, v6) in [
        ("unreachable", "192.0.2.0/26", "2001:db8:1::/48"),
        ("prohibit", "192.0.2.64/26", "2001:db8:2::/48"),
        ("blackhole", "192.0.2.128/26", "2001:db8:3::/48"),
    ] {
        a.ip(&format!("route add {kind} {v4}"));
        a.ip(&format!("-6 route add {kind} {v6}"));
    }
    a.run(|| {
        let interface = index(A);
        let route = |to: &str| route_to(address(to));
        let expect = |to: &str, source: &str, gateway: Option<&str>| {
            let (source, gateway) = (address(source), gateway.map(address));
            let expected = Route {
                interface,
                source,
                gateway,
                mtu: None,
            };
            assert_eq!(route(to).unwrap(), expected, "{to}");
            let next_hop = gateway.unwrap_or(address(to));
            assert_eq!(expected.next_hop(address(to)), next_hop);
        };
        expect("10.77.0.2", "10.77.0.1", None);
        expect("fd00:77::2", "fd00:77::1", None);
        expect("198.51.100.7", "10.77.0.1", Some("10.77.0.2"));
        expect("2001:db8::7", "fd00:77::1", Some("fd00:77::2"));
        expect("203.0.113.7", "10.77.0.1", Some("fd00:77::2"));

        for (prefix, via, to) in [
            ("192.0.2.192/26", "10.77.0.2", "192.0.2.200"),
            ("2001:db8:4::/48", "fd00:77::2", "2001:db8:4::1"),
        ] {
            a.ip(&format!("route add {prefix} via {via} mtu 1400"));
            assert_eq!(route(to).unwrap().mtu, Some(1400), "{to}");
        }

        for own in ["10.77.0.1", "fd00:77::1", "127.0.0.1", "127.1.2.3", "::1"] {
            let error = route(own).unwrap_err();
            assert!(matches!(error, RouteError::ThisHost(_)), "{own}: {error:?}");
            assert_eq!(error.to_string(), format!("{own} is this host itself"));
        }
        for many in [
            "10.77.0.255",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "0.0.0.0",
            "::",
        ] {
            let error = route(many).unwrap_err();
            assert!(
                matches!(error, RouteError::NotUnicast(_)),
                "{many}: {error:?}"
            );
        }
        for nowhere in [
            "8.8.8.8",
            "2606::1",
            "192.0.2.1",
            "192.0.2.65",
            "192.0.2.129",
            "2001:db8:1::1",
            "2001:db8:2::1",
            "2001:db8:3::1",
        ] {
            let error = route(nowhere).unwrap_err();
            assert!(
                matches!(error, RouteError::Unreachable(_)),
                "{nowhere}: {error:?}"
            );
        }
    });
}

#[test]
fn a_neighbour_is_resolved() {
    if !is_root("a_neighbour_is_resolved") {
        return;
    }
    let (a, _b) = pair("net-neighbour", 1);
    a.run(|| {
        let interface = index(A);
        for peer in ["10.77.0.2", "fd00:77::2"].map(address) {
            assert_eq!(neighbour(interface, peer).unwrap(), None, "{peer}");
            assert_eq!(resolve_neighbour(interface, peer, PATIENCE).unwrap(), MAC_B);
            assert_eq!(neighbour(interface, peer).unwrap(), Some(MAC_B));
            assert_eq!(
                resolve_neighbour(interface, peer, Duration::ZERO).unwrap(),
                MAC_B
            );
        }
        // What the administrator says stands.
        a.ip(&format!(
            "neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev {A} nud permanent"
        ));
        let fixed = neighbour(interface, address("10.77.0.9")).unwrap();
        assert_eq!(fixed, Some([2, 0, 0, 0, 0, 9]));
        a.ip(&format!(
            "neigh add 10.77.0.8 lladdr 02:00:00:00:00:08 dev {A} nud stale"
        ));
        let stale = neighbour(interface, address("10.77.0.8")).unwrap();
        assert_eq!(stale, Some([2, 0, 0, 0, 0, 8]));
    });
}

#[test]
fn resolving_sends_nothing_but_the_question() {
    if !is_root("resolving_sends_nothing_but_the_question") {
        return;
    }
    let (a, b) = pair("net-traces", 1);
    let sockets = b.run(|| {
        let discard = std::net::UdpSocket::bind("10.77.0.2:9").unwrap();
        discard.set_nonblocking(true).unwrap();
        discard
    });
    let statistics = || a.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let before = statistics();
    a.run(|| resolve_neighbour(index(A), address("10.77.0.2"), PATIENCE).unwrap());
    let udp_and_icmp = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("Ip:"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(udp_and_icmp(&statistics()), udp_and_icmp(&before));
    assert!(sockets.recv(&mut [0; 16]).is_err(), "a datagram came");
}

#[test]
fn a_host_that_is_not_there_is_named() {
    if !is_root("a_host_that_is_not_there_is_named") {
        return;
    }
    let (a, _b) = pair("net-absent", 1);
    a.run(|| {
        let interface = index(A);
        for (absent, protocol) in [("10.77.0.9", "ARP"), ("fd00:77::9", "neighbour discovery")] {
            let resolve = |timeout| resolve_neighbour(interface, address(absent), timeout);
            let start = Instant::now();
            let error = resolve(Duration::from_millis(100)).unwrap_err();
            assert!(matches!(error, NeighbourError::Timeout { .. }), "{error:?}");
            let took = start.elapsed();
            assert!(
                took >= Duration::from_millis(100) && took < Duration::from_secs(2),
                "{took:?}"
            );

            let error = resolve(PATIENCE).unwrap_err();
            assert!(
                matches!(error, NeighbourError::NoAnswer { .. }),
                "{error:?}"
            );
            let expected = format!("no answer from {absent} on {A} ({protocol} failed)");
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert_eq!(neighbour(interface, address(absent)).unwrap(), None);
        }
        // A failure is not for ever: the host comes up.
        _b.ip(&format!("addr add 10.77.0.9/24 dev {B}"));
        let mac = resolve_neighbour(interface, address("10.77.0.9"), PATIENCE).unwrap();
        assert_eq!(mac, MAC_B);
    });
}

#[test]
fn a_neighbour_that_moved_in_silence_is_found_again() {
    if !is_root("a_neighbour_that_moved_in_silence_is_found_again") {
        return;
    }
    let (a, b) = pair("net-verify", 1);
    let moved = [2, 0, 0, 0, 0, 9];
    for peer in ["10.77.0.2", "fd00:77::2"].map(address) {
        b.ip(&format!("link set {B} address 02:00:00:00:00:02"));
        a.run(|| {
            let interface = index(A);
            let verify = || verify_neighbour(interface, peer, Duration::from_millis(300)).unwrap();
            resolve_neighbour(interface, peer, PATIENCE).unwrap();
            verify();
            assert_eq!(
                neighbour(interface, peer).unwrap(),
                Some(MAC_B),
                "as it was"
            );
            b.ip(&format!("link set {B} address 02:00:00:00:00:09"));
            verify();
            assert_eq!(resolve_neighbour(interface, peer, PATIENCE).unwrap(), moved);
            // What the administrator says stands, though nobody answers.
            a.ip(&format!(
                "neigh replace {peer} lladdr 02:00:00:00:00:08 dev {A} nud permanent"
            ));
            verify();
            assert_eq!(
                neighbour(interface, peer).unwrap(),
                Some([2, 0, 0, 0, 0, 8])
            );
            // One that nobody knows is asked for.
            a.ip(&format!("neigh del {peer} dev {A}"));
            verify();
            assert_eq!(resolve_neighbour(interface, peer, PATIENCE).unwrap(), moved);
        });
    }
}

#[test]
fn changes_are_told() {
    if !is_root("changes_are_told") {
        return;
    }
    let (a, b) = pair("net-changes", 1);
    a.run(|| {
        let changes = Changes::subscribe().unwrap();
        let told = || {
            let deadline = Instant::now() + PATIENCE;
            loop {
                // The kernel's own news, of addresses that have been verified, may come in between.
                if changes.take().unwrap() {
                    return true;
                }
                if Instant::now() >= deadline {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let steps = [
            format!("addr add 10.77.1.1/24 dev {A}"),
            format!("addr add fd00:78::1/64 dev {A}"),
            "route add 198.51.100.0/24 via 10.77.0.2".to_owned(),
            "route add 2001:db8::/32 via fd00:77::2".to_owned(),
            format!("neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev {A} nud permanent"),
            format!("link set {A} mtu 2000"),
        ];
        for step in steps {
            // Until nothing has been said for a while.
            while changes.take().unwrap() {
                std::thread::sleep(Duration::from_millis(200));
            }
            a.ip(&step);
            assert!(told(), "{step}");
        }
        drop(b);
        assert!(told(), "the other end is gone, and the link with it");
        assert!(Interface::by_name(A).is_err());
    });
}

#[test]
fn what_keeps_an_interface_from_its_neighbours_is_said() {
    if !is_root("what_keeps_an_interface_from_its_neighbours_is_said") {
        return;
    }
    let (a, _b) = pair("net-cannot", 1);
    let peer = address("10.77.0.2");
    a.run(|| {
        let interface = index(A);
        let error = resolve_neighbour(4711, peer, PATIENCE).unwrap_err();
        assert!(
            matches!(
                error,
                NeighbourError::Interface(InterfaceError::NotFound(_))
            ),
            "{error:?}"
        );
        a.ip(&format!("link set {A} arp off"));
        let error = resolve_neighbour(interface, peer, PATIENCE).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{A} cannot reach neighbours: ARP is off")
        );
        a.ip(&format!("link set {A} arp on down"));
        let error = resolve_neighbour(interface, peer, PATIENCE).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{A} cannot reach neighbours: the link is down")
        );
    });
}

#[test]
fn without_privileges_known_neighbours_are_found_and_others_are_refused() {
    if !is_root("without_privileges_known_neighbours_are_found_and_others_are_refused") {
        return;
    }
    let (a, _b) = pair("net-caps", 1);
    a.run(|| {
        let interface = index(A);
        resolve_neighbour(interface, address("10.77.0.2"), PATIENCE).unwrap();
        // Capabilities are per thread, and this thread ends with the closure.
        let none = rustix::thread::CapabilitySet::empty();
        let sets = rustix::thread::CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        rustix::thread::set_capabilities(None, sets).unwrap();
        let known = resolve_neighbour(interface, address("10.77.0.2"), PATIENCE).unwrap();
        assert_eq!(known, MAC_B);
        assert_eq!(Interface::by_name(A).unwrap().mac, Some(MAC_A));
        assert!(route_to(address("10.77.0.2")).is_ok());
        let error = resolve_neighbour(interface, address("10.77.0.9"), PATIENCE).unwrap_err();
        assert!(
            matches!(error, NeighbourError::NoPrivileges(_)),
            "{error:?}"
        );
    });
}
