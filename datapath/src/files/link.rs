//! Symbolic links: made under a temporary name, then given their own, in place of what has it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{renameat, symlinkat};
use rustix::io::Errno;

use super::name::HiddenName;
use super::{FileError, FileErrorKind};

/// Longest path that a link leads to, in bytes: what the kernel takes (4096 with the final NUL).
pub const LINK_MAX: usize = 4095;

/// Makes the link `name` in `directory`, which leads to `target`: any bytes, not looked up. A file or link that has the name is
/// replaced at one moment. Durable when the directory is synced.
///
/// # Errors
///
/// [`FileErrorKind::InvalidName`] for a target that is empty, longer than [`LINK_MAX`] or has a NUL byte; `IsDirectory` when a directory
/// has the name; what symlinkat(2) and renameat(2) report.
pub fn make_link(directory: &Arc<OwnedFd>, name: &[u8], target: &[u8]) -> Result<(), FileError> {
    const OPERATION: &str = "make the link";
    if target.is_empty() || target.len() > LINK_MAX || target.contains(&0) {
        return Err(FileError::explained(
            FileErrorKind::InvalidName,
            OPERATION,
            name,
            "a link leads to a path of 1 to 4095 bytes without NUL",
        ));
    }
    let make = |directory: &OwnedFd, hidden: &[u8]| symlinkat(target, directory, hidden);
    let (hidden, ()) = HiddenName::make(directory, name, make)
        .map_err(|error| FileError::new(OPERATION, name, error))?;
    renameat(directory, hidden.bytes(), directory, name)
        .map_err(|errno: Errno| FileError::new(OPERATION, name, errno))?;
    hidden.renamed();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::{fs, path::Path};

    #[test]
    fn a_link_takes_the_place_of_a_file_or_link_but_not_of_a_directory() {
        let place = tempfile::tempdir().unwrap();
        let directory: Arc<OwnedFd> = Arc::new(fs::File::open(place.path()).unwrap().into());
        fs::write(place.path().join("x"), b"old").unwrap();
        fs::create_dir(place.path().join("d")).unwrap();
        for target in [&b"/no/where"[..], b"\xff/..", &[b'a'; LINK_MAX]] {
            make_link(&directory, b"x", target).unwrap();
            let leads = fs::read_link(place.path().join("x")).unwrap();
            assert_eq!(leads, Path::new(OsStr::from_bytes(target)));
        }
        let kind = |name, target| make_link(&directory, name, target).unwrap_err().kind;
        assert_eq!(kind(b"d", b"x"), FileErrorKind::IsDirectory);
        for bad in [&b""[..], b"a\0b", &[b'a'; LINK_MAX + 1]] {
            assert_eq!(kind(b"x", bad), FileErrorKind::InvalidName);
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }
}
