//! One file over several flows, each on a queue of its own at both ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{Map, MapData, MapInfo, XskMap};
use aya::programs::loaded_programs;
use rustix::process::Signal;

use super::support::client::{Outcome, Running, blkcp, start};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, must, ready, within};

/// Not a whole number of sectors.
const SIZE: u64 = (256 << 20) + 777;

/// Slots of a queue in the XDP program's map.
const SLOTS_PER_QUEUE: u32 = 16;

/// Two hosts with several queues, and blockd on one of them.
struct Scene {
    daemon: Daemon,
    hosts: Hosts,
    queues: usize,
    export: PathBuf,
    directory: Directory,
}

impl Scene {
    fn new(queues: usize, mtu: u32) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::up(Link {
            mtu,
            wire: &["--queues", &queues.to_string()],
        });
        Self {
            daemon: Daemon::start(&hosts, &export, &directory),
            hosts,
            queues,
            export,
            directory,
        }
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.join(name);
        path.to_str()
            .expect("test files have plain paths")
            .to_owned()
    }

    /// Frames that each of the server's queues has received and sent so far.
    fn frames(&self) -> Vec<(u64, u64)> {
        let mut frames = Vec::new();
        // A busy worker may not answer in time: it is asked again.
        let told = within(Duration::from_secs(30), || {
            frames = self.ask_frames();
            frames.len() == self.queues
        });
        assert!(told, "blockd tells no statistics:\n{}", self.daemon.log());
        frames
    }

    /// One for each queue; fewer are chosen where there are few CPUs.
    fn flows(&self) -> String {
        self.queues.to_string()
    }

    /// As far as the workers answer.
    fn ask_frames(&self) -> Vec<(u64, u64)> {
        let before = self.daemon.log().len();
        self.daemon.signal(Signal::USR1);
        let last = format!("statistics of queue {}:", self.queues - 1);
        within(Duration::from_secs(10), || {
            self.daemon.log()[before..]
                .split_once(&last)
                .is_some_and(|(_, line)| line.contains('\n'))
        });
        let log = self.daemon.log();
        log[before..]
            .lines()
            .filter(|line| line.contains("statistics of queue") && line.contains("frames_sent="))
            .map(|line| (number(line, "frames_received"), number(line, "frames_sent")))
            .collect()
    }

    /// Puts a file and gets it back over all queues.
    fn there_and_back(&self) {
        let source = self.directory.join("file");
        files::write(&source, SIZE, 5);
        let before = self.frames();
        let put = blkcp(
            &self.hosts,
            &self.directory,
            &[
                "--flows",
                &self.flows(),
                &self.path("file"),
                "10.77.0.1:data/file",
            ],
        );
        put.ok();
        files::assert_same(&source, &self.export.join("file"));
        let between = self.frames();
        self.directory.subdirectory("back");
        let got = blkcp(
            &self.hosts,
            &self.directory,
            &[
                "--flows",
                &self.flows(),
                "10.77.0.1:data/file",
                &self.path("back/file"),
            ],
        );
        got.ok();
        files::assert_same(&source, &self.directory.join("back/file"));
        let after = self.frames();
        for queue in 0..self.queues {
            let put = between[queue].0 - before[queue].0;
            let got = after[queue].1 - between[queue].1;
            assert!(put > 1000, "queue {queue} received {put} frames of the put");
            assert!(got > 1000, "queue {queue} sent {got} frames of the get");
        }
        for outcome in [put, got] {
            let flows = flows(&outcome);
            let queues: Vec<u64> = flows.iter().map(|flow| flow.0).collect();
            assert_eq!(queues, (0..self.queues as u64).collect::<Vec<_>>());
            // Each its share, roughly: they take ranges as they can.
            for (queue, bytes) in flows {
                let fair = SIZE / self.queues as u64;
                assert!(bytes > fair / 20, "queue {queue}: {bytes} bytes");
            }
        }
    }

    /// Waits until a queue of the server has much to do with the copy, and takes that queue's packets away from blockd for
    /// good.
    fn kill_flow(&self, queue: usize, copy: &mut Running) {
        let before = self.frames();
        let under_way = within(Duration::from_secs(30), || {
            assert!(copy.is_running(), "the copy was over too early");
            let now = self.frames();
            // The other one must have joined.
            (0..self.queues).all(|queue| now[queue].0 > before[queue].0 + 300)
        });
        assert!(under_way, "nothing comes on a queue");
        copy.signal(Signal::STOP);
        take_sockets_away(&self.hosts, Host::Server, queue as u32);
        copy.signal(Signal::CONT);
    }

    /// A put during which the flow on that queue dies.
    fn put_and_kill(&self, queue: usize) {
        let source = self.directory.join("file");
        files::write(&source, 3 * SIZE, 6);
        let (flows, path) = (self.flows(), self.path("file"));
        let arguments = ["--flows", &flows, &path, "10.77.0.1:data/file"];
        let mut copy = start(&self.hosts, &self.directory, &arguments);
        self.kill_flow(queue, &mut copy);
        copy.outcome().ok();
        files::assert_same(&source, &self.export.join("file"));
    }

    /// A get during which the flow on that queue dies.
    fn get_and_kill(&self, queue: usize) {
        let source = self.export.join("file");
        files::write(&source, 3 * SIZE, 7);
        self.directory.subdirectory("back");
        let (flows, path) = (self.flows(), self.path("back/file"));
        let arguments = ["--flows", &flows, "10.77.0.1:data/file", &path];
        let mut copy = start(&self.hosts, &self.directory, &arguments);
        self.kill_flow(queue, &mut copy);
        copy.outcome().ok();
        files::assert_same(&source, &self.directory.join("back/file"));
    }
}

