//! A thread with descriptors of its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// From now on the calling thread has a table of descriptors of its own, with 0, 1, 2 and `kept` in it.
///
/// What it opens then is closed when it ends, also when the process is killed while another thread cannot end: the kernel closes the
/// descriptors of a table with the last thread that uses it (close_range(2), unshare(2)).
///
/// To be called at the start of a thread that has no other descriptor: those that it shared mean nothing to it any more.
///
/// # Errors
/// What unshare(2) and close_range(2) say.
pub fn keep_only(kept: impl AsFd) -> io::Result<()> {
    // SAFETY: the table is a copy, in which every number means what it did. What is closed below is closed in the copy only,
    // and by the contract above nothing that this thread uses.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }?;
    let kept = kept.as_fd().as_raw_fd().cast_unsigned();
    close(3, kept.saturating_sub(1))?;
    close(kept + 1, u32::MAX)
}

/// Closes the descriptors from `first` to `last`.
fn close(first: u32, last: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the table is this thread's own, see above.
    match unsafe { libc::close_range(first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
