//! What of a file is in the page cache: cachestat(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use super::read_choice::Presence;

/// How much of `len` bytes from `offset` on is in the page cache, without touching it. `len` 0 is "to the end" of what
/// the cache has, and then the pages asked about are those that it has.
///
/// `None` where the kernel does not say: before Linux 6.5, or for a file that the process neither owns nor may write
/// (`EPERM`; otherwise one could watch what others read).
pub fn cached(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Option<Presence> {
    /// `struct cachestat_range`, include/uapi/linux/mman.h.
    #[repr(C)]
    struct Range {
        offset: u64,
        len: u64,
    }
    /// `struct cachestat`, same file; all in pages.
    #[repr(C)]
    #[derive(Default)]
    struct Statistics {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    /// The number of cachestat(2), the same on every architecture.
    const CACHESTAT: libc::c_long = 451;
    let range = Range { offset, len };
    let mut statistics = Statistics::default();
    // SAFETY: both structs have the kernel's layout and live through the call.
    let result = unsafe {
        libc::syscall(
            CACHESTAT,
            fd.as_raw_fd(),
            &raw const range,
            &raw mut statistics,
            0,
        )
    };
    if result != 0 {
        return None;
    }
    let page = rustix::param::page_size() as u64;
    let pages = match len {
        0 => statistics.cached,
        len => (offset + len).div_ceil(page) - offset / page,
    };
    Some(Presence {
        pages,
        cached: statistics.cached.min(pages),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_was_just_written_is_cached() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[1; 10_000]).expect("written");
        let Some(all) = cached(file.as_fd(), 0, 10_000) else {
            return crate::skip::skip("no cachestat(2)");
        };
        let page = rustix::param::page_size() as u64;
        let pages = 10_000u64.div_ceil(page);
        assert_eq!((all.pages, all.cached), (pages, pages));
        let two = cached(file.as_fd(), page - 1, 2).expect("told before");
        assert_eq!(two.pages, 2, "a byte on either side of a page's end");
        let none = cached(file.as_fd(), 1 << 30, 4096).expect("told before");
        assert_eq!((none.pages, none.cached), (1, 0));
    }
}
