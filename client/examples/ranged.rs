//! Reads and writes a file of a server in place, without the rest of it, and syncs once for many writes.
//!
//! ```text
//! cargo run --release -p blk-client --example ranged -- HOST:EXPORT/PATH
//! ```
//!
//! Needs root, or the capabilities that `blkcp --help` names.

use std::error::Error;

use blk_client::{ConnectOptions, Connection, Location, OpenOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(argument) = std::env::args_os().nth(1) else {
        return Err("usage: ranged HOST:EXPORT/PATH".into());
    };
    let Location::Remote(path) = Location::parse(&argument)? else {
        return Err("the file must be a remote one, as in HOST:EXPORT/PATH".into());
    };
    // Any executor would do.
    tokio_uring::start(async {
        let connection = Connection::open(&path.host, &ConnectOptions::default()).await?;
        let create = Some(0o644);
        let file = connection.open_file(&path, OpenOptions { create }).await?;

        // Anywhere, of any length; many at once.
        let large = vec![7; 3_000_000];
        tokio::try_join!(
            file.write_at(b"a few bytes", 100),
            file.write_at(&large, 1_000_001),
        )?;
        // Durable from here on.
        file.sync().await?;

        let mut buffer = [0; 11];
        let count = file.read_at(&mut buffer, 100).await?;
        println!("{:?}", String::from_utf8_lossy(&buffer[..count]));
        file.punch_hole(1 << 20, 1 << 20).await?;
        println!(
            "{} bytes, holes: {:?}",
            file.len().await?,
            file.holes().await?
        );
        file.close().await?;
        Ok(())
    })
}
