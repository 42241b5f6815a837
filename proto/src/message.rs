//! Control messages: what a client asks of a server and what it answers, on a session's control stream.
//!
//! Small and rare, so they are encoded with bincode (version 2, standard configuration: little-endian, variable-length
//! integers) under a size limit. Bulk data never is: it travels in Data packets. Variants and fields are encoded by
//! position, so an enum may only grow at its end, and anything else is a new [`crate::wire::VERSION`].
//!
//! Paths are bytes, relative to their export, components separated by `/`; no encoding is asked of them.

use bincode::{Decode, Encode};

/// Largest encoded message in bytes, and the most memory that decoding one may claim.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Most entries in one [`Reply::Entries`]; a longer listing takes several requests. Keeps what a decoder must reserve
/// for the list well inside [`MAX_MESSAGE`].
pub const MAX_ENTRIES: usize = 512;

/// Most ranges in one [`Reply::Missing`].
pub const MAX_RANGES: usize = 1024;

const _: () = assert!(MAX_RANGES * size_of::<(u64, u64)>() <= MAX_MESSAGE / 2);
const _: () = assert!(MAX_ENTRIES * size_of::<Entry>() <= MAX_MESSAGE / 2);

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
}

/// A [`Request`] and the number that its [`ReplyFrame`] repeats.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RequestFrame {
    /// The client's number for this request, unused among those that wait for a reply.
    pub id: u32,
    /// What it asks.
    pub request: Request,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// To [`Request::Put`]: blocks may come.
    PutReady,
    /// To [`Request::Commit`]: the file is durable under its name.
    Committed {
        /// Bytes that went from received frames to the disk as they lay.
        zero_copy_bytes: u64,
        /// Bytes that were copied once on the way.
        copied_bytes: u64,
    },
    /// To [`Request::Open`].
    Opened {
        /// Of the opened file.
        attributes: Attributes,
    },
    /// To [`Request::Read`]: all its blocks have been sent and acknowledged.
    ReadDone {
        /// CRC32 of the range.
        crc: u32,
    },
    /// To [`Request::Close`].
    Closed,
    /// To [`Request::Stat`].
    Attributes(Attributes),
    /// To [`Request::List`].
    Entries {
        /// At most [`MAX_ENTRIES`], in no particular order.
        entries: Vec<Entry>,
        /// Cursor of the next page; `None` after the last.
        next: Option<u64>,
    },
    /// To [`Request::MakeDirectory`].
    Made,
    /// To any request: it was not carried out.
    Failed(Failure),
    /// To [`Request::Share`].
    Shared {
        /// Random; who knows it may join.
        token: u64,
        /// Workers of the server, each with a queue of its own: more flows bring nothing.
        queues: u16,
    },
    /// To [`Request::Join`]: blocks may come, or will.
    Joined,
    /// To [`Request::Commit`]: what has arrived is written, and the file is not whole. The client sends what is missing, and
    /// asks again.
    Missing {
        /// Offsets and lengths, at most [`MAX_RANGES`]; there may be more.
        ranges: Vec<(u64, u64)>,
    },
}

/// A [`Reply`] and the number of the request that it answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReplyFrame {
    /// [`RequestFrame::id`] of the request.
    pub id: u32,
    /// The answer.
    pub reply: Reply,
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

/// Why a request failed, for programs.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ErrorCode {
    /// The server has no export of this name.
    NoSuchExport,
    /// The path leads out of the export.
    OutsideExport,
    /// Nothing has this name.
    NotFound,
    /// It is a directory, and the request needs something else.
    IsDirectory,
    /// It is no directory, and the request needs one.
    NotDirectory,
    /// The disk or the quota is full.
    NoSpace,
    /// The server may not touch it.
    PermissionDenied,
    /// What arrived is not what the client says it sent.
    ChecksumMismatch,
    /// The server has no room for this now; later it may.
    Busy,
    /// More than the server or the file system takes.
    TooLarge,
    /// The export is read-only.
    ReadOnly,
    /// The path is empty, too long, or has a component that is not allowed.
    InvalidName,
    /// The server cannot do this.
    Unsupported,
    /// The disk failed.
    Io,
    /// The client broke the rules of the control stream.
    Protocol,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{message} ({code:?})")]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what failed, on what, what to do.
    pub message: String,
}

/// Why a message could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("control message of {len} bytes exceeds the limit of {MAX_MESSAGE}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The bytes are no message of the expected type.
    #[error("malformed control message: {0}")]
    Malformed(String),
    /// A message, and then more.
    #[error("{extra} bytes after the end of a control message")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_MESSAGE>()
}

/// Appends the encoding of `message` to `buffer`, which is unchanged if this fails.
///
/// # Errors
/// [`MessageError::TooLong`] if it takes more than [`MAX_MESSAGE`] bytes.
pub fn encode(message: &impl Encode, buffer: &mut Vec<u8>) -> Result<(), MessageError> {
    let start = buffer.len();
    let written = bincode::encode_into_std_write(message, buffer, config());
    let len = buffer.len() - start;
    let result = match written {
        Err(error) => Err(MessageError::Malformed(error.to_string())),
        Ok(_) if len > MAX_MESSAGE => Err(MessageError::TooLong { len }),
        Ok(_) => Ok(()),
    };
    if result.is_err() {
        buffer.truncate(start);
    }
    result
}

/// The message that these bytes are, all of them.
///
/// # Errors
/// [`MessageError`] says what is wrong with them. Decoding reserves no more memory than [`MAX_MESSAGE`], whatever they
/// claim.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, MessageError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong { len: bytes.len() });
    }
    let (message, used) = bincode::decode_from_slice(bytes, config())
        .map_err(|error| MessageError::Malformed(error.to_string()))?;
    match bytes.len() - used {
        0 => Ok(message),
        extra => Err(MessageError::TrailingBytes { extra }),
    }
}

#[cfg(test)]
mod tests;
