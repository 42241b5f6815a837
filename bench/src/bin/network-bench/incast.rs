//! Many clients at once into one server.

use std::time::Duration;

use blk_bench::lab::hosts::Host;
use blk_bench::lab::trace::{Series, Trace, monotonic_ms, overlap};
use blk_bench::lab::within;

use super::row::{Row, Sample, repeat};
use super::scene::{MARGIN, Scene, megabits};

const CLIENTS: u32 = 32;

/// Megabytes of each of many clients, and of one alone.
const EACH: u64 = 24;
const ALONE: u64 = 512;

/// A rack: 200 us, a switch with 500 kB of buffer for the port.
const RACK: [&str; 4] = ["--queue", "500kb", "--delay", "100us"];
const RATE: [&str; 2] = ["--rate", "1gbit"];
/// The rate while the clients start: it takes a second or more until all of them run, and the first shall not be done by
/// then.
const STARTING_RATE: [&str; 2] = ["--rate", "50mbit"];

/// Bytes of a frame for each byte of payload: 3072 of payload in 3200.
const HEADERS: f64 = 3_200.0 / 3_072.0;

/// A client that has sent so many bytes sends its file.
const STARTED: u64 = 20_000;

/// So long after the link has become fast, the senders have met.
const SETTLED: u64 = 250;

/// The rate of all together against that of one alone, and the slowest against the mean, while all of them run.
pub fn measure(runs: u32) -> Vec<Row> {
    let [total, slowest] = repeat("32 clients", runs, one);
    vec![
        Row::ratio("rate of 32 clients / rate of one, 1 Gb/s", 0.8, total),
        // The goal is that nobody starves; it names no figure.
        Row::ratio("slowest / mean of 32 clients, 1 Gb/s", 0.1, slowest),
    ]
}

fn one() -> [Sample; 2] {
    let scene = Scene::new(CLIENTS, &[&RATE[..], &RACK].concat());
    let alone = alone(&scene);
    let all = together(&scene);
    let mean = all.rates.iter().sum::<f64>() / f64::from(CLIENTS);
    let slowest = all.rates.iter().copied().fold(f64::INFINITY, f64::min);
    let rate = mean * f64::from(CLIENTS);
    let details = format!(
        "{rate:.0} of {alone:.0} Mb/s for {:.1} s; queue {:.0} kB; of the frames {:.1} % dropped in it, of those that \
         arrived {:.1} % in vain; kernel drops at blockd {}",
        all.seconds, all.queue, all.dropped, all.in_vain, all.kernel_drops
    );
    let each = format!("slowest {slowest:.1}, mean {mean:.1} Mb/s");
    [(rate / alone, details), (slowest / mean, each)]
}

/// The rate of the second half of one transfer, in Mb/s.
fn alone(scene: &Scene) -> f64 {
    scene.put(&scene.file(ALONE));
    let sent = scene.trace().of(Host::Client);
    let (start, end) = sent.span(MARGIN).expect("the transfer is in the trace");
    let middle = (start + end) / 2;
    megabits(sent.bytes(middle, end), end - middle)
}

/// What came of the transfers while all of them ran.
struct Together {
    seconds: f64,
    /// Of each, in Mb/s.
    rates: Vec<f64>,
    /// Bytes that waited, on average.
    queue: f64,
    /// Percent.
    dropped: f64,
    in_vain: f64,
    kernel_drops: u64,
}

fn together(scene: &Scene) -> Together {
    let file = scene.file(EACH);
    let earlier = scene.trace().of(Host::Client).total();
    let series = |trace: &Trace| -> Vec<Series> {
        (1..=CLIENTS)
            .map(|client| trace.of(Host::client(client)))
            .zip([earlier].into_iter().chain(std::iter::repeat(0)))
            .map(|(sent, earlier)| sent.after(earlier))
            .collect()
    };
    scene.hosts.change(&[&STARTING_RATE[..], &RACK].concat());
    let copies: Vec<_> = (1..=CLIENTS)
        .map(|client| scene.start(client, &file))
        .collect();
    let all_run = within(Duration::from_secs(60), || {
        series(&scene.trace())
            .iter()
            .all(|sent| sent.total() > STARTED)
    });
    assert!(all_run, "not all of the clients started");
    let fast = monotonic_ms();
    scene.hosts.change(&[&RATE[..], &RACK].concat());
    for copy in copies {
        copy.outcome().ok();
    }
    let trace = scene.trace();
    let sent = series(&trace);
    let spans = sent
        .iter()
        .map(|sent| sent.span(STARTED).unwrap_or_default());
    let spans: Vec<_> = spans.chain([(fast + SETTLED, u64::MAX)]).collect();
    let (from, to) = overlap(&spans).expect("all clients run at once");
    let arrived: u64 = sent.iter().map(Series::total).sum();
    let frames = sent.iter().map(|sent| sent.bytes(from, to)).sum::<u64>() / 3_200;
    let dropped = trace.dropped(from, to);
    let counters = scene.daemon.statistics();
    let lost = ["rx_dropped", "rx_ring_full"].map(|name| counters.get(name).copied().unwrap_or(0));
    Together {
        seconds: (to - from) as f64 / 1e3,
        rates: sent
            .iter()
            .map(|sent| megabits(sent.bytes(from, to), to - from))
            .collect(),
        queue: trace.mean_queue(from, to) / 1e3,
        dropped: 100.0 * dropped as f64 / (dropped + frames).max(1) as f64,
        // What is above the payload and its headers has come twice.
        in_vain: 100.0
            - 100.0 * ((u64::from(CLIENTS) * EACH) << 20) as f64 * HEADERS / arrived as f64,
        kernel_drops: lost.iter().sum(),
    }
}
