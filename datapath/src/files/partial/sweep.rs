//! What is in a store, and the removal of what is old.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{
    AtFlags, Dir, FallocateFlags, Mode, OFlags, Stat, fallocate, fstat, openat, statat,
};
use rustix::io::{Errno, retry_on_intr};

use super::PartialStore;
use super::begin::{now_ns, open_part};
use super::found::Found;
use super::held::{self, Held, Key, Taken, unlink};
use crate::files::commit::link;
use crate::files::journal::{Header, Journal};
use crate::files::name::{PARTIALS, is_temporary_name};
use crate::files::target::open_unnamed;

/// What no put can go on with is removed after this time at the latest. It may be a put of this moment between two steps, or
/// one whose peer has not heard yet that it is done.
const DEBRIS_TIME: Duration = Duration::from_secs(600);

/// Less than that is not worth looking for what can be given back: what the file system itself needs for a file counts too.
const RESERVED_MIN: u64 = 1 << 20;

/// What a store has of one put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartialFile {
    /// The path that it is to have, in the export; `None` when nothing tells.
    pub path: Option<Vec<u8>>,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes that are there and need not be sent again.
    pub done: u64,
    /// Bytes that it takes on the disk, with what is reserved.
    pub on_disk: u64,
    /// Since the last change.
    pub age: Duration,
    /// A put is under way.
    pub in_use: bool,
    /// A later put can go on with it. The rest is what crashes leave, and removed soon.
    pub is_resumable: bool,
    /// It was removed by this call.
    pub removed: bool,
}

/// What was found, and what could not be looked at or removed: that does not keep the rest from it.
#[derive(Debug)]
pub struct Swept<T> {
    /// What there is.
    pub files: Vec<T>,
    /// What went wrong.
    pub failures: Vec<SweepFailure>,
}

impl<T> Swept<T> {
    pub(super) fn nothing() -> Swept<T> {
        Swept {
            files: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Takes up what became of one name.
    pub(super) fn add(&mut self, path: &[u8], result: io::Result<Option<T>>) {
        match result {
            Ok(file) => self.files.extend(file),
            Err(error) => self.failed(path, error),
        }
    }

    pub(super) fn failed(&mut self, path: &[u8], source: io::Error) {
        let path = path.to_vec();
        self.failures.push(SweepFailure { path, source });
    }
}

/// One file or directory, and what was the matter with it.
#[derive(Debug)]
pub struct SweepFailure {
    /// Its path in the export; empty for the root.
    pub path: Vec<u8>,
    /// What the system says.
    pub source: io::Error,
}

impl PartialStore {
    /// What there is of each put, ordered by path. With an age, what is not in use and at least so old is removed; and what a
    /// put has reserved that was killed some time ago, and not written, is given back.
    ///
    /// Nothing is locked but what is changed, and only while it is: a put that begins meanwhile finds its file.
    ///
    /// # Errors
    ///
    /// When the directory cannot be opened.
    pub fn sweep(&self, older_than: Option<Duration>) -> io::Result<Swept<PartialFile>> {
        self.sweep_with(older_than, DEBRIS_TIME)
    }

    /// The same with another time after which a file that nothing locks is nobody's.
    pub(super) fn sweep_with(
        &self,
        older_than: Option<Duration>,
        debris_time: Duration,
    ) -> io::Result<Swept<PartialFile>> {
        let mut swept = Swept::nothing();
        let Some(directory) = self.open()? else {
            return Ok(swept);
        };
        let sweep = Sweep {
            store: self,
            directory,
            older_than,
            debris_time,
        };
        for name in names(&sweep.directory, &mut swept) {
            match name {
                Name::Pair(key) => {
                    swept.add(&stored(key.part().as_bytes()), sweep.pair(&key));
                }
                Name::Temporary(name) => swept.add(&stored(&name), sweep.temporary(&name)),
            }
        }
        swept.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(swept)
    }
}

/// The path of what is in the directory.
fn stored(name: &[u8]) -> Vec<u8> {
    [PARTIALS.as_bytes(), b"/", name].concat()
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Pair(Key),
    Temporary(Vec<u8>),
}

/// What is in the directory; anything else there is somebody else's.
fn names(directory: &OwnedFd, swept: &mut Swept<PartialFile>) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    let failed =
        |errno: Errno, swept: &mut Swept<_>| swept.failed(PARTIALS.as_bytes(), errno.into());
    let entries = match Dir::read_from(directory) {
        Ok(entries) => entries,
        Err(errno) => {
            failed(errno, swept);
            return names;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(errno) => {
                failed(errno, swept);
                break;
            }
        };
        let name = entry.file_name().to_bytes();
        if let Some(key) = Key::of_name(name) {
            names.insert(Name::Pair(key));
        } else if is_temporary_name(name) || Key::is_staged(name) {
            names.insert(Name::Temporary(name.to_vec()));
        }
    }
    names
}

struct Sweep<'a> {
    store: &'a PartialStore,
    directory: Arc<OwnedFd>,
    older_than: Option<Duration>,
    debris_time: Duration,
}

