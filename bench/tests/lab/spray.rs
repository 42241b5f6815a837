//! Garbage from other sources to the port of blockd, beside copies.

use std::ffi::OsStr;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_bench::wire::random::Random;
use blk_proto::wire::{HEADER_LEN, Header, KIND_AT, Kind};
use zerocopy::IntoBytes;

use super::support::client::blkcp;
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::traffic::on_host;
use super::support::{Directory, files, must, ready};

/// More addresses of the client's interface: one that may not send to blockd, one that may.
const OUTSIDE: [u8; 4] = [10, 77, 0, 66];
const INSIDE: [u8; 4] = [10, 77, 0, 130];

/// So much garbage has to arrive.
const GARBAGE: u64 = 200_000;

/// Copies until then, at most.
const COPIES: usize = 100;

/// Growth of the daemon that is no growth: allocators and lazily touched pages.
const NOISE: u64 = 4 << 20;

/// Sockets of each address: their flows spread over the queues of the link.
const SOCKETS: u64 = 8;

/// Sockets bound to both addresses.
struct Spray {
    outside: Vec<UdpSocket>,
    inside: Vec<UdpSocket>,
    random: Random,
}

impl Spray {
    fn new() -> Self {
        let socket = |address: [u8; 4]| {
            let socket = UdpSocket::bind((IpAddr::from(address), 0));
            let socket = socket.expect("the client has this address");
            let connected = socket.connect("10.77.0.1:7440");
            connected.expect("the server has an address");
            socket
        };
        Self {
            outside: (0..SOCKETS).map(|_| socket(OUTSIDE)).collect(),
            inside: (0..SOCKETS).map(|_| socket(INSIDE)).collect(),
            random: Random::new(1),
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| self.random.bits().to_le_bytes());
        words.take(len).collect()
    }

    /// Random bytes, as long as the header and up to 1000 longer.
    fn packet(&mut self) -> Vec<u8> {
        let len = HEADER_LEN + self.random.below(1000) as usize;
        self.bytes(len)
    }

    /// A packet with a right header, but for the checksum.
    fn plausible(&mut self) -> Vec<u8> {
        let mut packet = self.packet();
        let mut header = Header::new(Kind::Control, self.random.bits() as u32);
        header.payload_len = ((packet.len() - HEADER_LEN) as u16).into();
        packet[..HEADER_LEN].copy_from_slice(header.as_bytes());
        packet
    }

    /// Sends the packet of this number; whether it went out.
    fn send(&mut self, number: u64) -> bool {
        let turn = number % 10;
        let mut packet = self.packet();
        match turn {
            // More than the link takes at once: the kernel sends fragments.
            _ if number.is_multiple_of(1000) => packet = self.bytes(4000),
            5 => packet.truncate(self.random.below(HEADER_LEN as u64) as usize),
            6 => packet[KIND_AT] = Kind::Hello as u8,
            7 => packet = self.plausible(),
            _ => {}
        }
        let sockets = match turn {
            0..5 => &self.outside,
            _ => &self.inside,
        };
        let socket = &sockets[(number / 10 % SOCKETS) as usize];
        socket.send(&packet).is_ok()
    }

    /// Sends until told to stop; gives how many packets went out.
    fn run(mut self, stop: &AtomicBool) -> u64 {
        let (mut number, mut sent) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            sent += u64::from(self.send(number));
        }
        sent
    }
}

/// What became of packets that nobody meant, by the statistics of blockd.
fn garbage(counted: &std::collections::BTreeMap<String, u64>) -> u64 {
    ["not_allowed", "too_short", "handshakes_limited", "dropped"]
        .iter()
        .map(|name| counted[*name])
        .sum()
}

#[test]
fn garbage_beside_copies_is_dropped_and_counted() {
    if !ready("garbage_beside_copies_is_dropped_and_counted") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let source = directory.join("file");
    files::write(&source, 64 << 20, 1);
    let hosts = Hosts::up(Link::of(3498));
    for address in [OUTSIDE, INSIDE] {
        let address = format!("{}/24", IpAddr::from(address));
        let mut command = hosts.command(Host::Client, "ip");
        must(command.args(["address", "add", &address, "dev", "blk1"]));
    }
    let options = ["--allow", "10.77.0.2", "--allow", "10.77.0.128/25"].map(OsStr::new);
    let daemon = Daemon::start_options(&hosts, &export, &options, &directory);
    // Each to another name, or else all but the first would find everything there.
    let copy = |number: usize| {
        let (name, path) = (format!("file{number}"), source.to_str());
        let target = format!("10.77.0.1:data/{name}");
        blkcp(&hosts, &directory, &[path.expect("a plain path"), &target]).ok();
        files::assert_same(&source, &export.join(&name));
        std::fs::remove_file(export.join(name)).expect("the copy can be removed");
    };
    copy(0);
    let memory = daemon.memory();
    let before = daemon.statistics();

    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let spraying = on_host(&hosts, Host::Client, move || Spray::new().run(&flag));
    let mut copies = 0;
    while garbage(&daemon.statistics()) < garbage(&before) + GARBAGE && copies < COPIES {
        copies += 1;
        copy(copies);
    }
    stop.store(true, Ordering::Relaxed);
    let sent = spraying.join().expect("the garbage was sent");
    let (after, said) = (daemon.statistics(), daemon.log());
    let grown = daemon.memory().saturating_sub(memory);
    let more = |name: &str| after[name] - before[name];
    println!("{copies} copies beside {sent} packets of garbage; blockd grew by {grown}: {after:?}");
    assert!(copies > 0 && garbage(&after) >= garbage(&before) + GARBAGE);

    // Half is of a source that is not allowed; of the rest each kind has its reason.
    assert!(more("not_allowed") >= GARBAGE / 4, "{after:?}");
    assert!(more("not_allowed") <= sent, "{after:?}");
    for reason in ["too_short", "handshakes_limited"] {
        assert!(more(reason) >= GARBAGE / 100, "{reason}: {after:?}");
    }
    assert!(more("fragments") > 0, "{after:?}");
    let last = said.lines().rfind(|line| line.contains(" dropped="));
    let last = last.expect("statistics of a queue");
    for reason in ["other version", "checksum"] {
        assert!(said.contains(reason), "{last}");
    }
    assert!(grown < NOISE, "blockd grew by {grown} bytes");
    // Nobody fills the log from outside: there is nothing in it but what was asked for.
    let unasked = said.lines().filter(|line| !line.contains("statistics of"));
    assert!(unasked.count() < 20, "{said}");
}
