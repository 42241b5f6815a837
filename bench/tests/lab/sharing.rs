//! Several blkcp on one interface: AF_XDP for as many as there are queues, UDP for the others, and nobody disturbs anybody.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::support::client::{Outcome, Running, start_over, start_unprivileged};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, ready, within};

/// Not a whole number of sectors; large enough to be on its way when something happens.
const SIZE: u64 = (96 << 20) + 333;
/// How often it is tried to catch copies in the middle; none may be over by then.
const ATTEMPTS: usize = 5;
/// How many run at once.
const CLIENTS: usize = 8;
/// A process that is started, or that ends, may take so long to have, or to have given back, what it holds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two hosts with several queues, blockd on one of them, and a file at each end.
struct Scene {
    daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    directory: Directory,
}

impl Scene {
    fn new(queues: usize) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        files::write(&directory.join("here"), SIZE, 71);
        files::write(&export.join("there"), SIZE, 72);
        let hosts = Hosts::up(Link {
            mtu: 3498,
            wire: &["--queues", &queues.to_string()],
        });
        Self {
            daemon: Daemon::start(&hosts, &export, &directory),
            hosts,
            export,
            directory,
        }
    }

    fn path(&self, name: &str) -> String {
        plain(&self.directory.join(name)).to_owned()
    }

    /// Source and destination of copy `number`: the even ones put, the others get.
    fn words(&self, number: usize) -> [String; 2] {
        if number.is_multiple_of(2) {
            let to = format!("10.77.0.1:data/put-{number}");
            [self.path("here"), to]
        } else {
            let to = self.path(&format!("got-{number}"));
            ["10.77.0.1:data/there".to_owned(), to]
        }
    }

    /// Starts copy `number` over one flow.
    fn start(&self, datapath: &str, number: usize) -> Running {
        let [from, to] = self.words(number);
        let arguments = ["--flows", "1", &from, &to];
        start_over(
            &self.hosts,
            Host::Client,
            datapath,
            &self.directory,
            &arguments,
        )
    }

    /// Copy `number` has succeeded, and is right.
    #[track_caller]
    fn check(&self, number: usize, outcome: &Outcome) {
        outcome.ok();
        let (from, to) = if number.is_multiple_of(2) {
            let to = self.export.join(format!("put-{number}"));
            (self.directory.join("here"), to)
        } else {
            let to = self.directory.join(&format!("got-{number}"));
            (self.export.join("there"), to)
        };
        files::assert_same(&from, &to);
    }

    /// While the daemon stands still nobody gets beyond the handshake, so all have to find room beside each other.
    fn hold_daemon(&self) {
        self.daemon.signal(Signal::STOP);
    }

    fn release_daemon(&self) {
        self.daemon.signal(Signal::CONT);
    }

    /// The interface of the clients has no program any more, within a second.
    #[track_caller]
    fn assert_gone(&self) {
        let gone = within(Duration::from_secs(1), || !self.hosts.has_xdp(Host::Client));
        assert!(gone, "the XDP program is still there");
    }
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("test files have plain paths")
}

/// Whether a process has a BPF link open, as those with an AF_XDP socket do.
pub fn has_link(copy: &Running) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{}/fd", copy.process())) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        // The second one is what a link is called that was joined.
        let names = ["anon_inode:bpf_link", "anon_inode:bpf-link"];
        std::fs::read_link(descriptor.path())
            .is_ok_and(|to| names.iter().any(|name| to == Path::new(name)))
    })
}

/// Whether a process has a worker.
pub fn has_worker(copy: &Running) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", copy.process())) else {
        return false;
    };
    tasks.flatten().any(|task| {
        std::fs::read_to_string(task.path().join("comm"))
            .is_ok_and(|name| name.starts_with("blk-client"))
    })
}

/// Whether a process has a file open that has no name yet: what it gets.
fn has_unnamed(copy: &Running) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{}/fd", copy.process())) else {
        return false;
    };
    let mut targets = descriptors
        .flatten()
        .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
    targets.any(|to| {
        let to = to.to_string_lossy();
        to.starts_with('/') && to.contains("/#") && to.ends_with(" (deleted)")
    })
}

/// Puts into this export that have begun and are not over.
pub fn puts_under_way(export: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(export.join(".blockd")) else {
        return 0;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".part"))
        .count()
}

/// Waits until each has found its way, AF_XDP for so many of them: who goes by UDP has let go of the program.
#[track_caller]
pub fn settled(copies: &[Running], af_xdp: usize) {
    let settled = within(PATIENCE, || {
        copies.iter().all(has_worker)
            && copies.iter().filter(|&copy| has_link(copy)).count() == af_xdp
    });
    let links: Vec<bool> = copies.iter().map(has_link).collect();
    assert!(settled, "who has the program: {links:?}");
}

/// Eight at once on an interface with so many queues.
fn eight_at_once(test: &str, queues: usize) {
    if !ready(test) {
        return;
    }
    let scene = Scene::new(queues);
    scene.hold_daemon();
    let copies: Vec<Running> = (0..CLIENTS).map(|n| scene.start("prefer-xdp", n)).collect();
    settled(&copies, queues);
    scene.release_daemon();
    let mut taken = Vec::new();
    for (number, copy) in copies.into_iter().enumerate() {
        let outcome = copy.outcome();
        scene.check(number, &outcome);
        match outcome.field("datapath") {
            "af_xdp-copy" => taken.push(outcome.number("queue")),
            "udp" => {
                let reason = outcome.field("datapath_reason");
                assert!(reason.contains("other process"), "{reason}");
            }
            other => panic!("copy {number} went by {other}"),
        }
    }
    taken.sort_unstable();
    let all: Vec<u64> = (0..queues as u64).collect();
    assert_eq!(taken, all, "each queue carried one of them");
    scene.assert_gone();
}

