//! One worker for each queue: which queues, on which CPUs, and how evenly the work is spread over them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use super::misplaced::workers_announced;
use super::support::client::{Outcome, start_over};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::traffic::on_host;
use super::support::{Directory, binary, files, ready, within};

/// Not a whole number of sectors; large enough that much is left when all flows have started.
const SIZE: u64 = (1 << 30) + 777;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Two hosts with so many queues each.
fn hosts(queues: usize, mtu: u32) -> Hosts {
    Hosts::up(Link {
        mtu,
        wire: &["--queues", &queues.to_string()],
    })
}

/// blockd over AF_XDP with more options.
fn serve(hosts: &Hosts, directory: &Directory, options: &[&str]) -> Daemon {
    serve_over(hosts, "copy", directory, options)
}

/// The same over any data path.
fn serve_over(hosts: &Hosts, datapath: &str, directory: &Directory, options: &[&str]) -> Daemon {
    let options: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    let export = directory.subdirectory("export");
    let interface = Host::Server.interface();
    Daemon::start_over_with(hosts, interface, datapath, &export, &options, directory)
}

/// Those this process may run on.
fn cpus() -> Vec<String> {
    let list = blk_datapath::worker::allowed_cpus();
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn workers_serve_the_queues_and_have_the_cpus_that_were_asked_for() {
    let test = "workers_serve_the_queues_and_have_the_cpus_that_were_asked_for";
    if !ready(test) {
        return;
    }
    let cpus = cpus();
    let (first, last) = (&cpus[0], &cpus[cpus.len() - 1]);
    let (directory, hosts) = (Directory::new(), hosts(4, 1500));
    let list = if first == last {
        first.clone()
    } else {
        format!("{last},{first}")
    };
    let daemon = serve(&hosts, &directory, &["--queues", "1,3", "--cpus", &list]);
    let threads = daemon.cpus_of_threads();
    let of = |name: &str| threads.get(name).unwrap_or_else(|| panic!("{threads:?}"));
    assert_eq!(of("blk-server-q1"), last);
    assert_eq!(of("blk-server-q3"), first);
    let told = daemon.statistics_by_queue();
    let cpu = |queue: u32| told[&queue]["cpu"].to_string();
    assert!(told.keys().eq(&[1, 3]), "{told:?}");
    assert_eq!((&cpu(1), &cpu(3)), (last, first));
}

#[test]
fn a_number_of_queues_is_counted_from_the_first() {
    if !ready("a_number_of_queues_is_counted_from_the_first") {
        return;
    }
    let (directory, hosts) = (Directory::new(), hosts(4, 1500));
    for (asked, expected) in [("3", &[0, 1, 2][..]), ("1-2", &[1, 2])] {
        let daemon = serve(&hosts, &directory, &["--queues", asked]);
        assert!(daemon.statistics_by_queue().keys().eq(expected), "{asked}");
    }
}

/// The number of workers that clients are told is that of those there are, whoever has the other queues.
#[test]
fn clients_are_told_how_many_workers_there_are() {
    if !ready("clients_are_told_how_many_workers_there_are") {
        return;
    }
    let (directory, hosts) = (Directory::new(), hosts(4, 1500));
    let told = || {
        let client = on_host(&hosts, Host::Client, workers_announced);
        client.join().expect("the server answers")
    };
    let all = serve(&hosts, &directory, &[]);
    assert_eq!(told(), 4);
    drop(all);
    // The one for the other queues counts, and stays out of the way of the one that has a queue.
    let cpus = cpus();
    let one = serve(&hosts, &directory, &["--queues", "1", "--cpus", &cpus[0]]);
    assert_eq!(told(), 2);
    let log = {
        one.statistics();
        one.log()
    };
    let others = log.lines().find_map(|line| line.split_once(OTHERS));
    let (_, others) = others.expect("the worker of the other queues tells");
    let cpu = cpus.get(1).unwrap_or(&cpus[0]);
    assert!(
        others.split(' ').any(|word| word == format!("cpu={cpu}")),
        "{others}"
    );
    drop(one);
    // Who takes what is free gets two of four, beside one who has the others.
    let other = ["--port", "7441", "--queues", "1-2"];
    let _other = serve(&hosts, &directory, &other);
    let rest = serve(&hosts, &directory, &[]);
    assert!(rest.statistics_by_queue().keys().eq(&[0, 3]));
    assert_eq!(told(), 3);
}

/// In front of what the worker of the other queues tells.
const OTHERS: &str = "statistics of the other queues: ";

/// Packets that a host sends to another one beside it have no checksums yet: the kernel has to get them as they came, also where
/// there are CPUs to spare.
#[test]
fn a_copy_by_queues_without_a_worker_is_right() {
    if !ready("a_copy_by_queues_without_a_worker_is_right") {
        return;
    }
    const SIZE: u64 = 3_000_017;
    let cpus = cpus();
    let (directory, hosts) = (Directory::new(), hosts(4, 1500));
    let daemon = serve(&hosts, &directory, &["--queues", "1-1", "--cpus", &cpus[0]]);
    let offloads = hosts
        .command(Host::Client, "ethtool")
        .args(["-k", Host::Client.interface()])
        .output();
    let offloads = offloads.expect("ethtool is there").stdout;
    let offloads = String::from_utf8_lossy(&offloads);
    assert!(offloads.contains("tx-checksumming: on"), "{offloads}");
    let (source, back) = (directory.join("file"), directory.subdirectory("back"));
    // The sender's kernel picks the queue by socket: three of four are not served.
    for number in 0..8 {
        files::write(&source, SIZE, number);
        let back = back.join("file");
        let remote = format!("10.77.0.1:data/file{number}");
        for (from, to) in [(plain(&source), &*remote), (&*remote, plain(&back))] {
            let arguments = ["--flows", "1", from, to];
            let copy = start_over(&hosts, Host::Client, "udp", &directory, &arguments);
            copy.outcome().ok();
        }
        files::assert_same(&source, &directory.join(&format!("export/file{number}")));
        files::assert_same(&source, &back);
    }
    let counted = daemon.statistics();
    assert_eq!(counted["kernel_cpu"], 0, "{counted:?}");
    let log = daemon.log();
    let others = log.lines().rev().find_map(|line| line.split_once(OTHERS));
    let (_, others) = others.expect("the worker of the other queues tells");
    let payload = others.split_whitespace().find_map(|word| {
        let bytes = word.strip_prefix("payload_in=")?;
        bytes.parse::<u64>().ok()
    });
    assert!(payload.is_some_and(|bytes| bytes >= SIZE), "{others}");
}

/// How a blockd with these options ends that cannot start.
fn refused(hosts: &Hosts, before: &[&str], directory: &Directory, options: &[&str]) -> Output {
    let export = directory.subdirectory("export");
    let mut command = match before {
        [] => hosts.command(Host::Server, binary("blockd")),
        [program, arguments @ ..] => {
            let mut command: Command = hosts.command(Host::Server, program);
            command.args(arguments).arg(binary("blockd"));
            command
        }
    };
    let command = command
        .args([
            "--interface",
            Host::Server.interface(),
            "--datapath",
            "copy",
        ])
        .arg("--export")
        .arg(format!("data={}", export.display()))
        .args(options);
    command.output().expect("cannot start blockd")
}

#[test]
fn queues_and_cpus_that_cannot_be_had_are_refused() {
    if !ready("queues_and_cpus_that_cannot_be_had_are_refused") {
        return;
    }
    let (directory, hosts) = (Directory::new(), hosts(2, 1500));
    let cpus = cpus();
    let mut cases: Vec<(&[&str], &[&str], &[&str])> = vec![
        (&[], &["--queues", "3"], &["no queue 2", "blk0", "has 2"]),
        (&[], &["--queues", "1,7"], &["no queue 7"]),
        (&[], &["--queues", "0"], &["--queues", "1 to 64"]),
        (&[], &["--queues", "2-1"], &["--queues", "backwards"]),
        (&[], &["--queues", "some"], &["--queues", "number"]),
        (&[], &["--cpus", "0,0"], &["--cpus", "twice"]),
        (&[], &["--cpus", ""], &["--cpus", "no cpu"]),
        (&[], &["--cpus", "8000"], &["8000", "not online"]),
    ];
    let pinned = ["taskset", "-c", &cpus[0]];
    let elsewhere = ["--cpus", &cpus[cpus.len() - 1]];
    let message = ["may not run on", "affinity"];
    if cpus.len() > 1 {
        cases.push((&pinned, &elsewhere, &message));
    }
    for (before, options, words) in cases {
        let output = refused(&hosts, before, &directory, options);
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{options:?}: no `{word}` in: {said}");
        }
        assert!(!hosts.has_xdp(Host::Server), "{options:?}");
    }
}

