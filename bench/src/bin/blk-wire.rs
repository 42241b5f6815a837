//! `blk-wire`: a link between two interfaces that loses, delays, reorders, duplicates and corrupts frames, with a rate and
//! a queue.

use std::fs::{File, OpenOptions};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blk_bench::wire::impairment::Queue;
use blk_bench::wire::relay::{Control, Direction, Summary};
use blk_bench::wire::settings::{self, ImpairmentOptions};
use blk_bench::wire::socket::PacketSocket;
use blk_bench::wire::trace::Trace;
use blk_bench::wire::vlan::Vlan;
use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Bytes of an Ethernet header with two VLAN tags, on top of the MTU.
const ETHERNET_OVERHEAD: usize = 14 + 8;

/// Separates the random numbers of the two directions.
const OTHER_DIRECTION: u64 = 0xa5a5_a5a5_5a5a_5a5a;

/// How often the main thread looks for signals.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(5);

/// Joins two interfaces by a wire that loses, delays, reorders, duplicates and corrupts frames.
///
/// Every frame that arrives on one interface leaves by the other, in both directions; the options hold for each
/// direction on its own. They mean what they mean to `tc qdisc ... netem`, which AF_XDP sockets bypass. The interfaces must
/// have their offloads off (`ethtool -K IF tso off gso off gro off tx off`) and no addresses. Frames are sent by one queue.
///
/// Prints `blk-wire: ready` when frames get through, and what it did to them when it ends (SIGINT or SIGTERM). SIGHUP
/// reads the control file and prints `blk-wire: changed`, or what is wrong with it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// One interface.
    #[arg(long, value_name = "IF")]
    a: String,
    /// The other interface.
    #[arg(long, value_name = "IF")]
    b: String,
    /// The first interface carries this VLAN: its frames have this tag, or these two, the outer one first, and those that go there
    /// get them. Others are dropped.
    #[arg(long, value_name = "ID[,ID]", value_parser = Vlan::parse)]
    vlan_a: Option<Vlan>,
    /// The same for the other interface.
    #[arg(long, value_name = "ID[,ID]", value_parser = Vlan::parse)]
    vlan_b: Option<Vlan>,
    #[command(flatten)]
    impairment: ImpairmentOptions,
    /// Seed of the random numbers: the same seed makes the same decisions on the same frames.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Socket buffer for each direction, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    buffer: usize,
    /// At SIGHUP, take the impairment's options from this file instead of the command line.
    #[arg(long, value_name = "FILE")]
    control: Option<PathBuf>,
    /// Append to this file how many frames and bytes of each sender came out, every 50 ms.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// The signals that came.
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
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
    let signals = catch_signals().context("cannot handle signals")?;
    let a = open(&arguments.a, arguments)?;
    let b = open(&arguments.b, arguments)?;
    let frame_len = mtu(&arguments.a)?.max(mtu(&arguments.b)?) + ETHERNET_OVERHEAD;
    let queue = |seed| Queue::new(arguments.impairment.impairment(), seed);
    let (seed, start) = (arguments.seed, Instant::now());
    let there = Direction::new(&a, &b, queue(seed), frame_len, start);
    let back = Direction::new(&b, &a, queue(seed ^ OTHER_DIRECTION), frame_len, start);
    let there = there.traced(trace(arguments, &arguments.a)?);
    let back = back.traced(trace(arguments, &arguments.b)?);
    let [on_a, on_b] =
        [&arguments.vlan_a, &arguments.vlan_b].map(|v| v.clone().unwrap_or_default());
    let there = there.between([on_a.clone(), on_b.clone()]);
    let back = back.between([on_b, on_a]);
    println!("blk-wire: ready");

    let control = Control::default();
    let (there, back) = std::thread::scope(|scope| {
        let there = relay(scope, there, &control);
        let back = relay(scope, back, &control);
        supervise(arguments.control.as_deref(), &signals, &control);
        (there.join(), back.join())
    });
    let (there, back) = (ended(there)?, ended(back)?);
    println!("{} -> {}: {there}", arguments.a, arguments.b);
    println!("{} -> {}: {back}", arguments.b, arguments.a);
    Ok(())
}

fn catch_signals() -> std::io::Result<Signals> {
    let signals = Signals {
        stop: Arc::default(),
        reload: Arc::default(),
    };
    for (signal, flag) in [
        (SIGINT, &signals.stop),
        (SIGTERM, &signals.stop),
        (SIGHUP, &signals.reload),
    ] {
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(signals)
}

/// Does what signals ask for until the wire ends.
fn supervise(file: Option<&Path>, signals: &Signals, control: &Control) {
    while !control.is_stopped() {
        if signals.stop.load(Ordering::Relaxed) {
            control.stop();
        }
        if signals.reload.swap(false, Ordering::Relaxed) {
            match file
                .ok_or_else(|| "there is no --control FILE".to_owned())
                .and_then(settings::read)
            {
                Ok(impairment) => {
                    control.change(impairment);
                    println!("blk-wire: changed");
                }
                Err(error) => println!("blk-wire: nothing changed: {error}"),
            }
        }
        std::thread::sleep(SIGNAL_INTERVAL);
    }
}

/// One direction, in its own thread. When it fails, the other one ends too.
fn relay<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    direction: Direction<'env>,
    control: &'env Control,
) -> ScopedJoinHandle<'scope, Result<Summary>> {
    scope.spawn(move || {
        // By default the kernel rounds a thread's timeouts up by 50 us, much of a short delay. Not vital where it is refused.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let result = direction.run(control);
        control.stop();
        result.context("the wire broke")
    })
}

fn ended(result: std::thread::Result<Result<Summary>>) -> Result<Summary> {
    result.map_err(|_| anyhow::anyhow!("a relay thread panicked"))?
}

fn trace(arguments: &Arguments, from: &str) -> Result<Option<Trace>> {
    let open = |path: &PathBuf| -> Result<Trace> {
        let file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open the trace {}", path.display()))?;
        Ok(Trace::new(file, from))
    };
    arguments.trace.as_ref().map(open).transpose()
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
