//! Partial files: targets that survive the end of this program, and of the machine.
//!
//! ```text
//!   <export>/.blockd/<32 hex>.journal     which pieces are there; its lock (flock) is the right to the pair
//!   <export>/.blockd/<32 hex>.part        the file that the blocks are written to
//! ```
//!
//! The digits are a hash of the path that the file is to have. The directory is the daemon's own (0700): nobody else gets at
//! what is half received, or cuts a journal short.
//!
//! # Every step, and a crash after it
//!
//! To begin a new one ([`begin`]):
//!
//! | step | a crash after it leaves | the next begin |
//! |---|---|---|
//! | the file, unnamed, *in the directory of its final name*; space reserved | nothing | starts afresh |
//! | the journal, unnamed, complete, names the file by inode and birth time; locked | nothing | starts afresh |
//! | the journal gets its name: `EEXIST` says that somebody else has the pair | a journal without a file | finds neither `.part` nor the final file by inode and birth time: drops it |
//! | whatever else was `.part` is removed, the file gets that name: `EXDEV` says that it cannot be moved later | the pair | resumes it |
//!
//! The file is made where it will be, and linked into `.blockd`, so that group (set-group-id directories), default ACLs,
//! labels and project quotas are those of its place, and so that a place on another mount shows here and not at the commit.
//! Where any of this fails the put goes on without being resumable.
//!
//! To commit it: size, mode and times; fsync of the file; rename from `.blockd` over the name; fsync of the directory of
//! the name; the answer; the journal is removed.
//!
//! | a crash | the next begin |
//! |---|---|
//! | before the rename | resumes |
//! | after the rename, before the journal is removed | `.part` is gone and the name has the journal's inode, birth time, size, mode and time: all is there, and the commit only syncs again and answers. The machine's crash too, if the rename was durable and all entries are |
//! | of a file system that keeps both names after a power loss | `.part` has two links: never written to; its name is dropped |
//!
//! To drop it: `.part`, then the journal, whose lock is held until then. Between the two: as after the third step above.
//!
//! Every change to a pair is made under its lock, and whoever gets a lock looks whether the name is still that of the
//! journal that was locked. Locks belong to open files, so two puts within one process exclude each other as well. A
//! `.part` without a journal is removed only by who has made a journal in its place ([`sweep`]).
//!
//! Never resumed: another path, identity, size or other holes than the journal's; a `.part` that is not the journal's, by inode and
//! birth time, or is larger than it can be, or has another owner or a second name.

mod begin;
mod claims;
mod found;
mod held;
mod older;
mod sweep;
mod target;
#[cfg(test)]
mod tests;
mod walk;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, fsync, mkdirat, openat2, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use super::journal::{BootId, Scribe};
use super::name::PARTIALS;
use held::is_at;

pub use begin::Resumption;
pub use claims::PartialClaim;
pub use older::OlderPartial;
pub use sweep::{PartialFile, SweepFailure, Swept};
pub(super) use target::Partial;
pub use target::Remains;
pub use walk::TemporaryFile;

/// The name of the directory at the root of an export that holds its partial files.
pub const PARTIALS_DIRECTORY: &str = PARTIALS;

/// The partial files of one export.
#[derive(Debug)]
pub struct PartialStore {
    root: Arc<OwnedFd>,
    boot: BootId,
    /// Started by the first put.
    scribe: OnceLock<Scribe>,
    /// The root takes `.BLOCKD` for `.blockd`; set when that was found.
    is_case_blind: OnceLock<()>,
}

impl PartialStore {
    /// Those beneath `root`, the directory of the export, open for reading. Nothing is made until it is needed.
    pub fn beneath(root: OwnedFd) -> PartialStore {
        PartialStore {
            root: Arc::new(root),
            boot: boot_id(),
            scribe: OnceLock::new(),
            is_case_blind: OnceLock::new(),
        }
    }

