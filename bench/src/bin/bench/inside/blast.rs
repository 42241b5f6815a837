//! Packets over AF_XDP in copy mode as fast as they go, counted where they arrive.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blk_bench::lab::hosts::Host;
use blk_datapath::umem::{Frame, Free, PACKET_START, PAYLOAD_START, Umem};
use blk_datapath::worker::max_payload_for;
use blk_datapath::xsk::{BindMode, XskConfig, XskSocket};
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

fn open(interface: &str) -> Result<(Umem, XskSocket)> {
    let mut umem = Umem::new(FRAMES)?;
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
    let (mut umem, mut socket) = open(&arguments.interface)?;
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
    let mut packets = Vec::new();
    while started.elapsed() < LIFE {
        socket.fill(&mut umem, FILL);
        if socket.receive(&mut umem, &mut packets) == 0 {
            wait(&socket);
        }
        count.fetch_add(packets.len() as u64, Ordering::Relaxed);
        packets.drain(..).for_each(|frame| umem.release(frame));
    }
    Ok(())
}

/// Sends for some seconds, and prints what arrived in most of them.
pub fn send(arguments: &Arguments) -> Result<()> {
    let mtu = std::fs::read_to_string(format!("/sys/class/net/{}/mtu", arguments.interface))?;
    let payload = usize::from(max_payload_for(mtu.trim().parse()?));
    let counter = SocketAddr::new(arguments.address, COUNTER_PORT);
    let (mut umem, mut socket) = open(&arguments.interface)?;
    let path = path(arguments)?;
    blast(&mut umem, &mut socket, &path, payload, RAMP)?;
    let (before, started) = (count(counter)?, Instant::now());
    blast(&mut umem, &mut socket, &path, payload, TIME)?;
    let packets = count(counter)? - before;
    let report = Report {
        payload_bytes: packets * payload as u64,
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
    payload: usize,
    time: Duration,
) -> Result<()> {
    let (started, mut returned) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        socket.complete(umem, &mut returned);
        while socket.transmit_space() > 0
            && let Some(frame) = umem.allocate()
        {
            let length = PAYLOAD_START - PACKET_START + payload;
            if let Err(frame) = packet(umem, socket, path, frame, length) {
                umem.release(frame);
                break;
            }
        }
        socket.kick()?;
    }
    Ok(())
}

/// Queues a packet whose blocks are where they always are. They hold whatever is there: nobody looks.
fn packet(
    umem: &mut Umem,
    socket: &mut XskSocket,
    path: &Path,
    mut frame: Frame<Free>,
    length: usize,
) -> Result<(), Frame<Free>> {
    let headers = path.header_len();
    let area = umem.packet_mut(&mut frame);
    if path.write_headers(area, length - headers).is_err() {
        return Err(frame);
    }
    socket.transmit(umem, frame, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read() {
        let told = told(r#"{"payload_bytes":12,"seconds":3.0}"#).unwrap();
        assert_eq!((told.bytes, told.seconds), (Some(12), Some(3.0)));
        assert!(super::told("").is_err());
    }
}
