//! What data paths cost: measured on purpose, remembered, and what `auto` makes of it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use blk_client::paths::{Cost, History, Site, Ways};
use rustix::process::Signal;
use serde_json::Value;

use super::support::client::{Outcome, Running, start_over, start_unprivileged};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, binary, files, must, nothing_missing, ready, within};
use super::udp::{scene, there_and_back};

const MTU: u32 = 1500;
const SERVER: &str = "10.77.0.1";

/// Where figures of the client's interface hold.
fn site(hosts: &Hosts) -> Site {
    let namespace = Path::new("/run/netns").join(hosts.namespace(Host::Client));
    let namespace = std::fs::metadata(namespace).expect("the namespace is there");
    Site {
        namespace: namespace.ino(),
        ..Site::named(Host::Client.interface(), "veth", MTU)
    }
}

/// Makes AF_XDP copy mode half as dear as UDP sockets on the interface of the client.
fn plant(hosts: &Hosts) {
    let ways = |cpu_per_gb| {
        let cost = Cost {
            rate: 1e9,
            cpu_per_gb,
        };
        Ways {
            sent: cost,
            received: cost,
        }
    };
    let history = History::at(hosts.blkcp_history());
    let planted = history.record(&site(hosts), 1 << 30, ways(1.0), ways(0.5));
    planted.expect("cannot write a history");
}

fn start(hosts: &Hosts, directory: &Directory) -> Daemon {
    let (interface, export) = (Host::Server.interface(), directory.join("export"));
    Daemon::start_over(hosts, interface, "auto", &export, directory)
}

/// The data path, and why.
fn taken(outcome: &Outcome) -> (String, String) {
    let line: Value = serde_json::from_str(&outcome.ok().stdout).expect("the summary is JSON");
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    (text("datapath"), text("datapath_reason"))
}

/// Puts and gets over `auto`: the data path, and why.
fn copied(hosts: &Hosts, directory: &Directory, options: &[&str]) -> [(String, String); 2] {
    there_and_back(directory, SERVER, |arguments| {
        let arguments = [options, arguments].concat();
        start_over(hosts, Host::Client, "auto", directory, &arguments).outcome()
    })
    .map(|outcome| taken(&outcome))
}

#[test]
fn auto_takes_what_was_measured_to_be_better_and_says_so() {
    if !ready("auto_takes_what_was_measured_to_be_better_and_says_so") {
        return;
    }
    let (directory, hosts) = scene(MTU);
    let daemon = start(&hosts, &directory);
    let said = "UDP sockets (driver veth has no zero-copy mode)";
    assert!(daemon.log().contains(said), "{}", daemon.log());
    for (datapath, reason) in copied(&hosts, &directory, &[]) {
        assert_eq!(datapath, "udp");
        assert!(reason.contains("nothing measured"), "{reason}");
    }
    assert!(!hosts.has_xdp(Host::Client));
    assert!(!hosts.blkcp_history().exists(), "a copy is no measurement");

    plant(&hosts);
    let figures = "measured 1.00 GB/s at 0.50 CPU s/GB against 1.00 at 1.00 over UDP sockets";
    for (datapath, reason) in copied(&hosts, &directory, &[]) {
        assert_eq!(datapath, "af_xdp-copy");
        assert!(reason.contains(figures), "{reason}");
    }
    assert!(!hosts.has_xdp(Host::Server), "blockd does not go by them");
    // What was asked for is not touched, and without privileges there is no choice.
    let other = directory.join("other");
    let arguments = [
        format!("{SERVER}:data/file"),
        other.to_str().expect("a plain path").to_owned(),
    ];
    let udp = start_over(&hosts, Host::Client, "udp", &directory, &arguments).outcome();
    assert_eq!(taken(&udp).0, "udp");
    let poor = start_unprivileged(&hosts, Host::Client, &directory, &arguments).outcome();
    assert_eq!(taken(&poor).0, "udp");

    std::fs::write(hosts.blkcp_history(), "{").expect("cannot write a file");
    let after = start_over(&hosts, Host::Client, "auto", &directory, &arguments).outcome();
    let (datapath, reason) = taken(&after);
    assert_eq!(datapath, "udp");
    assert!(reason.contains("damaged"), "{reason}");
    assert!(after.stderr.contains("damaged"), "{}", after.stderr);
}

