//! Copies beside a million packets of garbage from another host.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_bench::lab::client::start_on;
use blk_bench::lab::daemon::Daemon;
use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::spray::{ALLOWED, REASONS, Spray};
use blk_bench::lab::traffic::on_host;
use blk_bench::lab::{Directory, files};

use super::row::{Row, Sample, repeat};
use super::scene::MTU;

/// Packets that have to come.
const GARBAGE: u64 = 1_000_000;

/// Packets a second: that makes ten seconds. The sender is on this machine, too, and what it costs is no matter of blockd's.
const PACE: u32 = 100_000;

/// Mebibytes of one copy.
const SIZE: u64 = 1024;

/// Two copies without garbage, one before and one after; others with it.
pub fn measure(runs: u32) -> Vec<Row> {
    let [samples] = repeat("garbage", runs, || [one()]);
    let name = "rate beside a million packets of garbage, 100,000 a second / rate without them";
    vec![Row::ratio(name, 0.7, samples)]
}

fn one() -> Sample {
    let directory = Directory::new();
    let (export, source) = (directory.subdirectory("export"), directory.join("source"));
    files::write(&source, SIZE << 20, 1);
    let hosts = Hosts::with_clients(Link::of(MTU), 2);
    Spray::prepare(&hosts, Host::Other(2));
    let daemon = Daemon::start_options(&hosts, &export, &ALLOWED.map(OsStr::new), &directory);
    let path = source
        .to_str()
        .expect("the target directory has a plain path");
    let copy = |number: usize| {
        let (name, host) = (format!("{number}"), Host::Client);
        let remote = format!("10.77.0.1:data/{name}");
        let outcome = start_on(&hosts, host, &directory, &[path, &remote]).outcome();
        let rate = outcome.ok().bit_rate() / 8e9;
        files::assert_same(&source, &export.join(&name));
        std::fs::remove_file(export.join(&name)).expect("the copy can be removed");
        rate
    };
    copy(0);
    let first = copy(1);
    let (memory, before) = (daemon.memory(), daemon.statistics());
    let come = || -> u64 {
        let counted = daemon.statistics();
        REASONS
            .iter()
            .map(|name| counted[*name] - before[*name])
            .sum()
    };
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let spraying = on_host(&hosts, Host::Other(2), move || {
        Spray::new().run(Some(PACE), &flag)
    });
    let mut rates = Vec::new();
    while come() < GARBAGE && rates.len() < 100 {
        rates.push(copy(rates.len() + 2));
    }
    stop.store(true, Ordering::Relaxed);
    let sent = spraying.join().expect("the garbage was sent");
    let (after, grown) = (daemon.statistics(), daemon.memory().saturating_sub(memory));
    let last = copy(rates.len() + 2);
    let beside = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let without = (first + last) / 2.0;
    let reasons: Vec<_> = REASONS
        .iter()
        .map(|name| format!("{name} {}", after[*name] - before[*name]))
        .collect();
    let details = format!(
        "{beside:.2} GB/s in {} copies, without {first:.2} and {last:.2}; {sent} sent: {}; blockd grew {} kB",
        rates.len(),
        reasons.join(", "),
        grown / 1_000
    );
    (beside / without, details)
}
