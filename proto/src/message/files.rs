//! Files and ranges of them, as messages tell of them.

use bincode::{Decode, Encode};

use super::Failure;
#[cfg(doc)]
use super::{MAX_INLINE, Request};

/// A small file, whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SmallFile {
    /// Its path in the export.
    pub path: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its time of last modification, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// CRC32 of its bytes.
    pub crc: u32,
    /// Its content, at most [`MAX_INLINE`].
    pub bytes: Vec<u8>,
}

/// What became of one path of a [`Request::Fetch`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FetchedFile {
    /// The file, its path left empty.
    Whole(SmallFile),
    /// It is no small file, or found no room in this reply: fetch it by [`Request::Open`], or ask again.
    Large(Attributes),
    /// It cannot be read.
    Failed(Failure),
}

/// What to do with the space of a range of a file.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Allocation {
    /// Reserve it; the file grows when the range reaches beyond its end. What had no data reads as zeros.
    Reserve,
    /// Give it back: it reads as zeros from now on. The size stays.
    Punch,
}

/// A range of a file and its checksum.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes, not 0.
    pub len: u64,
    /// CRC32 of the bytes.
    pub crc: u32,
}

/// What a name stands for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Other,
}

/// Attributes of a file.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attributes {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
    /// Permission bits (`st_mode & 0o7777`).
    pub mode: u32,
    /// Time of last modification, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The name, without any `/`.
    pub name: Vec<u8>,
    /// What it names.
    pub attributes: Attributes,
}