#[test]
fn figures_fail_no_copy() {
    if !ready("figures_fail_no_copy") {
        return;
    }
    let directory = Directory::new();
    directory.subdirectory("export");
    files::write(&directory.join("file"), 16 << 20, 1);
    let hosts = Hosts::up(Link {
        mtu: MTU,
        wire: &["--queues", "1"],
    });
    let daemon = start(&hosts, &directory);
    plant(&hosts);
    let (datapath, _) = &copied(&hosts, &directory, &[])[0];
    assert_eq!(datapath, "af_xdp-copy", "one flow can have it");
    for (datapath, reason) in copied(&hosts, &directory, &["--flows", "4"]) {
        assert_eq!(datapath, "udp");
        let says = reason.contains("no AF_XDP") && reason.contains("4 flows need 4 queues");
        assert!(says, "{reason}");
    }
    // No session comes up, over neither.
    drop(daemon);
    let arguments = [
        format!("{SERVER}:data/file"),
        directory.join("other").display().to_string(),
    ];
    let alone = start_over(&hosts, Host::Client, "auto", &directory, &arguments).outcome();
    alone.fails(3, &["nobody listens"]);
    assert!(!hosts.has_xdp(Host::Client));
}

/// Two hosts, a directory to measure in and one for temporary files.
struct Bench {
    // Dropped in this order.
    _daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    scratch: PathBuf,
    directory: Directory,
}

impl Bench {
    fn new() -> Self {
        Self::over(Link::of(MTU))
    }

    fn over(link: Link<'_>) -> Self {
        let directory = Directory::new();
        let hosts = Hosts::up(link);
        Self {
            export: directory.subdirectory("export"),
            scratch: directory.subdirectory("tmp"),
            _daemon: start(&hosts, &directory),
            directory,
            hosts,
        }
    }

    fn measure(&self, place: &str) -> Running {
        self.measure_with(place, "256MiB")
    }

    fn measure_with(&self, place: &str, size: &str) -> Running {
        let mut command = self.hosts.command(Host::Client, binary("blkcp"));
        command.env("TMPDIR", &self.scratch);
        command.args(["measure", "--json", "--size", size]);
        Running::start(command.arg(format!("{SERVER}:{place}")), &self.directory)
    }

    /// At neither end.
    #[track_caller]
    fn nothing_left(&self) {
        let [there, here] = [&self.export, &self.scratch].map(|place| files::names(place));
        assert!(there.is_empty() && here.is_empty(), "{there:?} {here:?}");
        assert!(!self.hosts.has_xdp(Host::Client));
    }
}

