//! What data paths cost: measured on purpose, remembered, and what `auto` makes of it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use blk_client::paths::{Cost, History, Run, Site, Ways};
use rustix::process::Signal;
use serde_json::Value;

use super::support::client::{Outcome, Running, start_over, start_unprivileged};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, binary, files, must, ready, within};
use super::udp::{scene, there_and_back};

pub(super) const MTU: u32 = 1500;
pub(super) const SERVER: &str = "10.77.0.1";

/// Where figures of the client's interface hold.
pub(super) fn site(hosts: &Hosts) -> Site {
    let namespace = Path::new("/run/netns").join(hosts.namespace(Host::Client));
    let namespace = std::fs::metadata(namespace).expect("the namespace is there");
    let address = format!("/sys/class/net/{}/address", Host::Client.interface());
    let address = hosts.command(Host::Client, "cat").arg(address).output();
    let address = address.expect("cannot start cat").stdout;
    Site {
        mac: String::from_utf8_lossy(&address).trim().to_owned(),
        namespace: namespace.ino(),
        ..Site::named(Host::Client.interface(), "veth", MTU)
    }
}

/// Makes AF_XDP copy mode half as dear as UDP sockets on the interface of the client.
pub(super) fn plant(hosts: &Hosts) {
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
    let run = Run::now("elsewhere", 1 << 30, ways(1.0), ways(0.5));
    let planted = history.record(&site(hosts), run);
    planted.expect("cannot write a history");
}

pub(super) fn start(hosts: &Hosts, directory: &Directory) -> Daemon {
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
pub(super) fn copied(
    hosts: &Hosts,
    directory: &Directory,
    options: &[&str],
) -> [(String, String); 2] {
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
    let figures =
        "measured to elsewhere: 1.00 GB/s at 0.50 CPU s/GB against 1.00 at 1.00 over UDP sockets";
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
    // A program is not attached for little, nor for packets of another size.
    files::write(&directory.join("little"), 1 << 20, 2);
    let little = [
        directory.join("little").display().to_string(),
        format!("{SERVER}:data/little"),
    ];
    let over_auto = |words: &[String]| {
        let outcome = start_over(&hosts, Host::Client, "auto", &directory, words).outcome();
        taken(&outcome)
    };
    let (datapath, reason) = over_auto(&little);
    assert_eq!(datapath, "udp");
    assert!(reason.contains("too small"), "{reason}");
    let route = |what: &str| {
        let words = ["route", what, "10.77.0.1/32", "dev", "blk1", "mtu", "1400"];
        must(hosts.command(Host::Client, "ip").args(words));
    };
    route("add");
    let (datapath, reason) = over_auto(&arguments);
    route("del");
    assert_eq!(datapath, "udp");
    assert!(reason.contains("nothing measured"), "{reason}");
    assert_eq!(over_auto(&arguments).0, "af_xdp-copy");
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
fn copies_with_flows_do_not_go_by_figures() {
    if !ready("copies_with_flows_do_not_go_by_figures") {
        return;
    }
    let directory = Directory::new();
    directory.subdirectory("export");
    files::write(&directory.join("file"), 64 << 20, 1);
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
        assert!(
            reason.contains("do not count for a number of flows"),
            "{reason}"
        );
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
        reason.contains("measured to 10.77.0.1: ") && reason.contains("against"),
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

    // What is asked for by --flows is not what copies get.
    let hosts = &bench.hosts;
    let kept = std::fs::read(hosts.blkcp_history()).expect("it is there");
    let mut command = hosts.command(Host::Client, binary("blkcp"));
    command.env("TMPDIR", &bench.scratch);
    command.args(["measure", "--size", "256MiB", "--flows", "1"]);
    command.arg(format!("{SERVER}:data"));
    let flows = Running::start(&mut command, &bench.directory).outcome();
    let words = "not remembered: --flows was given";
    assert!(flows.ok().stdout.contains(words), "{}", flows.stdout);
    let now = std::fs::read(hosts.blkcp_history()).expect("it is there");
    assert_eq!(now, kept);
    bench.nothing_left();

    // To itself there is no AF_XDP, and so nothing to choose.
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

    // What cannot be said is a failure, and what nobody wants to read is none.
    let mut outputs = [(1, "\"$@\" >/dev/full"), (0, "\"$@\" | true")];
    for (code, script) in &mut outputs {
        let mut command = hosts.command(Host::Server, "bash");
        command.env("TMPDIR", &bench.scratch);
        command.args(["-o", "pipefail", "-c", script, "bash"]);
        command.arg(binary("blkcp"));
        command.args(["measure", "--size", "1MiB"]);
        command.arg(format!("{SERVER}:data"));
        let said = Running::start(&mut command, &bench.directory).outcome();
        assert_eq!(said.code, Some(*code), "{}", said.stderr);
        let is_told = said.stderr.contains("cannot write to standard output");
        assert_eq!(is_told, *code == 1, "{}", said.stderr);
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
        bench.nothing_left();
    }
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
