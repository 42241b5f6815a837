//! Many clients at once into one server.

use blk_bench::lab::hosts::Host;

use super::row::{Row, Sample, repeat};
use super::scene::{MARGIN, Scene, megabits};

const CLIENTS: u32 = 32;

/// Megabytes in all, whoever sends them.
const TOTAL: u64 = 512;

/// A rack: 1 Gb/s, 200 us, a switch with 500 kB of buffer for the port.
const WIRE: [&str; 6] = ["--rate", "1gbit", "--queue", "500kb", "--delay", "100us"];

/// The rate of all together against that of one alone, and the slowest against the mean.
pub fn measure(runs: u32) -> Vec<Row> {
    let [total, slowest] = repeat("32 clients", runs, one);
    vec![
        Row::ratio("rate of 32 clients / rate of one, 1 Gb/s", 0.8, total),
        // No goal is given for it; a tenth of the mean would be starvation.
        Row::ratio("slowest / mean of 32 clients, 1 Gb/s", 0.1, slowest),
    ]
}

fn one() -> [Sample; 2] {
    let scene = Scene::new(CLIENTS, &WIRE);
    let alone = together(&scene, 1);
    let all = together(&scene, CLIENTS);
    let mean = all.rates.iter().sum::<f64>() / all.rates.len() as f64;
    let slowest = all.rates.iter().copied().fold(f64::INFINITY, f64::min);
    let details = format!(
        "{:.0} of {:.0} Mb/s in {:.1} s; queue {:.0} kB, dropped {}, sent again {}; kernel drops at blockd {}",
        all.rate, alone.rate, all.seconds, all.queue, all.dropped, all.again, all.kernel_drops
    );
    let each = format!("slowest {slowest:.1}, mean {mean:.1} Mb/s");
    [(all.rate / alone.rate, details), (slowest / mean, each)]
}

/// What came of some transfers at once.
struct Together {
    /// Of all, in Mb/s of payload from the first packet to the last.
    rate: f64,
    seconds: f64,
    /// Of each, in Mb/s.
    rates: Vec<f64>,
    queue: f64,
    dropped: u64,
    again: u64,
    kernel_drops: u64,
}

fn together(scene: &Scene, clients: u32) -> Together {
    let each = TOTAL / u64::from(clients);
    let file = scene.file(each);
    let earlier = scene.trace().of(Host::Client).total();
    let copies: Vec<_> = (1..=clients)
        .map(|client| scene.start(client, &file))
        .collect();
    let outcomes: Vec<_> = copies.into_iter().map(|copy| copy.outcome()).collect();
    outcomes.iter().for_each(|outcome| {
        outcome.ok();
    });
    let trace = scene.trace();
    let spans = (1..=clients).filter_map(|client| {
        // The first client has sent before.
        let before = if client == 1 { earlier } else { 0 };
        trace.of(Host::client(client)).span(before + MARGIN)
    });
    let (start, end) = spans
        .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
        .expect("the transfers are in the trace");
    let counters = scene.daemon.statistics();
    let lost = ["rx_dropped", "rx_ring_full"].map(|name| counters.get(name).copied().unwrap_or(0));
    Together {
        rate: megabits(TOTAL << 20, end - start),
        seconds: (end - start) as f64 / 1e3,
        rates: outcomes
            .iter()
            .map(|outcome| outcome.bit_rate() / 1e6)
            .collect(),
        queue: trace.mean_queue(start, end) / 1e3,
        dropped: trace.dropped(start, end),
        again: outcomes
            .iter()
            .map(|outcome| outcome.number("retransmitted"))
            .sum(),
        kernel_drops: lost.iter().sum(),
    }
}
