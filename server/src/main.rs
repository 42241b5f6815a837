//! The command line of blockd.

mod dump;
mod gc_command;
mod probe_command;
mod restore_command;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blk_datapath::dump::{DEFAULT_SNAPLEN, Dump, parse_snaplen};
use blk_datapath::explain::explain;
use blk_datapath::link;
use blk_datapath::number_list::NumberList;
use blk_xdp::{HandshakeLimit, Network};
use blockd::allow_list::AllowList;
use blockd::balance::Balance;
use blockd::daemon::{Daemon, DaemonConfig};
use blockd::exports::ExportSpec;
use blockd::gc::parse_age;
use blockd::queues::QueueChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};
use gc_command::GcArguments;
use probe_command::ProbeArguments;
use restore_command::RestoreArguments;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use tracing_subscriber::EnvFilter;

/// Serve directories to blkcp over AF_XDP.
///
/// blockd takes the UDP packets of its port from the interface by an XDP program and leaves all other traffic to the
/// kernel. Blocks go from the network to the disk without a copy in user space (O_DIRECT), and a file is
/// acknowledged only when it is durable.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<ServeArguments>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Gc(GcArguments),
    Probe(ProbeArguments),
    Restore(RestoreArguments),
}

/// What it takes to serve.
#[derive(Debug, Args)]
struct ServeArguments {
    /// Network interface to serve on; other traffic on it is left alone
    #[arg(short, long, value_name = "IF")]
    interface: String,
    /// Directory to serve under a name; may be given several times
    #[arg(short, long = "export", value_name = "NAME=DIR", required = true, value_parser = clap::value_parser!(ExportSpec))]
    exports: Vec<ExportSpec>,
    /// UDP port of the protocol
    #[arg(short, long, default_value_t = 7440, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Serve these hosts only: a network (10.0.0.0/8, fd00:77::/64) or an address; may be given several times. Packets of others to
    /// the port are dropped without an answer [default: all hosts]
    #[arg(long, value_name = "CIDR")]
    allow: Vec<Network>,
    /// Serve the hosts of this file as well: a network or an address on each line, comments behind `#`; a line `handshake-rate N`
    /// stands for the option. SIGHUP has it read again, and changes the lists while transfers go on
    #[arg(long, value_name = "FILE")]
    allow_from: Option<PathBuf>,
    /// Handshake packets that a source (an IPv4 address, 64 bits of an IPv6 address) may send per second; more are dropped;
    /// 0: no limit
    #[arg(long, value_name = "N", default_value_t = 1000)]
    handshake_rate: u32,
    /// How blocks cross the kernel: `auto` takes AF_XDP zero-copy where the driver has it, and UDP sockets elsewhere
    #[arg(long, value_enum, default_value_t = Datapath::Auto)]
    datapath: Datapath,
    /// Have each worker poll the network card itself for so long before it sleeps, in microseconds (SO_PREFER_BUSY_POLL): shorter
    /// answers, for CPU time; AF_XDP only
    #[arg(long, value_name = "MICROSECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "20", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    busy_poll: Option<u32>,
    /// Queues to serve, each by a worker of its own: how many, from queue 0 on (4), or which (0-3 or 1,3) [default: all that
    /// the interface has]
    #[arg(long, value_name = "N|LIST")]
    queues: Option<QueueChoice>,
    /// CPUs to keep the workers on, in the order of their queues (0-3,8); fewer than workers are shared in turn [default: those
    /// that the process may run on, first those of the card's NUMA node]
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    cpus: Option<NumberList>,
    /// Set the card for as long as blockd runs: the interrupt of each served queue to the CPU of its worker, and packets of the port to
    /// the served queues (RSS table and hash, or a rule). How it was is put back at the end; after a kill, by the next start or by
    /// `blockd restore`. What the card cannot do is said and left as it is
    #[arg(long)]
    steer: bool,
    /// How long what has arrived of a put that was cut off waits for it to go on: a number and s, m, h or d; 0: removed at the
    /// next look, at start and every hour
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = parse_age)]
    keep_partials: Duration,
    /// Write the protocol's packets, sent and received, to this file as pcapng, for Wireshark (tcpdump does not see them); `-` is
    /// standard output. They have the content of files. An earlier dump of this name is overwritten
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Bytes of each packet to dump; the default has all headers, `full` the whole content
    #[arg(long, value_name = "BYTES", requires = "dump", default_value_t = DEFAULT_SNAPLEN, value_parser = parse_snaplen)]
    dump_snaplen: usize,
}

