//! Why there is no dump.

use std::io;
use std::path::PathBuf;

/// Why a dump cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file cannot be opened or made.
    #[error("cannot open the packet dump {}: {source}", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the packet dump {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is a file with other content.
    #[error(
        "{} is there already and is no packet dump: it is left as it is; remove it, or choose another name",
        .0.display()
    )]
    NotADump(PathBuf),
    /// Two dumps into one file.
    #[error("another process is writing a packet dump to {}: choose another name", .0.display())]
    InUse(PathBuf),
    /// A FIFO that nobody reads.
    #[error("nobody reads the FIFO {}: start its reader, then run this again", .0.display())]
    NoReader(PathBuf),
    /// A directory, a disk, a socket.
    #[error(
        "a packet dump cannot be written to {}: name a file, a FIFO, or - for standard output",
        .0.display()
    )]
    WrongKind(PathBuf),
    /// Standard output is a terminal.
    #[error("a packet dump is not for a terminal: pipe it to a program, or name a file")]
    Terminal,
    /// No thread.
    #[error("cannot start the thread of the packet dump: {0}")]
    Thread(io::Error),
}