#[test]
fn eight_clients_on_one_queue() {
    eight_at_once("eight_clients_on_one_queue", 1);
}

#[test]
fn eight_clients_on_two_queues() {
    eight_at_once("eight_clients_on_two_queues", 2);
}

#[test]
fn eight_clients_on_four_queues() {
    eight_at_once("eight_clients_on_four_queues", 4);
}

#[test]
fn eight_clients_of_an_ordinary_user() {
    if !ready("eight_clients_of_an_ordinary_user") {
        return;
    }
    let scene = Scene::new(2);
    scene.hold_daemon();
    let copies: Vec<Running> = (0..CLIENTS)
        .map(|number| {
            let words = scene.words(number);
            start_unprivileged(&scene.hosts, Host::Client, &scene.directory, &words)
        })
        .collect();
    settled(&copies, 0);
    scene.release_daemon();
    for (number, copy) in copies.into_iter().enumerate() {
        let outcome = copy.outcome();
        scene.check(number, &outcome);
        assert_eq!(outcome.field("datapath"), "udp");
    }
}

#[test]
fn a_taken_queue_is_an_error_where_af_xdp_was_asked_for() {
    if !ready("a_taken_queue_is_an_error_where_af_xdp_was_asked_for") {
        return;
    }
    for (queues, words) in [(1, "queue 0 of blk1"), (2, "queues 0 to 1 of blk1")] {
        let scene = Scene::new(queues);
        scene.hold_daemon();
        let copies: Vec<Running> = (0..queues).map(|n| scene.start("copy", n)).collect();
        settled(&copies, queues);
        let refused = scene.start("copy", 5).outcome();
        refused.fails(11, &[words, "taken", "--datapath udp", "ethtool -L"]);
        scene.release_daemon();
        for (number, copy) in copies.into_iter().enumerate() {
            scene.check(number, &copy.outcome());
        }
    }
}

/// Of two clients over AF_XDP and one over UDP, one is killed in mid-transfer: the first, which attached the program, the
/// second, or the one over UDP.
fn kill_one(test: &str, victim: usize) {
    if !ready(test) {
        return;
    }
    let caught = (0..ATTEMPTS).any(|_| try_to_kill_one(victim));
    assert!(caught, "each time a copy had succeeded before it was seen");
}

/// Copy `number` of three has succeeded, the first two over AF_XDP.
#[track_caller]
fn check_one_of_three(scene: &Scene, number: usize, copy: Running) {
    let outcome = copy.outcome();
    scene.check(number, &outcome);
    let expected = if number < 2 { "af_xdp-copy" } else { "udp" };
    assert_eq!(
        outcome.field("datapath"),
        expected,
        "copy {number}: {outcome:?}"
    );
}

/// `false` when one was over too early, and all have succeeded: one that failed is no reason to try again.
fn try_to_kill_one(victim: usize) -> bool {
    let scene = Scene::new(2);
    scene.hold_daemon();
    let mut copies = Vec::new();
    for (number, af_xdp) in [(0, 1), (1, 2), (2, 2)] {
        copies.push(scene.start("prefer-xdp", number));
        settled(&copies, af_xdp);
    }
    let mut over = false;
    let led = scene.daemon.lead_to(|| {
        over = !copies.iter_mut().all(Running::is_running);
        over || (puts_under_way(&scene.export) == 2 && has_unnamed(&copies[1]))
    });
    if over {
        scene.release_daemon();
        for (number, copy) in copies.into_iter().enumerate() {
            check_one_of_three(&scene, number, copy);
        }
        return false;
    }
    assert!(led, "not all have begun");
    copies[victim].signal(Signal::KILL);
    let killed = copies.remove(victim).outcome();
    assert_eq!(killed.code, None, "{killed:?}");
    assert!(scene.hosts.has_xdp(Host::Client), "the others have lost it");
    scene.release_daemon();
    // Its queue is free for the next, at once.
    if victim < 2 {
        let next = scene.start("copy", 6).outcome();
        scene.check(6, &next);
        // Unless another has ended meanwhile, and left its own.
        if copies.iter_mut().all(Running::is_running) {
            assert_eq!(next.number("queue"), victim as u64);
        }
    }
    let left = (0..3).filter(|&number| number != victim);
    for (number, copy) in left.zip(copies) {
        check_one_of_three(&scene, number, copy);
    }
    scene.assert_gone();
    true
}

#[test]
fn the_first_client_is_killed() {
    kill_one("the_first_client_is_killed", 0);
}

#[test]
fn the_second_client_is_killed() {
    kill_one("the_second_client_is_killed", 1);
}

#[test]
fn a_client_over_udp_is_killed() {
    kill_one("a_client_over_udp_is_killed", 2);
}

#[test]
fn the_program_goes_with_the_last_one_that_is_killed() {
    if !ready("the_program_goes_with_the_last_one_that_is_killed") {
        return;
    }
    let scene = Scene::new(4);
    scene.hold_daemon();
    let mut copies: Vec<Running> = (0..4).map(|n| scene.start("copy", n)).collect();
    settled(&copies, 4);
    while let Some(copy) = copies.pop() {
        assert!(scene.hosts.has_xdp(Host::Client), "gone too early");
        copy.signal(Signal::KILL);
        assert_eq!(copy.outcome().code, None);
    }
    scene.assert_gone();
    scene.release_daemon();
}
