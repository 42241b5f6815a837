//! A small file read whole, at one go.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use blk_proto::message::{Attributes, MAX_INLINE};
use rustix::fs::{CWD, Mode, fstat, openat, stat};
use rustix::io::{Errno, pread, retry_on_intr};

use super::source::Stamp;
use super::{FileError, SourceFile, attributes_of, check_regular};

/// So often a file that changes while it is read is read again.
const TRIES: usize = 3;

/// A file at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SmallSource {
    /// All of it.
    Whole {
        /// Size, mode and time at that moment.
        attributes: Attributes,
        /// The content.
        bytes: Vec<u8>,
    },
    /// It is longer than [`MAX_INLINE`] (or than what was asked for), or changes all the time: to be read as a
    /// [`SourceFile`].
    Large(Attributes),
}

/// Opens and reads a regular file of at most [`MAX_INLINE`] bytes; symbolic links are followed. Blocks for the disk.
///
/// # Errors
///
/// As [`SourceFile::open`], and what read(2) reports.
pub fn read_small(path: &Path) -> Result<SmallSource, FileError> {
    let label = path.as_os_str().as_encoded_bytes();
    let failed = |errno: Errno| FileError::new("open", label, errno);
    // Looked at before it is opened: opening alone has effects on FIFOs and devices.
    check_regular(&stat(path).map_err(failed)?, label)?;
    let fd = retry_on_intr(|| openat(CWD, path, SourceFile::OPEN_FLAGS, Mode::empty()))
        .map_err(failed)?;
    read_small_fd(&fd, MAX_INLINE, label)
}

/// Reads a regular file of at most `max` bytes, opened for reading; `label` is its name in messages. Blocks for the
/// disk.
///
/// # Errors
///
/// As [`read_small`].
pub fn read_small_fd(fd: &OwnedFd, max: usize, label: &[u8]) -> Result<SmallSource, FileError> {
    let look = || fstat(fd).map_err(|errno| FileError::new("open", label, errno));
    let mut found = look()?;
    check_regular(&found, label)?;
    for _ in 0..TRIES {
        let attributes = attributes_of(&found);
        if attributes.size > max as u64 {
            return Ok(SmallSource::Large(attributes));
        }
        let bytes = read_all(fd, attributes.size as usize)
            .map_err(|errno| FileError::new("read", label, errno))?;
        let after = look()?;
        if Stamp::of(&after) == Stamp::of(&found) && bytes.len() as u64 == attributes.size {
            return Ok(SmallSource::Whole { attributes, bytes });
        }
        found = after;
    }
    Ok(SmallSource::Large(attributes_of(&found)))
}

/// The first `len` bytes, or all there are.
fn read_all(fd: impl AsFd, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match retry_on_intr(|| pread(fd.as_fd(), &mut bytes[filled..], filled as u64))? {
            0 => break,
            more => filled += more,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::FileErrorKind;

    #[test]
    fn small_files_come_whole_and_others_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        for size in [0, 1, 4096, MAX_INLINE, MAX_INLINE + 1] {
            let content: Vec<u8> = (0..size).map(|n| n as u8).collect();
            fs::write(&path, &content).unwrap();
            match read_small(&path).unwrap() {
                SmallSource::Whole { attributes, bytes } => {
                    assert!(size <= MAX_INLINE);
                    assert_eq!((attributes.size, bytes), (size as u64, content));
                }
                SmallSource::Large(attributes) => {
                    assert!(size > MAX_INLINE);
                    assert_eq!(attributes.size, size as u64);
                }
            }
        }
        let fd = fs::File::open(&path).unwrap().into();
        let found = read_small_fd(&fd, 5, b"x").unwrap();
        assert!(matches!(found, SmallSource::Large(_)));
    }

    #[test]
    fn what_is_no_file_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let error = read_small(directory.path()).unwrap_err();
        assert_eq!(error.kind, FileErrorKind::IsDirectory);
        let error = read_small(&directory.path().join("x")).unwrap_err();
        assert_eq!(error.kind, FileErrorKind::NotFound);
    }
}
