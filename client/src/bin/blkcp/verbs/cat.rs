//! `blkcp cat`.

use std::ffi::OsString;

use blk_client::RemotePath;
use blk_proto::message::FileKind;
use clap::Parser;

use super::Scene;
use super::connect::ConnectArguments;
use super::place;
use crate::failure::Failure;

/// Write files of a host to standard output, one after the other.
///
/// Every piece is checked by CRC32 before it is written. When something fails in the middle of a file, what came before has been written.
#[derive(Debug, Parser)]
#[command(name = "cat", after_help = AFTER_HELP)]
pub struct CatArguments {
    /// The files
    #[arg(required = true, value_name = "HOST:EXPORT/PATH")]
    pub places: Vec<OsString>,
    #[command(flatten)]
    pub connect: ConnectArguments,
}

const AFTER_HELP: &str = "\
A reader that closes the pipe ends it, with exit code 0. A file is read to the length that it had when it was
opened.

Exit codes are those of blkcp: that of the first file that failed.

Example:
  blkcp cat storage1:data/backup.tar.zst | zstd -dc | tar xf -";

pub async fn run(words: &CatArguments, scene: &mut Scene<'_>) -> Result<(), Failure> {
    for place in &place::read(&words.places)? {
        if let Err(failure) = copy(place, scene).await {
            scene.troubles.note(failure)?;
        }
    }
    Ok(())
}

/// Writes a file: the next piece comes while the last one is written.
async fn copy(place: &RemotePath, scene: &mut Scene<'_>) -> Result<(), Failure> {
    let connection = scene.hosts.of(place).await?;
    if place.trailing_slash && connection.stat(place).await?.kind != FileKind::Directory {
        return Err(Failure::NoDirectory(place.to_string()));
    }
    let mut reader = connection.open_reader(place).await?;
    while let Some(piece) = reader.next_piece().await? {
        scene.output.bytes(piece).await?;
    }
    Ok(())
}
