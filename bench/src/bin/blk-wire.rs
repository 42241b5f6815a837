//! `blk-wire`: a link between two interfaces that loses, delays, reorders, duplicates and corrupts frames.

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use blk_bench::wire::impairment::{Impairment, Queue};
use blk_bench::wire::relay::{Direction, Summary};
use blk_bench::wire::socket::PacketSocket;
use blk_bench::wire::units;
use clap::Parser;

/// Bytes of an Ethernet header with two VLAN tags, on top of the MTU.
const ETHERNET_OVERHEAD: usize = 14 + 8;

/// Separates the random numbers of the two directions.
const OTHER_DIRECTION: u64 = 0xa5a5_a5a5_5a5a_5a5a;

/// Joins two interfaces by a wire that loses, delays, reorders, duplicates and corrupts frames.
///
/// Every frame that arrives on one interface leaves by the other, in both directions; the options hold for each
/// direction on its own. They mean what they mean to `tc qdisc ... netem`, which AF_XDP sockets bypass. The interfaces must
/// have their offloads off (`ethtool -K IF tso off gso off gro off tx off`) and no addresses. Frames are sent by one queue.
///
/// Prints `blk-wire: ready` when frames get through, and what it did to them when it ends (SIGINT or SIGTERM).
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// One interface.
    #[arg(long, value_name = "IF")]
    a: String,
    /// The other interface.
    #[arg(long, value_name = "IF")]
    b: String,
    /// Share of frames to drop.
    #[arg(long, value_name = "P%", default_value = "0", value_parser = units::share)]
    loss: f64,
    /// Time for which each frame is held (500us, 10ms, 1s).
    #[arg(long, value_name = "T", default_value = "0", value_parser = units::time)]
    delay: u64,
    /// The delay varies by up to this much in either direction, evenly spread.
    #[arg(long, value_name = "T", default_value = "0", value_parser = units::time)]
    jitter: u64,
    /// Share of frames that skip the delay; without a delay, that fall behind the next one to three.
    #[arg(long, value_name = "P%", default_value = "0", value_parser = units::share)]
    reorder: f64,
    /// Share of frames to send twice.
    #[arg(long, value_name = "P%", default_value = "0", value_parser = units::share)]
    duplicate: f64,
    /// Share of frames to flip one random bit of.
    #[arg(long, value_name = "P%", default_value = "0", value_parser = units::share)]
    corrupt: f64,
    /// Line rate (100mbit, 1gbit). Not limited by default.
    #[arg(long, value_name = "R", value_parser = units::rate)]
    rate: Option<u64>,
    /// Frames that may be on the way in one direction; more are dropped.
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    limit: usize,
    /// Seed of the random numbers: the same seed makes the same decisions on the same frames.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Socket buffer for each direction, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    buffer: usize,
}

impl Arguments {
    fn impairment(&self) -> Impairment {
        Impairment {
            loss: self.loss,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            reorder: self.reorder,
            delay: self.delay,
            jitter: self.jitter,
            rate: self.rate,
            limit: self.limit,
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("blk-wire: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    let a = open(&arguments.a, arguments)?;
    let b = open(&arguments.b, arguments)?;
    let frame_len = mtu(&arguments.a)?.max(mtu(&arguments.b)?) + ETHERNET_OVERHEAD;
    let queue = |seed| Queue::new(arguments.impairment(), seed);
    let there = Direction::new(&a, &b, queue(arguments.seed), frame_len);
    let back = Direction::new(&b, &a, queue(arguments.seed ^ OTHER_DIRECTION), frame_len);
    println!("blk-wire: ready");

    let (there, back) = std::thread::scope(|scope| {
        let there = scope.spawn(|| relay(there, &stop));
        let back = scope.spawn(|| relay(back, &stop));
        (there.join(), back.join())
    });
    let (there, back) = (ended(there)?, ended(back)?);
    println!("{} -> {}: {there}", arguments.a, arguments.b);
    println!("{} -> {}: {back}", arguments.b, arguments.a);
    Ok(())
}

/// One direction, in its own thread. When it fails, the other one ends too.
fn relay(direction: Direction<'_>, stop: &AtomicBool) -> Result<Summary> {
    // By default the kernel rounds a thread's timeouts up by 50 us, much of a short delay. Not vital where it is refused.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let result = direction.run(stop);
    stop.store(true, Ordering::Relaxed);
    result.context("the wire broke")
}

fn ended(result: std::thread::Result<Result<Summary>>) -> Result<Summary> {
    result.map_err(|_| anyhow::anyhow!("a relay thread panicked"))?
}

fn open(interface: &str, arguments: &Arguments) -> Result<PacketSocket> {
    PacketSocket::open(interface, arguments.buffer << 20).with_context(|| {
        format!("cannot open a packet socket on {interface} (root or CAP_NET_RAW + CAP_NET_ADMIN)")
    })
}

/// The longest packet of an interface, in bytes without the Ethernet header.
fn mtu(interface: &str) -> Result<usize> {
    let path = format!("/sys/class/net/{interface}/mtu");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{path} holds no number"))
}
