//! The destination of a get, and what is below it.
//!
//! What the user named may be a link, and be reached through links. Below it none is followed: a link there may have come from the other
//! end with an earlier copy, and lead anywhere. The kernel sees to that at the moment of opening (openat2(2), RESOLVE_BENEATH and
//! RESOLVE_NO_SYMLINKS), so nobody who renames things meanwhile gets a copy out either.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::{Errno, retry_on_intr};

use crate::directories::parent_of;
use crate::failure::Failure;

/// Where a get goes to.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    /// The directory that it is, once it has been there.
    root: OnceCell<OwnedFd>,
}

impl Destination {
    /// What the user named; it need not be there.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            root: OnceCell::new(),
        }
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is below the destination, through no link, or the destination or a place outside it as the kernel finds them.
    ///
    /// # Errors
    ///
    /// ENOTDIR also where a link is in the way below the destination.
    pub fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let below = path.strip_prefix(&self.path).ok();
        let Some(below) = below.filter(|below| !below.as_os_str().is_empty()) else {
            return Ok(retry_on_intr(|| open(path, flags, Mode::empty()))?);
        };
        let root = self.root()?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match retry_on_intr(|| openat2(root, below, flags, Mode::empty(), resolve)) {
            Err(Errno::LOOP) => Err(Errno::NOTDIR.into()),
            opened => Ok(opened?),
        }
    }

    /// Opens a directory so that it can be read and synced.
    pub fn open_directory(&self, path: &Path) -> Result<OwnedFd, Failure> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(Failure::local("open", path))
    }

    /// Opens a file or directory so that mode and time can be set; of links, only the destination itself is followed, to a directory.
    pub fn open_entry(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        match self.open(path, flags | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                self.open(path, flags | OFlags::NOFOLLOW)
            }
            opened => opened,
        }
    }

    /// The directory that a path is an entry of, only to name entries in it, and the name.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); EISDIR for what has no name, as `/`.
    pub fn entry<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        let parent = self.open(parent_of(path), OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((parent, name))
    }

    /// The destination, to resolve paths from: the same directory for the whole copy.
    fn root(&self) -> io::Result<&OwnedFd> {
        if let Some(root) = self.root.get() {
            return Ok(root);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| open(&self.path, flags, Mode::empty()))?;
        Ok(self.root.get_or_init(|| opened))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

    #[test]
    fn below_the_destination_no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("real/d")).unwrap();
        fs::create_dir(at("outside")).unwrap();
        fs::write(at("outside/f"), b"x").unwrap();
        symlink("real", at("named")).unwrap();
        symlink("../outside", at("real/out")).unwrap();
        symlink("d", at("real/within")).unwrap();
        let destination = Destination::new(&at("named"));
        for there in ["named", "named/d", "outside"] {
            destination.open(&at(there), DIRECTORY).unwrap();
        }
        for link in ["named/out", "named/out/f", "named/within"] {
            let error = destination.open(&at(link), OFlags::RDONLY).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{link}");
        }
        assert!(destination.entry(&at("named/out/f")).is_err());
        let link = at("named/out");
        let (_, name) = destination.entry(&link).unwrap();
        assert_eq!(name, "out");
        assert!(destination.open_entry(&at("named")).is_ok());
        assert!(destination.open_entry(&at("named/out")).is_err());
    }

    #[test]
    fn the_directory_stays_the_same_when_its_name_leads_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("one/d")).unwrap();
        fs::create_dir(at("two")).unwrap();
        let destination = Destination::new(&at("one"));
        destination.open(&at("one/d"), DIRECTORY).unwrap();
        fs::rename(at("one"), at("moved")).unwrap();
        symlink("two", at("one")).unwrap();
        destination.open(&at("one/d"), DIRECTORY).unwrap();
    }

    #[test]
    fn a_destination_may_come_later_and_be_written_in_any_way() {
        let place = tempfile::tempdir().unwrap();
        let base = place.path().join("later/./");
        let destination = Destination::new(&base);
        let opened = destination.open(&base.join("d"), DIRECTORY);
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir_all(base.join("d")).unwrap();
        destination.open(&base.join("d"), DIRECTORY).unwrap();
        let here = Destination::new(Path::new("."));
        assert!(here.open(Path::new("./src"), DIRECTORY).is_ok());
    }
}