/// The steering of an interface with nothing to be steered stays as it is, and blockd serves.
#[test]
fn what_a_card_cannot_do_is_said_and_does_no_harm() {
    if !ready("what_a_card_cannot_do_is_said_and_does_no_harm") {
        return;
    }
    let (directory, hosts) = (Directory::new(), hosts(2, 1500));
    let daemon = serve(&hosts, &directory, &["--steer"]);
    let log = daemon.log();
    assert!(
        log.contains("steering: not supported by driver veth: left as it is"),
        "{log}"
    );
    drop(daemon);
    let daemon = serve_over(&hosts, "udp", &directory, &["--steer"]);
    let log = daemon.log();
    assert!(log.contains("steering: UDP sockets"), "{log}");
    let restored = hosts
        .command(Host::Server, binary("blockd"))
        .arg("restore")
        .output();
    let restored = restored.expect("cannot start blockd");
    let said = String::from_utf8_lossy(&restored.stdout);
    assert!(restored.status.success(), "{restored:?}");
    assert!(said.contains("nothing to put back"), "{restored:?}");
}

/// Bytes of blocks that the worker of each queue has taken in and given out. No packet came by a detour.
fn payload(daemon: &Daemon, workers: usize) -> BTreeMap<u32, u64> {
    let mut queues = BTreeMap::new();
    // A busy worker may not answer in time: it is asked again.
    let told = within(LIMIT, || {
        queues = daemon.statistics_by_queue();
        queues.len() == workers && queues.values().all(|told| told.contains_key("payload_out"))
    });
    assert!(told, "blockd tells no statistics:\n{}", daemon.log());
    let bytes = queues.iter().map(|(queue, counters)| {
        let strays = counters["frames_stray"];
        assert_eq!(strays, 0, "queue {queue}: {counters:?}");
        (*queue, counters["payload_in"] + counters["payload_out"])
    });
    bytes.collect()
}

