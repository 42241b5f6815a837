//! What other programs on the same interfaces have to bear.

use std::time::Duration;

use blk_bench::lab::hosts::{Hosts, Link};
use blk_bench::lab::steady::Steady;
use blk_bench::lab::turmoil::rage;
use blk_bench::lab::{Directory, files};

use super::row::{Row, Sample, repeat};
use super::scene::MTU;

const TIME: Duration = Duration::from_secs(20);

/// Longest wait for a message on TCP connections while copies and blockd start, stop and die.
pub fn measure(runs: u32) -> Vec<Row> {
    let [samples] = repeat("bystanders", runs, || [one()]);
    let name =
        "one second / longest wait of TCP beside copies and a blockd that start, stop and die";
    vec![Row::ratio(name, 1.0, samples)]
}

fn one() -> Sample {
    let directory = Directory::new();
    let source = directory.join("source");
    files::write(&source, 512 << 20, 1);
    let hosts = Hosts::up(Link::of(MTU));
    let connections = Steady::start(&hosts);
    let turmoil = rage(&hosts, &source, TIME, &directory);
    let steadiness = connections.finish();
    let details = format!(
        "{:.0} ms; {} messages, none lost; programs attached {} times, {} copies",
        1e3 * steadiness.stall.as_secs_f64(),
        steadiness.messages,
        turmoil.attached,
        turmoil.copies
    );
    (1.0 / steadiness.stall.as_secs_f64(), details)
}
