//! Gets of files with holes: what has no data does not travel, and has none here either.

use std::sync::Arc;

use blk_datapath::disk::{BlockFile, Ways};
use blk_datapath::engine::{Coverage, Progress, combine, hole};
use blk_datapath::files::data_between;
use blk_proto::message::{Extent, MAX_RANGES, Reply, Request};

use crate::connection::Connection;
use crate::error::ClientError;
use crate::flow::Flow;
use crate::holes::ask_holes;
use crate::spread::Shape;
use crate::transfer::{LAST_WRITES, both, expect};

/// Files from this size on are asked for their holes: in smaller ones there is little to save.
const SPARSE_MIN: u64 = 1 << 20;

/// The holes that no space is reserved for. When there are more than a reservation goes around, that is everything: a full
/// disk is found out later then, but the holes stay holes.
pub(crate) fn holes_to_keep(holes: &[(u64, u64)], size: u64) -> Vec<(u64, u64)> {
    if holes.len() > MAX_RANGES {
        vec![(0, size)]
    } else {
        holes.to_vec()
    }
}

/// What was received of a file.
pub(crate) struct Arrived {
    /// CRC32 of the whole, the same at both ends.
    pub crc: u32,
    /// How the data reached the disk; the holes did not.
    pub ways: Ways,
}

/// A range of a file, with no more holes than fit a request.
#[derive(Debug, PartialEq, Eq)]
struct Segment<'a> {
    offset: u64,
    len: u64,
    holes: &'a [(u64, u64)],
}

/// A file of `size` bytes in as few ranges as there must be.
fn segments(size: u64, holes: &[(u64, u64)]) -> Vec<Segment<'_>> {
    let mut offset = 0;
    let mut segments = Vec::new();
    let mut chunks = holes.chunks(MAX_RANGES).peekable();
    while let Some(holes) = chunks.next() {
        let end = match (chunks.peek(), holes.last()) {
            (Some(_), Some((start, len))) => start + len,
            _ => size,
        };
        let len = end - offset;
        segments.push(Segment { offset, len, holes });
        offset = end;
    }
    if segments.is_empty() {
        segments.push(Segment {
            offset: 0,
            len: size,
            holes: &[],
        });
    }
    segments
}

impl Connection {
    /// The holes of a file that is open for reading. When there are more than are remembered, the others count as data.
    pub(crate) async fn holes_of(
        &self,
        home: &Flow,
        shape: Shape<'_>,
    ) -> Result<Vec<(u64, u64)>, ClientError> {
        if shape.size < SPARSE_MIN {
            return Ok(Vec::new());
        }
        let transfer = shape.transfer;
        let holes = ask_holes(shape.what, shape.size, |offset| {
            home.request(shape.what, Request::Holes { transfer, offset })
        });
        Ok(holes.await?.ranges)
    }

    /// Receives a file that is open at the server, without its holes, and checks it.
    pub(crate) async fn receive_sparse(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        file: &Arc<BlockFile>,
        holes: &[(u64, u64)],
        progress: &Progress,
    ) -> Result<Arrived, ClientError> {
        let mut arrived = Arrived {
            crc: 0,
            ways: Ways::default(),
        };
        let segments = segments(shape.size, holes);
        // Several ranges one after the other go over one flow: another one could still bring blocks of an earlier range.
        let travels = match &segments[..] {
            [_] => data_between(shape.size, holes).map(|(_, len)| len).sum(),
            _ => 0,
        };
        let shape = Shape {
            size: travels,
            ..shape
        };
        for segment in &segments {
            let part = self
                .receive_segment(home, shape, file, segment, progress)
                .await?;
            arrived.crc = combine(arrived.crc, part.crc, segment.len);
            arrived.ways.direct += part.ways.direct;
            arrived.ways.copied += part.ways.copied;
        }
        Ok(arrived)
    }

    async fn receive_segment(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        file: &Arc<BlockFile>,
        segment: &Segment<'_>,
        progress: &Progress,
    ) -> Result<Arrived, ClientError> {
        let (offset, len) = (segment.offset, segment.len);
        let done: Vec<Extent> = segment
            .holes
            .iter()
            .map(|&(offset, len)| hole(offset, len))
            .collect();
        progress.add(done.iter().map(|extent| extent.len).sum());
        let coverage = Arc::new(Coverage::range(offset, len, &done));
        let receive = self.receive_all(home, shape, file, &coverage, progress);
        let read = self.read(home, shape, (offset, len), segment.holes);
        let fill = self.fill_holes(shape, &coverage, async |offset, len| {
            self.read(home, shape, (offset, len), &[]).await
        });
        let (received, sent) = both(shape.what, receive, read, fill, LAST_WRITES).await?;
        if received.crc != sent {
            return Err(ClientError::ChecksumMismatch {
                what: shape.what.to_owned(),
                received: received.crc,
                sent,
            });
        }
        Ok(Arrived {
            crc: sent,
            ways: received.ways,
        })
    }

    /// Has the server send a range of a file, without these holes; ready, with the range's CRC32, when all was
    /// acknowledged.
    async fn read(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        (offset, len): (u64, u64),
        holes: &[(u64, u64)],
    ) -> Result<u32, ClientError> {
        let transfer = shape.transfer;
        let request = match holes {
            [] => Request::Read {
                transfer,
                offset,
                len,
            },
            holes => Request::ReadSparse {
                transfer,
                offset,
                len,
                holes: holes.to_vec(),
            },
        };
        let reply = self.ask_for(home, shape, request).await?;
        expect(shape.what, reply, |reply| match reply {
            Reply::ReadDone { crc } => Some(*crc),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_datapath::files::are_holes;

    #[test]
    fn around_many_holes_nothing_is_reserved() {
        let many = vec![(0, 4096); MAX_RANGES + 1];
        assert_eq!(holes_to_keep(&many[1..], 77), many[1..]);
        assert_eq!(holes_to_keep(&many, 77), [(0, 77)]);
    }

    #[test]
    fn segments_are_the_file_and_hold_what_fits() {
        let many: Vec<_> = (0..2 * MAX_RANGES as u64 + 1)
            .map(|number| (number * 8192, 4096))
            .collect();
        let size = many.len() as u64 * 8192;
        let found = segments(size, &many);
        assert_eq!(found.len(), 3);
        let mut at = 0;
        for segment in &found {
            assert_eq!(segment.offset, at);
            at += segment.len;
            assert!(segment.holes.len() <= MAX_RANGES);
            assert!(are_holes(segment.holes, segment.offset, at));
        }
        assert_eq!(at, size);
        let whole = Segment {
            offset: 0,
            len: 77,
            holes: &[],
        };
        assert_eq!(segments(77, &[]), [whole]);
        // A file that ends in the last hole that fits.
        let full = &many[..MAX_RANGES];
        let size = full.last().map_or(0, |(offset, len)| offset + len);
        assert_eq!(segments(size, full).len(), 1);
    }
}
