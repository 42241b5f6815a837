//! What a peer is told about a file.

use std::os::fd::BorrowedFd;

use blk_proto::message::{Attributes, FileKind};
use rustix::fs::{FileType, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, fchmod, fstat, futimens};
use rustix::io::Errno;

/// The attributes of a file from its `stat`: kind, size in bytes, permission bits (07777) and
/// modification time in nanoseconds since 1970 (saturating: years 1678..2261 are exact).
pub fn attributes_of(stat: &Stat) -> Attributes {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    };
    Attributes {
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        mtime_ns: nanoseconds(i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec)),
    }
}

/// Seconds and nanoseconds as one number of nanoseconds, saturating.
fn nanoseconds(seconds: i128, nanoseconds: i128) -> i64 {
    let total = seconds * 1_000_000_000 + nanoseconds;
    i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
}

/// The inverse of the attributes' `mtime_ns`; times before 1970 have a negative second and a
/// positive nanosecond, as the kernel wants them.
pub(super) fn timespec(nanoseconds: i64) -> Timespec {
    Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000),
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
    }
}

/// Gives an open file or directory permission bits (0777 of `mode`; the others stay) and a time of last modification.
///
/// # Errors
///
/// What fchmod(2) and futimens(2) report.
pub fn set_attributes(fd: BorrowedFd<'_>, mode: u32, mtime_ns: i64) -> Result<(), Errno> {
    let before = fstat(fd)?.st_mode & 0o7777;
    let mode = mode & 0o777 | before & 0o7000;
    if mode != before {
        fchmod(fd, Mode::from_raw_mode(mode))?;
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: timespec(mtime_ns),
    };
    futimens(fd, &times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for time in [
            0,
            1,
            -1,
            1_700_000_000_123_456_789,
            -1_500_000_000,
            i64::MIN,
            i64::MAX,
        ] {
            let spec = timespec(time);
            assert!((0..1_000_000_000).contains(&spec.tv_nsec));
            assert_eq!(nanoseconds(spec.tv_sec.into(), spec.tv_nsec.into()), time);
        }
        assert_eq!(nanoseconds(i128::from(i64::MAX), 0), i64::MAX);
        assert_eq!(nanoseconds(i128::from(i64::MIN), 0), i64::MIN);
    }
}