#[test]
fn measuring_fills_the_history_and_leaves_no_file() {
    if !ready("measuring_fills_the_history_and_leaves_no_file") {
        return;
    }
    let bench = Bench::new();
    let done = bench.measure("data").outcome();
    let told: Value = serde_json::from_str(&done.ok().stdout).expect("the report is JSON");
    assert_eq!(
        (&told["interface"], &told["mtu"]),
        (&"blk1".into(), &MTU.into())
    );
    for (at, rounds) in [2, 2, 0].into_iter().enumerate() {
        let row = &told["paths"][at];
        for way in ["put", "get"] {
            assert_eq!(row[way].as_array().map(Vec::len), Some(rounds), "{told}");
        }
        assert_eq!(row["absent"].is_null(), rounds > 0, "{told}");
    }
    assert_eq!(told["forgotten"], Value::Null);
    let reason = told["auto_put"]["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("measured") && reason.contains("against"),
        "{reason}"
    );
    let history = bench.hosts.blkcp_history();
    let mode = std::fs::metadata(&history).expect("it is there").mode();
    assert_eq!(mode & 0o777, 0o600);
    let run = History::at(history).look_up(&site(&bench.hosts));
    let run = run.expect("it can be read").expect("it is remembered");
    let puts = told["paths"][0]["put"].as_array().expect("rounds");
    let rates = puts
        .iter()
        .filter_map(|round| round["bytes_per_second"].as_f64());
    let mean = rates.sum::<f64>() / 2.0;
    let off = (run.udp.sent.rate / mean - 1.0).abs();
    assert!(off < 1e-6, "{run:?} {told}");
    bench.nothing_left();

    // To itself there is no AF_XDP, and so nothing to choose.
    let hosts = &bench.hosts;
    let mut command = hosts.command(Host::Server, binary("blkcp"));
    command.env("TMPDIR", &bench.scratch);
    command.args(["measure", "--size", "1MiB"]);
    command.arg(format!("{SERVER}:data"));
    let own = Running::start(&mut command, &bench.directory).outcome();
    for words in [
        "auto takes for a put: UDP sockets (no AF_XDP",
        "auto takes for a get: UDP sockets (no AF_XDP",
        "not remembered: the file has less than 256 MiB",
    ] {
        assert!(own.ok().stdout.contains(words), "{}", own.stdout);
    }
    bench.nothing_left();
}

#[test]
fn what_ends_a_measurement_leaves_no_file_or_names_it() {
    if !ready("what_ends_a_measurement_leaves_no_file_or_names_it") {
        return;
    }
    let bench = Bench::new();
    // While the file is written here, while it is put, and while it is there.
    let moments: [&dyn Fn() -> bool; 3] = [
        &|| !files::names(&bench.scratch).is_empty(),
        &|| bench.hosts.has_xdp(Host::Client),
        &|| !files::names(&bench.export).is_empty(),
    ];
    for (at, moment) in moments.into_iter().enumerate() {
        let running = bench.measure("data");
        assert!(within(Duration::from_secs(60), moment), "moment {at}");
        running.signal(Signal::INT);
        running.outcome().fails(130, &["interrupted"]);
        bench.nothing_left();
    }
    let history = bench.hosts.blkcp_history();
    assert!(!history.exists(), "half a run is none");
    bench
        .measure("data/missing")
        .outcome()
        .fails(2, &["data/missing", "not there"]);
    bench.measure("nothing").outcome().fails(5, &["nothing"]);
    bench.nothing_left();

    // Files can be made here, and not removed.
    let folder = bench.export.join("for-ever");
    std::fs::create_dir(&folder).expect("cannot make a test directory");
    must(Command::new("chattr").arg("+a").arg(&folder));
    let outcome = bench.measure("data/for-ever").outcome();
    must(Command::new("chattr").arg("-a").arg(&folder));
    outcome.fails(9, &["remove it there", "for-ever/blkcp-measure-", "permi"]);
    assert_eq!(files::names(&folder).len(), 1, "{}", outcome.stderr);
    assert!(files::names(&bench.scratch).is_empty());
}

