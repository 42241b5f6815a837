//! How fast ranges of a remote file are read and written: 4 KiB at random offsets one at a time and many at once, and all
//! of it in large pieces, over AF_XDP in copy mode (start blockd with `--datapath copy`). Makes the file; remove it
//! afterwards.
//!
//! ```text
//! cargo run --release -p blk-client --example range_rates -- HOST:EXPORT/PATH
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use blk_client::{
    ClientError, ConnectOptions, Connection, Datapath, Location, OpenOptions, RemoteFile,
};
use futures_util::future::try_join_all;

const SIZE: u64 = 256 << 20;
const PAGE: usize = 4096;
const ROUNDS: usize = 5000;
const SYNCS: usize = 200;
const AT_ONCE: usize = 32;
const LARGE: usize = 16 << 20;

/// Page numbers without an order (a linear congruence: Knuth, TAOCP 2, 3.3.4).
struct Pages(u64);

impl Pages {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % (SIZE / PAGE as u64) * PAGE as u64
    }
}

async fn timed(
    what: &str,
    rounds: usize,
    operation: impl AsyncFn(u64) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let mut pages = Pages(rounds as u64);
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        operation(pages.next()).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times[(rounds - 1) * share / 100];
    println!(
        "{what}: {:?} median, {:?} 99th of a hundred",
        at(50),
        at(99)
    );
    Ok(())
}

/// The same operation by many at once; the rate.
async fn many(
    what: &str,
    operation: impl AsyncFn(u64) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let start = Instant::now();
    try_join_all((0..AT_ONCE).map(async |number| {
        let mut pages = Pages(number as u64);
        for _ in 0..ROUNDS / 4 {
            operation(pages.next()).await?;
        }
        Ok::<_, ClientError>(())
    }))
    .await?;
    let rate = (AT_ONCE * (ROUNDS / 4)) as f64 / start.elapsed().as_secs_f64();
    println!("{what}, {AT_ONCE} at once: {rate:.0} a second");
    Ok(())
}

fn rate(what: &str, time: Duration) {
    println!("{what}: {:.2} GB/s", SIZE as f64 / 1e9 / time.as_secs_f64());
}

async fn large(file: &RemoteFile) -> Result<(), ClientError> {
    let mut bytes = vec![0x5a; LARGE];
    let offsets = || (0..SIZE).step_by(LARGE);
    let start = Instant::now();
    for offset in offsets() {
        file.write_at(&bytes, offset).await?;
    }
    rate("write_at of 16 MiB", start.elapsed());
    file.sync().await?;
    rate("the same with the sync", start.elapsed());
    let start = Instant::now();
    for offset in offsets() {
        file.read_at(&mut bytes, offset).await?;
    }
    rate("read_at of 16 MiB", start.elapsed());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(argument) = std::env::args_os().nth(1) else {
        return Err("usage: range_rates HOST:EXPORT/PATH".into());
    };
    let Location::Remote(path) = Location::parse(&argument)? else {
        return Err("the file must be a remote one, as in HOST:EXPORT/PATH".into());
    };
    tokio_uring::start(async {
        let options = ConnectOptions {
            datapath: Datapath::Copy,
            ..ConnectOptions::default()
        };
        let connection = Connection::open(&path.host, &options).await?;
        let create = Some(0o644);
        let file = connection.open_file(&path, OpenOptions { create }).await?;
        large(&file).await?;
        let read = async |offset| {
            let mut page = [0; PAGE];
            file.read_at(&mut page, offset).await.map(|_| ())
        };
        let write = async |offset| file.write_at(&[7; PAGE], offset).await;
        timed("read 4 KiB", ROUNDS, read).await?;
        timed("write 4 KiB", ROUNDS, write).await?;
        file.sync().await?;
        timed("write 4 KiB and sync", SYNCS, async |offset| {
            write(offset).await?;
            file.sync().await
        })
        .await?;
        many("reads of 4 KiB", read).await?;
        many("writes of 4 KiB", write).await?;
        file.close().await?;
        Ok(())
    })
}
