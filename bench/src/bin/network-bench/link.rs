//! One transfer on a link that loses or reorders, against the same link when it does not.

use super::row::{Row, Sample, repeat};
use super::scene::Scene;

/// Impairments, and the share of the clean rate that is the goal.
const CASES: [(&str, &[&str], f64); 3] = [
    ("0.1 % loss", &["--loss", "0.1%"], 0.8),
    ("1 % loss", &["--loss", "1%"], 0.5),
    ("5 % reordering", &["--reorder", "5%"], 0.8),
];

/// Links with 1 ms of round-trip time: at 1 Gb/s with a queue of two bandwidth-delay products, and as fast as the
/// machine goes.
const LINKS: [(&str, &[&str]); 2] = [
    (
        "1 Gb/s",
        &["--delay", "500us", "--rate", "1gbit", "--queue", "250kb"],
    ),
    ("no rate limit", &["--delay", "500us"]),
];

/// Megabytes of one transfer.
const SIZE: u64 = 256;

/// Goodput under each impairment on each link.
pub fn measure(runs: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for (link, wire) in LINKS {
        let all = repeat(&format!("loss and reordering, {link}"), runs, || one(wire));
        for ((case, _, goal), samples) in CASES.iter().zip(all) {
            let name = format!("goodput at {case} / clean, 1 ms, {link}");
            rows.push(Row::ratio(name, *goal, samples));
        }
    }
    rows
}

/// All cases on one link, between two clean transfers whose mean they are compared with.
fn one(wire: &[&str]) -> [Sample; 3] {
    let scene = Scene::new(1, wire);
    let file = scene.file(SIZE);
    let rate = |impairment: &[&str]| {
        scene.hosts.change(&[wire, impairment].concat());
        let outcome = scene.put(&file);
        (outcome.bit_rate() / 1e6, outcome.number("retransmitted"))
    };
    let first = rate(&[]);
    let impaired = CASES.map(|(_, impairment, _)| rate(impairment));
    let last = rate(&[]);
    let clean = (first.0 + last.0) / 2.0;
    impaired.map(|(rate, again)| {
        let details = format!(
            "{rate:.0} of {clean:.0} Mb/s (clean {:.0} and {:.0}), {again} packets sent again (clean {} and {})",
            first.0, last.0, first.1, last.1
        );
        (rate / clean, details)
    })
}
