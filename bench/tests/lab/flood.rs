//! A flood of Hellos that nobody means, beside a copy that somebody does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blk_proto::session::{Config, Session, Transmit};
use blk_proto::time::Time;
use zerocopy::IntoBytes;

use super::support::client::start_over;
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::traffic::on_host;
use super::support::{Directory, files, ready};

/// Addresses that Hellos come from: more than there are places for sessions.
const SOURCES: u32 = 400;

/// A Hello of the client with this id.
pub(super) fn hello(id: u32) -> Vec<u8> {
    let now = Time::from_nanos(1);
    let mut session = Session::<()>::connect(Config::default(), id, now);
    match session.poll_transmit(now, |()| true) {
        Some(Transmit::Inline { header, payload }) => [header.as_bytes(), payload].concat(),
        _ => panic!("a client begins with a Hello"),
    }
}

/// Sends Hellos from many ports, each with another id each time, until told to stop; gives their count.
fn flood(stop: &AtomicBool) -> u64 {
    let sockets: Vec<UdpSocket> = (0..SOURCES)
        .map(|_| {
            let socket = UdpSocket::bind("10.77.0.2:0").expect("there are ports enough");
            socket
                .connect("10.77.0.1:7440")
                .expect("the server has an address");
            socket
        })
        .collect();
    let (mut sent, mut id) = (0_u64, 0);
    while !stop.load(Ordering::Relaxed) {
        for socket in &sockets {
            id += 1;
            // A full queue is not this test's concern.
            sent += u64::from(socket.send(&hello(id)).is_ok());
        }
        // The relay and both hosts share this machine's cores.
        std::thread::sleep(Duration::from_millis(5));
    }
    sent
}

#[test]
fn a_flood_of_hellos_keeps_no_copy_out() {
    if ready("a_flood_of_hellos_keeps_no_copy_out") {
        copies_beside_a_flood(
            "copy",
            "redirected",
            &["rx_fill_ring_empty", "rx_ring_full"],
        );
    }
}

#[test]
fn a_flood_of_hellos_keeps_no_copy_out_over_udp() {
    if ready("a_flood_of_hellos_keeps_no_copy_out_over_udp") {
        copies_beside_a_flood("udp", "udp_received", &["udp_buffer_full", "udp_oversized"]);
    }
}

#[test]
fn a_flood_of_hellos_that_is_limited_keeps_no_other_source_out_over_udp() {
    if !ready("a_flood_of_hellos_that_is_limited_keeps_no_other_source_out_over_udp") {
        return;
    }
    let scene = Scene::new("udp", "10");
    // IPv6 makes it another source.
    let (sent, during) = scene.copies("[fd77::1]");
    assert!(sent > 10_000, "that was no flood: {sent} Hellos");
    assert!(during["handshakes_limited"] > sent / 4, "{during:?}");
    // What got through is what the bucket had, and hardly enough to make anybody prove an address.
    assert!(during["retries"] < 100, "{during:?}");
}

/// `received` counts the packets that came to the worker, and `lost` those that found no room.
fn copies_beside_a_flood(datapath: &'static str, received: &str, lost: &[&str]) {
    // Flood and copies come from one address, which would soon have no token left.
    let (sent, during) = Scene::new(datapath, "0").copies("10.77.0.1");
    assert!(sent > 10_000, "that was no flood: {sent} Hellos");
    assert!(during["retries"] > 1_000, "{during:?}");
    assert!(
        during["validated"] >= 3,
        "the copies had to prove themselves: {during:?}"
    );
    assert!(during["sessions"] <= 192, "{during:?}");
    // A worker that the host lets wait loses a few; were frames lost to the flood, most of it would find none.
    for &counter in lost {
        assert!(20 * during[counter] < during[received], "{during:?}");
    }
}

/// Two hosts, and blockd with a limit of handshake packets for each source.
struct Scene {
    datapath: &'static str,
    daemon: Daemon,
    hosts: Hosts,
    directory: Directory,
}

impl Scene {
    fn new(datapath: &'static str, rate: &str) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        files::write(&directory.join("file"), 16 << 20, 1);
        let hosts = Hosts::up(Link::of(3498));
        let options = ["--handshake-rate", rate].map(OsStr::new);
        let daemon = Daemon::start_over_options(&hosts, datapath, &export, &options, &directory);
        Self {
            datapath,
            daemon,
            hosts,
            directory,
        }
    }

    /// Copies three files to the server under this address, beside a flood. How many Hellos there were, and what blockd has
    /// counted.
    fn copies(&self, host: &str) -> (u64, BTreeMap<String, u64>) {
        let (hosts, directory) = (&self.hosts, &self.directory);
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let flooding = on_host(hosts, Host::Client, move || flood(&flag));
        std::thread::sleep(Duration::from_millis(500));
        let source = directory.join("file");
        for name in ["first", "second", "third"] {
            let target = format!("{host}:data/{name}");
            let arguments = [source.to_str().expect("a plain path"), &target];
            let put = start_over(hosts, Host::Client, self.datapath, directory, &arguments);
            put.outcome().ok();
            files::assert_same(&source, &directory.join("export").join(name));
        }
        let during = self.daemon.statistics();
        stop.store(true, Ordering::Relaxed);
        let sent = flooding.join().expect("the flood ran");
        println!("3 copies beside {sent} Hellos: {during:?}");
        (sent, during)
    }
}
