//! Garbage from other sources to the port of blockd, beside copies.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::client::blkcp;
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::spray::{ALLOWED, REASONS, Spray};
use super::support::traffic::on_host;
use super::support::{Directory, files, ready};

/// So much garbage has to arrive.
const GARBAGE: u64 = 1_000_000;

/// Copies until then, at most.
const COPIES: usize = 500;

/// Growth of the daemon that is no growth: allocators and lazily touched pages.
const NOISE: u64 = 4 << 20;

/// What became of packets that nobody meant, by the statistics of blockd.
fn garbage(counted: &std::collections::BTreeMap<String, u64>) -> u64 {
    REASONS.iter().map(|name| counted[*name]).sum()
}

#[test]
fn garbage_beside_copies_is_dropped_and_counted() {
    if !ready("garbage_beside_copies_is_dropped_and_counted") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let source = directory.join("file");
    files::write(&source, 64 << 20, 1);
    let hosts = Hosts::up(Link::of(3498));
    Spray::prepare(&hosts, Host::Client);
    let options = ALLOWED.map(OsStr::new);
    let daemon = Daemon::start_options(&hosts, &export, &options, &directory);
    // Each to another name, or else all but the first would find everything there.
    let copy = |number: usize| {
        let (name, path) = (format!("file{number}"), source.to_str());
        let target = format!("10.77.0.1:data/{name}");
        blkcp(&hosts, &directory, &[path.expect("a plain path"), &target]).ok();
        files::assert_same(&source, &export.join(&name));
        std::fs::remove_file(export.join(name)).expect("the copy can be removed");
    };
    copy(0);
    let memory = daemon.memory();
    let before = daemon.statistics();

    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let spraying = on_host(&hosts, Host::Client, move || Spray::new().run(None, &flag));
    let mut copies = 0;
    while garbage(&daemon.statistics()) < garbage(&before) + GARBAGE && copies < COPIES {
        copies += 1;
        copy(copies);
    }
    stop.store(true, Ordering::Relaxed);
    let sent = spraying.join().expect("the garbage was sent");
    let (after, said) = (daemon.statistics(), daemon.log());
    let grown = daemon.memory().saturating_sub(memory);
    let more = |name: &str| after[name] - before[name];
    println!("{copies} copies beside {sent} packets of garbage; blockd grew by {grown}: {after:?}");
    assert!(copies > 0 && garbage(&after) >= garbage(&before) + GARBAGE);

    // Half is of a source that is not allowed; of the rest each kind has its reason.
    assert!(more("not_allowed") >= GARBAGE / 4, "{after:?}");
    assert!(more("not_allowed") <= sent, "{after:?}");
    for reason in ["too_short", "handshakes_limited"] {
        assert!(more(reason) >= GARBAGE / 100, "{reason}: {after:?}");
    }
    assert!(more("fragments") > 0, "{after:?}");
    let last = said.lines().rfind(|line| line.contains(" dropped="));
    let last = last.expect("statistics of a queue");
    for reason in ["other version", "checksum"] {
        assert!(said.contains(reason), "{last}");
    }
    assert!(grown < NOISE, "blockd grew by {grown} bytes");
    // Nobody fills the log from outside: there is nothing in it but what was asked for.
    let asked = |line: &str| line.contains("statistics of") || line.contains("blockd: balance:");
    let unasked = said.lines().filter(|line| !asked(line));
    assert!(unasked.count() < 20, "{said}");
}
