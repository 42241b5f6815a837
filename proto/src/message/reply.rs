//! What a server answers.

use bincode::{Decode, Encode};

use super::{Attributes, Entry, Extent, Failure, FetchedFile};
#[cfg(doc)]
use super::{HOLE_UNIT, MAX_ENTRIES, MAX_RANGES, Request, RequestFrame};

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
    /// To [`Request::Open`] and [`Request::OpenFile`].
    Opened {
        /// Of the opened file.
        attributes: Attributes,
    },
    /// To [`Request::Read`], [`Request::ReadSparse`] and [`Request::ReadRange`]: all its blocks have been sent and
    /// acknowledged.
    ReadDone {
        /// CRC32 of the range.
        crc: u32,
    },
    /// To [`Request::Close`] and [`Request::Discard`].
    Closed,
    /// To [`Request::Stat`] and [`Request::FileAttributes`].
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
    /// To [`Request::Commit`] and [`Request::WriteDone`]: what has arrived is written, and the file, or the range, is not
    /// whole. The client sends what is missing, and asks again.
    Missing {
        /// Offsets and lengths, at most [`MAX_RANGES`]; there may be more.
        ranges: Vec<(u64, u64)>,
    },
    /// To [`Request::Begin`]: blocks of the rest may come.
    Begun {
        /// What is there already, of an earlier put of the same identity: ascending, apart, at most [`MAX_RANGES`], bounds
        /// in multiples of [`HOLE_UNIT`] but for the end of the file. Without the holes.
        done: Vec<Extent>,
    },
    /// To [`Request::Store`]: in the order of its files, `None` for one that is durable under its name.
    Stored {
        /// What became of each.
        failures: Vec<Option<Failure>>,
    },
    /// To [`Request::Fetch`]: in the order of its paths.
    Fetched {
        /// What became of each.
        files: Vec<FetchedFile>,
    },
    /// To [`Request::Write`]: blocks may come.
    WriteReady,
    /// To [`Request::WriteDone`] and [`Request::WriteInline`]: readable by everybody, durable after a [`Request::Sync`].
    Written {
        /// Bytes that went from received frames to the disk as they lay.
        zero_copy_bytes: u64,
        /// Bytes that were copied on the way.
        copied_bytes: u64,
    },
    /// To [`Request::ReadInline`].
    Bytes {
        /// CRC32 of the bytes.
        crc: u32,
        /// As many as there are.
        bytes: Vec<u8>,
    },
    /// To [`Request::Sync`], [`Request::Truncate`], [`Request::Allocate`], [`Request::Remove`], [`Request::Rename`],
    /// [`Request::RemoveDirectory`], [`Request::MakeLink`] and [`Request::SetAttributes`].
    Done,
    /// To [`Request::Holes`]: ascending, apart, bounds in multiples of [`HOLE_UNIT`] but for the end of the file.
    Holes {
        /// Offsets and lengths, at most [`MAX_RANGES`].
        ranges: Vec<(u64, u64)>,
        /// Where to go on; `None`: there are no more.
        next: Option<u64>,
    },
    /// To [`Request::Describe`].
    Description {
        /// The server's version, as 1.2.3.
        version: String,
        /// How blocks of this session cross its kernel: `af_xdp-zerocopy`, `af_xdp-copy`, `af_xdp-skb` or `udp`, or what is not known yet.
        datapath: String,
    },
    /// To [`Request::ReadLink`].
    Link {
        /// Where it leads.
        target: Vec<u8>,
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
