//! What a put needs to know of its source to go on with an earlier one: what it is known by, and where it has no data.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

use blk_datapath::engine::hole;
use blk_datapath::files::{FileError, SourceFile, are_holes, find_holes};
use blk_proto::message::{Extent, Identity, MAX_RANGES};
use rustix::fs::{Stat, fstat};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::setup::on_thread;

/// Of a smaller file nothing is kept: it is sent sooner than its journal is made.
pub const RESUME_MIN: u64 = 4 << 20;

/// So many holes of a file are looked at; what comes behind them is sent as zeros.
const HOLES_SEEN: usize = 64 * 1024;

/// What the content of a file is known by: the machine, the file's device and inode, its size, and the times of its
/// last modification and of its last change, to the nanosecond. A digest (SipHash-2-4-128, no secret key): whoever can
/// forge it can write to the target's name anyway.
///
/// The change time moves with every write, with every change of mode, owner or number of names, and cannot be set by
/// programs. So a file that was written to has another identity, and a few that were not have one, too.
pub fn identity(source: &SourceFile) -> Result<Identity, FileError> {
    let stat = fstat(source.file().as_fd());
    let stat = stat.map_err(|errno| FileError::new("look at", b"the source", errno))?;
    Ok(identity_of(&machine(), &stat))
}

fn identity_of(machine: &[u8], stat: &Stat) -> Identity {
    let mut hasher = SipHasher24::new();
    hasher.write_usize(machine.len());
    hasher.write(machine);
    for number in [
        i128::from(stat.st_dev),
        i128::from(stat.st_ino),
        i128::from(stat.st_size),
        i128::from(stat.st_mtime),
        i128::from(stat.st_mtime_nsec),
        i128::from(stat.st_ctime),
        i128::from(stat.st_ctime_nsec),
    ] {
        hasher.write(&number.to_le_bytes());
    }
    hasher.finish128().as_u128().to_le_bytes()
}

/// What tells this machine from others (machine-id(5)), or its name.
pub fn machine() -> Vec<u8> {
    let id = std::fs::read("/etc/machine-id").unwrap_or_default();
    let id = id.trim_ascii();
    if id.is_empty() {
        return rustix::system::uname().nodename().to_bytes().to_vec();
    }
    id.to_vec()
}

/// An identity that nothing else has.
pub fn unlike_any() -> Identity {
    let mut identity = Identity::default();
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut identity));
    if read.is_err() {
        // Times differ too, from all that are not of this nanosecond.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        identity = now.unwrap_or_default().as_nanos().to_le_bytes();
    }
    identity
}

/// The holes of a source, at most [`MAX_RANGES`] of them: the largest. None when they cannot be had: they are sent as
/// zeros then.
pub async fn holes(source: &SourceFile) -> Vec<(u64, u64)> {
    let full = |stat: Stat| i128::from(stat.st_blocks) * 512 >= i128::from(stat.st_size);
    if fstat(source.file().as_fd()).is_ok_and(full) {
        return Vec::new();
    }
    let file = Arc::clone(source.file());
    let found = on_thread(move || Ok(find_holes(file.as_fd(), 0, HOLES_SEEN))).await;
    match found {
        Ok(Ok(found)) => largest(found.ranges, MAX_RANGES),
        Ok(Err(error)) => {
            tracing::info!(%error, "the holes of a file cannot be had; it is sent whole");
            Vec::new()
        }
        Err(error) => {
            tracing::info!(%error, "the holes of a file cannot be had; it is sent whole");
            Vec::new()
        }
    }
}

/// The largest of these ranges, in ascending order.
fn largest(mut ranges: Vec<(u64, u64)>, limit: usize) -> Vec<(u64, u64)> {
    if ranges.len() > limit {
        ranges.sort_unstable_by_key(|(_, len)| std::cmp::Reverse(*len));
        ranges.truncate(limit);
        ranges.sort_unstable();
    }
    ranges
}

/// What need not be sent of a file of `size` bytes, in order. `None`: what the server says is done does not lie in the
/// file, or overlaps something else.
pub fn present(done: &[Extent], holes: &[(u64, u64)], size: u64) -> Option<Vec<Extent>> {
    let mut present = done.to_vec();
    present.extend(holes.iter().map(|&(offset, len)| hole(offset, len)));
    present.sort_unstable_by_key(|extent| extent.offset);
    let ranges: Vec<_> = done
        .iter()
        .map(|extent| (extent.offset, extent.len))
        .collect();
    let apart = present
        .windows(2)
        .all(|pair| pair[0].offset.saturating_add(pair[0].len) <= pair[1].offset);
    (apart && are_holes(&ranges, 0, size)).then_some(present)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::FileExt;

    #[test]
    fn another_content_is_another_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"one").unwrap();
        let of = |path| identity(&SourceFile::open(path).unwrap()).unwrap();
        let first = of(&path);
        assert_eq!(first, of(&path));
        // The same length, and the same time of modification.
        let file = File::options().write(true).open(&path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"two", 0).unwrap();
        file.set_modified(modified).unwrap();
        assert_ne!(first, of(&path));
        let copy = directory.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        assert_ne!(of(&path), of(&copy));
        let stat = fstat(&file).unwrap();
        assert_ne!(identity_of(b"here", &stat), identity_of(b"there", &stat));
        assert_ne!(unlike_any(), unlike_any());
    }

    #[test]
    fn the_largest_holes_are_kept_in_order() {
        let ranges = vec![(0, 5), (10, 1), (20, 9), (40, 7)];
        assert_eq!(largest(ranges.clone(), 4), ranges);
        assert_eq!(largest(ranges, 2), [(20, 9), (40, 7)]);
    }

    #[test]
    fn what_a_server_says_is_checked() {
        let done = |offset, len| Extent {
            offset,
            len,
            crc: 1,
        };
        let holes = [(4096, 4096)];
        let order = present(&[done(0, 4096), done(8192, 5)], &holes, 8197).unwrap();
        let offsets: Vec<u64> = order.iter().map(|extent| extent.offset).collect();
        assert_eq!(offsets, [0, 4096, 8192]);
        for wrong in [
            &[done(0, 8192)][..],
            &[done(8192, 4096)],
            &[done(8192, 0)],
            &[done(1, 4095)],
            &[done(u64::MAX - 4095, 4096)],
            &[done(8192, 5), done(0, 4096)],
        ] {
            assert_eq!(present(wrong, &holes, 8197), None, "{wrong:?}");
        }
    }
}
