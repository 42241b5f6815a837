//! `blkcp cat`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{SyncSender, sync_channel};

use blk_client::RemotePath;
use clap::Parser;
use tokio::sync::oneshot;

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
    let places = place::read(&words.places)?;
    let writer = Writer::start()?;
    for place in &places {
        if let Err(failure) = copy(place, &writer, scene).await {
            scene.troubles.note(failure)?;
        }
    }
    Ok(())
}

/// Writes a file: the next piece comes while the last one is written.
async fn copy(place: &RemotePath, writer: &Writer, scene: &mut Scene<'_>) -> Result<(), Failure> {
    let connection = scene.hosts.of(place).await?;
    let mut reader = connection.open_reader(place).await?;
    let mut written = None;
    loop {
        let piece = reader.next_piece().await;
        // What has come is written also when nothing more comes.
        if let Some(written) = written.take() {
            Writer::done(written).await?;
        }
        match piece? {
            Some(piece) => written = Some(writer.write(piece)),
            None => return Ok(()),
        }
    }
}

/// Tells what became of a piece.
type Written = oneshot::Receiver<io::Result<()>>;
/// A piece, and who is to be told.
type Piece = (Vec<u8>, oneshot::Sender<io::Result<()>>);

/// A thread that writes: a reader that is slow, or stands still, keeps neither packets nor signals waiting.
struct Writer(SyncSender<Piece>);

impl Writer {
    fn start() -> Result<Self, Failure> {
        let (sender, pieces) = sync_channel::<Piece>(1);
        // Not by way of Rust's lock, which would be held while the reader stands still.
        let out = io::stdout().as_fd().try_clone_to_owned();
        let mut out = File::from(out.map_err(Failure::Output)?);
        let started = std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                for (piece, done) in pieces {
                    // Who is gone does not want to know.
                    let _ = done.send(out.write_all(&piece));
                }
            });
        started.map_err(Failure::Output)?;
        Ok(Self(sender))
    }

    /// Has a piece written; one at a time.
    fn write(&self, piece: Vec<u8>) -> Written {
        let (done, written) = oneshot::channel();
        // When the thread has ended, so has the other end of `written`.
        let _ = self.0.send((piece, done));
        written
    }

    async fn done(written: Written) -> Result<(), Failure> {
        let written = written.await.map_err(io::Error::other).flatten();
        written.map_err(Failure::Output)
    }
}
