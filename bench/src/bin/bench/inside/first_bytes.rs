//! How long a read takes after a pause.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use blk_bench::lab::inside::block_on;
use blk_client::RemoteFile;
use serde::{Deserialize, Serialize};

use super::Target;
use crate::latencies::percentile;

/// How often, and how long nothing is asked before each.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Reads of each kind
    #[arg(long)]
    rounds: u32,
    /// Seconds before each
    #[arg(long)]
    pause: u32,
}

/// In microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FirstBytes {
    /// A read on an open file: median.
    pub read_p50: f64,
    /// The slowest of them.
    pub read_max: f64,
    /// Connect, open, read: median.
    pub connect_p50: f64,
    /// The slowest of them.
    pub connect_max: f64,
}

impl FirstBytes {
    fn of(mut reads: Vec<u32>, mut connects: Vec<u32>) -> Self {
        let of = |times: &mut Vec<u32>| {
            times.sort_unstable();
            [0.5, 1.0].map(|share| f64::from(percentile(times, share)) / 1e3)
        };
        let [read_p50, read_max] = of(&mut reads);
        let [connect_p50, connect_max] = of(&mut connects);
        Self {
            read_p50,
            read_max,
            connect_p50,
            connect_max,
        }
    }
}

/// Prints them.
pub fn run(arguments: &Arguments) -> Result<()> {
    let pause = Duration::from_secs(arguments.pause.into());
    let target = &arguments.target;
    let (mut reads, mut connects) = (Vec::new(), Vec::new());
    let datapath = block_on(async {
        let connection = target.connect().await?;
        let datapath = connection.datapath().mode;
        let file = target.open(&connection).await?;
        read(&file).await?;
        for _ in 0..arguments.rounds {
            std::thread::sleep(pause);
            let started = Instant::now();
            read(&file).await?;
            reads.push(nanoseconds(started));
        }
        file.close().await?;
        connection.close();
        for _ in 0..arguments.rounds {
            std::thread::sleep(pause);
            let started = Instant::now();
            let connection = target.connect().await?;
            let file = target.open(&connection).await?;
            read(&file).await?;
            connects.push(nanoseconds(started));
        }
        Ok::<_, anyhow::Error>(datapath)
    })?;
    let first = FirstBytes::of(reads, connects);
    println!("{}", super::with_datapath(&first, datapath)?);
    Ok(())
}

fn nanoseconds(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

async fn read(file: &RemoteFile) -> Result<()> {
    let mut block = [0; 4096];
    let count = file.read_at(&mut block, 0).await?;
    ensure!(count == block.len(), "a read of {count} bytes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_the_slowest() {
        let first = FirstBytes::of(vec![3000, 1000, 2000], vec![50_000]);
        let expected = FirstBytes {
            read_p50: 2.0,
            read_max: 3.0,
            connect_p50: 50.0,
            connect_max: 50.0,
        };
        assert_eq!(first, expected);
    }
}
