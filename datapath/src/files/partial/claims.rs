//! What the journals of a store say is there, for those who check that they are right.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use blk_proto::message::{Extent, Identity};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::PartialStore;
use super::begin::inode_of;
use super::found::Found;
use super::held::Key;
use crate::files::journal::Journal;

/// What a journal claims of its file: what a put that goes on now finds [done](crate::files::PendingTarget::done), unless that
/// is more than fits a message.
#[derive(Debug)]
pub struct PartialClaim {
    /// The path that the file is to have, in the export.
    pub path: Vec<u8>,
    /// What its content is known by.
    pub identity: Identity,
    /// Bytes of the whole file.
    pub size: u64,
    /// The ranges that are there, ascending, neighbours merged, each with its CRC-32.
    pub done: Vec<Extent>,
    file: OwnedFd,
}

impl AsFd for PartialClaim {
    /// The file, open for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl PartialStore {
    /// The claims of all journals that have a file. Changes nothing, locks nothing: of puts that are under way it tells some
    /// moment.
    ///
    /// # Errors
    ///
    /// What reading the directory, the journals or the maps of the files reports.
    pub fn claims(&self) -> io::Result<Vec<PartialClaim>> {
        let Some(directory) = self.open()? else {
            return Ok(Vec::new());
        };
        let mut claims = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if let Some(key) = Key::of_name(name)
                && name.ends_with(b".journal")
            {
                claims.extend(self.claim(&directory, &key)?);
            }
        }
        claims.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(claims)
    }

    fn claim(&self, directory: &OwnedFd, key: &Key) -> io::Result<Option<PartialClaim>> {
        let Some(journal) = open_if_there(directory, &key.journal())? else {
            return Ok(None);
        };
        let Some(file) = open_if_there(directory, &key.part())? else {
            return Ok(None);
        };
        let Some((header, journal)) = Journal::open(journal, self.boot)? else {
            return Ok(None);
        };
        if inode_of(&file)? != Some(header.inode) {
            return Ok(None);
        }
        let found = Found::read(&journal, &file)?;
        Ok(Some(PartialClaim {
            path: header.path,
            identity: header.identity,
            size: header.size,
            done: found.extents,
            file,
        }))
    }
}

fn open_if_there(directory: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
