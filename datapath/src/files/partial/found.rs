//! What there is of a partial file, by its journal and by the file system.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use blk_proto::message::{Extent, MAX_RANGES};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::engine::combine;
use crate::files::journal::{Journal, Layout, Piece, State};

/// The pieces that are there, neighbours merged.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Ascending, apart or with a hole between them.
    pub(super) extents: Vec<Extent>,
    /// Bytes of all of them.
    pub(super) bytes: u64,
    /// The pieces of them that no sync has made durable yet.
    pub(super) written: Vec<Piece>,
    /// Pieces that the journal claims and the file has not.
    stale: Vec<u64>,
}

impl Found {
    /// What the journal claims, as far as the file has data there.
    pub(super) fn read(journal: &Journal, file: impl AsFd) -> io::Result<Found> {
        let mut found = Found::default();
        let mut data = DataMap::of(file.as_fd());
        let mut failed = None;
        journal.scan(|piece, state, crc| {
            let (start, end) = journal.layout().piece(piece);
            match data.holds(start, end) {
                Ok(true) => {
                    found.push(start, end - start, crc);
                    if state == State::Written {
                        found.written.push((piece, crc));
                    }
                }
                Ok(false) => found.stale.push(piece),
                Err(errno) => failed = Some(errno),
            }
        })?;
        match failed {
            Some(errno) => Err(errno.into()),
            None => Ok(found),
        }
    }

    fn push(&mut self, offset: u64, len: u64, crc: u32) {
        self.bytes += len;
        match self.extents.last_mut() {
            Some(last) if last.offset + last.len == offset => {
                last.crc = combine(last.crc, crc, len);
                last.len += len;
            }
            _ => self.extents.push(Extent { offset, len, crc }),
        }
    }

    /// Leaves as many extents as fit a message, the longest, and has the journal forget all else: it is going to be
    /// written again.
    pub(super) fn settle(&mut self, journal: &Journal) -> io::Result<()> {
        if self.extents.len() > MAX_RANGES {
            self.extents
                .sort_unstable_by_key(|extent| std::cmp::Reverse(extent.len));
            self.extents.truncate(MAX_RANGES);
            self.extents.sort_unstable_by_key(|extent| extent.offset);
            self.bytes = self.extents.iter().map(|extent| extent.len).sum();
            let mut stale = Vec::new();
            journal.scan(|piece, _, _| {
                if !self.holds(journal.layout().piece(piece).0) {
                    stale.push(piece);
                }
            })?;
            self.stale = stale;
            let mut written = std::mem::take(&mut self.written);
            written.retain(|piece| self.holds(journal.layout().piece(piece.0).0));
            self.written = written;
        }
        for piece in std::mem::take(&mut self.stale) {
            journal.forget(piece)?;
        }
        Ok(())
    }

    /// Where there is data to come: starts and ends.
    pub(super) fn gaps(&self, layout: &Layout) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut extents = self.extents.iter().peekable();
        for (mut start, end) in layout.data() {
            while let Some(extent) = extents.next_if(|extent| extent.offset < end) {
                gaps.push((start, extent.offset));
                start = extent.offset + extent.len;
            }
            gaps.push((start, end));
        }
        gaps.retain(|gap| gap.0 < gap.1);
        gaps
    }

    /// Whether a byte is in one of the extents.
    fn holds(&self, offset: u64) -> bool {
        let after = self
            .extents
            .partition_point(|extent| extent.offset <= offset);
        after.checked_sub(1).is_some_and(|at| {
            let extent = self.extents[at];
            offset < extent.offset + extent.len
        })
    }
}

/// Where a file has data, asked in ascending order.
struct DataMap<'a> {
    file: BorrowedFd<'a>,
    /// The range of data found last.
    data: (u64, u64),
    /// The file system does not tell.
    unknown: bool,
}

impl<'a> DataMap<'a> {
    fn of(file: BorrowedFd<'a>) -> DataMap<'a> {
        DataMap {
            file,
            data: (0, 0),
            unknown: false,
        }
    }

    /// Whether all of a range is data.
    fn holds(&mut self, start: u64, end: u64) -> Result<bool, Errno> {
        if self.unknown {
            return Ok(true);
        }
        if start >= self.data.1 {
            self.data = match seek(self.file, SeekFrom::Data(start)) {
                Ok(data) => (data, seek(self.file, SeekFrom::Hole(data))?),
                // Nothing but a hole up to the end.
                Err(Errno::NXIO) => (u64::MAX, u64::MAX),
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    self.unknown = true;
                    return Ok(true);
                }
                Err(errno) => return Err(errno),
            };
        }
        Ok(self.data.0 <= start && end <= self.data.1)
    }
}
