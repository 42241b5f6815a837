//! `--dump`: the packets of blockd, for Wireshark.

use std::path::Path;

use blk_datapath::dump::{Dump, DumpError, DumpOptions};

/// Begins the dump that was asked for; a `snaplen` of 0: whole packets.
pub(crate) fn start(file: Option<&Path>, snaplen: usize) -> Result<Option<Dump>, DumpError> {
    let Some(file) = file else {
        return Ok(None);
    };
    Dump::start(&DumpOptions {
        file: file.to_owned(),
        snaplen,
        application: concat!("blockd ", env!("CARGO_PKG_VERSION")).to_owned(),
    })
    .map(Some)
}
