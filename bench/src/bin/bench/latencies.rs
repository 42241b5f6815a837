//! How long operations took, and how many there were.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::sample::{Measure, Sample};

/// Of random reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// Operations per second.
    pub rate: f64,
    /// Median, in microseconds.
    pub p50: f64,
    /// 99 % took no longer.
    pub p99: f64,
    /// 99.9 % took no longer.
    pub p999: f64,
}

impl Latencies {
    /// Of the time that each operation took, in nanoseconds, in any order, and how long all of them took together.
    pub fn of(times: &mut [u32], seconds: f64) -> Self {
        times.sort_unstable();
        let at = |share| f64::from(percentile(times, share)) / 1e3;
        Self {
            rate: times.len() as f64 / seconds,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }

    /// As `random-load` prints it.
    pub fn of_ours(output: &str) -> Result<Self> {
        serde_json::from_str(output).with_context(|| format!("not latencies: {output}"))
    }

    /// As fio prints it with `--output-format=json --lat_percentiles=1`.
    pub fn of_fio(output: &str) -> Result<Self> {
        let report = FioReport::read(output)?;
        let writes = report.side(true)?.total_ios > 0;
        let side = report.side(writes)?;
        let percentiles = side.latency.percentile.context("fio tells no latencies")?;
        let at = |name: &str| {
            let value = percentiles.get(name);
            Ok::<_, anyhow::Error>(value.with_context(|| format!("fio has no {name} %"))? / 1e3)
        };
        Ok(Self {
            rate: side.iops,
            p50: at("50.000000")?,
            p99: at("99.000000")?,
            p999: at("99.900000")?,
        })
    }

    /// As a sample.
    pub fn sample(self) -> Sample {
        Sample::from([
            (Measure::OperationsPerSecond, self.rate),
            (Measure::P50Microseconds, self.p50),
            (Measure::P99Microseconds, self.p99),
            (Measure::P999Microseconds, self.p999),
        ])
    }
}

/// The least value that this share of sorted values does not exceed (nearest rank); 0 of none.
pub fn percentile(sorted: &[u32], share: f64) -> u32 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// What of fio's report counts here.
#[derive(Debug, Deserialize)]
pub struct FioReport {
    jobs: Vec<FioJob>,
}

#[derive(Debug, Clone, Deserialize)]
struct FioJob {
    error: i32,
    read: FioSide,
    write: FioSide,
}

/// Reads, or writes.
#[derive(Debug, Clone, Deserialize)]
pub struct FioSide {
    /// Bytes in all.
    pub io_bytes: u64,
    /// Milliseconds.
    pub runtime: f64,
    total_ios: u64,
    iops: f64,
    #[serde(rename = "lat_ns")]
    latency: FioLatency,
}

#[derive(Debug, Clone, Deserialize)]
struct FioLatency {
    percentile: Option<BTreeMap<String, f64>>,
}

impl FioReport {
    /// From its standard output; lines before the JSON are notes.
    pub fn read(output: &str) -> Result<Self> {
        let start = output.find('{').context("fio printed no JSON")?;
        serde_json::from_str(&output[start..]).context("fio printed something else than a report")
    }

    /// The writes or the reads of its only job.
    pub fn side(&self, writes: bool) -> Result<FioSide> {
        let job = self.jobs.first().context("fio tells of no job")?;
        ensure!(job.error == 0, "fio failed with error {}", job.error);
        let side = if writes { &job.write } else { &job.read };
        Ok(side.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut times: Vec<u32> = (1..=1000).rev().map(|number| number * 1000).collect();
        let latencies = Latencies::of(&mut times, 2.0);
        let expected = Latencies {
            rate: 500.0,
            p50: 500.0,
            p99: 990.0,
            p999: 999.0,
        };
        assert_eq!(latencies, expected);
        assert_eq!(
            [percentile(&[7], 0.5), percentile(&[7], 0.999)],
            [7, 7],
            "of one value all are the same"
        );
        assert_eq!(percentile(&[], 0.5), 0);
        assert_eq!(percentile(&[1, 2], 1.0), 2);
    }

    #[test]
    fn what_we_print_can_be_read() {
        let latencies = Latencies::of(&mut [1000, 3000], 1.0);
        let line = serde_json::to_string(&latencies).unwrap();
        assert_eq!(Latencies::of_ours(&line).unwrap(), latencies);
        assert!(Latencies::of_ours("no").is_err());
    }

    /// What fio 3.33 prints, cut down.
    fn fio(error: i32, reads: u64, writes: u64) -> String {
        let side = |total: u64| {
            format!(
                r#"{{"io_bytes":{},"runtime":2000,"total_ios":{total},"iops":{},"short_ios":0,
                "lat_ns":{{"min":1,"percentile":{{"50.000000":58112,"99.000000":90624,"99.900000":120320}}}}}}"#,
                total * 4096,
                total / 2
            )
        };
        format!(
            r#"note: both iodepth >= 1 and synchronous I/O engine
            {{"fio version":"fio-3.33","jobs":[{{"jobname":"r","error":{error},"read":{},"write":{}}}]}}"#,
            side(reads),
            side(writes)
        )
    }

    #[test]
    fn fio_is_read() {
        let latencies = Latencies::of_fio(&fio(0, 1000, 0)).unwrap();
        let expected = Latencies {
            rate: 500.0,
            p50: 58.112,
            p99: 90.624,
            p999: 120.32,
        };
        assert_eq!(latencies, expected);
        assert_eq!(Latencies::of_fio(&fio(0, 0, 4000)).unwrap().rate, 2000.0);
        assert!(Latencies::of_fio(&fio(5, 1, 0)).is_err(), "an I/O error");
        assert!(Latencies::of_fio("fio: no such engine").is_err());
        let side = FioReport::read(&fio(0, 10, 0))
            .unwrap()
            .side(false)
            .unwrap();
        assert_eq!((side.io_bytes, side.runtime), (40_960, 2000.0));
    }
}
