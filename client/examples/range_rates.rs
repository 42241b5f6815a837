//! How fast ranges of a remote file are read and written: 4 KiB at random offsets, one at a time and many at once, after a
//! pause, and all of it in large pieces. Makes the file, or takes what is there; remove it afterwards.
//!
//! ```text
//! cargo run --release -p blk-client --example range_rates -- HOST:EXPORT/PATH --work read,write --depth 1,32
//! ```

use std::cell::RefCell;
use std::error::Error;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use blk_client::{
    ClientError, ConnectOptions, Connection, Datapath, Location, OpenOptions, RemoteFile,
};
use clap::{Parser, ValueEnum};
use futures_util::future::try_join_all;

const PAGE: usize = 4096;
const LARGE: usize = 16 << 20;

/// How fast ranges of a remote file are read and written.
#[derive(Parser)]
struct Arguments {
    /// HOST:EXPORT/PATH
    file: OsString,
    /// auto, copy, udp, zero-copy
    #[arg(long, default_value = "auto", value_parser = datapath)]
    datapath: Datapath,
    /// What is measured
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "large,read,write,write-sync"
    )]
    work: Vec<Work>,
    /// Operations under way at once
    #[arg(long, value_delimiter = ',', default_value = "1,32")]
    depth: Vec<usize>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// MiB of the file
    #[arg(long, default_value_t = 256)]
    size: u64,
    /// Milliseconds of rest before each read of `--work pause`
    #[arg(long, default_value_t = 1000)]
    pause: u64,
    /// Reads of `--work pause`
    #[arg(long, default_value_t = 20)]
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Work {
    /// The whole file in pieces of 16 MiB, written and read
    Large,
    /// Reads of 4 KiB
    Read,
    /// Writes of 4 KiB
    Write,
    /// Writes of 4 KiB, each with a sync
    WriteSync,
    /// Reads of 4 KiB, each after a rest
    Pause,
    /// Nothing, for the time of a measurement: to see what an idle connection costs
    Rest,
}

fn datapath(text: &str) -> Result<Datapath, String> {
    match text {
        "auto" => Ok(Datapath::Auto),
        "copy" => Ok(Datapath::Copy),
        "udp" => Ok(Datapath::Udp),
        "zero-copy" => Ok(Datapath::ZeroCopy),
        _ => Err("one of auto, copy, udp, zero-copy".to_owned()),
    }
}

/// Page numbers without an order (a linear congruence: Knuth, TAOCP 2, 3.3.4).
struct Pages {
    state: u64,
    count: u64,
}

impl Pages {
    fn next(&mut self) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % self.count * PAGE as u64
    }
}

/// Prints what a measurement gave.
fn report(what: &str, mut times: Vec<Duration>, elapsed: Duration) {
    times.sort_unstable();
    let Some(last) = times.len().checked_sub(1) else {
        return println!("{what}: none in time");
    };
    let at = |share: f64| times[(last as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "{what}: {:.0} a second; p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us",
        times.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

/// The same operation by `depth` at once, for some seconds.
async fn timed(
    arguments: &Arguments,
    what: &str,
    depth: usize,
    operation: impl AsyncFn(u64) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let times = RefCell::new(Vec::new());
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(arguments.seconds);
    try_join_all((0..depth).map(async |number| {
        let mut pages = Pages {
            state: number as u64,
            count: (arguments.size << 20) / PAGE as u64,
        };
        let mut begun = Instant::now();
        while begun < end {
            operation(pages.next()).await?;
            let now = Instant::now();
            times.borrow_mut().push(now - begun);
            begun = now;
        }
        Ok::<_, ClientError>(())
    }))
    .await?;
    report(
        &format!("{what} of 4 KiB, depth {depth}"),
        times.into_inner(),
        start.elapsed(),
    );
    Ok(())
}

/// Reads after rests.
async fn after_rests(arguments: &Arguments, file: &RemoteFile) -> Result<(), ClientError> {
    let mut page = [0; PAGE];
    let mut times = Vec::new();
    for number in 0..arguments.count {
        std::thread::sleep(Duration::from_millis(arguments.pause));
        let begun = Instant::now();
        file.read_at(&mut page, (number * PAGE) as u64).await?;
        times.push(begun.elapsed());
    }
    let what = format!("read of 4 KiB after {} ms", arguments.pause);
    let spent = times.iter().sum();
    report(&what, times, spent);
    Ok(())
}

async fn large(arguments: &Arguments, file: &RemoteFile) -> Result<(), ClientError> {
    let size = arguments.size << 20;
    let mut bytes = vec![0x5a; LARGE];
    let rate = |what: &str, start: Instant| {
        println!(
            "{what}: {:.2} GB/s",
            size as f64 / 1e9 / start.elapsed().as_secs_f64()
        );
    };
    let offsets = || (0..size).step_by(LARGE);
    let start = Instant::now();
    for offset in offsets() {
        file.write_at(&bytes, offset).await?;
    }
    rate("write_at of 16 MiB", start);
    file.sync().await?;
    rate("the same with the sync", start);
    let start = Instant::now();
    for offset in offsets() {
        file.read_at(&mut bytes, offset).await?;
    }
    rate("read_at of 16 MiB", start);
    Ok(())
}

async fn measure(arguments: &Arguments, file: &RemoteFile) -> Result<(), ClientError> {
    let read = async |offset| {
        let mut page = [0; PAGE];
        file.read_at(&mut page, offset).await.map(|_| ())
    };
    let write = async |offset| file.write_at(&[7; PAGE], offset).await;
    for &work in &arguments.work {
        match work {
            Work::Large => large(arguments, file).await?,
            Work::Pause => after_rests(arguments, file).await?,
            Work::Rest => std::thread::sleep(Duration::from_secs_f64(arguments.seconds)),
            Work::Read => {
                for &depth in &arguments.depth {
                    timed(arguments, "reads", depth, read).await?;
                }
            }
            Work::Write => {
                for &depth in &arguments.depth {
                    timed(arguments, "writes", depth, write).await?;
                }
                file.sync().await?;
            }
            Work::WriteSync => {
                timed(arguments, "writes and syncs", 1, async |offset| {
                    write(offset).await?;
                    file.sync().await
                })
                .await?;
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let Location::Remote(path) = Location::parse(&arguments.file)? else {
        return Err("the file must be a remote one, as in HOST:EXPORT/PATH".into());
    };
    tokio_uring::start(async {
        let options = ConnectOptions {
            datapath: arguments.datapath,
            ..ConnectOptions::default()
        };
        let connection = Connection::open(&path.host, &options).await?;
        let create = Some(0o644);
        let file = connection.open_file(&path, OpenOptions { create }).await?;
        if file.len().await? < arguments.size << 20 {
            let bytes = vec![0x5a; LARGE];
            for offset in (0..arguments.size << 20).step_by(LARGE) {
                file.write_at(&bytes, offset).await?;
            }
            file.sync().await?;
        }
        measure(&arguments, &file).await?;
        file.close().await?;
        Ok(())
    })
}
