//! What a verb says: results on standard output, what went wrong on standard error.

use std::io::{self, ErrorKind as IoErrorKind, IsTerminal, Write};
use std::mem::take;

use blk_client::{ClientError, ConnectionLost, ErrorKind};
use blk_datapath::explain::explain;
use blk_proto::message::{ErrorCode, FileKind};
use serde::Serialize;

use super::quote::{quote, visible};
use super::writer::Writer;
use crate::failure::Failure;

/// Bytes of lines that may wait for a reader that is slow.
const WAITING_MAX: usize = 1 << 16;

/// What a closed pipe, or an end of the reader, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Nothing is left to do: what is said is all that there is.
    IsTheEnd,
    /// The work goes on, and says nothing more.
    IsIgnored,
}

/// Standard output, and what is known of whoever reads it. What is said is gathered, until it is [passed on](Self::pass_on).
pub struct Output {
    /// Started when there is something to write.
    writer: Option<Writer>,
    lines: Vec<u8>,
    closed: Closed,
    /// Nobody reads any more.
    is_closed: bool,
    is_terminal: bool,
    is_coloured: bool,
}

impl Output {
    /// That of the process.
    pub fn new(closed: Closed) -> Self {
        let is_terminal = io::stdout().is_terminal();
        // no-color.org: set to anything but nothing.
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            writer: None,
            lines: Vec::new(),
            closed,
            is_closed: false,
            is_terminal,
            is_coloured: is_terminal && !is_dumb && !is_set("NO_COLOR"),
        }
    }

    /// A line of text.
    pub fn line(&mut self, text: &str) {
        self.end(text.as_bytes());
    }

    /// A line that ends with a name, quoted on a terminal, as it is in a pipe. A directory's is blue, a link's cyan, where
    /// colours are wanted.
    pub fn name(&mut self, text: &str, name: &[u8], kind: FileKind) {
        let mut line = text.as_bytes().to_vec();
        if self.is_terminal {
            line.extend(coloured(&quote(name), kind, self.is_coloured).into_bytes());
        } else {
            line.extend(name);
        }
        self.end(&line);
    }

    /// The heading of what follows: a name, and a colon.
    pub fn heading(&mut self, name: &[u8]) {
        let mut line = match self.is_terminal {
            true => quote(name).into_bytes(),
            false => name.to_vec(),
        };
        line.push(b':');
        self.end(&line);
    }

    /// A line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(io::Error::from);
        self.end(line.map_err(Failure::Output)?.as_bytes());
        Ok(())
    }

    /// Gives what was said to whoever reads it; waits only if there is much of it that is not read.
    ///
    /// # Errors
    /// What write(2) reported of this, or of what came before.
    pub async fn pass_on(&mut self) -> Result<(), Failure> {
        let is_busy = self.writer.as_ref().is_some_and(Writer::is_busy);
        if self.lines.is_empty() || is_busy && self.lines.len() < WAITING_MAX {
            return Ok(());
        }
        let lines = take(&mut self.lines);
        self.bytes(lines).await
    }

    /// Writes bytes, when those before have been written.
    ///
    /// # Errors
    /// As [`pass_on`](Self::pass_on).
    pub async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        if self.is_closed {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(Writer::start().map_err(Failure::Output)?),
        };
        let written = writer.write(bytes).await;
        self.judge(written)
    }

    /// Waits until everything that was said is written.
    ///
    /// # Errors
    /// As [`pass_on`](Self::pass_on).
    pub async fn flush(&mut self) -> Result<(), Failure> {
        if !self.lines.is_empty() {
            let lines = take(&mut self.lines);
            self.bytes(lines).await?;
        }
        match &mut self.writer {
            Some(writer) => {
                let written = writer.done().await;
                self.judge(written)
            }
            None => Ok(()),
        }
    }

    fn judge(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Err(error)
                if error.kind() == IoErrorKind::BrokenPipe && self.closed == Closed::IsIgnored =>
            {
                self.is_closed = true;
                Ok(())
            }
            written => written.map_err(Failure::Output),
        }
    }

    fn end(&mut self, line: &[u8]) {
        if !self.is_closed {
            self.lines.extend(line);
            self.lines.push(b'\n');
        }
    }
}

fn coloured(text: &str, kind: FileKind, is_coloured: bool) -> String {
    let code = match kind {
        _ if !is_coloured => None,
        FileKind::Directory => Some("1;34"),
        FileKind::Symlink => Some("1;36"),
        FileKind::Other => Some("33"),
        FileKind::File => None,
    };
    match code {
        Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
        None => text.to_owned(),
    }
}

/// What went wrong so far, and was said.
#[derive(Debug, Default)]
pub struct Troubles {
    /// The exit code of the first.
    first: Option<u8>,
}

