//! Two transfers that share a bottleneck.

use std::time::Duration;

use blk_bench::lab::hosts::Host;
use blk_bench::lab::tcp::TcpTransfer;
use blk_bench::lab::trace::{jain, overlap};

use super::row::{Row, Sample, repeat};
use super::scene::{MARGIN, Scene, megabits};

/// A bottleneck: its name, rate, one-way delay, bytes of its bandwidth times its round-trip time.
struct Bottleneck {
    name: &'static str,
    rate: &'static str,
    delay: &'static str,
    product: u64,
    /// Megabytes that one of two senders gets through in about fifteen seconds.
    size: u64,
}

const BOTTLENECKS: [Bottleneck; 2] = [
    Bottleneck {
        name: "200 Mb/s, 10 ms",
        rate: "200mbit",
        delay: "5ms",
        product: 250_000,
        size: 150,
    },
    Bottleneck {
        name: "1 Gb/s, 2 ms",
        rate: "1gbit",
        delay: "1ms",
        product: 250_000,
        size: 900,
    },
];

/// The second sender comes so much later.
const HEAD_START: Duration = Duration::from_secs(1);

impl Bottleneck {
    /// The link with a queue of so many bandwidth-delay products.
    fn scene(&self, products: u64) -> Scene {
        let queue = (self.product * products).to_string();
        let wire = [
            "--rate", self.rate, "--delay", self.delay, "--queue", &queue,
        ];
        Scene::new(2, &wire)
    }
}

/// Jain's index of two blkcp, over the time in which both run.
pub fn pair(runs: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for bottleneck in &BOTTLENECKS {
        let name = format!("Jain index of two blkcp, {}, queue 1 BDP", bottleneck.name);
        let [samples] = repeat(&name, runs, || {
            [two_blkcp(&bottleneck.scene(1), bottleneck.size)]
        });
        rows.push(Row::ratio(name, 0.9, samples));
    }
    rows
}

fn two_blkcp(scene: &Scene, size: u64) -> Sample {
    let file = scene.file(size);
    let first = scene.start(1, &file);
    std::thread::sleep(HEAD_START);
    let second = scene.start(2, &file);
    let again = [first, second].map(|copy| {
        let outcome = copy.outcome();
        outcome.ok();
        outcome.number("retransmitted")
    });
    let trace = scene.trace();
    let sent = [1, 2].map(|client| trace.of(Host::client(client)));
    let spans = [0, 1].map(|i| sent[i].span(MARGIN).unwrap_or_default());
    let Some((from, to)) = overlap(&spans) else {
        return (0.0, format!("they did not run at once: {spans:?}"));
    };
    let rates = [0, 1].map(|i| megabits(sent[i].bytes(from, to), to - from));
    let details = format!(
        "{:.0} and {:.0} Mb/s for {:.1} s; queue {:.0} kB, dropped {}; sent again {} and {}",
        rates[0],
        rates[1],
        (to - from) as f64 / 1e3,
        trace.mean_queue(from, to) / 1e3,
        trace.dropped(from, to),
        again[0],
        again[1],
    );
    (jain(&rates), details)
}

/// The smaller share of blkcp and TCP CUBIC, over the time in which blkcp runs; TCP was there first.
pub fn tcp(runs: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for bottleneck in &BOTTLENECKS {
        for products in [1, 4] {
            let name = format!(
                "smaller share of blkcp and TCP CUBIC, {}, queue {products} BDP",
                bottleneck.name
            );
            let [samples] = repeat(&name, runs, || {
                [beside_tcp(&bottleneck.scene(products), bottleneck.size)]
            });
            rows.push(Row::ratio(name, 0.3, samples));
        }
    }
    rows
}

fn beside_tcp(scene: &Scene, size: u64) -> Sample {
    let file = scene.file(size);
    let tcp = TcpTransfer::start(&scene.hosts, Host::client(2), "cubic");
    std::thread::sleep(HEAD_START);
    let outcome = scene.start(1, &file).outcome();
    drop(tcp);
    outcome.ok();
    let trace = scene.trace();
    let Some((from, to)) = trace.of(Host::Client).span(MARGIN) else {
        return (0.0, "blkcp is not in the trace".to_owned());
    };
    let bytes = [1, 2].map(|client| trace.of(Host::client(client)).bytes(from, to));
    let shares = bytes.map(|part| part as f64 / (bytes[0] + bytes[1]) as f64);
    let details = format!(
        "blkcp {:.0} %, TCP {:.0} % of {:.0} Mb/s for {:.1} s; queue {:.0} kB, dropped {}; blkcp sent again {}",
        100.0 * shares[0],
        100.0 * shares[1],
        megabits(bytes[0] + bytes[1], to - from),
        (to - from) as f64 / 1e3,
        trace.mean_queue(from, to) / 1e3,
        trace.dropped(from, to),
        outcome.number("retransmitted"),
    );
    (shares[0].min(shares[1]), details)
}
