//! Without futures: makes a directory, writes a file into it as a stream, reads it back line by line, and removes it.
//!
//! ```text
//! cargo run --release -p blk-client --example blocking -- HOST EXPORT
//! ```

use std::error::Error;
use std::io::{BufRead, Write};

use blk_client::ConnectOptions;
use blk_client::blocking::Client;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(host), Some(export)) = (arguments.next(), arguments.next()) else {
        return Err("usage: blocking HOST EXPORT".into());
    };
    let client = Client::connect(&host, &ConnectOptions::default())?;
    let directory = format!("{export}/example");
    client.make_directory(&directory, 0o755)?;

    let name = format!("{directory}/lines-{}", std::process::id());
    let mut writer = client.writer(&name)?;
    for line in 1..=100_000 {
        writeln!(writer, "line {line}")?;
    }
    // Only now is it durable.
    writer.close()?;

    let lines = client.reader(&name)?.lines().count();
    println!("{lines} lines, {} bytes", client.stat(&name)?.size);
    client.remove(&name)?;
    client.close()?;
    Ok(())
}
