//! What the client asks of the server: a line of words, answered by a line.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::scene::{GET, PUT, RANDOM};

/// No line is longer, in bytes.
pub const LONGEST: u64 = 256;

/// A wish; the names of files are those of [`scene`](crate::scene), those of tools their full names.
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
    /// Whether a tool can be served: 1 or 0.
    Has(String),
    /// The server of a tool, and of no other.
    Serve(String),
    /// No server.
    Stop,
    /// A disk at rest: whether it is, 1 or 0.
    Settle,
    /// Milliseconds that the CPUs were not idle.
    Busy,
    /// Milliseconds that they were in user mode for something else.
    Other,
    /// Milliseconds that were stolen from them.
    Steal,
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
            Self::Has(tool) => write!(out, "has {tool}"),
            Self::Serve(tool) => write!(out, "serve {tool}"),
            Self::Stop => out.write_str("stop"),
            Self::Settle => out.write_str("settle"),
            Self::Busy => out.write_str("busy"),
            Self::Other => out.write_str("other"),
            Self::Steal => out.write_str("steal"),
        }
    }
}

impl FromStr for Wish {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let line = line.trim();
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        let tool = || {
            ensure!(!rest.is_empty(), "no tool");
            Ok(rest.to_owned())
        };
        Ok(match what {
            "" => bail!("an empty line"),
            "stop" => Self::Stop,
            "settle" => Self::Settle,
            "busy" => Self::Busy,
            "other" => Self::Other,
            "steal" => Self::Steal,
            "has" => Self::Has(tool()?),
            "serve" => Self::Serve(tool()?),
            _ => return of_file(what, rest),
        })
    }
}

fn of_file(what: &str, rest: &str) -> Result<Wish> {
    let mut words = rest.split_whitespace();
    let name = words.next().context("no name")?;
    ensure!([GET, PUT, RANDOM].contains(&name), "no file called {name}");
    let name = name.to_owned();
    let mut size = || Ok::<u64, anyhow::Error>(words.next().context("no size")?.parse()?);
    Ok(match what {
        "make" => Wish::Make(name, size()?),
        "fill" => Wish::Fill(name, size()?),
        "remove" => Wish::Remove(name),
        "sync" => Wish::Sync(name),
        "warm" => Wish::Warm(name),
        "cool" => Wish::Cool(name),
        "digest" => Wish::Digest(name),
        _ => bail!("no wish called {what}"),
    })
}

/// The number of an answer.
pub fn number(line: &str) -> Result<u64> {
    match line.trim_end().split_once(' ') {
        Some(("ok", number)) => Ok(number.parse()?),
        Some(("error", why)) => bail!("the server: {why}"),
        _ if line.is_empty() => bail!("the server has ended the connection"),
        _ => bail!("the server's answer is {line:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_survive_the_way() {
        let name = || PUT.to_owned();
        let tool = || "nbdkit + nbdcopy, 4 connection(s)".to_owned();
        for wish in [
            Wish::Make(name(), 7),
            Wish::Fill(RANDOM.to_owned(), 1 << 40),
            Wish::Remove(name()),
            Wish::Sync(name()),
            Wish::Warm(GET.to_owned()),
            Wish::Cool(name()),
            Wish::Digest(name()),
            Wish::Has(tool()),
            Wish::Serve(tool()),
            Wish::Stop,
            Wish::Settle,
            Wish::Busy,
            Wish::Other,
            Wish::Steal,
        ] {
            let line = format!("{wish}\n");
            assert_eq!(line.parse::<Wish>().unwrap(), wish);
            assert!((line.len() as u64) < LONGEST);
        }
    }

    #[test]
    fn nothing_else_is_a_wish() {
        for line in [
            "",
            "remove ../x",
            "remove /etc/passwd",
            "make put",
            "make put -1",
            "format put",
            "serve",
            "serve ",
        ] {
            assert!(line.parse::<Wish>().is_err(), "{line}");
        }
    }

    #[test]
    fn answers() {
        assert_eq!(number("ok 12\n").unwrap(), 12);
        let error = number("error no room\n").unwrap_err().to_string();
        assert!(error.contains("no room"));
        assert!(number("").is_err() && number("yes\n").is_err());
    }
}
