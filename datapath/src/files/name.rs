//! Names of directory entries, and the hidden names of files that are not committed yet.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::{FileError, FileErrorKind};

/// Longest name of a directory entry, in bytes (NAME_MAX of Linux).
pub const NAME_MAX: usize = 255;

/// The directory at the root of an export that holds the partial files.
pub(super) const PARTIALS: &str = ".blockd";

/// What stands between the name and the number of a hidden name.
const MARK: &[u8] = b".blk-";
/// Hexadecimal digits at the end of a hidden name.
const DIGITS: usize = 16;
/// How much of the final name a hidden name repeats, so that an operator sees whose it is.
const STEM_MAX: usize = NAME_MAX - 1 - MARK.len() - DIGITS;

/// Whether `name` is of the form `.NAME.blk-XXXXXXXXXXXXXXXX` (16 lower-case hexadecimal digits)
/// that files bear before their commit where O_TMPFILE is missing, or that of the directory `.blockd`, which holds the
/// files of puts that can be resumed.
///
/// Such names are left out of listings and refused in paths, in any directory: one export may lie in another.
pub fn is_hidden_name(name: &[u8]) -> bool {
    name == PARTIALS.as_bytes() || is_temporary_name(name)
}

/// Whether `name` is one that a file bears before its commit.
pub(super) fn is_temporary_name(name: &[u8]) -> bool {
    let Some(mark) = name.len().checked_sub(MARK.len() + DIGITS) else {
        return false;
    };
    mark >= 1
        && name[0] == b'.'
        && name[mark..].starts_with(MARK)
        && name[mark + MARK.len()..]
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks that `name` can be the name of one directory entry that a user may create.
///
/// # Errors
///
/// [`FileErrorKind::InvalidName`] for empty names, `.` and `..`, names with a slash or a NUL
/// byte, names longer than [`NAME_MAX`], and hidden names.
pub fn check_name(operation: &'static str, name: &[u8]) -> Result<(), FileError> {
    let reason = if name.is_empty() {
        "the name is empty"
    } else if name == b"." || name == b".." {
        "the name stands for a directory"
    } else if name.contains(&b'/') {
        "the name contains a slash"
    } else if name.contains(&0) {
        "the name contains a NUL byte"
    } else if name.len() > NAME_MAX {
        "the name is longer than 255 bytes"
    } else if name == PARTIALS.as_bytes() {
        "the name .blockd is reserved for files that are not complete"
    } else if is_temporary_name(name) {
        "names of the form .NAME.blk-0123456789abcdef are reserved for files being received"
    } else {
        return Ok(());
    };
    Err(FileError::explained(
        FileErrorKind::InvalidName,
        operation,
        name,
        reason,
    ))
}

/// A hidden name in a directory, removed when dropped unless the file was renamed away.
#[derive(Debug)]
pub(super) struct HiddenName {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
    present: bool,
}

impl HiddenName {
    /// Finds a free hidden name for `name`; `make` creates the entry and reports EEXIST when the
    /// name is taken.
    pub(super) fn make<T>(
        directory: &Arc<OwnedFd>,
        name: &[u8],
        mut make: impl FnMut(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> io::Result<(HiddenName, T)> {
        // A collision needs the same clock reading in another process, so a few tries are plenty;
        // the bound keeps a file system that always says EEXIST from looping us for ever.
        for _ in 0..16 {
            let hidden = hidden_name(name);
            match make(directory, &hidden) {
                Ok(made) => {
                    let name = HiddenName {
                        directory: directory.clone(),
                        name: hidden,
                        present: true,
                    };
                    return Ok((name, made));
                }
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.name
    }

    /// The entry was renamed: there is nothing left to remove.
    pub(super) fn renamed(mut self) {
        self.present = false;
    }
}

impl Drop for HiddenName {
    fn drop(&mut self) {
        if !self.present {
            return;
        }
        if let Err(error) = unlinkat(
            self.directory.as_fd(),
            self.name.as_slice(),
            AtFlags::empty(),
        ) {
            tracing::warn!(
                name = %String::from_utf8_lossy(&self.name),
                %error,
                "cannot remove the temporary name of an uncommitted file",
            );
        }
    }
}

/// A hidden name for `name` that is most unlikely to be taken; [`HiddenName::make`] tries again if
/// it is.
fn hidden_name(name: &[u8]) -> Vec<u8> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    // The serial number keeps calls within one clock tick apart, the clock and the process id keep
    // processes apart.
    let number = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ clock.rotate_left(20)
        ^ u64::from(std::process::id()).rotate_left(40);

    let stem = &name[..name.len().min(STEM_MAX)];
    let mut hidden = Vec::with_capacity(1 + stem.len() + MARK.len() + DIGITS);
    hidden.push(b'.');
    hidden.extend_from_slice(stem);
    hidden.extend_from_slice(MARK);
    hidden.extend_from_slice(format!("{number:016x}").as_bytes());
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_are_recognised_and_fit() {
        for length in [1, 10, STEM_MAX, STEM_MAX + 1, NAME_MAX] {
            let hidden = hidden_name(&vec![b'n'; length]);
            assert!(is_hidden_name(&hidden));
            assert!(hidden.len() <= NAME_MAX);
        }
        assert_ne!(hidden_name(b"a"), hidden_name(b"a"));
    }

    #[test]
    fn ordinary_names_are_not_hidden() {
        for name in [
            &b""[..],
            b".",
            b".blk-",
            b".profile",
            b"a.blk-0123456789abcdef",
            b".a.blk-0123456789abcde",
            b".a.blk-0123456789abcdeF",
            b".a.blk-0123456789abcdef0",
            b".blk-0123456789abcdef",
        ] {
            assert!(!is_hidden_name(name), "{}", String::from_utf8_lossy(name));
        }
        assert!(is_hidden_name(b".a.blk-0123456789abcdef"));
        assert!(is_hidden_name(b".blockd"));
        assert!(!is_hidden_name(b".blockd2"));
    }

    #[test]
    fn names_are_checked() {
        for bad in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"a\0b",
            b".a.blk-0123456789abcdef",
            b".blockd",
            &[b'n'; NAME_MAX + 1],
        ] {
            let error = check_name("create", bad).unwrap_err();
            assert_eq!(error.kind, FileErrorKind::InvalidName);
        }
        for good in [&b"a"[..], b"...", b".a", b"\xff\xfe", &[b'n'; NAME_MAX]] {
            check_name("create", good).unwrap();
        }
    }
}
