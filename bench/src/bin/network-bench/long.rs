//! One transfer over a long fat path.

use blk_bench::lab::hosts::Host;

use super::row::{Row, repeat};
use super::scene::{MARGIN, Scene, megabits};

/// 1 Gb/s at 100 ms: 12.5 MB are on the way. The queue takes half of that.
const WIRE: [&str; 6] = ["--rate", "1gbit", "--queue", "6mb", "--delay", "50ms"];

/// Megabytes of the transfer: nine seconds of the link, most of them after the start.
const SIZE: u64 = 1024;

/// The share of the link that a transfer gets, from its first request to the last acknowledgement.
pub fn measure(runs: u32) -> Vec<Row> {
    let [samples] = repeat("100 ms", runs, || {
        let scene = Scene::new(1, &WIRE);
        let outcome = scene.put(&scene.file(SIZE));
        let trace = scene.trace();
        let sent = trace.of(Host::Client);
        let (start, end) = sent.span(MARGIN).expect("the transfer is in the trace");
        let middle = (start + end) / 2;
        let steady = megabits(sent.bytes(middle, end), end - middle);
        let details = format!(
            "{:.0} Mb/s; second half of the time {steady:.0} Mb/s; queue {:.0} kB, dropped {}; {} packets sent again",
            outcome.bit_rate() / 1e6,
            trace.mean_queue(middle, end) / 1e3,
            trace.dropped(start, end),
            outcome.number("retransmitted"),
        );
        [(outcome.bit_rate() / 1e9, details)]
    });
    let name = format!("goodput of {SIZE} MiB / link, 1 Gb/s, 100 ms");
    vec![Row::ratio(name, 0.8, samples)]
}
