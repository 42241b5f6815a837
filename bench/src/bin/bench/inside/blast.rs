//! Packets over AF_XDP in copy mode as fast as they go, counted where they arrive. As blocks, they lie in several frames where
//! the MTU has room for that.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blk_bench::lab::hosts::Host;
use blk_datapath::chain::Chain;
use blk_datapath::umem::{DEFAULT_UMEM_RING, Frame, Free, PACKET_START, PAYLOAD_START, Umem};
use blk_datapath::worker::max_payload_for;
use blk_datapath::xsk::{BindMode, XskConfig, XskSocket};
use blk_proto::geometry::{LONG_PAYLOAD_OFFSET, max_long_payload_for_mtu};
use blk_proto::net::Path;
use blk_xdp::{AttachMode, Program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::tools::Told;

/// Where the receiver tells its count.
pub const COUNTER_PORT: u16 = 9002;
/// Where the packets go.
const PORT: u16 = 9001;
const QUEUE: u32 = 0;
const FRAMES: u32 = 8192;
const FILL: usize = 4096;
/// The receiver does not outlive this.
const LIFE: Duration = Duration::from_secs(60);
const RAMP: Duration = Duration::from_millis(300);
const TIME: Duration = Duration::from_secs(3);

/// Which way it goes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// This end's interface
    interface: String,
    /// The receiver's address
    address: std::net::IpAddr,
}

#[derive(Serialize, Deserialize)]
struct Report {
    payload_bytes: u64,
    seconds: f64,
}

/// What [`send`] has printed.
pub fn told(output: &str) -> Result<Told> {
    let report: Report =
        serde_json::from_str(output).with_context(|| format!("no count: {output}"))?;
    Ok(Told {
        seconds: Some(report.seconds),
        bytes: Some(report.payload_bytes),
        copies: None,
    })
}

/// What is sent: how long the packets are, and how much of them is payload, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    packet: usize,
    payload: usize,
}

/// Blocks as blkcp would send them on an interface of this MTU, and whether they lie in several frames.
fn shape(mtu: u32) -> (Shape, bool) {
    let (before, payload, long) = match max_long_payload_for_mtu(mtu as usize) {
        Some(payload) => (LONG_PAYLOAD_OFFSET, payload, true),
        None => (PAYLOAD_START - PACKET_START, max_payload_for(mtu), false),
    };
    let payload = usize::from(payload);
    let packet = before + payload;
    (Shape { packet, payload }, long)
}

fn shape_on(interface: &str) -> Result<(Shape, bool)> {
    let mtu = std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu"))?;
    Ok(shape(mtu.trim().parse()?))
}

fn open(interface: &str, long: bool) -> Result<(Umem, XskSocket)> {
    let mut umem = match long {
        true => Umem::with_fragments(FRAMES, DEFAULT_UMEM_RING, DEFAULT_UMEM_RING)?,
        false => Umem::new(FRAMES)?,
    };
    let config = XskConfig::new(interface, QUEUE, BindMode::Copy);
    let socket = XskSocket::open(&config, &mut umem)?;
    Ok((umem, socket))
}

fn wait(socket: &XskSocket) {
    let mut wanted = [PollFd::new(socket, PollFlags::IN)];
    let soon = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    // An interruption is as good as an answer.
    let _ = poll(&mut wanted, Some(&soon));
}

/// Counts packets, for a minute at most.
pub fn receive(arguments: &Arguments) -> Result<()> {
    let mut program = Program::attach(arguments.interface.as_str(), AttachMode::Native)?;
    let (_, long) = shape_on(&arguments.interface)?;
    let (mut umem, mut socket) = open(&arguments.interface, long)?;
    program.register(QUEUE, PORT, socket.fd())?;
    let count = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind(SocketAddr::new(arguments.address, COUNTER_PORT))?;
    let told = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream: TcpStream = stream;
            // Who does not want to know any more has gone.
            let _ = stream.write_all(&told.load(Ordering::Relaxed).to_le_bytes());
        }
    });
    let started = Instant::now();
    let (mut frames, mut several) = (Vec::new(), Vec::new());
    while started.elapsed() < LIFE {
        socket.fill(&mut umem, FILL);
        if socket.receive_parts(&mut umem, &mut frames, &mut several) == 0 {
            wait(&socket);
        }
        let within: usize = several.iter().map(ExactSizeIterator::len).sum();
        let packets = frames.len() - within + several.len();
        count.fetch_add(packets as u64, Ordering::Relaxed);
        frames.drain(..).for_each(|frame| umem.release(frame));
        several.clear();
    }
    Ok(())
}

