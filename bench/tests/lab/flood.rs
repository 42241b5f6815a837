//! A flood of Hellos that nobody means, beside a copy that somebody does.

use std::ffi::OsStr;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blk_proto::session::{Config, Session, Transmit};
use blk_proto::time::Time;
use zerocopy::IntoBytes;

use super::support::client::blkcp;
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
    let (mut sent, mut id) = (0, 0);
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
    if !ready("a_flood_of_hellos_keeps_no_copy_out") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let source = directory.join("file");
    files::write(&source, 16 << 20, 1);
    let hosts = Hosts::up(Link::of(3498));
    // Flood and copies come from one address, which would soon have no token left.
    let options = ["--handshake-rate", "0"].map(OsStr::new);
    let daemon = Daemon::start_options(&hosts, &export, &options, &directory);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let flooding = on_host(&hosts, Host::Client, move || flood(&flag));
    std::thread::sleep(Duration::from_millis(500));
    let source_path = source.to_str().expect("a plain path");
    let mut copies = 0;
    for name in ["first", "second", "third"] {
        let target = format!("10.77.0.1:data/{name}");
        blkcp(&hosts, &directory, &[source_path, &target]).ok();
        files::assert_same(&source, &export.join(name));
        copies += 1;
    }
    let during = daemon.statistics();
    stop.store(true, Ordering::Relaxed);
    let sent = flooding.join().expect("the flood ran");
    println!("{copies} copies beside {sent} Hellos: {during:?}");
    assert!(sent > 10_000, "that was no flood: {sent} Hellos");
    assert!(during["retries"] > 1_000, "{during:?}");
    assert!(
        during["validated"] >= 3,
        "the copies had to prove themselves: {during:?}"
    );
    assert!(during["sessions"] <= 192, "{during:?}");
    // A worker that the host lets wait loses a few; were frames lost to the flood, most of it would find none.
    for counter in ["rx_fill_ring_empty", "rx_ring_full"] {
        assert!(20 * during[counter] < during["redirected"], "{during:?}");
    }
}
