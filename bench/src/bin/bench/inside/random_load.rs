//! Reads or writes at random places of a remote file, so many at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use blk_bench::lab::inside::block_on;
use blk_bench::wire::random::Random;
use blk_client::RemoteFile;
use futures_util::future::try_join_all;

use super::Target;
use crate::latencies::Latencies;
use crate::work::random::BLOCK;

/// What is done, and for how long.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Operations under way at once
    #[arg(long)]
    depth: u32,
    /// For how long
    #[arg(long)]
    seconds: u32,
    /// Bytes of the file
    #[arg(long)]
    size: u64,
    /// Write
    #[arg(long)]
    write: bool,
}

/// Prints the latencies.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (latencies, datapath) = block_on(async {
        let connection = arguments.target.connect().await?;
        let datapath = connection.datapath().mode;
        let file = arguments.target.open(&connection).await?;
        // Neither the way to the server nor the first pages are the work.
        worker(arguments, &file, 0, Duration::from_millis(200)).await?;
        let time = Duration::from_secs(arguments.seconds.into());
        let started = Instant::now();
        let workers = (1..=arguments.depth).map(|seed| worker(arguments, &file, seed.into(), time));
        let mut times = try_join_all(workers).await?.concat();
        let latencies = Latencies::of(&mut times, started.elapsed().as_secs_f64());
        file.close().await?;
        Ok::<_, anyhow::Error>((latencies, datapath))
    })?;
    println!("{}", super::with_datapath(&latencies, datapath)?);
    Ok(())
}

/// One after the other. Nanoseconds of each.
async fn worker(
    arguments: &Arguments,
    file: &RemoteFile,
    seed: u64,
    time: Duration,
) -> Result<Vec<u32>> {
    let (mut random, started) = (Random::new(seed + 1), Instant::now());
    let mut times = Vec::new();
    let mut block = [seed as u8; BLOCK as usize];
    while started.elapsed() < time {
        let offset = random.bits() % (arguments.size / BLOCK) * BLOCK;
        let begun = Instant::now();
        if arguments.write {
            file.write_at(&block, offset).await?;
        } else {
            let count = file.read_at(&mut block, offset).await?;
            ensure!(count == block.len(), "a read of {count} bytes at {offset}");
        }
        times.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    Ok(times)
}
