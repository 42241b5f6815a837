//! The words of `blkcp measure`.

use std::ffi::OsString;
use std::time::Duration;

use blk_client::{ConnectOptions, FLOWS_MAX};
use clap::Parser;

/// Find out what each data path to a host costs, for `--datapath auto`.
///
/// Puts a file of random bytes into a directory of the host and gets it back, over each data path that this end can have, in turn, and
/// removes it. What that has cost is printed, and remembered for 30 days: where the driver of the interface has no zero-copy, `auto` of
/// blkcp takes the cheaper one from then on. In AF_XDP copy mode the packets of copies do not pass this host's
/// netfilter rules.
///
/// While AF_XDP is measured, an XDP program is attached to the interface. On a software interface (veth, bridge) that slows all
/// other traffic of the interface down, at the other end of a veth pair too, until it is over.
#[derive(Debug, Parser)]
#[command(name = "measure", after_help = AFTER_HELP)]
pub struct MeasureArguments {
    /// A directory of the host that may be written to, HOST:EXPORT or HOST:EXPORT/DIR
    #[arg(value_name = "HOST:EXPORT/DIR")]
    pub place: OsString,
    /// Size of the file: bytes, or with KiB, MiB or GiB behind. Figures of less than 256MiB are not remembered
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = size)]
    pub size: u64,
    /// So often each data path has its turn
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub rounds: u32,
    /// UDP port of blockd
    #[arg(short, long, default_value_t = 7440, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Flows, as for a copy. Figures of so many are printed and not remembered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(FLOWS_MAX)))]
    pub flows: Option<u16>,
    /// Give up when the other end has been silent for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Print the result as one line of JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Do not say what is being measured
    #[arg(short, long)]
    pub quiet: bool,
}

const AFTER_HELP: &str = "\
The file lies in $TMPDIR (/tmp) here, twice for a while. Ctrl-C removes it at both ends; what cannot
be removed is named. CPU time is that of blkcp alone. The figures are kept in
$XDG_CACHE_HOME/blkcp/paths.json (~/.cache); BLK_PATHS names another file, or none if it is empty.
Neither blockd goes by them, nor copies with --flows, nor puts of less than 64 MiB. A file called
measure is copied as ./measure.

Exit codes are those of blkcp; 11 also when no data path could be had, 13 when all was measured and
the file at the other end could not be removed.

Example:
  blkcp measure storage1:data/scratch --size 1GiB";

impl MeasureArguments {
    /// The library's words for it, for the data path that is measured.
    pub fn connect_options(&self, datapath: blk_client::Datapath) -> ConnectOptions {
        ConnectOptions {
            port: self.port,
            datapath,
            silence: Duration::from_secs(self.timeout),
            flows: self.flows,
            ..ConnectOptions::default()
        }
    }
}

/// Reads `512MiB`.
fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
    let found = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (number, shift) = found.unwrap_or((text, 0));
    let bytes = number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if (1 << 20..=1 << 40).contains(&bytes) => Ok(bytes),
        _ => Err("a size from 1MiB to 1024GiB, as 512MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("1048576"), Ok(1 << 20));
        assert_eq!(size("2048KiB"), Ok(2 << 20));
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(size("3GiB"), Ok(3 << 30));
        for bad in [
            "",
            "MiB",
            "1",
            "1023KiB",
            "1025GiB",
            "-1MiB",
            "1.5GiB",
            "1TiB",
            "99999999999999999999GiB",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
