//! What can be read of a directory that files will be put into. For a moment it holds a file without a name, of 1 MiB.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, StatVfsMountFlags, StatxFlags, fallocate, fstatvfs,
    openat, statx, unlinkat,
};
use rustix::io::Errno;

use crate::disk::plan::file_system_name;
use crate::disk::{BlockFile, DeviceReport, Intent, Plan};
use crate::files::syncs_whole;

/// Bytes that are reserved to see whether that works.
const RESERVED: u64 = 1 << 20;

/// Why nothing can be said of a directory.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// There is none.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// It is a file.
    #[error("{0} is not a directory")]
    NotDirectory(PathBuf),
    /// It cannot be opened or asked.
    #[error("cannot look at {path}: {source}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// What a new file in the directory told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Direct {
    /// The way of the blocks of a put.
    pub write: Plan,
    /// The way of the blocks of a get.
    pub read: Plan,
    /// Whether it could be made without a name (`O_TMPFILE`).
    pub nameless: bool,
    /// Whether space can be reserved (fallocate(2)), or why not.
    pub reserves: Result<(), String>,
}

/// A directory, without judgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlaceFacts {
    /// The directory.
    pub path: PathBuf,
    /// What file system and device tell; without a new file, alignments are 0.
    pub report: DeviceReport,
    /// The file system's name, or its number in hexadecimal.
    pub file_system: String,
    /// The block device, as /sys/block names it; `None`: it is not one, or several.
    pub device: Option<String>,
    /// Bytes free for an ordinary user.
    pub free: u64,
    /// Bytes in all.
    pub size: u64,
    /// Mounted read-only.
    pub read_only: bool,
    /// What a new file tells, or why there was none.
    pub direct: Result<Direct, String>,
    /// Whether files have birth times, without which a put cannot be resumed.
    pub birth_times: bool,
    /// Whether one syncfs(2) makes many files durable, and tells of lost writes.
    pub syncfs_is_trusted: bool,
}

impl PlaceFacts {
    /// Reads what there is about a directory.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn read(path: &Path) -> Result<Self, PlaceError> {
        let failed = |errno: Errno| match errno {
            Errno::NOENT => PlaceError::Missing(path.to_owned()),
            Errno::NOTDIR => PlaceError::NotDirectory(path.to_owned()),
            errno => PlaceError::Open {
                path: path.to_owned(),
                source: errno.into(),
            },
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty()).map_err(failed)?;
        Self::of(path, directory).map_err(|source| PlaceError::Open {
            path: path.to_owned(),
            source,
        })
    }

    fn of(path: &Path, directory: OwnedFd) -> io::Result<Self> {
        let volume = fstatvfs(&directory)?;
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = statx(&directory, "", AtFlags::EMPTY_PATH, mask)?;
        let made = new_file(&directory).map_err(|error| error.to_string());
        let (report, direct) = match made {
            Ok((file, nameless)) => {
                let reserves = fallocate(&file, FallocateFlags::empty(), 0, RESERVED)
                    .map_err(|errno| io::Error::from(errno).to_string());
                let file = BlockFile::new(file, Intent::Write)?;
                let direct = Direct {
                    write: file.plan(),
                    read: file.report().plan(Intent::Read),
                    nameless,
                    reserves,
                };
                (*file.report(), Ok(direct))
            }
            // The directory tells of its device, too.
            Err(why) => (*BlockFile::buffered(directory)?.report(), Err(why)),
        };
        let magic = report.file_system;
        Ok(Self {
            path: path.to_owned(),
            file_system: file_system_name(magic)
                .map_or_else(|| format!("{magic:#x}"), str::to_owned),
            report,
            device: device(stat.stx_dev_major, stat.stx_dev_minor),
            free: volume.f_bavail.saturating_mul(volume.f_frsize),
            size: volume.f_blocks.saturating_mul(volume.f_frsize),
            read_only: volume.f_flag.contains(StatVfsMountFlags::RDONLY),
            direct,
            birth_times: stat.stx_mask & StatxFlags::BTIME.bits() != 0,
            syncfs_is_trusted: syncs_whole(magic),
        })
    }
}

/// A file without a name, or one whose name is taken away at once; and which of the two.
fn new_file(directory: &OwnedFd) -> io::Result<(OwnedFd, bool)> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match openat(directory, ".", flags | OFlags::TMPFILE, mode) {
        Ok(file) => return Ok((file, true)),
        // Of kernel and file system that do not know it: open(2).
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    let name = format!(".blk-probe-{}", std::process::id());
    let file = openat(
        directory,
        &*name,
        flags | OFlags::CREATE | OFlags::EXCL,
        mode,
    )?;
    unlinkat(directory, &*name, AtFlags::empty())?;
    Ok((file, false))
}

/// The name of the block device with this number.
fn device(major: u32, minor: u32) -> Option<String> {
    // Major 0: no device, or one of several.
    let link = (major != 0).then(|| format!("/sys/dev/block/{major}:{minor}"))?;
    let path = fs::canonicalize(link).ok()?;
    Some(path.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_tells_and_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let place = PlaceFacts::read(directory.path()).unwrap();
        assert!(place.size >= place.free && place.size > 0);
        assert!(place.direct.is_ok(), "{place:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_directory_is_told_apart() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = PlaceFacts::read(file.path()).unwrap_err();
        assert!(matches!(error, PlaceError::NotDirectory(_)), "{error}");
        let missing = file.path().with_extension("missing");
        let error = PlaceFacts::read(&missing).unwrap_err();
        assert!(matches!(error, PlaceError::Missing(_)), "{error}");
    }

    #[test]
    fn a_place_that_cannot_be_written_still_tells_of_its_file_system() {
        let place = PlaceFacts::read(Path::new("/proc/self")).unwrap();
        assert!(place.direct.is_err(), "{place:?}");
        assert_eq!(place.device, None);
        assert!(!place.syncfs_is_trusted);
    }
}
