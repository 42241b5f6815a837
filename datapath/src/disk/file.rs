//! A file as the data path reads or writes it: all by direct I/O, or all through the page cache.

use std::{
    fmt, fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};

use crate::umem::SECTOR;

/// What the file was opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intent {
    /// To be read: the page cache serves it when most of it is there.
    Read,
    /// To be written.
    Write,
}

/// Which way a file's bytes take. Never both: a page-cache write beside a direct write of the same page
/// loses one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `O_DIRECT`: between frames and device, no copy.
    Direct,
    /// Through the page cache: one copy by the kernel.
    Buffered {
        /// Why not direct.
        reason: BufferedReason,
    },
}

/// Why a file goes through the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BufferedReason {
    /// The caller asked for it.
    Asked,
    /// The file system (or the kernel, before 6.1) reports no direct I/O for this file.
    NotReported,
    /// Direct I/O needs a coarser alignment than [`SECTOR`], bytes.
    Alignment {
        /// Alignment of memory.
        memory: u32,
        /// Alignment of offset and length.
        offset: u32,
    },
    /// The file system refused `O_DIRECT`, with this error number.
    Refused {
        /// errno.
        errno: i32,
    },
    /// Most of the file is in the page cache already.
    Hot {
        /// Pages in the cache.
        cached: u64,
        /// Pages of the file.
        pages: u64,
    },
}

impl fmt::Display for BufferedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => write!(f, "asked for"),
            Self::NotReported => write!(f, "the file system reports no direct I/O for this file"),
            Self::Alignment { memory, offset } => write!(
                f,
                "direct I/O here needs alignment to {memory} bytes in memory and {offset} in the file, frames have {SECTOR}"
            ),
            Self::Refused { errno } => write!(
                f,
                "the file system refused O_DIRECT: {}",
                io::Error::from_raw_os_error(*errno)
            ),
            Self::Hot { cached, pages } => {
                write!(f, "{cached} of {pages} pages are in the page cache")
            }
        }
    }
}

/// An open regular file and how to access it. Shared as `Arc<BlockFile>`: each operation holds one, so the
/// descriptor stays open until the last completes.
#[derive(Debug)]
pub struct BlockFile {
    fd: OwnedFd,
    access: Access,
    size: u64,
    coalescing: bool,
}

impl BlockFile {
    /// Decides how to access the file, from what statx(2) (`STATX_DIOALIGN`, Linux 6.1) and cachestat(2)
    /// (Linux 6.5) say of it, and sets `O_DIRECT` accordingly.
    ///
    /// `O_DIRECT` belongs to the open file description: whoever shares it (dup, fork) gets it as well.
    pub fn new(fd: OwnedFd, intent: Intent) -> io::Result<Self> {
        let stat = statx(
            &fd,
            "",
            AtFlags::EMPTY_PATH,
            StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN,
        )?;
        let (memory, offset) = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
        let access = match alignment_reason(memory, offset)
            .or_else(|| hot_reason(&fd, intent, stat.stx_size))
        {
            Some(reason) => Access::Buffered { reason },
            None => match set_direct(&fd, true) {
                Ok(()) => Access::Direct,
                Err(errno) => Access::Buffered {
                    reason: BufferedReason::Refused {
                        errno: errno.raw_os_error(),
                    },
                },
            },
        };
        if access != Access::Direct {
            set_direct(&fd, false)?;
        }
        Ok(Self {
            fd,
            access,
            size: stat.stx_size,
            coalescing: virtual_boundary(stat.stx_dev_major, stat.stx_dev_minor) != 0,
        })
    }

