//! The way between the hosts changes while a file is on it.

use std::path::PathBuf;
use std::time::Duration;

use super::support::client::{Outcome, Running, start};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, ready};

/// A path of 25 MB/s makes this last 2.5 s, well beyond what the tests do to it.
const SIZE: u64 = 64 << 20;
/// Bytes per second to which the router's ports are held.
const RATE: &str = "200mbit";

/// Hosts, a daemon and a file.
struct Scene {
    daemon: Daemon,
    hosts: Hosts,
    directory: Directory,
}

impl Scene {
    fn new(hosts: Hosts, size: u64) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        files::write(&directory.join("file"), size, 61);
        let daemon = Daemon::start(&hosts, &export, &directory);
        Self {
            daemon,
            hosts,
            directory,
        }
    }

    /// A router between the hosts, slow enough that something can happen in mid-transfer.
    fn routed() -> Self {
        let hosts = Hosts::routed(1500);
        for port in ["port0", "port1"] {
            let mut tc = hosts.command(Host::Router, "tc");
            tc.args(["qdisc", "add", "dev", port, "root", "tbf", "rate", RATE]);
            super::support::must(tc.args(["burst", "64kb", "latency", "20ms"]));
        }
        Self::new(hosts, SIZE)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn start(&self, from: &str, to: &str) -> Running {
        start(&self.hosts, &self.directory, &[from, to])
    }

    /// Sends the file there (the first time) or back; `change` happens in mid-transfer.
    fn copy(&self, there: bool, change: impl FnOnce(&Hosts)) -> Outcome {
        let (file, back) = (self.path("file"), self.path("back"));
        let remote = "10.77.0.1:data/file";
        let mut copy = if there {
            self.start(&file.to_string_lossy(), remote)
        } else {
            self.start(remote, &back.to_string_lossy())
        };
        std::thread::sleep(Duration::from_millis(700));
        assert!(copy.is_running(), "the copy is over before the change");
        change(&self.hosts);
        copy.outcome()
    }

    #[track_caller]
    fn assert_same(&self, name: &str) {
        files::assert_same(&self.path("file"), &self.path(name));
    }

    /// The same change in a put and in a get, by a router.
    fn survives(change: impl Fn(&Hosts, u32)) {
        let scene = Self::routed();
        for (number, there) in [(1, true), (2, false)] {
            scene.copy(there, |hosts| change(hosts, number)).ok();
            scene.assert_same(if there { "export/file" } else { "back" });
        }
    }
}

/// Gives both ports of the router other Ethernet addresses, and lets it forget whom it knows, as if another one had taken
/// its place.
fn replace_router(hosts: &Hosts, number: u32) {
    for port in 0..2 {
        let set = format!("link set port{port} address 02:00:00:00:0{number}:{port:02x}");
        hosts.ip(Host::Router, &set);
        hosts.ip(Host::Router, &format!("neigh flush dev port{port}"));
    }
}

#[test]
fn the_next_hop_gets_another_ethernet_address() {
    if !ready("the_next_hop_gets_another_ethernet_address") {
        return;
    }
    Scene::survives(|hosts, number| {
        replace_router(hosts, number);
        for host in [Host::Server, Host::Client] {
            hosts.ip(host, &format!("neigh flush dev {}", host.interface()));
        }
    });
}

#[test]
fn the_next_hop_is_replaced_and_nobody_says_so() {
    if ready("the_next_hop_is_replaced_and_nobody_says_so") {
        Scene::survives(replace_router);
    }
}

#[test]
fn the_route_changes_to_another_gateway() {
    if !ready("the_route_changes_to_another_gateway") {
        return;
    }
    // The old address of the router is not its own any more.
    Scene::survives(|hosts, number| {
        let (old, new) = (255 - number, 254 - number);
        for step in [
            format!("del 10.78.0.{old}/24"),
            format!("add 10.78.0.{new}/24"),
        ] {
            hosts.ip(Host::Router, &format!("address {step} dev port1"));
        }
        replace_router(hosts, number);
        hosts.ip(
            Host::Client,
            &format!("route replace default via 10.78.0.{new}"),
        );
    });
}

#[test]
fn a_link_that_is_down_for_a_second() {
    if !ready("a_link_that_is_down_for_a_second") {
        return;
    }
    Scene::survives(|hosts, number| {
        // Once the client's link, once the server's.
        let port = if number == 1 { "port1" } else { "port0" };
        hosts.ip(Host::Router, &format!("link set {port} down"));
        std::thread::sleep(Duration::from_secs(1));
        hosts.ip(Host::Router, &format!("link set {port} up"));
    });
}

#[test]
fn this_hosts_own_ethernet_address_changes() {
    if !ready("this_hosts_own_ethernet_address_changes") {
        return;
    }
    Scene::survives(|hosts, number| {
        for (host, end) in [(Host::Client, 1), (Host::Server, 2)] {
            let set = format!("address 02:00:00:01:0{number}:0{end}");
            hosts.ip(host, &format!("link set {} {set}", host.interface()));
        }
    });
}

/// A clean link as fast as it is: the file is large enough for a change in its midst.
fn direct() -> Scene {
    let wire = ["--rate", "200mbit", "--queue", "500kb"];
    let hosts = Hosts::up(Link {
        mtu: 1500,
        wire: &wire,
    });
    Scene::new(hosts, SIZE)
}

#[test]
fn the_interface_of_the_client_goes_away() {
    if !ready("the_interface_of_the_client_goes_away") {
        return;
    }
    let scene = direct();
    let outcome = scene.copy(true, |hosts| {
        hosts.ip(Host::Client, "link del blk1");
    });
    outcome.fails(11, &["blk1", "is gone"]);
    assert!(outcome.time < Duration::from_secs(6), "{:?}", outcome.time);
    assert!(
        files::names(&scene.path("export"))
            .iter()
            .all(|name| name == ".blockd")
    );
}

#[test]
fn the_address_of_the_client_goes_away() {
    if !ready("the_address_of_the_client_goes_away") {
        return;
    }
    let wire = ["--rate", "50mbit", "--queue", "500kb"];
    let hosts = Hosts::up(Link {
        mtu: 1500,
        wire: &wire,
    });
    let scene = Scene::new(hosts, SIZE);
    let outcome = scene.copy(true, |hosts| {
        hosts.ip(Host::Client, "address del 10.77.0.2/24 dev blk1");
    });
    outcome.fails(11, &["10.77.0.2", "blk1"]);
    assert!(outcome.time < Duration::from_secs(20), "{:?}", outcome.time);
}

#[test]
fn the_link_stays_down() {
    if !ready("the_link_stays_down") {
        return;
    }
    let scene = direct();
    let outcome = scene.copy(true, |hosts| {
        hosts.ip(Host::Client, "link set blk1 down");
    });
    outcome.fails(12, &["the link of blk1 is down"]);
    assert!(outcome.time < Duration::from_secs(20), "{:?}", outcome.time);
}

#[test]
fn the_interface_of_the_server_goes_away() {
    if !ready("the_interface_of_the_server_goes_away") {
        return;
    }
    let mut scene = direct();
    let outcome = scene.copy(true, |hosts| {
        hosts.ip(Host::Server, "link del blk0");
    });
    // 12: nobody answers.
    outcome.fails(12, &[]);
    let status = scene.daemon.wait(Duration::from_secs(10));
    let log = scene.daemon.log();
    assert_eq!(status.and_then(|status| status.code()), Some(11), "{log}");
    assert!(log.contains("interface blk0 is gone"), "{log}");
}
