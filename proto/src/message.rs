//! Control messages: what a client asks of a server and what it answers, on a session's control stream.
//!
//! Small and rare, so they are encoded with bincode (version 2, standard configuration: little-endian, variable-length
//! integers) under a size limit. Bulk data never is: it travels in Data packets. Variants and fields are encoded by
//! position, so an enum may only grow at its end, and anything else is a new [`crate::wire::VERSION`].
//!
//! Paths are bytes, relative to their export, components separated by `/`; no encoding is asked of them.

mod failure;
mod files;
mod reply;
mod request;

use bincode::{Decode, Encode};

pub use failure::{ErrorCode, Failure};
pub use files::{Allocation, Attributes, Entry, Extent, FetchedFile, FileKind, SmallFile};
pub use reply::{Reply, ReplyFrame};
pub use request::{Request, RequestFrame};

/// Largest encoded message in bytes, and the most memory that decoding one may claim.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Most entries in one [`Reply::Entries`]; a longer listing takes several requests. Keeps what a decoder must reserve
/// for the list well inside [`MAX_MESSAGE`].
pub const MAX_ENTRIES: usize = 512;

/// Most ranges, holes or extents in one message.
pub const MAX_RANGES: usize = 1024;

/// Most files in one [`Request::Store`] or [`Request::Fetch`].
pub const MAX_SMALL_FILES: usize = 128;

/// Most bytes of content in one message; a file of more is not a small one.
pub const MAX_INLINE: usize = 32 * 1024;

/// Bytes of a [`Identity`].
pub const IDENTITY_LEN: usize = 16;

/// What a sender knows a file's content by, opaque to the receiver: with another content, another identity.
pub type Identity = [u8; IDENTITY_LEN];

/// Bounds of holes and of ranges written in place are multiples of so many bytes, but for the end of a file: pages, and
/// blocks of every disk.
pub const HOLE_UNIT: u64 = 4096;

const _: () = assert!(MAX_RANGES * size_of::<Extent>() <= MAX_MESSAGE / 2);
const _: () = assert!(MAX_SMALL_FILES * size_of::<SmallFile>() <= MAX_MESSAGE / 4);
const _: () = assert!(MAX_SMALL_FILES * size_of::<FetchedFile>() <= MAX_MESSAGE / 4);
const _: () = assert!(MAX_ENTRIES * size_of::<Entry>() <= MAX_MESSAGE / 2);

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
