//! What is asked for on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use super::inside::Inside;
use super::two_hosts::{ClientArguments, ServerArguments};
use super::work::Work;

/// Measure blkcp beside other tools, by turns, each durable at the receiving end.
///
/// Without a command, between two hosts of a lab on this machine, at each MTU: needs root, the release binaries of
/// blockd and blkcp beside this one, and the other tools; one that is not installed is named and left out. With `server` on one
/// machine and `client` on another one, between these.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What else than the lab
    #[command(subcommand)]
    pub command: Option<Command>,
    /// MTUs of the lab, one after the other
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = [1500, 3498, 9000, 65535], value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub mtu: Vec<u32>,
    /// What is measured; large files at all MTUs, the rest at 9000 (cold-get and random also at 1500), or at the first MTU
    /// when these are not asked for [default: all]
    #[arg(long, value_name = "WORK", value_delimiter = ',')]
    pub work: Vec<Work>,
    /// How much, and what comes of it
    #[command(flatten)]
    pub common: Common,
}

/// Options of the lab and of two hosts.
#[derive(Debug, Args)]
pub struct Common {
    /// Tools to measure, by their names or the beginnings of them; all by default
    #[arg(value_name = "TOOL")]
    pub tools: Vec<String>,
    /// Write all of it to this directory: results.md, results.json and drawings (SVG)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How much of everything
    #[command(flatten)]
    pub sizes: Sizes,
}

/// What is given of the amounts.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Sizes {
    /// A look in some minutes: one run of everything, and little of it; other options still count
    #[arg(long)]
    pub quick: bool,
    /// Runs of each kind [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub runs: Option<u32>,
    /// Size of the large file in MiB [default: 2048]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub size: Option<u64>,
    /// Small files [default: 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub files: Option<u32>,
    /// Size of the file that is read and written at random, in MiB [default: 1024]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub random_size: Option<u64>,
    /// Seconds of each random load [default: 10]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: Option<u32>,
    /// Seconds for which the idle server is watched [default: 30]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub idle: Option<u32>,
    /// Seconds of silence before a first read [default: 1]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub pause: Option<u32>,
}

/// What to do, other than to measure in the lab.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a directory with blockd and the other tools, for `bench client` on another machine
    Server(ServerArguments),
    /// Measure put, get and random work against a `bench server` on another machine
    Client(ClientArguments),
    /// Parts of a measurement
    #[command(flatten)]
    Inside(Inside),
}

/// How much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Runs of each kind.
    pub runs: u32,
    /// Bytes of the large file.
    #[serde(rename = "file_bytes")]
    pub size: u64,
    /// Small files.
    #[serde(rename = "small_files")]
    pub files: u32,
    /// Bytes of the file that is read and written at random.
    #[serde(rename = "random_bytes")]
    pub random_size: u64,
    /// Seconds of each random load.
    #[serde(rename = "random_seconds")]
    pub seconds: u32,
    /// Seconds for which the idle server is watched.
    #[serde(rename = "idle_seconds")]
    pub idle: u32,
    /// Seconds of silence before a first read.
    #[serde(rename = "pause_seconds")]
    pub pause: u32,
    /// First reads.
    pub first_reads: u32,
}

impl Sizes {
    /// With what is not given.
    pub fn amounts(&self) -> Amounts {
        let or = |quick: u64, usual: u64| if self.quick { quick } else { usual };
        let or32 = |given: Option<u32>, quick: u32, usual: u32| {
            given.unwrap_or(if self.quick { quick } else { usual })
        };
        Amounts {
            runs: or32(self.runs, 1, 3),
            size: self.size.unwrap_or(or(256, 2048)) << 20,
            files: or32(self.files, 5_000, 100_000),
            random_size: self.random_size.unwrap_or(or(128, 1024)) << 20,
            seconds: or32(self.seconds, 1, 10),
            idle: or32(self.idle, 5, 30),
            pause: or32(self.pause, 1, 1),
            first_reads: if self.quick { 3 } else { 20 },
        }
    }
}

impl Arguments {
    /// The works that are asked for, each once, in their usual order.
    pub fn works(&self) -> Vec<Work> {
        let wanted = |work: &Work| self.work.is_empty() || self.work.contains(work);
        Work::ALL.into_iter().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Arguments {
        let words = line.split_whitespace();
        Arguments::try_parse_from(["bench"].into_iter().chain(words)).unwrap()
    }

    #[test]
    fn everything_by_default() {
        let arguments = parsed("");
        assert_eq!(arguments.works(), Work::ALL);
        assert_eq!(arguments.mtu, [1500, 3498, 9000, 65535]);
        let amounts = arguments.common.sizes.amounts();
        assert_eq!((amounts.runs, amounts.size), (3, 2 << 30));
        assert_eq!((amounts.files, amounts.seconds), (100_000, 10));
    }

    #[test]
    fn what_is_given_counts_also_when_it_shall_be_quick() {
        let arguments = parsed("--quick --files 7 --work idle,put --mtu 9000 nbdkit");
        assert_eq!(arguments.works(), [Work::Put, Work::Idle]);
        assert_eq!(arguments.common.tools, ["nbdkit"]);
        let amounts = arguments.common.sizes.amounts();
        assert_eq!((amounts.runs, amounts.files), (1, 7));
        assert_eq!(amounts.size, 256 << 20);
    }

    #[test]
    fn commands_are_no_tools() {
        let lines = [
            "server --listen 10.0.0.1 --export /srv --interface eth1",
            "client --server 10.0.0.1 --quick nbdkit",
            "random-load --depth 1 --seconds 1 --size 4096 host file",
            "first-bytes --rounds 1 --pause 1 host file",
        ];
        for line in lines {
            assert!(parsed(line).command.is_some(), "{line}");
        }
        assert!(Arguments::try_parse_from(["bench", "--work", "nothing"]).is_err());
    }
}
