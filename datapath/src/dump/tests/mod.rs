//! Tests of the dump: its format, its rings, its files.

mod files;
mod format;
mod rings;

#[path = "../../../tests/support/pcapng.rs"]
mod pcapng_reader;

use pcapng_reader::Capture;