/// The greatest of them is at most half more than the mean.
fn is_even(shares: &[u64]) -> bool {
    let most = shares.iter().copied().max().unwrap_or(0);
    2 * most * shares.len() as u64 <= 3 * shares.iter().sum::<u64>()
}

/// Flows of each of the server's workers.
fn flows_by_worker(outcome: &Outcome, workers: usize) -> Vec<u64> {
    let mut flows = vec![0; workers];
    for rest in outcome.stdout.split("\"worker\":").skip(1) {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let worker: usize = digits.parse().expect("the worker's number");
        flows[worker] += 1;
    }
    flows
}

/// Runs of a copy, one of which has to be even by bytes. Flows take ranges as they can: where the machine has few CPUs, or work
/// of its own, that is chance.
const RUNS: usize = 4;
/// Bytes on each queue after which all flows carry.
const UNDER_WAY: u64 = 2 << 20;

/// Copies a file over so many flows until each of the server's workers had its share of the bytes, from when all flows
/// carry: the first one begins alone. Their shares of the flows are even each time.
fn copy_evenly(
    hosts: &Hosts,
    daemon: &Daemon,
    directory: &Directory,
    client: &str,
    flows: usize,
    workers: usize,
) {
    let (source, back) = (directory.join("file"), directory.subdirectory("back"));
    files::write(&source, SIZE, 9);
    let back = back.join("file");
    let (local, returned) = (plain(&source), plain(&back));
    let remote = "10.77.0.1:data/file";
    for (what, from, to) in [("put", local, remote), ("get", remote, returned)] {
        let mut tried = Vec::new();
        let even = (0..RUNS).any(|_| {
            let before = payload(daemon, workers);
            let count = flows.to_string();
            let arguments = ["--no-resume", "--flows", &count, from, to];
            let mut copy = start_over(hosts, Host::Client, client, directory, &arguments);
            let mut then = before.clone();
            within(LIMIT, || {
                then = payload(daemon, workers);
                let carries = |(queue, bytes): (&u32, &u64)| bytes - before[queue] > UNDER_WAY;
                then.iter().all(carries) || !copy.is_running()
            });
            let outcome = copy.outcome();
            outcome.ok();
            let by_worker = flows_by_worker(&outcome, workers);
            let after = payload(daemon, workers);
            let shares: Vec<u64> = after.iter().map(|(queue, all)| all - then[queue]).collect();
            let sum = |counts: &BTreeMap<u32, u64>| counts.values().sum::<u64>();
            assert!(sum(&after) - sum(&before) >= SIZE, "{before:?} {after:?}");
            // Some may have come too late.
            if by_worker.iter().sum::<u64>() == flows as u64 {
                assert!(is_even(&by_worker), "flows of each worker: {by_worker:?}");
            }
            let even = is_even(&shares) && shares.iter().sum::<u64>() >= SIZE / 8;
            tried.push((by_worker, shares));
            even
        });
        assert!(even, "{what}: flows and bytes of each worker: {tried:?}");
    }
    files::assert_same(&source, &directory.join("export/file"));
    files::assert_same(&source, &back);
    let log = daemon.log();
    assert!(!log.contains("wrong worker"), "{log}");
    assert!(
        log.contains(&format!("balance: workers={workers} ")),
        "{log}"
    );
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("test files have plain paths")
}

