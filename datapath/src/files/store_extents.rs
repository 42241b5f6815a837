//! Whether the bytes of a file have their blocks: FIEMAP.
//!
//! ext4 chooses the blocks of a write when it writes it out (delayed allocation). When that fails the pages are thrown
//! away, or stay dirty for another try, and only the log is told (fs/ext4/inode.c, `mpage_map_and_submit_extent`): not the
//! mapping, and so not syncfs(2). What the extents of the file say tells both cases.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Extents that are asked for at once: as many blocks of 1 KiB as the largest small file has, and some more.
const EXTENTS: usize = 36;

/// `_IOWR('f', 11, struct fiemap)`, include/uapi/linux/fs.h. The same number on all architectures but MIPS, PowerPC, SPARC.
const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;

/// Flags of an extent whose bytes are not where they will be read after a loss of power: UNKNOWN, DELALLOC, UNWRITTEN
/// (include/uapi/linux/fiemap.h).
const NOT_THERE: u32 = 0x2 | 0x4 | 0x800;

/// `struct fiemap_extent`, include/uapi/linux/fiemap.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap` with room for its extents, same file.
#[repr(C)]
struct Request {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// Whether each of the first `size` bytes of a file, which has no holes, lies in a written block or in the inode.
///
/// # Errors
///
/// What ioctl(2) reports: EOPNOTSUPP and ENOTTY where the file system does not tell.
pub(super) fn is_on_blocks(fd: BorrowedFd<'_>, size: u64) -> io::Result<bool> {
    if size == 0 {
        return Ok(true);
    }
    let mut request = Request {
        start: 0,
        length: size,
        flags: 0,
        mapped_extents: 0,
        extent_count: EXTENTS as u32,
        reserved: 0,
        extents: [Extent::default(); EXTENTS],
    };
    // SAFETY: `request` is a `struct fiemap` followed by as many extents as it says, all initialised, and is not used
    // otherwise while the call runs; the descriptor is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FIEMAP as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let found = request.extents.get(..request.mapped_extents as usize);
    Ok(covers(found.unwrap_or_default(), size))
}

/// Whether the extents, which are in order, hold all bytes up to `size`.
fn covers(extents: &[Extent], size: u64) -> bool {
    let mut end = 0;
    for extent in extents {
        if extent.logical > end || extent.flags & NOT_THERE != 0 {
            return false;
        }
        end = end.max(extent.logical.saturating_add(extent.length));
    }
    end >= size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(logical: u64, length: u64, flags: u32) -> Extent {
        Extent {
            logical,
            length,
            flags,
            ..Extent::default()
        }
    }

    #[test]
    fn gaps_delays_and_early_ends_are_seen() {
        const LAST: u32 = 1;
        // In the inode: DATA_INLINE and NOT_ALIGNED.
        const INLINE: u32 = 0x200 | 0x100;
        assert!(covers(&[extent(0, 8192, LAST)], 5000));
        assert!(covers(&[extent(0, 60, INLINE | LAST)], 60));
        assert!(covers(
            &[extent(0, 4096, 0), extent(4096, 4096, LAST)],
            8000
        ));
        assert!(!covers(&[], 1));
        assert!(!covers(&[extent(0, 4096, LAST)], 5000));
        assert!(!covers(
            &[extent(0, 4096, 0), extent(8192, 4096, LAST)],
            12000
        ));
        for flag in [0x2 | 0x4, 0x800] {
            assert!(!covers(&[extent(0, 8192, flag | LAST)], 5000));
        }
    }

    #[test]
    fn structures_are_those_of_the_kernel() {
        assert_eq!(size_of::<Extent>(), 56);
        assert_eq!(std::mem::offset_of!(Request, extents), 32);
    }
}
