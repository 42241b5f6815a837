//! What a client asks for.

use bincode::{Decode, Encode};

use super::{Allocation, Identity, SmallFile};
#[cfg(doc)]
use super::{HOLE_UNIT, MAX_INLINE, MAX_RANGES, MAX_SMALL_FILES, Reply, ReplyFrame};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Write a whole file: its blocks follow as Data packets of `transfer`, then a [`Request::Commit`].
    Put {
        /// The client's number for this transfer, unused in this session so far.
        transfer: u32,
        /// Name of the export.
        export: String,
        /// Path of the file in the export.
        path: Vec<u8>,
        /// Its length in bytes.
        size: u64,
        /// Its permission bits (`st_mode & 0o7777`).
        mode: u32,
        /// Its time of last modification, in nanoseconds since 1970.
        mtime_ns: i64,
    },
    /// All blocks of a put have been sent and acknowledged: make it durable and give it its name.
    Commit {
        /// The put's transfer.
        transfer: u32,
        /// CRC32 of the whole file.
        crc: u32,
    },
    /// Open a file for reading.
    Open {
        /// The client's number for this transfer, unused in this session so far.
        transfer: u32,
        /// Name of the export.
        export: String,
        /// Path of the file in the export.
        path: Vec<u8>,
    },
    /// Send a range of an opened file, as Data packets of its transfer.
    Read {
        /// The transfer of the [`Request::Open`].
        transfer: u32,
        /// First byte.
        offset: u64,
        /// Bytes; the range must lie within the file.
        len: u64,
    },
    /// Forget a transfer: drops an uncommitted put, ends an open file.
    Close {
        /// The transfer.
        transfer: u32,
    },
    /// Attributes of a path.
    Stat {
        /// Name of the export.
        export: String,
        /// Path in the export; empty for its root.
        path: Vec<u8>,
    },
    /// Entries of a directory, in pages.
    List {
        /// Name of the export.
        export: String,
        /// Path of the directory; empty for the export's root.
        path: Vec<u8>,
        /// 0 for the first page, else [`Reply::Entries::next`] of the page before.
        cursor: u64,
    },
    /// Make a directory; one that is there already is no error.
    MakeDirectory {
        /// Name of the export.
        export: String,
        /// Path of the directory.
        path: Vec<u8>,
        /// Its permission bits.
        mode: u32,
    },
    /// Let other sessions carry blocks of a transfer, a put or an open file, as flows of it.
    Share {
        /// The transfer.
        transfer: u32,
    },
    /// Carry blocks of a transfer of another session. Commit, Read and Close of the whole stay with that session; a Close
    /// of this number only ends this flow.
    Join {
        /// The client's number for it in this session, unused so far.
        transfer: u32,
        /// The [`Reply::Shared`] token.
        token: u64,
    },
    /// As [`Request::Put`], for a file that may have holes, and whose put can be resumed.
    Begin {
        /// The client's number for this transfer, unused in this session so far.
        transfer: u32,
        /// Name of the export.
        export: String,
        /// Path of the file in the export.
        path: Vec<u8>,
        /// Its length in bytes.
        size: u64,
        /// Its permission bits (`st_mode & 0o7777`).
        mode: u32,
        /// Its time of last modification, in nanoseconds since 1970.
        mtime_ns: i64,
        /// What the content is known by: what an earlier put of the same path brought counts only under the same one.
        /// `None`: not to be resumed, nothing of it is kept.
        identity: Option<Identity>,
        /// Where the file has no data: offsets and lengths, ascending, apart, in multiples of
        /// [`HOLE_UNIT`]; at most [`MAX_RANGES`]. No blocks of them are sent.
        holes: Vec<(u64, u64)>,
    },
    /// Write whole small files, each durable or refused when the answer comes.
    Store {
        /// Name of the export.
        export: String,
        /// At most [`MAX_SMALL_FILES`]; together they fit into a message.
        files: Vec<SmallFile>,
    },
    /// Read whole small files.
    Fetch {
        /// Name of the export.
        export: String,
        /// Paths of the files in the export, at most [`MAX_SMALL_FILES`].
        paths: Vec<Vec<u8>>,
    },
    /// Open a file for reading and writing in place. [`Request::Close`] ends it; reads and writes under way go on.
    OpenFile {
        /// The client's number for this transfer, unused in this session so far.
        transfer: u32,
        /// Name of the export.
        export: String,
        /// Path of the file in the export.
        path: Vec<u8>,
        /// Permission bits of the file, to be made if it is missing; `None`: it must be there.
        create: Option<u32>,
    },
    /// Write a range of a file in place: its blocks follow as Data packets of `transfer`, then a [`Request::WriteDone`].
    Write {
        /// The client's number for this write, unused in this session so far.
        transfer: u32,
        /// The transfer of the [`Request::OpenFile`].
        file: u32,
        /// First byte, a multiple of [`HOLE_UNIT`].
        offset: u64,
        /// Bytes, not 0, a multiple of [`HOLE_UNIT`]; the file grows when they reach beyond its end.
        len: u64,
    },
    /// All blocks of a write have been sent and acknowledged.
    WriteDone {
        /// The transfer of the [`Request::Write`].
        transfer: u32,
        /// CRC32 of the range.
        crc: u32,
    },
    /// Write a few bytes in place, anywhere.
    WriteInline {
        /// The transfer of the [`Request::OpenFile`].
        file: u32,
        /// First byte.
        offset: u64,
        /// CRC32 of the bytes.
        crc: u32,
        /// At most [`MAX_INLINE`]; the file grows when they reach beyond its end.
        bytes: Vec<u8>,
    },
    /// Read a few bytes, anywhere.
    ReadInline {
        /// The transfer of the [`Request::OpenFile`].
        file: u32,
        /// First byte.
        offset: u64,
        /// Bytes, at most [`MAX_INLINE`]; fewer come at the end of the file.
        len: u32,
    },
    /// Make everything that was written to a file, and its size, durable.
    Sync {
        /// The transfer of the [`Request::OpenFile`].
        file: u32,
    },
    /// Set a file's size.
    Truncate {
        /// The transfer of the [`Request::OpenFile`].
        file: u32,
        /// The new size in bytes; what it gains reads as zeros.
        size: u64,
    },
    /// Reserve or give back space of a file.
    Allocate {
        /// The transfer of the [`Request::OpenFile`].
        file: u32,
        /// First byte.
        offset: u64,
        /// Bytes, not 0.
        len: u64,
        /// What to do with the range.
        how: Allocation,
    },
    /// Where an open file has no data.
    Holes {
        /// The transfer of the [`Request::Open`] or [`Request::OpenFile`].
        transfer: u32,
        /// Where to begin to look.
        offset: u64,
    },
    /// As [`Request::Read`], but no blocks of the holes are sent; they count as zeros.
    ReadSparse {
        /// The transfer of the [`Request::Open`].
        transfer: u32,
        /// First byte.
        offset: u64,
        /// Bytes; the range must lie within the file.
        len: u64,
        /// Offsets and lengths within the range, as in [`Request::Begin`].
        holes: Vec<(u64, u64)>,
    },
    /// Send a range of a file that is open for reading and writing, as Data packets of `transfer`, which is over when
    /// [`Reply::ReadDone`] comes. Several may be under way.
    ReadRange {
        /// The client's number for this read, unused in this session so far.
        transfer: u32,
        /// The transfer of the [`Request::OpenFile`].
        file: u32,
        /// First byte, a multiple of [`HOLE_UNIT`].
        offset: u64,
        /// Bytes, not 0; the range must lie within the file.
        len: u64,
    },
    /// What an open file is now.
    FileAttributes {
        /// The transfer of the [`Request::OpenFile`].
        file: u32,
    },
    /// As [`Request::Close`]; of a put nothing is kept. For a put whose earlier part is not what the source has. Answer:
    /// [`Reply::Closed`].
    Discard {
        /// The transfer.
        transfer: u32,
    },
    /// Remove a name that is no directory's, durably. Answer: [`Reply::Done`].
    Remove {
        /// Name of the export.
        export: String,
        /// Path in the export. A link at its end is not followed: it is what is removed.
        path: Vec<u8>,
    },
    /// Give a file or directory another name in its export, atomically and durably. Answer: [`Reply::Done`].
    Rename {
        /// Name of the export.
        export: String,
        /// Its path in the export. A link at its end is not followed: it is what gets the other name.
        from: Vec<u8>,
        /// The new path; its directory must be there.
        to: Vec<u8>,
        /// Whether what has the new name already, a file, or, for a directory, an empty directory, makes room.
        replace: bool,
    },
    /// Remove an empty directory, durably. Answer: [`Reply::Done`].
    RemoveDirectory {
        /// Name of the export.
        export: String,
        /// Path of the directory in the export. A link at its end is not followed, and not removed.
        path: Vec<u8>,
    },
    /// What the server is. Answered at once, by whoever has the session, without a look at any disk: good to measure round trips.
    Describe,
    /// Make a symbolic link, durably; a file or link that has the name is replaced at one moment. Answer: [`Reply::Done`].
    MakeLink {
        /// Name of the export.
        export: String,
        /// Path of the link in the export; missing directories are made.
        path: Vec<u8>,
        /// Where it leads: 1 to 4095 bytes without NUL. It is not looked up; the server follows no link out of an export.
        target: Vec<u8>,
    },
    /// Where a symbolic link leads. Answer: [`Reply::Link`].
    ReadLink {
        /// Name of the export.
        export: String,
        /// Path of the link in the export.
        path: Vec<u8>,
    },
    /// Give a directory or regular file a mode and a time, durably. Answer: [`Reply::Done`].
    SetAttributes {
        /// Name of the export.
        export: String,
        /// Path in the export, not empty: an export itself keeps its attributes. A link at its end is not followed, and refused.
        path: Vec<u8>,
        /// Its permission bits; 0777 of them count.
        mode: u32,
        /// Its time of last modification, in nanoseconds since 1970.
        mtime_ns: i64,
    },
}

/// A [`Request`] and the number that its [`ReplyFrame`] repeats.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RequestFrame {
    /// The client's number for this request, unused among those that wait for a reply.
    pub id: u32,
    /// What it asks.
    pub request: Request,
}