#[test]
fn what_was_measured_is_told_though_its_file_cannot_be_removed() {
    if !ready("what_was_measured_is_told_though_its_file_cannot_be_removed") {
        return;
    }
    // 32 MiB take 1.3 s each way: time enough to get between.
    let bench = Bench::over(Link {
        mtu: MTU,
        wire: &["--rate", "200mbit", "--queue", "125kb"],
    });
    let minute = Duration::from_secs(60);
    let running = bench.measure_with("data", "32MiB");
    let is_there = || {
        let names = files::names(&bench.export);
        names.iter().any(|name| name.starts_with("blkcp-measure-"))
    };
    let last = "round 2 of 2: UDP sockets";
    assert!(within(minute, || running.said().contains(last)));
    // The file of the turn before goes, then comes the last one.
    assert!(within(minute, || !is_there()) && within(minute, is_there));
    must(Command::new("chattr").arg("+a").arg(&bench.export));
    let outcome = running.outcome();
    must(Command::new("chattr").arg("-a").arg(&bench.export));
    outcome.fails(13, &["remove it there", "data/blkcp-measure-", "permi"]);
    let told: Value = serde_json::from_str(&outcome.stdout).expect("the report is JSON");
    for way in ["put", "get"] {
        let rounds = told["paths"][0][way].as_array().map(Vec::len);
        assert_eq!(rounds, Some(2), "{told}");
    }
    assert!(is_there(), "{}", outcome.stderr);
    assert!(files::names(&bench.scratch).is_empty());
}

/// Drops at the server whatever the client sends over AF_XDP: its packets have the usual hop limit, those of the client's kernel
/// another one from now on, as if a firewall let only these through. `Err`: this kernel cannot do that.
fn let_only_the_kernel_through(hosts: &Hosts) -> Result<(), String> {
    let limit = "echo 77 >/proc/sys/net/ipv4/ip_default_ttl";
    must(hosts.command(Host::Client, "sh").args(["-c", limit]));
    let tc = |words: &str| {
        let mut command = hosts.command(Host::Server, "tc");
        let output = command.args(words.split_whitespace()).output();
        let output = output.map_err(|error| format!("tc: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("tc {words} (cls_u32, act_mirred)")),
        }
    };
    tc("qdisc add dev blk0 ingress")?;
    // Whatever is sent to a loopback without an address for it is gone.
    tc(
        "filter add dev blk0 parent ffff: protocol ip u32 match u8 64 0xff at 8 action mirred egress redirect dev lo",
    )
}

#[test]
fn a_session_that_comes_up_over_udp_sockets_alone_is_had_over_them() {
    let test = "a_session_that_comes_up_over_udp_sockets_alone_is_had_over_them";
    if !ready(test) {
        return;
    }
    let (directory, hosts) = scene(MTU);
    if !nothing_missing(test, let_only_the_kernel_through(&hosts).err()) {
        return;
    }
    let _daemon = start(&hosts, &directory);
    let asked = [
        format!("{SERVER}:data/file"),
        directory.join("other").display().to_string(),
    ];
    let copy = start_over(&hosts, Host::Client, "copy", &directory, &asked).outcome();
    copy.fails(3, &["no answer"]);

    plant(&hosts);
    for (datapath, reason) in copied(&hosts, &directory, &[]) {
        assert_eq!(datapath, "udp");
        let says = reason.contains("no session over AF_XDP") && reason.contains("no answer");
        assert!(says, "{reason}");
    }
    assert!(!hosts.has_xdp(Host::Client));

    // Measuring finds that out, and who copies then does not have to.
    let mut command = hosts.command(Host::Client, binary("blkcp"));
    command.env("TMPDIR", directory.subdirectory("tmp"));
    command.args(["measure", "--json", "--size", "1MiB"]);
    command.arg(format!("{SERVER}:data"));
    let measured = Running::start(&mut command, &directory).outcome();
    let told: Value = serde_json::from_str(&measured.ok().stdout).expect("the report is JSON");
    let absent = told["paths"][1]["absent"].as_str().unwrap_or_default();
    assert!(absent.contains("no answer"), "{told}");
    assert_eq!(told["auto_put"]["path"], "UDP sockets");
    let known = History::at(hosts.blkcp_history()).look_up(&site(&hosts));
    assert_eq!(known.expect("it can be read"), None);
    for (datapath, reason) in copied(&hosts, &directory, &[]) {
        assert_eq!(datapath, "udp");
        assert!(reason.contains("nothing measured"), "{reason}");
    }
}
