//! What became of a dump.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What became of a dump.
#[derive(Debug)]
pub struct DumpSummary {
    /// The file.
    pub file: PathBuf,
    /// Packets in the file.
    pub written: u64,
    /// Packets that are not in it: there was no room at the moment, or the file failed. `None`: nobody knows.
    pub lost: Option<u64>,
    /// Why it ended early.
    pub failure: Option<io::Error>,
}

impl DumpSummary {
    /// The thread that writes did not come to its end.
    pub(super) fn stuck(file: PathBuf, written: u64) -> Self {
        let reason = "it took too long to take the last packets";
        Self {
            file,
            written,
            lost: None,
            failure: Some(io::Error::new(io::ErrorKind::TimedOut, reason)),
        }
    }

    /// Whether all packets are in the file.
    pub fn is_complete(&self) -> bool {
        self.lost == Some(0) && self.failure.is_none()
    }
}

impl fmt::Display for DumpSummary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            written,
            lost,
            failure,
        } = self;
        write!(out, "packet dump {}: ", file.display())?;
        if let Some(failure) = failure {
            write!(out, "ended early ({failure}); ")?;
        }
        write!(out, "{written} packets written, ")?;
        match lost {
            Some(lost) => write!(out, "{lost} dropped"),
            None => write!(out, "an unknown number dropped"),
        }
    }
}
