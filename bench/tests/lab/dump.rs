//! `--dump`: the packets of both ends, as they went.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::pcapng::{Capture, Packet};
use super::support::client::{Running, blkcp, start};
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files, nothing_missing, ready, within};

/// All its packets fit the buffers of a dump, whatever else the host does.
const SIZE: u64 = 20_000_000;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// From the Ethernet header to that of the protocol, over IPv4.
const UDP_PAYLOAD: usize = 42;

/// Two hosts, a file, and blockd with a dump.
struct Scene {
    daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    directory: Directory,
}

impl Scene {
    fn new(wire: &[&str]) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::up(Link { mtu: 3498, wire });
        let dump = directory.join("server.pcapng");
        let options = [OsStr::new("--dump"), dump.as_os_str()];
        let daemon = Daemon::start_options(&hosts, &export, &options, &directory);
        files::write(&directory.join("file"), SIZE, 1);
        Self {
            daemon,
            hosts,
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

    fn capture(&self, name: &str) -> Capture {
        let bytes = std::fs::read(self.directory.join(name));
        Capture::read(&bytes.expect("cannot read the dump"))
    }

    /// Starts to put the file with a dump.
    fn put(&self, dump: &str) -> Running {
        let words = ["--dump", &self.path(dump), &self.path("file")].map(str::to_owned);
        let words: Vec<_> = words
            .into_iter()
            .chain(["10.77.0.1:data/file".to_owned()])
            .collect();
        start(&self.hosts, &self.directory, &words)
    }

    /// Starts to put the file over a slow wire, and waits until blocks are on their way.
    fn put_in_the_middle(&self, dump: &str) -> Running {
        let copy = self.put(dump);
        let file = self.directory.join(dump);
        let grows = || file.metadata().is_ok_and(|file| file.len() > 50_000);
        assert!(
            within(Duration::from_secs(10), grows),
            "no packets are dumped"
        );
        copy
    }

    /// Tells blockd to leave, and waits for it.
    fn end_daemon(&mut self) {
        self.daemon.signal(Signal::TERM);
        let left = self.daemon.wait(Duration::from_secs(5));
        assert!(left.is_some_and(|status| status.success()));
    }
}

/// The number of packets that a line about a dump tells.
fn written_in(said: &str) -> u64 {
    let line = said.lines().find(|line| line.contains("packets written"));
    let line = line.unwrap_or_else(|| panic!("no line about the dump in:\n{said}"));
    let before = line.split(" packets written").next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default();
    number
        .parse()
        .unwrap_or_else(|_| panic!("no number in:\n{line}"))
}

/// Everything is there, and so the file says.
fn assert_whole(capture: &Capture, said: &str) {
    assert_eq!(capture.rest, 0, "the last block is not whole");
    assert_eq!(capture.statistics.len(), capture.interfaces.len());
    assert!(
        capture
            .statistics
            .iter()
            .all(|counts| counts.dropped() == 0)
    );
    assert!(said.contains("packets written, 0 dropped"), "{said}");
    assert_eq!(capture.packets.len() as u64, written_in(said));
}

/// What stands in the header of a Data packet: its block's number, and the length of its payload.
fn block_of(packet: &Packet) -> Option<(u64, u64)> {
    let header = packet.bytes.get(UDP_PAYLOAD..UDP_PAYLOAD + 56)?;
    let len = u16::from_le_bytes([header[20], header[21]]);
    let number = u64::from_le_bytes(header[24..32].try_into().expect("eight bytes"));
    (header[1] == 5).then_some((number, u64::from(len)))
}

fn is_in(packet: &&Packet, direction: u32) -> bool {
    packet.direction == direction
}

#[test]
fn a_put_is_dumped_at_both_ends() {
    if !ready("a_put_is_dumped_at_both_ends") {
        return;
    }
    let mut scene = Scene::new(&[]);
    let outcome = scene.put("client.pcapng").outcome();
    outcome.ok();
    let counted = scene.daemon.statistics();
    scene.end_daemon();

    let client = scene.capture("client.pcapng");
    assert_whole(&client, &outcome.stderr);
    assert_eq!(client.interfaces[0].name(), "blk1");
    assert!(client.packets.is_sorted_by_key(|packet| packet.time));
    let server = scene.capture("server.pcapng");
    assert_whole(&server, &scene.daemon.log());
    assert!(server.interfaces.iter().all(|one| one.name() == "blk0"));

    // As many as blockd has counted, and all bytes of the file.
    assert_eq!(server.count(INBOUND), counted["frames_received"]);
    assert_eq!(server.count(OUTBOUND), counted["frames_sent"]);
    let sent = client
        .packets
        .iter()
        .filter(|packet| is_in(packet, OUTBOUND));
    let blocks: BTreeMap<u64, u64> = sent.clone().filter_map(block_of).collect();
    assert_eq!(blocks.values().sum::<u64>(), SIZE);

    // One end receives what the other one has sent, bit by bit.
    let sent: BTreeSet<&[u8]> = sent.map(|packet| &packet.bytes[..]).collect();
    for packet in server
        .packets
        .iter()
        .filter(|packet| is_in(packet, INBOUND))
    {
        assert!(packet.bytes.len() <= 192 && packet.original_len <= 3498 + 14);
        assert!(
            sent.contains(&packet.bytes[..]),
            "received and not sent: {packet:?}"
        );
    }
    wireshark_understands(&scene.directory.join("client.pcapng"));
}

/// tshark shows the protocol by `docs/blk.lua`, and has nothing to complain of.
pub fn wireshark_understands(dump: &Path) {
    let missing = Command::new("tshark").arg("--version").output().err();
    let missing = missing.map(|error| format!("tshark: {error} (scripts/deps --test installs it)"));
    if !nothing_missing("a_put_is_dumped_at_both_ends (Wireshark)", missing) {
        return;
    }
    let script = concat!(
        "lua_script:",
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/blk.lua"
    );
    let output = Command::new("tshark")
        .args(["-n", "-X", script, "-r"])
        .arg(dump)
        .args(["-T", "fields", "-e", "_ws.col.Protocol", "-e", "blk.kind"])
        .args(["-e", "blk.message", "-e", "_ws.expert.message"])
        .output()
        .expect("cannot run tshark");
    let (shown, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success() && !said.contains("Lua"), "{said}");
    let mut kinds = BTreeSet::new();
    let mut messages = Vec::new();
    for line in shown.lines() {
        let row: Vec<_> = line.split('\t').collect();
        assert_eq!((row[0], row[3]), ("BLK", ""), "{line}");
        kinds.insert(row[1].to_owned());
        messages.extend(
            row[2]
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
        );
    }
    let needed = ["1", "2", "4", "5", "6", "7"].map(str::to_owned);
    assert!(kinds.is_superset(&needed.into()), "{kinds:?}");
    assert_eq!(messages, ["Begin", "Begun", "Commit", "Committed"]);
}

#[test]
fn ctrl_c_and_a_kill_leave_a_dump() {
    if !ready("ctrl_c_and_a_kill_leave_a_dump") {
        return;
    }
    let mut scene = Scene::new(&["--rate", "100mbit"]);
    let copy = scene.put_in_the_middle("interrupted.pcapng");
    copy.signal(Signal::INT);
    let outcome = copy.outcome();
    outcome.fails(130, &["interrupted", "0 dropped"]);
    let capture = scene.capture("interrupted.pcapng");
    assert_whole(&capture, &outcome.stderr);
    assert!(capture.count(INBOUND) > 0 && capture.count(OUTBOUND) > 0);

    let copy = scene.put_in_the_middle("killed.pcapng");
    copy.signal(Signal::KILL);
    assert_eq!(copy.outcome().code, None);
    let capture = scene.capture("killed.pcapng");
    assert!(capture.count(INBOUND) > 0 && capture.count(OUTBOUND) > 0);
    assert!(capture.statistics.is_empty());

    scene.end_daemon();
    assert_whole(&scene.capture("server.pcapng"), &scene.daemon.log());
}

#[test]
fn a_dump_onto_a_full_disk_ends_and_the_copy_goes_on() {
    if !ready("a_dump_onto_a_full_disk_ends_and_the_copy_goes_on") {
        return;
    }
    let mut scene = Scene::new(&[]);
    let tiny = scene.directory.small_disk("tiny", 8);
    let dump = tiny.join("dump.pcapng");
    let name = dump.to_str().expect("test files have plain paths");
    let source = scene.path("file");
    let words = ["--dump", name, "--dump-snaplen", "full", &source];
    let words = [&words[..], &["10.77.0.1:data/file"]].concat();
    let outcome = blkcp(&scene.hosts, &scene.directory, &words);
    outcome.ok();
    files::assert_same(&scene.directory.join("file"), &scene.export.join("file"));
    let said = &outcome.stderr;
    assert!(
        said.contains("ended early") && said.contains("No space left"),
        "{said}"
    );
    assert!(!said.contains(" 0 dropped"), "{said}");
    // What is there is whole packets, and as many as it says.
    let capture = Capture::read(&std::fs::read(&dump).expect("cannot read the dump"));
    assert_eq!(capture.rest, 0);
    assert!(!capture.packets.is_empty());
    assert_eq!(capture.packets.len() as u64, written_in(said));
}

#[test]
fn a_dump_that_cannot_be_written_is_told_before_anything_is_copied() {
    if !ready("a_dump_that_cannot_be_written_is_told_before_anything_is_copied") {
        return;
    }
    let scene = Scene::new(&[]);
    let source = scene.path("file");
    let cases: [(&str, i32, &[&str]); 4] = [
        ("/dev/full", 8, &["/dev/full", "No space left"]),
        ("/no/such/directory/x", 5, &["/no/such/directory/x"]),
        (&source, 1, &["no packet dump", "left as it is"]),
        ("-", 2, &["--json", "standard output"]),
    ];
    for (dump, code, words) in cases {
        let arguments = ["--dump", dump, &source, "10.77.0.1:data/file"];
        blkcp(&scene.hosts, &scene.directory, &arguments).fails(code, words);
    }
    assert!(files::names(&scene.export).is_empty());
    assert_eq!(
        std::fs::metadata(&source)
            .expect("the source is there")
            .len(),
        SIZE
    );
    let options = [OsStr::new("--dump"), OsStr::new("/dev/full")];
    let mut second = Daemon::spawn_options(&scene.hosts, &scene.export, &options, &scene.directory);
    let status = second.wait(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(1));
    assert!(second.log().contains("No space left"), "{}", second.log());
}
