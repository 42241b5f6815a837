//! `--dump`: the packets of a copy, for Wireshark.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use blk_datapath::dump::{DEFAULT_SNAPLEN, Dump, DumpOptions, Taps, parse_snaplen};
use clap::Args;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// What is dumped, and where to.
#[derive(Debug, Args)]
pub struct DumpArguments {
    /// Write the protocol's packets, sent and received, to this file as pcapng, for Wireshark (tcpdump does not see them); `-` is
    /// standard output. They have the content of files. An earlier dump of this name is overwritten
    #[arg(long, value_name = "FILE")]
    pub dump: Option<PathBuf>,
    /// Bytes of each packet to dump; the default has all headers, `full` the whole content
    #[arg(long, value_name = "BYTES", requires = "dump", default_value_t = DEFAULT_SNAPLEN, value_parser = parse_snaplen)]
    pub dump_snaplen: usize,
}

/// The dump of a copy, if there is one: it begins right before the connection, and ends after it.
#[derive(Debug, Default)]
pub struct Dumping(OnceCell<Dump>);

impl Dumping {
    /// Whether what was asked for makes sense.
    pub fn check(arguments: &Arguments) -> Result<(), Failure> {
        match &arguments.dump.dump {
            Some(file) if file == Path::new("-") && arguments.json => Err(Failure::Usage(
                "--dump - and --json both want standard output: name a file for the dump"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Begins the dump that was asked for; what the connection takes its taps from.
    pub fn start(&self, arguments: &DumpArguments) -> Result<Option<Taps>, Failure> {
        let Some(file) = &arguments.dump else {
            return Ok(None);
        };
        let dump = Dump::start(&DumpOptions {
            file: file.clone(),
            snaplen: arguments.dump_snaplen,
            application: concat!("blkcp ", env!("CARGO_PKG_VERSION")).to_owned(),
        })?;
        Ok(Some(self.0.get_or_init(|| dump).taps()))
    }

    /// Ends it, and says what became of it; if `quiet`, only when something is missing.
    pub fn finish(self, quiet: bool) {
        if let Some(dump) = self.0.into_inner() {
            let summary = dump.finish();
            if !quiet || !summary.is_complete() {
                eprintln!("blkcp: {summary}");
            }
        }
    }
}
