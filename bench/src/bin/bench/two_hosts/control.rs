//! What the client asks of the server's files: a line of words, answered by a line.
//!
//! It makes, reads and removes three files of fixed names in the directory that is served, and nothing else.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::far_files::{FarFiles, Local, digest};
use crate::measure::busy_seconds;
use crate::scene::{GET, PUT, RANDOM};

/// Where the server listens for it.
pub const PORT: u16 = 7441;

/// A wish; the names are those of [`scene`](crate::scene).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A file of zeros without blocks.
    Make(String, u64),
    /// A file with content.
    Fill(String, u64),
    /// No file.
    Remove(String),
    /// Everything of it on the disk.
    Sync(String),
    /// In the page cache.
    Warm(String),
    /// Not in the page cache.
    Cool(String),
    /// Its CRC32.
    Digest(String),
    /// Milliseconds that the CPUs were not idle.
    Busy,
}

impl fmt::Display for Wish {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(name, size) => write!(out, "make {name} {size}"),
            Self::Fill(name, size) => write!(out, "fill {name} {size}"),
            Self::Remove(name) => write!(out, "remove {name}"),
            Self::Sync(name) => write!(out, "sync {name}"),
            Self::Warm(name) => write!(out, "warm {name}"),
            Self::Cool(name) => write!(out, "cool {name}"),
            Self::Digest(name) => write!(out, "digest {name}"),
            Self::Busy => write!(out, "busy"),
        }
    }
}

impl FromStr for Wish {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (what, rest) = words.split_first().context("an empty line")?;
        if *what == "busy" {
            return Ok(Self::Busy);
        }
        let (name, rest) = rest.split_first().context("no name")?;
        ensure!([GET, PUT, RANDOM].contains(name), "no file called {name}");
        let name = (*name).to_owned();
        let size = || Ok::<u64, anyhow::Error>(rest.first().context("no size")?.parse()?);
        Ok(match *what {
            "make" => Self::Make(name, size()?),
            "fill" => Self::Fill(name, size()?),
            "remove" => Self::Remove(name),
            "sync" => Self::Sync(name),
            "warm" => Self::Warm(name),
            "cool" => Self::Cool(name),
            "digest" => Self::Digest(name),
            _ => bail!("no wish called {what}"),
        })
    }
}

/// Does it; gives the number that was asked for, or 0.
fn carry_out(wish: &Wish, export: &Path, largest: u64) -> Result<u64> {
    let files = Local {
        export: export.to_owned(),
    };
    let path = |name: &str| export.join(name);
    match wish {
        Wish::Make(_, size) | Wish::Fill(_, size) => {
            ensure!(*size <= largest, "{size} bytes are more than --largest");
        }
        Wish::Sync(name) | Wish::Warm(name) | Wish::Cool(name) => {
            ensure!(path(name).is_file(), "there is no file {name}");
        }
        Wish::Remove(_) | Wish::Digest(_) | Wish::Busy => {}
    }
    match wish {
        Wish::Make(name, size) => files.make(name, *size),
        Wish::Fill(name, size) => files.fill(name, *size),
        Wish::Remove(name) => files.remove(name),
        Wish::Sync(name) => files.sync(name),
        Wish::Warm(name) => files.warm(name),
        Wish::Cool(name) => files.cool(name),
        Wish::Digest(name) => return Ok(digest(&path(name))?.into()),
        Wish::Busy => return Ok((busy_seconds() * 1e3) as u64),
    }
    Ok(0)
}

/// Answers a client until it has gone.
pub fn answer(stream: TcpStream, export: &Path, largest: u64) -> Result<()> {
    let mut writer = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let done = line?
            .parse()
            .and_then(|wish| carry_out(&wish, export, largest));
        match done {
            Ok(number) => writer.write_all(format!("ok {number}\n").as_bytes())?,
            Err(error) => writer.write_all(format!("error {error:#}\n").as_bytes())?,
        }
    }
    Ok(())
}

/// The number of an answer.
pub fn number(line: &str) -> Result<u64> {
    match line.trim_end().split_once(' ') {
        Some(("ok", number)) => Ok(number.parse()?),
        Some(("error", why)) => bail!("the server: {why}"),
        _ => bail!("the server's answer is {line:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_survive_the_way() {
        let name = || PUT.to_owned();
        for wish in [
            Wish::Make(name(), 7),
            Wish::Fill(RANDOM.to_owned(), 1 << 40),
            Wish::Remove(name()),
            Wish::Sync(name()),
            Wish::Warm(GET.to_owned()),
            Wish::Cool(name()),
            Wish::Digest(name()),
            Wish::Busy,
        ] {
            assert_eq!(wish.to_string().parse::<Wish>().unwrap(), wish);
        }
    }

    #[test]
    fn nothing_else_is_done() {
        for line in [
            "",
            "remove ../x",
            "remove /etc/passwd",
            "make put",
            "make put -1",
            "format put",
        ] {
            assert!(line.parse::<Wish>().is_err(), "{line}");
        }
        let nowhere = Path::new("/nonexistent");
        assert!(carry_out(&Wish::Make(PUT.to_owned(), 11), nowhere, 10).is_err());
        assert!(carry_out(&Wish::Sync(PUT.to_owned()), nowhere, 10).is_err());
    }

    #[test]
    fn answers() {
        assert_eq!(number("ok 12\n").unwrap(), 12);
        assert!(
            number("error no room\n")
                .unwrap_err()
                .to_string()
                .contains("no room")
        );
        assert!(number("").is_err());
    }
}