/// Sends for some seconds, and prints what arrived in most of them.
pub fn send(arguments: &Arguments) -> Result<()> {
    let (shape, long) = shape_on(&arguments.interface)?;
    let counter = SocketAddr::new(arguments.address, COUNTER_PORT);
    let (mut umem, mut socket) = open(&arguments.interface, long)?;
    let path = path(arguments)?;
    blast(&mut umem, &mut socket, &path, shape, RAMP)?;
    let (before, started) = (count(counter)?, Instant::now());
    blast(&mut umem, &mut socket, &path, shape, TIME)?;
    let packets = count(counter)? - before;
    let report = Report {
        payload_bytes: packets * shape.payload as u64,
        seconds: started.elapsed().as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// From the lab's client to its server.
fn path(arguments: &Arguments) -> Result<Path> {
    let mac = |host: Host| {
        let bytes = host.mac();
        let bytes = bytes.split(':').map(|byte| u8::from_str_radix(byte, 16));
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
        bytes.try_into().ok().context("no Ethernet address")
    };
    let source = SocketAddr::from(([10, 77, 0, 2], PORT));
    let target = SocketAddr::new(arguments.address, PORT);
    Ok(Path::new(
        mac(Host::Client)?,
        mac(Host::Server)?,
        source,
        target,
    ))
}

fn count(counter: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect(counter).context("the receiver does not answer")?;
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn blast(
    umem: &mut Umem,
    socket: &mut XskSocket,
    path: &Path,
    shape: Shape,
    time: Duration,
) -> Result<()> {
    let (started, mut returned) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        socket.complete(umem, &mut returned);
        while let Some(frames) = frames_of(umem, shape.packet)
            && packet(umem, socket, path, frames)
        {}
        socket.kick()?;
    }
    Ok(())
}

/// Frames for a packet, and how much of it is in each; `None` while there are not enough.
fn frames_of(umem: &mut Umem, packet: usize) -> Option<Vec<(Frame<Free>, usize)>> {
    let most = umem.packet_max();
    if umem.available() < packet.div_ceil(most) {
        return None;
    }
    let starts = (0..packet).step_by(most);
    starts
        .map(|start| Some((umem.allocate()?, most.min(packet - start))))
        .collect()
}

/// Queues a packet whose blocks hold whatever is there: nobody looks. `false`: there is no room for it.
fn packet(
    umem: &mut Umem,
    socket: &mut XskSocket,
    path: &Path,
    mut frames: Vec<(Frame<Free>, usize)>,
) -> bool {
    let length: usize = frames.iter().map(|&(_, length)| length).sum();
    let headers = path.header_len();
    let written = frames.first_mut().is_some_and(|(first, _)| {
        let area = umem.packet_mut(first);
        path.write_headers(area, length - headers).is_ok()
    });
    let left = if !written || socket.transmit_space() < frames.len() {
        frames
    } else if umem.has_fragments() {
        match socket.transmit_parts(umem, frames, Chain::Many(Vec::new())) {
            Ok(()) => return true,
            Err(back) => back.parts,
        }
    } else {
        let sent = frames
            .pop()
            .map(|(frame, length)| socket.transmit(umem, frame, length));
        match sent {
            Some(Err(frame)) => vec![(frame, length)],
            _ => return true,
        }
    };
    left.into_iter().for_each(|(frame, _)| umem.release(frame));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_long_as_blkcp_has_them() {
        let of = |mtu| {
            let (shape, long) = shape(mtu);
            assert!(shape.packet <= mtu as usize + 14, "{shape:?} on {mtu}");
            (shape.payload, long)
        };
        assert_eq!(of(1500), (1024, false));
        assert_eq!(of(3498), (3072, false));
        assert_eq!(of(65_535), (53_760, true));
        let (payload, long) = of(9000);
        assert!(long && payload > 7000, "{payload}");
    }

    #[test]
    fn the_count_is_read() {
        let told = told(r#"{"payload_bytes":12,"seconds":3.0}"#).unwrap();
        assert_eq!((told.bytes, told.seconds), (Some(12), Some(3.0)));
        assert!(super::told("").is_err());
    }
}