const AFTER_HELP: &str = "\
AF_XDP needs root, or CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_IPC_LOCK; --datapath udp needs nothing.
RUST_LOG=info (or debug) says more on stderr.
SIGUSR1 prints the counters of the XDP program and of each queue on stderr; SIGHUP reads the file of --allow-from again.
There is no encryption and no authentication yet: serve trusted networks only.

Exit codes: 0 stopped by a signal, 1 other, 2 wrong usage, 5 an export is not a directory, 9 missing privileges,
11 the interface cannot be used.

`blockd probe` tells what network card, kernel and disk can do. `blockd gc` lists and removes the files of puts that were
never finished. `blockd restore` puts back what --steer has set, after a kill.

Example:
  blockd --interface eth1 --export data=/srv/data";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Datapath {
    /// AF_XDP zero-copy where the driver has it, UDP elsewhere; the ready line says which
    Auto,
    /// AF_XDP in the best mode that can be had, UDP where none can
    PreferXdp,
    /// AF_XDP zero-copy, or an error
    Zerocopy,
    /// AF_XDP copy mode, on any driver with native XDP
    Copy,
    /// AF_XDP in generic (skb) mode, on any driver; slower than UDP sockets, so `auto` never takes it
    Skb,
    /// Ordinary UDP sockets: no privileges, any interface, no XDP program
    Udp,
}

impl From<Datapath> for link::Datapath {
    fn from(datapath: Datapath) -> Self {
        match datapath {
            Datapath::Auto => Self::Auto,
            Datapath::PreferXdp => Self::PreferXdp,
            Datapath::Zerocopy => Self::ZeroCopy,
            Datapath::Copy => Self::Copy,
            Datapath::Skb => Self::Skb,
            Datapath::Udp => Self::Udp,
        }
    }
}

fn main() -> ExitCode {
    let parsed = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A terminal that is gone does not take blockd with it.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    match (parsed.command, parsed.serve) {
        (Some(Command::Gc(arguments)), _) => gc_command::run(&arguments),
        (Some(Command::Probe(arguments)), _) => probe_command::run(&arguments),
        (Some(Command::Restore(arguments)), _) => restore_command::run(&arguments),
        (None, Some(arguments)) => run(arguments),
        // Never: what is required is there, or the usage was shown.
        (None, None) => fail("nothing to do: see blockd --help", 2),
    }
}

/// Serves from start to end.
fn run(arguments: ServeArguments) -> ExitCode {
    // Signals are caught before anything is attached, so that none of them can leave something behind.
    let signals = match catch_signals() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot catch signals: {error}"), 1),
    };
    let dump = match dump::start(arguments.dump.as_deref(), arguments.dump_snaplen) {
        Ok(dump) => dump,
        Err(error) => return fail(&explain(&error), 1),
    };
    let list = AllowList {
        networks: arguments.allow,
        file: arguments.allow_from,
        handshake_rate: arguments.handshake_rate,
    };
    let admission = match list.read() {
        Ok(admission) => admission,
        Err(error) => return fail(&explain(&error), 2),
    };
    let config = DaemonConfig {
        interface: arguments.interface,
        exports: arguments.exports,
        port: arguments.port,
        admission,
        datapath: arguments.datapath.into(),
        busy_poll: arguments
            .busy_poll
            .map(|time| Duration::from_micros(time.into())),
        queues: arguments.queues,
        cpus: arguments.cpus,
        steer: arguments.steer,
        keep_partials: arguments.keep_partials,
        dump: dump.as_ref().map(Dump::taps),
    };
    let status = match Daemon::start(&config) {
        Ok(daemon) => serve(daemon, signals, &list),
        Err(error) => fail(&explain(&error), error.exit_code()),
    };
    if let Some(dump) = dump {
        say(&format!("blockd: {}\n", dump.finish()));
    }
    status
}