impl Troubles {
    /// Says what is wrong with one of several things, unless it is wrong with all of them.
    ///
    /// # Errors
    /// The failure, when there is no sense in going on: the connection is lost, or nobody reads the output.
    pub fn note(&mut self, failure: Failure) -> Result<(), Failure> {
        if is_the_end(&failure) {
            return Err(failure);
        }
        self.say(&failure);
        Ok(())
    }

    /// Says what is wrong.
    pub fn say(&mut self, failure: &Failure) {
        // That nobody reads it is no reason to stop.
        let _ = writeln!(io::stderr(), "blkcp: {}", visible(&explain(failure)));
        self.first.get_or_insert(failure.exit_code());
    }

    /// The exit code of it all.
    pub fn exit_code(&self) -> u8 {
        self.first.unwrap_or(0)
    }
}

/// Whether it is known that something was done, or that it was not. It is not when the connection was lost after the request, or the disk
/// failed.
pub fn is_known(done: &Result<(), Failure>) -> bool {
    match done {
        Err(Failure::Client(ClientError::Refused { failure, .. })) => failure.code != ErrorCode::Io,
        Err(Failure::Client(_)) => false,
        _ => true,
    }
}

fn is_the_end(failure: &Failure) -> bool {
    match failure {
        Failure::Output(_) | Failure::Halted(_) => true,
        Failure::Client(ClientError::Lost { source, .. }) => {
            !matches!(source, ConnectionLost::Request(_))
        }
        Failure::Client(error) => {
            matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Datapath)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_proto::message::Failure as Refusal;
    use blk_proto::session::{CloseCode, CloseReason};

    #[test]
    fn colours_are_for_who_wants_them() {
        assert_eq!(
            coloured("d", FileKind::Directory, true),
            "\x1b[1;34md\x1b[0m"
        );
        assert_eq!(coloured("d", FileKind::Directory, false), "d");
        assert_eq!(coloured("f", FileKind::File, true), "f");
    }

    #[test]
    fn the_first_trouble_decides_the_exit_code() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.exit_code(), 0);
        troubles.note(Failure::Usage("x".to_owned())).unwrap();
        troubles.note(Failure::Name("y".to_owned())).unwrap();
        assert_eq!(troubles.exit_code(), 2);
        let closed = Failure::Output(IoErrorKind::BrokenPipe.into());
        assert!(troubles.note(closed).is_err());
    }

    #[test]
    fn a_lost_connection_is_the_end_for_whatever_reason() {
        let lost = |source| {
            let remote = "192.0.2.1:7440".parse().unwrap();
            Failure::Client(ClientError::Lost { remote, source })
        };
        // A server that does not know a request says this.
        let violation = CloseReason::ByPeer(CloseCode::VIOLATION);
        let unknown = lost(ConnectionLost::from(violation));
        assert_eq!(unknown.exit_code(), 4);
        let silent = lost(ConnectionLost::Silent);
        assert_eq!(silent.exit_code(), 12);
        for failure in [unknown, silent] {
            assert!(Troubles::default().note(failure).is_err());
        }
        // Of one request only.
        let long = lost(ConnectionLost::Request("too long".to_owned()));
        assert!(Troubles::default().note(long).is_ok());
    }

    #[test]
    fn what_became_of_a_request_is_known_by_its_answer() {
        let refused = |code| ClientError::Refused {
            what: "x".to_owned(),
            failure: Refusal {
                code,
                message: "y".to_owned(),
            },
        };
        let lost = ClientError::Lost {
            remote: "192.0.2.1:7440".parse().unwrap(),
            source: ConnectionLost::Silent,
        };
        for (failure, expected) in [
            (refused(ErrorCode::NotFound).into(), true),
            (Failure::InTheWay(refused(ErrorCode::Exists)), true),
            (Failure::Taken("x".to_owned()), true),
            (refused(ErrorCode::Io).into(), false),
            (lost.into(), false),
        ] {
            let done = Err(failure);
            assert_eq!(is_known(&done), expected, "{done:?}");
        }
        assert!(is_known(&Ok(())));
    }

    #[test]
    fn a_closed_pipe_ends_what_only_tells() {
        let closed = || Err(IoErrorKind::BrokenPipe.into());
        let mut telling = Output::new(Closed::IsTheEnd);
        assert!(telling.judge(closed()).is_err());
        let mut changing = Output::new(Closed::IsIgnored);
        assert!(changing.judge(closed()).is_ok());
        changing.line("more");
        assert!(changing.lines.is_empty());
        assert!(
            changing
                .judge(Err(IoErrorKind::StorageFull.into()))
                .is_err()
        );
    }
}
