//! What several test files need.
#![allow(dead_code)] // each test binary uses its own part

pub mod bpf;
pub mod netns;
mod skip;

use std::{
    env, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

pub use skip::skip;

/// A fresh directory on a disk.
pub fn test_directory() -> tempfile::TempDir {
    let root = env::var_os("BLK_TEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::tempdir_in(root).expect("a test directory")
}

/// Bytes that tell their position, so that a byte at a wrong place is seen.
pub struct PatternFile;

impl PatternFile {
    /// The byte at `position`; the period is a prime above any block size.
    pub fn byte(position: u64) -> u8 {
        let mixed = (position % 1_000_003).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 56) as u8
    }

    /// Fills `bytes` as they are at `position`.
    pub fn fill(bytes: &mut [u8], position: u64) {
        for (byte, at) in bytes.iter_mut().zip(position..) {
            *byte = Self::byte(at);
        }
    }

    /// The first place where `bytes` are not those of `position`.
    pub fn mismatch(bytes: &[u8], position: u64) -> Option<usize> {
        bytes
            .iter()
            .zip(position..)
            .position(|(byte, at)| *byte != Self::byte(at))
    }

    /// Writes a file of `size` bytes, and leaves none of it in the page cache.
    pub fn write(path: &Path, size: u64) {
        let mut bytes = vec![0; size as usize];
        Self::fill(&mut bytes, 0);
        let mut file = fs::File::create(path).expect("pattern file");
        file.write_all(&bytes).expect("pattern file");
        file.sync_all().expect("sync");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("fadvise");
    }
}

/// Reads a file of the pattern whole, by way of the page cache.
pub fn read_pattern(path: &Path) {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .expect("file")
        .read_to_end(&mut bytes)
        .expect("file");
    assert_eq!(PatternFile::mismatch(&bytes, 0), None);
}