impl Sweep<'_> {
    fn pair(&self, key: &Key) -> io::Result<Option<PartialFile>> {
        let part = self.stat(key.part().as_bytes())?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let journal = match openat(&self.directory, key.journal(), flags, Mode::empty()) {
            Ok(journal) => journal,
            Err(Errno::NOENT) => return self.orphan(key, part),
            Err(errno) => return Err(errno.into()),
        };
        let seen = fstat(&journal)?;
        let in_use = held::is_locked(&journal)?;
        let mut file = self.describe(key, journal, part.as_ref())?;
        file.in_use = in_use;
        if self.is_old(&file) {
            self.remove_pair(key, &seen, &mut file)?;
        } else if self.wastes(&file) {
            self.release(key, &seen, &mut file)?;
        }
        Ok(Some(file))
    }

    /// The lock of a pair, if it is still what was seen: a put may have come meanwhile, or come and gone.
    fn take(&self, key: &Key, seen: &Stat) -> io::Result<Option<Held>> {
        let Taken::Held(held) = held::take(&self.directory, key)? else {
            return Ok(None);
        };
        let now = fstat(&held.journal)?;
        let of = |stat: &Stat| (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec);
        Ok((of(&now) == of(seen)).then_some(held))
    }

    fn remove_pair(&self, key: &Key, seen: &Stat, file: &mut PartialFile) -> io::Result<()> {
        let Some(held) = self.take(key, seen)? else {
            return Ok(());
        };
        let removed = held.remove()?;
        // Others need not wait until all is freed.
        drop(held);
        drop(removed);
        file.removed = true;
        Ok(())
    }

    /// Whether a put was killed, and not gone on with at once, before it could give back what it had reserved.
    fn wastes(&self, file: &PartialFile) -> bool {
        self.older_than.is_some()
            && file.is_resumable
            && !file.in_use
            && file.age >= self.debris_time
            && file.on_disk > file.done + RESERVED_MIN
    }

    /// Gives back what is reserved and not written.
    fn release(&self, key: &Key, seen: &Stat, file: &mut PartialFile) -> io::Result<()> {
        let Some(held) = self.take(key, seen)? else {
            return Ok(());
        };
        let opened = Journal::open(held.journal.try_clone()?, self.store.boot)?;
        let Some((header, journal)) = opened else {
            return Ok(());
        };
        // Not one that has another name too, which may be a finished file's.
        let Some(part) = open_part(&held, &header, journal.layout())? else {
            return Ok(());
        };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for (start, end) in Found::read(&journal, &part)?.gaps(journal.layout()) {
            match retry_on_intr(|| fallocate(&part, flags, start, end - start)) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        file.on_disk = debris(&fstat(&part)?).on_disk;
        Ok(())
    }

    /// A file without a journal.
    fn orphan(&self, key: &Key, part: Option<Stat>) -> io::Result<Option<PartialFile>> {
        let Some(part) = part else {
            return Ok(None);
        };
        let mut file = debris(&part);
        if self.is_old(&file) {
            file.removed = self.remove_orphan(key)?;
        }
        Ok(Some(file))
    }

    /// Removes a file under the lock of a journal made for that: a put may be about to make its own. `false` when it has.
    fn remove_orphan(&self, key: &Key) -> io::Result<bool> {
        let (journal, temporary) = open_unnamed(&self.directory, b"journal")?;
        if !held::lock(&journal)? {
            return Ok(false);
        }
        match link(journal.as_fd(), &self.directory, key.journal().as_bytes()) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        drop(temporary);
        unlink(&self.directory, &key.part())?;
        unlink(&self.directory, &key.journal())?;
        Ok(true)
    }

    fn temporary(&self, name: &[u8]) -> io::Result<Option<PartialFile>> {
        let Some(stat) = self.stat(name)? else {
            return Ok(None);
        };
        let mut file = debris(&stat);
        // Nothing locks it: the put that makes use of it may be at work.
        if self.older_than.is_some() && file.age >= self.debris_time {
            rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?;
            file.removed = true;
        }
        Ok(Some(file))
    }

    /// What a journal and its file tell.
    fn describe(
        &self,
        key: &Key,
        journal: OwnedFd,
        part: Option<&Stat>,
    ) -> io::Result<PartialFile> {
        let own = fstat(&journal)?;
        let mut file = part.map_or_else(|| debris(&own), debris);
        file.age = file.age.min(age(&own));
        let Some((header, journal)) = Journal::open(journal, self.store.boot)? else {
            return Ok(file);
        };
        // Every put that goes on writes to the journal; to the file also who gives back what it does not need.
        file.age = age(&own);
        if part.is_some() {
            file.done = self.done(key, &journal)?;
            file.is_resumable = true;
        }
        let Header { path, size, .. } = header;
        file.path = Some(path);
        file.size = size;
        Ok(file)
    }

    fn done(&self, key: &Key, journal: &Journal) -> io::Result<u64> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.directory, key.part(), flags, Mode::empty()) {
            Ok(file) => Ok(Found::read(journal, file)?.bytes),
            Err(Errno::NOENT) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    fn is_old(&self, file: &PartialFile) -> bool {
        let limit = self.older_than.filter(|_| !file.in_use);
        limit.is_some_and(|limit| {
            let limit = match file.is_resumable {
                true => limit,
                false => limit.min(self.debris_time),
            };
            file.age >= limit
        })
    }

    fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn debris(stat: &Stat) -> PartialFile {
    PartialFile {
        path: None,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        done: 0,
        on_disk: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
        age: age(stat),
        in_use: false,
        is_resumable: false,
        removed: false,
    }
}

/// Since the last change of a file. Its change time: unlike the modification time nobody sets it, and every write moves it.
pub(super) fn age(stat: &Stat) -> Duration {
    let changed = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    let age = i128::from(now_ns()) - changed;
    // A clock that was set back: it is new.
    Duration::from_nanos(u64::try_from(age).unwrap_or(0))
}