    /// The file through the page cache, whatever it could do.
    pub fn buffered(fd: OwnedFd) -> io::Result<Self> {
        let size = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::SIZE)?.stx_size;
        set_direct(&fd, false)?;
        Ok(Self {
            fd,
            access: Access::Buffered {
                reason: BufferedReason::Asked,
            },
            size,
            coalescing: false,
        })
    }

    /// The same file with all its runs going through copy buffers.
    pub fn coalesced(mut self) -> Self {
        self.coalescing = true;
        self
    }

    /// Whether runs go through copy buffers, because the device takes a request apart wherever two frames
    /// meet: NVMe without scatter-gather lists (before Linux 6.19 all NVMe) reports a `virt_boundary_mask`.
    pub fn is_coalescing(&self) -> bool {
        self.coalescing
    }

    /// Which way the bytes take.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether that is direct I/O.
    #[inline]
    pub fn is_direct(&self) -> bool {
        self.access == Access::Direct
    }

    /// Bytes of the file when it was handed in.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The descriptor for io_uring.
    #[inline]
    pub(super) fn ring_fd(&self) -> io_uring::types::Fd {
        io_uring::types::Fd(self.fd.as_raw_fd())
    }
}

impl AsFd for BlockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
impl BlockFile {
    /// /dev/null, said to be accessed like this.
    pub(super) fn null(access: Access) -> Self {
        Self {
            fd: fs::File::open("/dev/null").expect("/dev/null").into(),
            access,
            size: 0,
            coalescing: false,
        }
    }
}

/// Frames are aligned to [`SECTOR`]; a file that needs more, or reports nothing, cannot go direct.
fn alignment_reason(memory: u32, offset: u32) -> Option<BufferedReason> {
    let sector = SECTOR as u32;
    if memory == 0 || offset == 0 {
        Some(BufferedReason::NotReported)
    } else if memory > sector || offset > sector {
        Some(BufferedReason::Alignment { memory, offset })
    } else {
        None
    }
}

/// A file to be read of which three quarters are cached is faster to copy from there than to read again.
fn hot_reason(fd: &OwnedFd, intent: Intent, size: u64) -> Option<BufferedReason> {
    if intent != Intent::Read || size == 0 {
        return None;
    }
    let pages = size.div_ceil(rustix::param::page_size() as u64);
    let cached = cached_pages(fd)?;
    (cached >= pages - pages / 4).then_some(BufferedReason::Hot { cached, pages })
}

/// The device's `virt_boundary_mask` (Documentation/ABI/stable/sysfs-block): 0 when requests may consist of
/// pieces of any alignment, and when there is no such device (btrfs, overlay and others have none of their own).
fn virtual_boundary(major: u32, minor: u32) -> u64 {
    let device = format!("/sys/dev/block/{major}:{minor}");
    // A partition has no queue of its own; its parent directory is the disk.
    [format!("{device}/queue"), format!("{device}/../queue")]
        .into_iter()
        .find_map(|queue| fs::read_to_string(queue + "/virt_boundary_mask").ok())
        .and_then(|mask| mask.trim().parse().ok())
        .unwrap_or(0)
}

/// Sets or clears `O_DIRECT`.
fn set_direct(fd: &OwnedFd, direct: bool) -> rustix::io::Result<()> {
    let mut flags = fcntl_getfl(fd)?;
    if flags.contains(OFlags::DIRECT) == direct {
        return Ok(());
    }
    flags.set(OFlags::DIRECT, direct);
    fcntl_setfl(fd, flags)
}

/// Pages of the file in the page cache; `None` where the kernel does not say (before 6.5, or no right to ask).
fn cached_pages(fd: &OwnedFd) -> Option<u64> {
    /// `struct cachestat_range`, include/uapi/linux/mman.h; length 0 is "to the end".
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
    let range = Range { offset: 0, len: 0 };
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
    (result == 0).then_some(statistics.cached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_decides() {
        assert_eq!(alignment_reason(512, 512), None);
        assert_eq!(alignment_reason(4, 512), None);
        assert_eq!(alignment_reason(0, 0), Some(BufferedReason::NotReported));
        assert_eq!(
            alignment_reason(512, 4096),
            Some(BufferedReason::Alignment {
                memory: 512,
                offset: 4096
            })
        );
    }
}
