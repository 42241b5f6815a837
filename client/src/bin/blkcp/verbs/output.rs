//! What a verb says: results on standard output, what went wrong on standard error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use blk_client::ErrorKind;
use blk_datapath::explain::explain;
use blk_proto::message::FileKind;
use serde::Serialize;

use super::quote::{quote, visible};
use crate::failure::Failure;

/// Standard output, and what is known of whoever reads it.
pub struct Output {
    out: BufWriter<Stdout>,
    is_terminal: bool,
    is_coloured: bool,
}

impl Output {
    /// That of the process.
    pub fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        // no-color.org: set to anything but nothing.
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            out: BufWriter::with_capacity(1 << 16, io::stdout()),
            is_terminal,
            is_coloured: is_terminal && !is_dumb && !is_set("NO_COLOR"),
        }
    }

    /// A line of text.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.end(text.as_bytes())
    }

    /// A line that ends with a name, quoted on a terminal, as it is in a pipe. A directory's is blue, a link's cyan, where
    /// colours are wanted.
    pub fn name(&mut self, text: &str, name: &[u8], kind: FileKind) -> Result<(), Failure> {
        let mut line = text.as_bytes().to_vec();
        if self.is_terminal {
            line.extend(coloured(&quote(name), kind, self.is_coloured).into_bytes());
        } else {
            line.extend(name);
        }
        self.end(&line)
    }

    /// The heading of what follows: a name, and a colon.
    pub fn heading(&mut self, name: &[u8]) -> Result<(), Failure> {
        let mut line = match self.is_terminal {
            true => quote(name).into_bytes(),
            false => name.to_vec(),
        };
        line.push(b':');
        self.end(&line)
    }

    /// A line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(io::Error::from);
        self.end(line.map_err(Failure::Output)?.as_bytes())
    }

    /// What was said is on its way.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)
    }

    fn end(&mut self, line: &[u8]) -> Result<(), Failure> {
        let written = self.out.write_all(line);
        written
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(Failure::Output)
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
        eprintln!("blkcp: {}", visible(&explain(failure)));
        self.first.get_or_insert(failure.exit_code());
    }

    /// The exit code of it all.
    pub fn exit_code(&self) -> u8 {
        self.first.unwrap_or(0)
    }
}

fn is_the_end(failure: &Failure) -> bool {
    match failure {
        Failure::Output(_) | Failure::Halted(_) => true,
        Failure::Client(error) => matches!(
            error.kind(),
            ErrorKind::Unreachable | ErrorKind::Lost | ErrorKind::Datapath
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let closed = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert!(troubles.note(closed).is_err());
    }
}
