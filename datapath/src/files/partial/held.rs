//! The right to a pair of files: the locked journal under its name.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use siphasher::sip128::SipHasher13;

/// The names of a pair.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key(String);

impl Key {
    /// That of a path. Two paths of one key only drop each other's partials: the journal has the whole path.
    pub(super) fn of(path: &[u8]) -> Key {
        let hash = SipHasher13::new().hash(path).as_u128();
        Key(format!("{hash:032x}"))
    }

    /// That of one of the two names.
    pub(super) fn of_name(name: &[u8]) -> Option<Key> {
        let digits = name
            .strip_suffix(b".part")
            .or_else(|| name.strip_suffix(b".journal"))?;
        let digits = std::str::from_utf8(digits).ok()?;
        is_key(digits.as_bytes()).then(|| Key(digits.to_owned()))
    }

    /// Whether a name is that of a small file on its way to its own.
    pub(super) fn is_staged(name: &[u8]) -> bool {
        name.strip_suffix(b".tmp").is_some_and(is_key)
    }

    pub(super) fn part(&self) -> String {
        format!("{}.part", self.0)
    }

    pub(super) fn journal(&self) -> String {
        format!("{}.journal", self.0)
    }
}

/// 32 lower-case hexadecimal digits.
fn is_key(digits: &[u8]) -> bool {
    let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    digits.len() == 32 && digits.iter().all(is_digit)
}

/// A pair of names whose journal is locked as long as `journal`, or what it is moved to, is open.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) directory: Arc<OwnedFd>,
    pub(super) key: Key,
    pub(super) journal: OwnedFd,
}

impl Held {
    /// Removes both files, the journal last: until then nobody else has the pair.
    pub(super) fn remove(&self) -> io::Result<Removed> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let part = openat(&self.directory, self.key.part(), flags, Mode::empty());
        unlink(&self.directory, &self.key.part())?;
        unlink(&self.directory, &self.key.journal())?;
        Ok(Removed { _part: part.ok() })
    }
}

/// A file without a name. It takes its space until this is dropped, and that may take a while: no lock should be held, nor a
/// runtime be kept waiting meanwhile.
#[derive(Debug)]
#[must_use]
pub(super) struct Removed {
    _part: Option<OwnedFd>,
}

/// What became of the attempt to lock a journal.
#[derive(Debug)]
pub(super) enum Taken {
    /// There is none.
    Nothing,
    /// Somebody else has it.
    InUse,
    /// It is ours.
    Held(Held),
}

/// Times that a name may be found to have changed hands while its journal was locked.
const TRIES: u32 = 8;

/// Locks the journal of a key, without waiting.
pub(super) fn take(directory: &Arc<OwnedFd>, key: &Key) -> io::Result<Taken> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    for _ in 0..TRIES {
        let opened = retry_on_intr(|| openat(directory, key.journal(), flags, Mode::empty()));
        let journal = match opened {
            Ok(journal) => journal,
            Err(Errno::NOENT) => return Ok(Taken::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        if !lock(&journal)? {
            return Ok(Taken::InUse);
        }
        if is_at(directory, &key.journal(), &journal)? {
            return Ok(Taken::Held(Held {
                directory: directory.clone(),
                key: key.clone(),
                journal,
            }));
        }
        // It was removed, or another one stands there, since we opened it.
    }
    Ok(Taken::InUse)
}

/// How often a lock that somebody else has is tried again …
const LOOKS: u32 = 6;
/// … and after what time: whoever looks through the store has each lock for microseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(4);

/// As [`take`], but a lock that is held for a moment only is waited for.
pub(super) async fn take_soon(directory: &Arc<OwnedFd>, key: &Key) -> io::Result<Taken> {
    for _ in 1..LOOKS {
        match take(directory, key)? {
            Taken::InUse => tokio::time::sleep(LOOK_AGAIN).await,
            taken => return Ok(taken),
        }
    }
    take(directory, key)
}

/// Whether somebody has a journal locked. Has a lock of its own for a moment, since nothing else tells.
pub(super) fn is_locked(journal: &OwnedFd) -> io::Result<bool> {
    match retry_on_intr(|| flock(journal, FlockOperation::NonBlockingLockShared)) {
        Ok(()) => {
            flock(journal, FlockOperation::Unlock)?;
            Ok(false)
        }
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Locks a journal without waiting; `false` when somebody else has it.
pub(super) fn lock(journal: &OwnedFd) -> io::Result<bool> {
    match retry_on_intr(|| flock(journal, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a name is that of an open file.
pub(super) fn is_at(directory: &OwnedFd, name: &str, file: &OwnedFd) -> io::Result<bool> {
    let ours = fstat(file)?;
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok((stat.st_dev, stat.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes a name that need not be there.
pub(super) fn unlink(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
