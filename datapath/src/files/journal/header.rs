//! The head of a journal: what file it is of, written once and never changed.
//!
//! ```text
//!  magic 8 │ version 4 │ length 4 │ journal 16 │ identity 16 │ size 8 │ inode 8 │ born 8 + 4 │ created 8
//!  │ path: length 4, bytes │ holes: number 4, (offset 8, length 8) each │ zeros │ CRC32 4
//! ```
//!
//! Little-endian. The length is that of the whole head, a multiple of 4096; the table of entries follows it. The CRC is of
//! all bytes before it.

use blk_proto::message::{Identity, MAX_RANGES};

use super::entry::JournalId;
use crate::engine::ByteRange;

const MAGIC: [u8; 8] = *b"blkpart\n";

/// Another one is not understood, and its partial not resumed. In version 1 an entry stood for 420 KiB.
const VERSION: u32 = 2;

/// The head takes a multiple of this many bytes.
const UNIT: usize = 4096;

/// Longest path, in bytes: what the kernel takes.
pub(in crate::files) const PATH_MAX: usize = 4096;

/// Longest head.
const LEN_MAX: usize = (PATH_MAX + MAX_RANGES * 16 + 256).next_multiple_of(UNIT);

/// What tells a file from any other of its file system, also from a later one with the same inode.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(in crate::files) struct Inode {
    /// Inode number.
    pub(in crate::files) number: u64,
    /// Birth time: seconds and nanoseconds since 1970.
    pub(in crate::files) born: (i64, u32),
}

/// What a journal is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::files) struct Header {
    pub(in crate::files) journal: JournalId,
    /// What the source's content is known by.
    pub(in crate::files) identity: Identity,
    /// Bytes of the whole file.
    pub(in crate::files) size: u64,
    /// The file that the blocks are written to.
    pub(in crate::files) inode: Inode,
    /// When the put began: nanoseconds since 1970.
    pub(in crate::files) created_ns: i64,
    /// The path that the file is to have, in the export.
    pub(in crate::files) path: Vec<u8>,
    /// Where the file has no data.
    pub(in crate::files) holes: Vec<ByteRange>,
}

/// Bytes at the beginning that say how long the head is.
pub(super) const PRELUDE: usize = 16;

/// How long the head is that begins with `prelude`; `None` when it is none of this version.
pub(super) fn length(prelude: &[u8; PRELUDE]) -> Option<usize> {
    let mut reader = Reader(prelude);
    if reader.take()? != MAGIC || reader.u32()? != VERSION {
        return None;
    }
    let len = usize::try_from(reader.u32()?).ok()?;
    (len.is_multiple_of(UNIT) && (UNIT..=LEN_MAX).contains(&len)).then_some(len)
}

impl Header {
    /// The head as it lies in the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(UNIT);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        // The length, when it is known.
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.journal);
        bytes.extend_from_slice(&self.identity);
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.inode.number.to_le_bytes());
        bytes.extend_from_slice(&self.inode.born.0.to_le_bytes());
        bytes.extend_from_slice(&self.inode.born.1.to_le_bytes());
        bytes.extend_from_slice(&self.created_ns.to_le_bytes());
        bytes.extend_from_slice(&(self.path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.path);
        bytes.extend_from_slice(&(self.holes.len() as u32).to_le_bytes());
        for (offset, len) in &self.holes {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&len.to_le_bytes());
        }
        let len = (bytes.len() + 4).next_multiple_of(UNIT);
        bytes[12..16].copy_from_slice(&(len as u32).to_le_bytes());
        bytes.resize(len - 4, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a head; `None` when these bytes are none, or not all of one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Header> {
        let len = length(bytes.first_chunk()?)?;
        let (body, crc) = bytes.get(..len)?.split_last_chunk()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut reader = Reader(&body[PRELUDE..]);
        Some(Header {
            journal: reader.take()?,
            identity: reader.take()?,
            size: reader.u64()?,
            inode: Inode {
                number: reader.u64()?,
                born: (i64::from_le_bytes(reader.take()?), reader.u32()?),
            },
            created_ns: i64::from_le_bytes(reader.take()?),
            path: reader.path()?,
            holes: reader.holes()?,
        })
    }
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn path(&mut self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (path, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        (len <= PATH_MAX).then(|| path.to_vec())
    }

    fn holes(&mut self) -> Option<Vec<ByteRange>> {
        let number = usize::try_from(self.u32()?).ok()?;
        if number > MAX_RANGES {
            return None;
        }
        (0..number)
            .map(|_| Some((self.u64()?, self.u64()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(path: Vec<u8>, holes: Vec<ByteRange>) -> Header {
        Header {
            journal: [1; 16],
            identity: [2; 16],
            size: 3,
            inode: Inode {
                number: 4,
                born: (-5, 6),
            },
            created_ns: -7,
            path,
            holes,
        }
    }

    #[test]
    fn the_largest_fits() {
        let largest = header(vec![b'p'; PATH_MAX], vec![(1, 2); MAX_RANGES]);
        let bytes = largest.encode();
        assert!(bytes.len() <= LEN_MAX);
        assert_eq!(Header::decode(&bytes), Some(largest));
        let too_large = header(Vec::new(), vec![(1, 2); MAX_RANGES + 1]);
        assert_eq!(Header::decode(&too_large.encode()), None);
    }

    proptest! {
        #[test]
        fn heads_round_trip_and_damage_shows(
            path in proptest::collection::vec(any::<u8>(), 0..200),
            holes in proptest::collection::vec(any::<(u64, u64)>(), 0..20),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let header = header(path, holes);
            let mut bytes = header.encode();
            prop_assert_eq!(Header::decode(&bytes), Some(header));
            prop_assert_eq!(Header::decode(&bytes[..cut.index(bytes.len())]), None);
            let at = flip.index(bytes.len());
            bytes[at] ^= 0x40;
            prop_assert_eq!(Header::decode(&bytes), None);
        }
    }
}
