//! Where a file has no data: what need not be sent, and what a copy leaves out too.

use std::io;
use std::os::fd::AsFd;

use blk_proto::message::HOLE_UNIT;
use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::Errno;

/// Some of the holes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// Offsets and lengths in bytes: ascending, apart, bounds in multiples of [`HOLE_UNIT`] but for the end of the file.
    pub ranges: Vec<(u64, u64)>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<u64>,
}

/// The holes of `file` from byte `offset` on, at most `limit` of them, by lseek(2) with SEEK_HOLE and SEEK_DATA. A file
/// system that does not know holes has none. What is smaller than [`HOLE_UNIT`] counts as data.
///
/// It moves the descriptor's file position. On a fragmented file it may take some milliseconds: the file system looks at
/// every extent.
///
/// # Errors
///
/// What fstat(2) and lseek(2) report.
pub fn find_holes(file: impl AsFd, offset: u64, limit: usize) -> io::Result<Holes> {
    let file = file.as_fd();
    let size = u64::try_from(fstat(file)?.st_size).unwrap_or(0);
    let mut holes = Holes::default();
    let mut at = offset;
    while at < size {
        if holes.ranges.len() >= limit {
            holes.next = Some(at);
            break;
        }
        let start = match seek(file, SeekFrom::Hole(at)) {
            Ok(start) => start,
            // The file was cut meanwhile; or there are no holes on this file system (lseek(2)).
            Err(Errno::NXIO | Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        };
        if start >= size {
            break;
        }
        let end = match seek(file, SeekFrom::Data(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => size,
            Err(errno) => return Err(errno.into()),
        };
        let whole = start.next_multiple_of(HOLE_UNIT);
        let last = if end == size {
            size
        } else {
            end - end % HOLE_UNIT
        };
        if whole < last {
            holes.ranges.push((whole, last - whole));
        }
        at = end;
    }
    Ok(holes)
}

/// What lies between the holes of a file of `size` bytes: offsets and lengths, ascending, none empty. `holes` must be
/// ascending and apart.
pub fn data_between(size: u64, holes: &[(u64, u64)]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let starts = std::iter::once(0).chain(holes.iter().map(|(offset, len)| offset + len));
    let ends = holes.iter().map(|(offset, _)| *offset);
    starts
        .zip(ends.chain(std::iter::once(size)))
        .filter(|(start, end)| start < end)
        .map(|(start, end)| (start, end - start))
}

/// Whether these are holes of a file, or a range of one, from byte `start` to byte `end`: ascending, apart, within it, none
/// empty, and their bounds multiples of [`HOLE_UNIT`] but for its end.
pub fn are_holes(holes: &[(u64, u64)], start: u64, end: u64) -> bool {
    let mut last = None;
    holes.iter().all(|&(offset, len)| {
        let Some(after) = offset.checked_add(len) else {
            return false;
        };
        let apart = last.replace(after).is_none_or(|last| last < offset);
        let aligned =
            offset.is_multiple_of(HOLE_UNIT) && (after.is_multiple_of(HOLE_UNIT) || after == end);
        apart && aligned && len > 0 && start <= offset && after <= end
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn sparse(size: u64, data: &[(u64, usize)]) -> File {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(size).unwrap();
        for (offset, len) in data {
            file.write_all_at(&vec![7; *len], *offset).unwrap();
        }
        file
    }

    #[test]
    fn holes_lie_between_the_data() {
        const MIB: u64 = 1 << 20;
        let file = sparse(8 * MIB + 5, &[(MIB, 4096), (4 * MIB + 1, 10)]);
        let found = find_holes(&file, 0, 100).unwrap();
        let expected = [
            (0, MIB),
            (MIB + 4096, 3 * MIB - 4096),
            (4 * MIB + 4096, 4 * MIB - 4096 + 5),
        ];
        assert_eq!(found.ranges, expected);
        assert_eq!(found.next, None);
        assert!(are_holes(&found.ranges, 0, 8 * MIB + 5));
        let data: Vec<_> = data_between(8 * MIB + 5, &found.ranges).collect();
        assert_eq!(data, [(MIB, 4096), (4 * MIB, 4096)]);
        // In pages, and from the middle of a hole.
        let first = find_holes(&file, 0, 1).unwrap();
        assert_eq!(first.ranges, expected[..1]);
        let rest = find_holes(&file, first.next.unwrap(), 100).unwrap();
        assert_eq!(rest.ranges, expected[1..]);
        let middle = find_holes(&file, 2 * MIB + 1, 1).unwrap();
        assert_eq!(middle.ranges, [(2 * MIB + 4096, 2 * MIB - 4096)]);
    }

    #[test]
    fn a_file_may_be_all_hole_or_all_data() {
        let empty = find_holes(sparse(0, &[]), 0, 8).unwrap();
        assert_eq!(empty, Holes::default());
        let hole = find_holes(sparse(10_000_000, &[]), 0, 1).unwrap();
        assert_eq!(hole.ranges, [(0, 10_000_000)]);
        assert_eq!(hole.next, None);
        let data = find_holes(sparse(5000, &[(0, 5000)]), 0, 8).unwrap();
        assert_eq!(data, Holes::default());
        assert_eq!(data_between(5000, &[]).collect::<Vec<_>>(), [(0, 5000)]);
        assert_eq!(data_between(5000, &[(0, 5000)]).count(), 0);
    }

    #[test]
    fn what_a_peer_calls_holes_is_checked() {
        assert!(are_holes(&[], 0, 0));
        assert!(are_holes(&[(4096, 4096), (12288, 5)], 0, 12293));
        for bad in [
            &[(0, 0)][..],
            &[(1, 4096)],
            &[(0, 100)],
            &[(0, 4096), (4096, 4096)],
            &[(8192, 4096), (0, 4096)],
            &[(8192, 8192)],
            &[(4096, u64::MAX)],
        ] {
            assert!(!are_holes(bad, 0, 12293), "{bad:?}");
        }
        assert!(!are_holes(&[(0, 4096)], 4096, 12288));
    }
}
