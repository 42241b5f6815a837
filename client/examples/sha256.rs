//! The SHA-256 of a file of a server, which is read ahead of while it is computed:
//! `cargo run --release -p blk-client --example sha256 -- HOST:EXPORT/PATH`

use std::error::Error;

use blk_client::{Client, ConnectOptions, Location, blocking};
use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let word = std::env::args_os().nth(1).unwrap_or_default();
    let Location::Remote(path) = Location::parse(&word)? else {
        return Err("usage: sha256 HOST:EXPORT/PATH".into());
    };
    // Any executor would do; this one is the plainest.
    blocking::block_on(async {
        let client = Client::connect(&path.host, &ConnectOptions::default()).await?;
        let mut reader = client.reader(path.on_host()).await?;
        let mut digest = Sha256::new();
        while let Some(block) = reader.next_block().await? {
            digest.update(&block);
        }
        for byte in digest.finalize() {
            print!("{byte:02x}");
        }
        println!("  {path}");
        Ok(())
    })
}
