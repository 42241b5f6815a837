//! A dump of the packets of a process, as pcapng: tools like tcpdump do not see those of AF_XDP sockets.
//!
//! ```text
//!   worker 0: XskSocket ── Tap ──► ring ──┐
//!   worker 1: XskSocket ── Tap ──► ring ──┼──► thread blk-dump: by time, as blocks of pcapng ──► FILE
//!   worker 2: XskSocket ── Tap ──► ring ──┘
//! ```
//!
//! A worker copies the beginning of each packet into a ring of its own and never waits: what finds no room is counted,
//! told at the end, and marked in the file where it is missing. A file that takes no more ends the dump and nothing
//! else. Without a dump a socket has no tap, which is one branch for a packet.

mod error;
mod pcapng;
mod ring;
mod summary;
mod tap;
mod target;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use error::DumpError;
pub use summary::DumpSummary;
pub use tap::{Tap, Taps};

use tap::Shared;
use target::Target;
use writer::Writer;

/// Bytes that are kept of a packet unless something else is asked for: all headers with their padding, and the beginning of
/// the payload.
pub const DEFAULT_SNAPLEN: usize = 192;

/// So long the end of a dump waits for its file to take what is left: a FIFO whose reader stands still would take it never.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What to dump, and where to.
#[derive(Debug, Clone)]
pub struct DumpOptions {
    /// A file, a FIFO, or `-` for standard output.
    pub file: PathBuf,
    /// Bytes kept of each packet, from the Ethernet header on; 0: all.
    pub snaplen: usize,
    /// Name and version of the program, for the file's header.
    pub application: String,
}

/// Reads `--dump-snaplen`: a number of bytes; `full` or 0 for whole packets.
///
/// # Errors
/// In the words of a command line.
pub fn parse_snaplen(text: &str) -> Result<usize, String> {
    match text {
        "full" => Ok(0),
        number => number
            .parse::<u16>()
            .map(usize::from)
            .map_err(|_| "a number of bytes up to 65535, or full".to_owned()),
    }
}

/// A dump that is being written. Dropped, it ends as by [`finish`](Dump::finish).
#[derive(Debug)]
pub struct Dump {
    file: PathBuf,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    outcome: mpsc::Receiver<DumpSummary>,
}

impl Dump {
    /// Opens the file, writes its header, and starts the thread that writes the rest.
    ///
    /// # Errors
    /// The file cannot be opened or written, or holds something else than a dump.
    pub fn start(options: &DumpOptions) -> Result<Self, DumpError> {
        let target = Target::open(&options.file)?;
        let shared = Arc::new(Shared::new(options.snaplen));
        let (tell, outcome) = mpsc::sync_channel(1);
        let writer = Writer::begin(target, Arc::clone(&shared), options)?;
        let thread = thread::Builder::new()
            .name("blk-dump".to_owned())
            .spawn(move || {
                // Nobody waits when the dump took too long to end.
                let _ = tell.send(writer.run());
            })
            .map_err(DumpError::Thread)?;
        Ok(Self {
            file: options.file.clone(),
            shared,
            thread,
            outcome,
        })
    }

    /// What workers take their taps from.
    pub fn taps(&self) -> Taps {
        Taps::new(Arc::clone(&self.shared))
    }

    /// Writes what the workers have left, and the counts; some seconds at most, should the file not take it. Packets
    /// that come later are not in the dump.
    pub fn finish(self) -> DumpSummary {
        self.end()
    }

    fn end(&self) -> DumpSummary {
        self.shared.stop();
        self.thread.thread().unpark();
        let outcome = self.outcome.recv_timeout(END_PATIENCE);
        outcome.unwrap_or_else(|_| DumpSummary::stuck(self.file.clone(), self.shared.written()))
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        if !self.shared.is_stopped() {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests;
