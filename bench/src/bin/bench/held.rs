//! Memory for a copy into a tmpfs, there before the clock starts.
//!
//! The host of a virtual machine takes back memory that is free (Documentation/mm/free_page_reporting.rst), and who writes to such
//! a page waits until the host has found another one: 2 GiB took from 0.1 to 5 s on one machine. That is no tool's work. So a file lies
//! in the tmpfs that is written anew before each copy, and is removed as the last thing before the client starts, which then gets
//! the pages that were freed last. It is larger than the copy, since the client takes memory for other things, too: with as much
//! as the copy, the last tenth of a copy took three times as long as the others.

use std::fs::{OpenOptions, remove_file};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Written at once.
const PIECE: usize = 1 << 20;

/// What is held for a copy of `size` bytes.
pub fn held_for(size: u64) -> u64 {
    size + size / 2
}

/// Holds memory beside the file that a copy of `size` bytes will make. What a copy that failed has left there goes.
pub fn hold(copy: &Path, size: u64) {
    let _ = remove_file(copy);
    // Not cut to nothing: the pages that it has stay, and are touched.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(beside(copy));
    let mut file = file.expect("cannot make a file in memory");
    let zeros = vec![0; PIECE];
    let mut left = held_for(size);
    while left > 0 {
        let now = left.min(PIECE as u64);
        file.write_all(&zeros[..now as usize])
            .expect("cannot write to a file in memory");
        left -= now;
    }
}

/// Gives it to the copy; `false` when there is none.
pub fn release(copy: &Path) -> bool {
    match remove_file(beside(copy)) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => panic!("cannot remove a file in memory: {error}"),
    }
}

fn beside(copy: &Path) -> PathBuf {
    copy.with_file_name("held")
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_bench::lab::Directory;
    use std::fs::{metadata, write};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_is_there_until_it_is_given() {
        let directory = Directory::new();
        let copy = directory.join("got");
        assert!(!release(&copy), "nothing is held yet");
        let size = 2 * PIECE as u64 + 77;
        for _ in 0..2 {
            write(&copy, "half of a copy").unwrap();
            hold(&copy, size);
            let held = metadata(beside(&copy)).unwrap();
            assert_eq!(held.len(), held_for(size));
            assert!(held.len() > size);
            // Written, and not a hole.
            assert!(held.blocks() * 512 >= held.len(), "{held:?}");
            assert!(!copy.exists());
        }
        assert!(release(&copy) && !release(&copy));
    }
}
