//! Garbage for the port of blockd.

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blk_proto::wire::{HEADER_LEN, Header, KIND_AT, Kind};
use zerocopy::IntoBytes;

use super::hosts::{Host, Hosts};
use crate::wire::random::Random;

/// More addresses of the spraying host: one that may not send to blockd, one that may.
const OUTSIDE: [u8; 4] = [10, 77, 0, 66];
const INSIDE: [u8; 4] = [10, 77, 0, 130];

/// Options of blockd with which it takes packets of the second only, and of the lab's hosts.
pub const ALLOWED: [&str; 4] = ["--allow", "10.77.0.0/28", "--allow", "10.77.0.128/25"];

/// Counters of blockd that tell what became of packets that nobody meant.
pub const REASONS: [&str; 4] = ["not_allowed", "too_short", "handshakes_limited", "dropped"];

/// Packets that are sent at once when there is a pace.
const BATCH: u64 = 32;

/// Sockets of each address: their flows spread over the queues of the link.
const SOCKETS: u64 = 8;

/// Sockets bound to both addresses.
#[derive(Debug)]
pub struct Spray {
    outside: Vec<UdpSocket>,
    inside: Vec<UdpSocket>,
    random: Random,
}

impl Spray {
    /// Gives a host the addresses.
    pub fn prepare(hosts: &Hosts, host: Host) {
        for address in [OUTSIDE, INSIDE] {
            let address = format!("{}/24", IpAddr::from(address));
            hosts.ip(
                host,
                &format!("address add {address} dev {}", host.interface()),
            );
        }
    }

    /// Sockets of the host that the calling thread is on, which has been [prepared](Self::prepare).
    ///
    /// # Panics
    /// When it has not.
    pub fn new() -> Self {
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

    /// Sends until told to stop, at most so many a second where there is a pace; gives how many packets went out.
    pub fn run(mut self, pace: Option<u32>, stop: &AtomicBool) -> u64 {
        let started = Instant::now();
        let (mut number, mut sent) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..BATCH {
                number += 1;
                sent += u64::from(self.send(number));
            }
            if let Some(pace) = pace {
                let due = Duration::from_secs_f64(number as f64 / f64::from(pace));
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
        }
        sent
    }
}

impl Default for Spray {
    fn default() -> Self {
        Self::new()
    }
}