#[test]
fn eight_udp_flows_keep_two_queues_equally_busy() {
    if !ready("eight_udp_flows_keep_two_queues_equally_busy") {
        return;
    }
    let (directory, hosts) = (Directory::new(), hosts(2, 1500));
    let daemon = serve(&hosts, &directory, &[]);
    copy_evenly(&hosts, &daemon, &directory, "udp", 8, 2);
}

#[test]
fn eight_udp_flows_keep_four_queues_equally_busy() {
    if !ready("eight_udp_flows_keep_four_queues_equally_busy") {
        return;
    }
    let (directory, hosts) = (Directory::new(), hosts(4, 3498));
    let daemon = serve(&hosts, &directory, &[]);
    copy_evenly(&hosts, &daemon, &directory, "udp", 8, 4);
}

#[test]
fn eight_udp_flows_reach_four_udp_workers_evenly() {
    if !ready("eight_udp_flows_reach_four_udp_workers_evenly") {
        return;
    }
    // More workers than the interface has queues: the kernel spreads over sockets.
    let (directory, hosts) = (Directory::new(), hosts(1, 1500));
    let daemon = serve_over(&hosts, "udp", &directory, &["--queues", "4"]);
    let source = directory.join("file");
    files::write(&source, SIZE, 9);
    let arguments = [
        "--no-resume",
        "--flows",
        "8",
        plain(&source),
        "10.77.0.1:data/file",
    ];
    let mut tried = Vec::new();
    // A copy may be over before all of them have begun.
    let all_came = (0..RUNS).any(|_| {
        let outcome = start_over(&hosts, Host::Client, "udp", &directory, &arguments).outcome();
        outcome.ok();
        let flows = flows_by_worker(&outcome, 4);
        let count: u64 = flows.iter().sum();
        tried.push(flows);
        count == 8
    });
    assert!(all_came, "flows of each worker: {tried:?}");
    let flows = &tried[tried.len() - 1];
    assert!(is_even(flows), "flows of each worker: {tried:?}");
    payload(&daemon, 4);
    files::assert_same(&source, &directory.join("export/file"));
}

#[test]
fn af_xdp_flows_on_all_queues_keep_all_workers_equally_busy() {
    if !ready("af_xdp_flows_on_all_queues_keep_all_workers_equally_busy") {
        return;
    }
    for queues in [2, 4] {
        let (directory, hosts) = (Directory::new(), hosts(queues, 3498));
        let daemon = serve(&hosts, &directory, &[]);
        copy_evenly(&hosts, &daemon, &directory, "copy", queues, queues);
    }
}