/// The value behind `name=` in a line.
fn number(line: &str, name: &str) -> u64 {
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in: {line}"))
}

/// Queue and bytes of each flow.
fn flows(outcome: &Outcome) -> Vec<(u64, u64)> {
    flow_values(outcome, ["queue", "bytes"])
        .into_iter()
        .map(|[queue, bytes]| (queue, bytes))
        .collect()
}

/// Two values of each flow.
pub(super) fn flow_values(outcome: &Outcome, names: [&str; 2]) -> Vec<[u64; 2]> {
    let line = outcome.stdout.lines().last().unwrap_or_default();
    let (_, flows) = line
        .split_once("\"flows\":[")
        .unwrap_or_else(|| panic!("no flows in: {line}"));
    let (flows, _) = flows.split_once(']').expect("the list ends");
    let value = |flow: &str, name: &str| -> u64 {
        let (_, rest) = flow
            .split_once(&format!("\"{name}\":"))
            .unwrap_or_else(|| panic!("no {name} in {flow}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    flows
        .split("},")
        .map(|flow| names.map(|name| value(flow, name)))
        .collect()
}

/// Empties a queue's slots in the map by which a host's XDP program finds the AF_XDP sockets: packets go to the kernel from
/// now on, and blockd's drops them.
fn take_sockets_away(hosts: &Hosts, host: Host, queue: u32) {
    let link =
        must(
            hosts
                .command(host, "ip")
                .args(["-d", "link", "show", "dev", host.interface()]),
        );
    let (_, rest) = link.split_once("prog/xdp id ").expect("it is attached");
    let id = rest
        .split_whitespace()
        .next()
        .and_then(|id| id.parse().ok());
    let id: u32 = id.expect("the program has an id");
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .expect("the program is loaded");
    let maps = program.map_ids().expect("maps").unwrap_or_default();
    let sockets = maps
        .into_iter()
        .find(|&id| MapInfo::from_id(id).is_ok_and(|info| info.name_as_str() == Some("SOCKETS")))
        .expect("the program has sockets");
    let data = MapData::from_id(sockets).expect("the map is there");
    let mut sockets = XskMap::try_from(Map::XskMap(data)).expect("a map of sockets");
    for slot in queue * SLOTS_PER_QUEUE..(queue + 1) * SLOTS_PER_QUEUE {
        sockets.unset(slot).expect("the slot can be emptied");
    }
}

/// The kernel's socket takes what misses the AF_XDP socket of a client, over IPv6 too, where blocks have no UDP checksum.
#[test]
fn blocks_that_miss_the_af_xdp_socket_come_all_the_same() {
    if !ready("blocks_that_miss_the_af_xdp_socket_come_all_the_same") {
        return;
    }
    for host in ["[fd77::1]", "10.77.0.1"] {
        let scene = Scene::new(1, 3498);
        let source = scene.export.join("file");
        files::write(&source, 2 * SIZE, 9);
        let (from, back) = (format!("{host}:data/file"), scene.path("back"));
        let before = scene.frames()[0].1;
        let mut copy = start(&scene.hosts, &scene.directory, &[&from, &back]);
        let under_way = within(Duration::from_secs(30), || {
            assert!(copy.is_running(), "the copy was over too early");
            scene.frames()[0].1 > before + 300
        });
        assert!(under_way, "no blocks come");
        copy.signal(Signal::STOP);
        take_sockets_away(&scene.hosts, Host::Client, 0);
        copy.signal(Signal::CONT);
        let outcome = copy.outcome();
        outcome.ok();
        files::assert_same(&source, Path::new(&back));
        let strays = flow_values(&outcome, ["queue", "strays"]);
        assert!(strays[0][1] > 1000, "{host}: {strays:?}");
    }
}

#[test]
fn two_queues_carry_one_file() {
    if ready("two_queues_carry_one_file") {
        Scene::new(2, 3498).there_and_back();
    }
}

#[test]
fn four_queues_carry_one_file() {
    if ready("four_queues_carry_one_file") {
        Scene::new(4, 1500).there_and_back();
    }
}

#[test]
fn a_put_goes_on_when_a_flow_dies() {
    if ready("a_put_goes_on_when_a_flow_dies") {
        Scene::new(2, 1500).put_and_kill(1);
    }
}

#[test]
fn a_get_goes_on_when_a_flow_dies() {
    if ready("a_get_goes_on_when_a_flow_dies") {
        Scene::new(2, 1500).get_and_kill(1);
    }
}

#[test]
fn a_put_goes_on_when_the_first_flow_dies() {
    if ready("a_put_goes_on_when_the_first_flow_dies") {
        Scene::new(2, 1500).put_and_kill(0);
    }
}

#[test]
fn a_get_goes_on_when_the_first_flow_dies() {
    if ready("a_get_goes_on_when_the_first_flow_dies") {
        Scene::new(2, 1500).get_and_kill(0);
    }
}

#[test]
fn one_flow_where_it_is_asked_for() {
    if !ready("one_flow_where_it_is_asked_for") {
        return;
    }
    let scene = Scene::new(2, 3498);
    let source: &Path = &scene.directory.join("file");
    files::write(source, 20 << 20, 8);
    let arguments = ["--flows", "1", &scene.path("file"), "10.77.0.1:data/file"];
    let put = blkcp(&scene.hosts, &scene.directory, &arguments);
    put.ok();
    files::assert_same(source, &scene.export.join("file"));
    assert_eq!(flows(&put).len(), 1);
    let arguments = ["--flows", "3", &scene.path("file"), "10.77.0.1:data/file"];
    let refused = blkcp(&scene.hosts, &scene.directory, &arguments);
    refused.fails(11, &["3 flows", "2", "--flows"]);
}
