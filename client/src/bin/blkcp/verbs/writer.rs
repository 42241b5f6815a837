//! A thread that writes to standard output: a reader that is slow, or stands still, keeps neither packets nor signals waiting.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::oneshot;

/// Tells what became of a piece.
type Written = oneshot::Receiver<io::Result<()>>;
/// A piece, and who is to be told.
type Piece = (Vec<u8>, oneshot::Sender<io::Result<()>>);

/// The thread, and the piece that it has. A process that ends does not wait for it.
pub struct Writer {
    thread: SyncSender<Piece>,
    written: Option<Written>,
}

impl Writer {
    /// Starts the thread, for standard output.
    pub fn start() -> io::Result<Self> {
        // Not by way of Rust's lock, which would be held while the reader stands still.
        let out = io::stdout().as_fd().try_clone_to_owned()?;
        Self::of(File::from(out))
    }

    fn of(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (thread, pieces) = sync_channel::<Piece>(1);
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                for (piece, done) in pieces {
                    // Who is gone does not want to know.
                    let _ = done.send(out.write_all(&piece));
                }
            })?;
        Ok(Self {
            thread,
            written: None,
        })
    }

    /// Whether it still has a piece to write.
    pub fn is_busy(&self) -> bool {
        self.written.as_ref().is_some_and(Written::is_empty)
    }

    /// Hands a piece over, when the last one has been written.
    ///
    /// # Errors
    /// What became of the last one.
    pub async fn write(&mut self, piece: Vec<u8>) -> io::Result<()> {
        self.done().await?;
        let (done, written) = oneshot::channel();
        // When the thread has ended, so has the other end of `written`.
        let _ = self.thread.send((piece, done));
        self.written = Some(written);
        Ok(())
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// What write(2) reported.
    pub async fn done(&mut self) -> io::Result<()> {
        match self.written.take() {
            Some(written) => written.await.map_err(io::Error::other).flatten(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, pipe};

    #[test]
    fn pieces_are_written_in_turn_and_a_full_pipe_keeps_nobody_waiting() {
        let (mut reader, writer) = pipe().unwrap();
        let mut writer = Writer::of(writer).unwrap();
        tokio_uring::start(async {
            writer.write(vec![1]).await.unwrap();
            // More than any pipe takes; returns all the same.
            writer.write(vec![2; 2 << 20]).await.unwrap();
            assert!(writer.is_busy());
            let rest = std::thread::spawn(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).map(|_| all)
            });
            writer.done().await.unwrap();
            assert!(!writer.is_busy());
            drop(writer);
            let all = rest.join().unwrap().unwrap();
            assert_eq!((all.len(), all[0], all[1]), (1 + (2 << 20), 1, 2));
        });
    }

    #[test]
    fn a_closed_pipe_is_told() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut writer = Writer::of(writer).unwrap();
        tokio_uring::start(async {
            writer.write(vec![1]).await.unwrap();
            let told = writer.write(vec![2]).await.unwrap_err();
            assert_eq!(told.kind(), io::ErrorKind::BrokenPipe);
        });
    }
}
