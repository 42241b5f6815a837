//! What was measured.

use serde::Serialize;

use super::measure::Sample;
use super::tools::{Direction, Kind, Tool};

/// A tool, one way, at one MTU.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Its name.
    pub tool: String,
    /// What it is compared with.
    pub kind: Kind,
    /// MTU of the link.
    pub mtu: u32,
    /// Which way the file went.
    pub direction: Direction,
    /// One for each run.
    pub samples: Vec<Sample>,
}

impl Figure {
    /// Without samples yet.
    pub fn new(tool: &dyn Tool, mtu: u32, direction: Direction) -> Self {
        Self {
            tool: tool.name(),
            kind: tool.kind(),
            mtu,
            direction,
            samples: Vec::new(),
        }
    }

    /// The rates, or what else of the samples, sorted.
    fn sorted(&self, what: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.samples.iter().map(what).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// Minimum, median and maximum of the rate in GB/s.
    pub fn rates(&self) -> [f64; 3] {
        let rates = self.sorted(|sample| sample.rate);
        let at = |index: usize| rates.get(index).copied().unwrap_or(f64::NAN);
        [
            at(0),
            at(rates.len() / 2),
            at(rates.len().saturating_sub(1)),
        ]
    }

    /// Median of the CPU seconds per GB.
    pub fn cpu(&self) -> f64 {
        let cpu = self.sorted(|sample| sample.cpu);
        cpu.get(cpu.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// The fastest of the other tools for the same work, by the median.
pub fn fastest_peer<'a>(figures: &'a [Figure], of: &Figure) -> Option<&'a Figure> {
    figures
        .iter()
        .filter(|figure| figure.kind == Kind::Peer)
        .filter(|figure| figure.mtu == of.mtu && figure.direction == of.direction)
        .max_by(|a, b| a.rates()[1].total_cmp(&b.rates()[1]))
}

/// All samples, with the machine that they are of.
pub fn json(figures: &[Figure]) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let value = serde_json::json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpus": cpus,
        "load_average": read("/proc/loadavg").trim(),
        "figures": figures,
    });
    format!("{value:#}\n")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A figure with one sample for each rate.
    pub fn figure(tool: &str, kind: Kind, rates: &[f64]) -> Figure {
        Figure {
            tool: tool.to_owned(),
            kind,
            mtu: 1500,
            direction: Direction::Put,
            samples: rates
                .iter()
                .map(|&rate| Sample {
                    seconds: 1.0 / rate,
                    rate,
                    cpu: rate / 10.0,
                })
                .collect(),
        }
    }

    #[test]
    fn medians_and_the_fastest_peer() {
        let ours = figure("blkcp", Kind::Ours, &[3.0, 1.0, 2.0]);
        assert_eq!(ours.rates(), [1.0, 2.0, 3.0]);
        assert!((ours.cpu() - 0.2).abs() < 1e-9);
        let all = [
            ours.clone(),
            figure("slow", Kind::Peer, &[0.5]),
            figure("fast", Kind::Peer, &[0.1, 1.5, 1.6]),
            figure("wire", Kind::Ceiling, &[9.0]),
        ];
        assert_eq!(
            fastest_peer(&all, &ours).map(|peer| peer.tool.as_str()),
            Some("fast")
        );
        let mut other = ours;
        other.mtu = 9000;
        assert!(fastest_peer(&all, &other).is_none());
    }
}
