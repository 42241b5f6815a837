//! The part of the FUSE protocol that a file system of one file needs (`include/uapi/linux/fuse.h`, version 7.38).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Protocol version spoken: the kernel accepts any minor number, and then sends and expects its structures.
pub const MAJOR: u32 = 7;
/// See [`MAJOR`].
pub const MINOR: u32 = 38;

/// Largest write or read asked of us.
pub const MAX_WRITE: usize = 1 << 20;
/// A buffer that holds any request.
pub const MAX_REQUEST: usize = MAX_WRITE + 4096;

/// Operation codes.
pub mod opcode {
    #![allow(missing_docs)]
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const ACCESS: u32 = 34;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
}

/// INIT: several reads may be outstanding.
pub const ASYNC_READ: u32 = 1 << 0;
/// INIT: writes may be larger than a page.
pub const BIG_WRITES: u32 = 1 << 5;
/// INIT: several direct writes of one file may be outstanding.
pub const ASYNC_DIO: u32 = 1 << 15;
/// INIT: `max_pages` is meant.
pub const MAX_PAGES: u32 = 1 << 22;

/// OPEN: the kernel caches nothing of this file.
pub const OPEN_DIRECT_IO: u32 = 1 << 0;
/// OPEN: direct writes of several callers may be outstanding.
pub const OPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;

/// Before every request.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct InHeader {
    pub len: u32,
    pub opcode: u32,
    pub unique: u64,
    pub nodeid: u64,
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
    pub extensions: u16,
    pub padding: u16,
}

/// Before every answer.
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
#[repr(C)]
#[allow(missing_docs)]
pub struct OutHeader {
    pub len: u32,
    /// Zero, or an error number, negative.
    pub error: i32,
    pub unique: u64,
}

/// READ and WRITE.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct IoIn {
    pub fh: u64,
    pub offset: u64,
    pub size: u32,
    pub io_flags: u32,
    pub lock_owner: u64,
    pub flags: u32,
    pub padding: u32,
}

/// Answer to WRITE.
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
#[repr(C)]
#[allow(missing_docs)]
pub struct WriteOut {
    pub size: u32,
    pub padding: u32,
}

/// FALLOCATE.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FallocateIn {
    pub fh: u64,
    pub offset: u64,
    pub length: u64,
    pub mode: u32,
    pub padding: u32,
}

/// Answer to INIT.
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
#[repr(C)]
#[allow(missing_docs)]
pub struct InitOut {
    pub major: u32,
    pub minor: u32,
    pub max_readahead: u32,
    pub flags: u32,
    pub max_background: u16,
    pub congestion_threshold: u16,
    pub max_write: u32,
    pub time_gran: u32,
    pub max_pages: u16,
    pub map_alignment: u16,
    pub flags2: u32,
    pub unused: [u32; 7],
}

/// Answer to GETATTR and SETATTR.
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
#[repr(C)]
#[allow(missing_docs)]
pub struct AttrOut {
    pub valid: u64,
    pub valid_nsec: u32,
    pub dummy: u32,
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    pub times: [u64; 3],
    pub times_nsec: [u32; 3],
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub blksize: u32,
    pub flags: u32,
}

/// Answer to OPEN.
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
#[repr(C)]
#[allow(missing_docs)]
pub struct OpenOut {
    pub fh: u64,
    pub flags: u32,
    pub padding: u32,
}

/// Answer to STATFS.
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
#[repr(C)]
#[allow(missing_docs)]
pub struct StatfsOut {
    pub blocks: u64,
    pub free: [u64; 4],
    pub bsize: u32,
    pub namelen: u32,
    pub frsize: u32,
    pub padding: [u32; 7],
}

const _: () = assert!(size_of::<InHeader>() == 40);
const _: () = assert!(size_of::<IoIn>() == 40);
const _: () = assert!(size_of::<InitOut>() == 64);
const _: () = assert!(size_of::<AttrOut>() == 104);
const _: () = assert!(size_of::<StatfsOut>() == 80);
