//! The program run by the kernel on packets, without an interface (BPF_PROG_TEST_RUN): every verdict and
//! counter. Needs root.

mod claims;
mod filter;
mod packets;
mod parsing;
mod steering;
mod verifier;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use aya::programs::{TestRun, TestRunOptions};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::abi::Verdict;
use crate::counters::Counters;
use crate::load::Loaded;

/// Action codes of include/uapi/linux/bpf.h, `enum xdp_action`.
const DROP: u32 = 1;
const PASS: u32 = 2;
const REDIRECT: u32 = 4;

const FIRST: u16 = 9000;
const PORTS: u16 = 4;

fn load(queues: u32) -> Loaded {
    Loaded::new(queues).unwrap()
}

/// An AF_XDP socket that can be put into a slot; it need not be bound for that.
fn af_xdp() -> OwnedFd {
    let socket = socket_with(
        AddressFamily::XDP,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    sockopt::set_xdp_rx_ring_size(&socket, 64).unwrap();
    socket
}

/// Whether it becomes so when a socket was closed: a child of another test has the socket, too, until it executes its program.
fn soon(is_so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > Duration::from_secs(5) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// A program with one queue, a socket in the slot of each of our ports, and a service on the first of them.
fn load_with_sockets() -> (Loaded, Vec<OwnedFd>) {
    let mut loaded = load(1);
    let sockets: Vec<OwnedFd> = (0..PORTS).map(|_| af_xdp()).collect();
    loaded.maps.serve(FIRST, 0).unwrap();
    for (port, socket) in (FIRST..).zip(&sockets) {
        loaded.maps.register(0, port, socket).unwrap();
    }
    (loaded, sockets)
}

/// `struct xdp_md` of include/uapi/linux/bpf.h for a packet that came in by a queue of an interface, the first
/// `linear` bytes of it in one piece.
fn context(linear: usize, interface: u32, queue: u32) -> Vec<u8> {
    let fields = [0, linear as u32, 0, interface, queue, 0];
    fields.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// What the program returns for a packet, and what it counts, which is one verdict. The packet must stay as it is.
fn run_on(loaded: &Loaded, packet: &[u8], context: Option<&[u8]>) -> (u32, Verdict) {
    let before = loaded.maps.counters().unwrap();
    let mut out = vec![0; packet.len() + 64];
    let result = loaded
        .program()
        .unwrap()
        .test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: context,
            ..TestRunOptions::new()
        })
        .unwrap();
    assert_eq!(&out[..result.data_size_out as usize], packet, "unchanged");
    let after = loaded.maps.counters().unwrap();
    (result.return_value, counted(&before, &after))
}

/// The one verdict by which the counters differ.
fn counted(before: &Counters, after: &Counters) -> Verdict {
    let mut found = None;
    for (verdict, ((name, before), (_, after))) in Verdict::ALL
        .into_iter()
        .zip(before.named().zip(after.named()))
    {
        if before != after {
            assert_eq!(after, before + 1, "{name}");
            assert_eq!(found.replace(verdict), None, "{name} as well");
        }
    }
    found.expect("a packet is counted")
}

fn run(loaded: &Loaded, packet: &[u8]) -> (u32, Verdict) {
    run_on(loaded, packet, None)
}

/// The action that belongs to a verdict.
fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Redirected | Verdict::KernelCpu => REDIRECT,
        Verdict::NotAllowed | Verdict::TooShort | Verdict::HandshakeLimit => DROP,
        _ => PASS,
    }
}

/// Runs a packet, and checks that it gets this verdict and its action.
#[track_caller]
fn expect(loaded: &Loaded, packet: &[u8], verdict: Verdict, what: &str) {
    assert_eq!(run(loaded, packet), (action(verdict), verdict), "{what}");
}
