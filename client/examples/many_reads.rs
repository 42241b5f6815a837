//! Reads of 4 KiB all over a file of a server, 32 at a time: how long they take.
//!
//! ```text
//! cargo run --release -p blk-client --example many_reads -- HOST:EXPORT/PATH [READS]
//! ```

use std::error::Error;
use std::time::Instant;

use blk_client::{Client, ConnectOptions, Location, OpenOptions, blocking};
use futures_util::stream::{self, StreamExt, TryStreamExt};

const LEN: u64 = 4096;
const AT_ONCE: usize = 32;
/// Odd, so that its multiples modulo a power of two come everywhere (Knuth, TAOCP 3, 6.4).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let word = arguments.next().unwrap_or_default();
    let Location::Remote(path) = Location::parse(&word)? else {
        return Err("usage: many_reads HOST:EXPORT/PATH [READS]".into());
    };
    let reads = match arguments.next() {
        Some(number) => number.to_string_lossy().parse()?,
        None => 10_000_u64,
    };
    blocking::block_on(async {
        let client = Client::connect(&path.host, &ConnectOptions::default()).await?;
        let file = client.open(path.on_host(), OpenOptions::default()).await?;
        let blocks = (file.attributes().size / LEN).max(1);
        let started = Instant::now();
        let read = |number: u64| {
            let (file, offset) = (&file, number.wrapping_mul(STEP) % blocks * LEN);
            async move {
                let mut buffer = [0; LEN as usize];
                file.read_at(&mut buffer, offset).await
            }
        };
        let bytes: usize = stream::iter((0..reads).map(read))
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, count| Ok(sum + count))
            .await?;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{bytes} bytes in {reads} reads: {:.0} a second",
            reads as f64 / seconds
        );
        file.close().await?;
        client.close().await?;
        Ok(())
    })
}