    /// Who writes the journals of this store.
    fn scribe(&self) -> Scribe {
        self.scribe.get_or_init(Scribe::start).clone()
    }

    /// The same after a crash of the machine, as far as journals can tell: what is not marked as durable does not count.
    #[must_use]
    pub fn of_boot(self, boot: [u8; 16]) -> PartialStore {
        PartialStore { boot, ..self }
    }

    /// Opens the directory, if it is there.
    fn open(&self) -> io::Result<Option<Arc<OwnedFd>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let opened = retry_on_intr(|| openat2(&self.root, PARTIALS, flags, Mode::empty(), resolve));
        let directory = match opened {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        check_private(&directory)?;
        Ok(Some(Arc::new(directory)))
    }

    /// The directory, if it is there and no other name leads to it. Paths are compared with [`PARTIALS_DIRECTORY`] byte by
    /// byte; a root that does not tell `.BLOCKD` from `.blockd` would let everybody at what is in it.
    fn usable(&self) -> io::Result<Option<Arc<OwnedFd>>> {
        if self.is_case_blind.get().is_some() {
            return Ok(None);
        }
        let Some(directory) = self.open()? else {
            return Ok(None);
        };
        if !is_at(&self.root, &PARTIALS.to_ascii_uppercase(), &directory)? {
            return Ok(Some(directory));
        }
        if self.is_case_blind.set(()).is_ok() {
            tracing::warn!(
                "the root of an export does not tell upper case from lower case: puts cannot be resumed there"
            );
        }
        Ok(None)
    }

    /// The directory for files on their way to their names, if it is there: what a crash leaves in it is
    /// [swept](PartialStore::sweep). `None` also when it belongs to somebody else, or more names than one lead to it.
    pub fn staging(&self) -> Option<Arc<OwnedFd>> {
        self.usable().ok().flatten()
    }

    /// Opens the directory, and makes it if it is missing.
    fn open_or_make(&self) -> io::Result<Arc<OwnedFd>> {
        if let Some(directory) = self.usable()? {
            return Ok(directory);
        }
        if self.is_case_blind.get().is_none() {
            match mkdirat(&self.root, PARTIALS, Mode::RWXU) {
                // Once in the life of an export: it need not be waited for elsewhere.
                Ok(()) => fsync(&self.root)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            if let Some(directory) = self.usable()? {
                return Ok(directory);
            }
            // Empty, or left to those that are in it.
            let _ = unlinkat(&self.root, PARTIALS, AtFlags::REMOVEDIR);
        }
        Err(io::Error::other(
            "the root of the export does not tell upper case from lower case",
        ))
    }
}

/// Nobody but us may get at what is in the directory: whoever can cut or forge a journal decides what a file consists of.
fn check_private(directory: &OwnedFd) -> io::Result<()> {
    let stat = fstat(directory)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !is_directory || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!(
            "{PARTIALS} belongs to somebody else; remove it, and it will be made anew"
        )));
    }
    if stat.st_mode & 0o077 != 0 {
        fchmod(directory, Mode::RWXU)?;
    }
    Ok(())
}

/// What the running kernel is known by.
fn boot_id() -> BootId {
    static BOOT: OnceLock<BootId> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        match u128::from_str_radix(&digits, 16) {
            Ok(number) => number.to_be_bytes(),
            // Unknown: then no other process may take this boot for its own.
            Err(_) => random(),
        }
    })
}

/// Sixteen bytes that nobody has had before.
fn random() -> [u8; 16] {
    use std::hash::{BuildHasher, RandomState};
    let mut bytes = [0; 16];
    let taken = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    if taken != Ok(bytes.len()) {
        // Kernels without it are older than all else that is needed here; the standard library has its own way.
        for half in bytes.chunks_mut(8) {
            half.copy_from_slice(
                &RandomState::new()
                    .hash_one(std::process::id())
                    .to_ne_bytes(),
            );
        }
    }
    bytes
}