fn serve(mut daemon: Daemon, mut signals: Signals, list: &AllowList) -> ExitCode {
    for note in daemon.steering_notes() {
        say(&format!("blockd: steering: {note}\n"));
    }
    say(&format!("blockd: {}\n", daemon.summary()));
    let mut byte = [0];
    let broken = loop {
        match signals.wakeups.read(&mut byte) {
            Ok(_) => {
                if signals.statistics.swap(false, Ordering::Relaxed) {
                    show_statistics(&daemon);
                }
                if signals.hangup.swap(false, Ordering::Relaxed) {
                    read_again(&mut daemon, list);
                }
            }
            // The read times out once a second: time to see whether the workers live, and the interface.
            Err(_) if daemon.is_broken() => break Some(("a worker thread has died".to_owned(), 1)),
            Err(_) => {
                if let Some(error) = daemon.cut_off() {
                    break Some((explain(&error), error.exit_code()));
                }
            }
        }
        if signals.stop.load(Ordering::Relaxed) {
            break None;
        }
    };
    let report = daemon.stop();
    match report.packets {
        Some(Ok(packets)) => tracing::info!("statistics of the XDP program: {packets}"),
        Some(Err(error)) => tracing::warn!("{}", explain(&error)),
        None => {}
    }
    for (post, report) in &report.workers {
        tracing::info!("statistics of {post}: {report}");
    }
    let workers = report.workers.iter();
    let told = workers.filter_map(|(post, report)| Some((post.queue()?, report)));
    if let Some(balance) = Balance::of(told) {
        tracing::info!("{balance}");
    }
    match broken {
        Some((message, code)) => fail(&message, code),
        None => ExitCode::SUCCESS,
    }
}

/// In one write: who reads along sees all of it or nothing.
fn show_statistics(daemon: &Daemon) {
    let packets = daemon.packets().map(|packets| match packets {
        Ok(packets) => format!("statistics of the XDP program: {packets}"),
        Err(error) => explain(&error),
    });
    let mut lines: Vec<String> = packets.into_iter().collect();
    let small_files = daemon.small_files();
    lines.push(format!("statistics of small files: {small_files}"));
    let reports = daemon.reports();
    for (post, report) in &reports {
        lines.push(match report {
            Some(report) => format!("statistics of {post}: {report}"),
            None => format!("statistics of {post}: the worker does not answer"),
        });
    }
    let told = reports
        .iter()
        .filter_map(|(post, report)| Some((post.queue()?, report.as_ref()?)));
    lines.extend(Balance::of(told).map(|balance| balance.to_string()));
    let text: String = lines
        .iter()
        .map(|line| format!("blockd: {line}\n"))
        .collect();
    say(&text);
}

/// Reads the allow-list again, and has it kept. What is wrong with it leaves the old one in force.
fn read_again(daemon: &mut Daemon, list: &AllowList) {
    let Some(file) = &list.file else {
        say("blockd: SIGHUP: nothing to read again, without --allow-from\n");
        return;
    };
    let file = file.display();
    let old = daemon.admission().clone();
    let new = match list.read() {
        Ok(new) => new,
        Err(error) => return refuse_list(&explain(&error)),
    };
    if let Err(error) = daemon.admit(new.clone()) {
        return refuse_list(&format!("{file}: {}", explain(&error)));
    }
    let (added, removed) = old.difference(&new);
    let mut text = format!(
        "SIGHUP: {file} read again: {} allowed network(s), {} added, {} removed",
        new.allow.len(),
        added.len(),
        removed.len()
    );
    if old.handshakes != new.handshakes {
        let rate = new.handshakes.map_or(0, HandshakeLimit::rate);
        text += &format!(", handshake rate {rate}");
    }
    say(&format!("blockd: {text}\n"));
}

fn refuse_list(why: &str) {
    tracing::warn!("SIGHUP: the allow-list stays as it was: {why}");
}

/// On stderr, in one write. It may be gone, as a terminal that was closed: that is no reason to end.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// At least one CPU.
fn parse_cpus(text: &str) -> Result<NumberList, String> {
    let list: NumberList = text.parse().map_err(|error| format!("{error}"))?;
    match list.numbers() {
        [] => Err("no CPU is named".to_owned()),
        _ => Ok(list),
    }
}

/// The signals that came.
struct Signals {
    /// A byte for each.
    wakeups: UnixStream,
    stop: Arc<AtomicBool>,
    statistics: Arc<AtomicBool>,
    hangup: Arc<AtomicBool>,
}

fn catch_signals() -> std::io::Result<Signals> {
    let (wakeups, writer) = UnixStream::pair()?;
    let (stop, statistics, hangup) = (Arc::default(), Arc::default(), Arc::default());
    for (signal, flag) in [
        (SIGINT, &stop),
        (SIGTERM, &stop),
        (SIGUSR1, &statistics),
        (SIGHUP, &hangup),
    ] {
        // In this order: who is woken finds the flag set.
        signal_hook::flag::register(signal, Arc::clone(flag))?;
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    wakeups.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(Signals {
        wakeups,
        stop,
        statistics,
        hangup,
    })
}

fn fail(message: &str, code: u8) -> ExitCode {
    say(&format!("blockd: {message}\n"));
    ExitCode::from(code)
}
