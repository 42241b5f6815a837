//! Server and client on two segments, with a router between them.

use super::support::client::blkcp;
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts};
use super::support::{Directory, files, ready};

const SIZE: u64 = (8 << 20) + 777;

/// A file there and back by the router; `prepare` sees the hosts before.
fn there_and_back(mtu: u32, host: &str, prepare: impl FnOnce(&Hosts)) -> u64 {
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let source = directory.join("file");
    files::write(&source, SIZE, u64::from(mtu));
    let hosts = Hosts::routed(mtu);
    prepare(&hosts);
    let _daemon = Daemon::start(&hosts, &export, &directory);
    let text = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let remote = format!("{host}:data/file");
    let put = blkcp(&hosts, &directory, &[&text("file"), &remote]);
    put.ok();
    files::assert_same(&source, &export.join("file"));
    blkcp(&hosts, &directory, &[&remote, &text("back")]).ok();
    files::assert_same(&source, &directory.join("back"));
    put.number("payload")
}

#[test]
fn by_a_router() {
    if ready("by_a_router") {
        assert_eq!(there_and_back(1500, "10.77.0.1", |_| {}), 1024);
    }
}

#[test]
fn by_a_router_over_ipv6() {
    if ready("by_a_router_over_ipv6") {
        assert_eq!(there_and_back(3498, "[fd77::1]", |_| {}), 3072);
    }
}

#[test]
fn an_ipv4_route_by_an_ipv6_router() {
    if !ready("an_ipv4_route_by_an_ipv6_router") {
        return;
    }
    // RFC 5549.
    there_and_back(1500, "10.77.0.1", |hosts| {
        hosts.ip(Host::Client, "route replace default via inet6 fd78::254");
    });
}

#[test]
fn the_route_tells_how_much_it_takes() {
    if !ready("the_route_tells_how_much_it_takes") {
        return;
    }
    // The path takes 3072 bytes of payload, and the route is right all the same.
    let payload = there_and_back(3498, "10.77.0.1", |hosts| {
        let route = "route add 10.77.0.0/24 via 10.78.0.254 mtu 2700";
        hosts.ip(Host::Client, route);
    });
    assert_eq!(payload, 2560);
}
