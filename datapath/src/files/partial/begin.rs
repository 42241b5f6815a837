//! The beginning of a put that can be resumed: a new pair of files, or the one that an earlier put has left.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use blk_proto::message::Identity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::{Errno, retry_on_intr};

use super::found::Found;
use super::held::{self, Held, Key, Taken, unlink};
use super::target::Partial;
use super::{PartialStore, random};
use crate::disk::{BlockFile, Intent};
use crate::engine::ByteRange;
use crate::files::attributes::timespec;
use crate::files::commit::link;
use crate::files::journal::{Header, Inode, Journal, Layout};
use crate::files::pool::in_pool;
use crate::files::target::{RESERVE_UNIT, check_replaceable, layout_of, open_unnamed};
use crate::files::{FileError, FileErrorKind, PendingTarget, TargetSpec, check_name};

/// By what an earlier put of the same file is found.
#[derive(Copy, Clone, Debug)]
pub struct Resumption<'a> {
    /// Where partial files are.
    pub store: &'a PartialStore,
    /// The path that the file is to have, in the export; at most 4096 bytes.
    pub path: &'a [u8],
    /// What its content is known by.
    pub identity: Identity,
    /// Whether a partial file that somebody else has is an error, [`FileErrorKind::InUse`], which costs next to nothing; otherwise
    /// the put goes on as one that cannot be resumed.
    pub refuse_in_use: bool,
}

/// What a put is to bring.
struct Wanted<'a> {
    resumption: Resumption<'a>,
    directory: &'a OwnedFd,
    name: &'a [u8],
    spec: TargetSpec,
    holes: &'a [ByteRange],
}

/// What there is of it.
enum Earlier {
    /// Nothing; a new pair can be made.
    Nothing,
    /// Somebody else is at it.
    InUse,
    /// Whatever there is, the put cannot have it.
    Unusable,
    /// The file that the blocks go to, or, when the put was committed without an answer, the file under its name.
    There(Arc<BlockFile>, Partial),
}

impl PendingTarget {
    /// As [`create_in_ring`](PendingTarget::create_in_ring), for a put that can be resumed after any end of it: what an
    /// earlier one of the same path, identity, size and holes has brought is there ([`done`](PendingTarget::done)).
    /// What is there of another identity is dropped.
    ///
    /// Where a put cannot be resumed ([`is_resumable`](PendingTarget::is_resumable): another one of the same path is under way,
    /// the directory is on another mount, the journal has no room, …) it goes on as an ordinary one.
    ///
    /// # Errors
    ///
    /// As `create_in_ring`; [`FileErrorKind::InUse`] where that is asked for.
    pub async fn begin(
        resumption: Resumption<'_>,
        directory: OwnedFd,
        name: &OsStr,
        spec: TargetSpec,
        holes: &[ByteRange],
    ) -> Result<PendingTarget, FileError> {
        let name = name.as_bytes();
        check_name("create", name)?;
        check_replaceable(&directory, name)?;
        let layout = layout_of(name, spec, holes)?;
        let directory = Arc::new(directory);
        let wanted = Wanted {
            resumption,
            directory: &directory,
            name,
            spec,
            holes,
        };
        let earlier = wanted.earlier().await.unwrap_or_else(|error| {
            wanted.explain("an earlier put cannot be resumed", &error);
            Earlier::Unusable
        });
        let is_free = match earlier {
            Earlier::There(file, partial) => {
                let is_complete = partial.is_complete();
                let mut target = PendingTarget::of(file, directory, name, spec);
                target.partial = Some(Box::new(partial));
                if !is_complete {
                    // All of it again: who was here before may have given some back.
                    target.reserve(&layout).await?;
                }
                return Ok(target);
            }
            Earlier::Nothing => true,
            Earlier::InUse if resumption.refuse_in_use => {
                let reason = "another put of this name is under way";
                let kind = FileErrorKind::InUse;
                return Err(FileError::explained(kind, "create", name, reason));
            }
            Earlier::InUse | Earlier::Unusable => false,
        };
        let mut target = PendingTarget::open(directory.clone(), name, spec, open_unnamed)?;
        target.reserve(&layout).await?;
        if is_free && let Err(error) = wanted.adopt(&mut target).await {
            wanted.explain("this put cannot be resumed", &error);
        }
        Ok(target)
    }
}

impl Wanted<'_> {
    fn explain(&self, what: &str, error: &io::Error) {
        let path = String::from_utf8_lossy(self.resumption.path);
        tracing::debug!(?path, %error, "{what}");
    }

    /// Looks for an earlier put of the same path, and drops it when it was of something else.
    async fn earlier(&self) -> io::Result<Earlier> {
        let Some(directory) = self.resumption.store.usable()? else {
            return Ok(Earlier::Nothing);
        };
        let key = Key::of(self.resumption.path);
        let held = match held::take_soon(&directory, &key).await? {
            Taken::Nothing => return Ok(Earlier::Nothing),
            Taken::InUse => return Ok(Earlier::InUse),
            Taken::Held(held) => held,
        };
        if !same_mount(&directory, self.directory)? {
            // Whatever it is, it cannot get its name there.
            return Ok(Earlier::Unusable);
        }
        match self.resume(&held).await {
            Ok(Some(earlier)) => return Ok(earlier),
            Ok(None) => {}
            // Another time it may do.
            Err(error) if is_shortage(&error) => return Err(error),
            Err(error) => self.explain("what an earlier put has left is dropped", &error),
        }
        // Freed before anything is reserved: there may be room for one of them only.
        let removed = held.remove()?;
        in_pool(move || drop(removed)).await?;
        Ok(Earlier::Nothing)
    }

    /// Goes on with a pair, if it is of the same file. The lock stays with the journal that is opened here. An error is of the
    /// pair, which cannot be read or written.
    async fn resume(&self, held: &Held) -> io::Result<Option<Earlier>> {
        let boot = self.resumption.store.boot;
        let Some((header, journal)) = Journal::open(held.journal.try_clone()?, boot)? else {
            return Ok(None);
        };
        let is_same = header.path == self.resumption.path
            && header.identity == self.resumption.identity
            && header.size == self.spec.size
            && header.holes == self.holes;
        if !is_same {
            return Ok(None);
        }
        let opened = match open_part(held, &header, journal.layout())? {
            Some(file) => Some((file, false)),
            None => self.open_committed(&header)?.map(|file| (file, true)),
        };
        let Some((file, is_complete)) = opened else {
            return Ok(None);
        };
        let looked = in_pool(move || -> io::Result<_> {
            let mut found = Found::read(&journal, &file)?;
            found.settle(&journal)?;
            Ok((journal, file, found))
        });
        let (journal, file, found) = looked.await??;
        if is_complete && found.bytes != journal.layout().data_len() {
            // Nobody could tell what is in the rest of it.
            return Ok(None);
        }
        let intent = if is_complete {
            Intent::Read
        } else {
            Intent::Write
        };
        let file = Arc::new(BlockFile::new(file, intent)?);
        let store = self.resumption.store;
        let partial = Partial::new(store, held, journal, file.clone(), found, is_complete);
        Ok(Some(Earlier::There(file, partial)))
    }

    /// Opens the file under its final name, if it is the journal's and as the commit left it.
    fn open_committed(&self, header: &Header) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Some(file) = open_if_there(self.directory, self.name, flags)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&file)?;
        let modified = timespec(self.spec.mtime_ns);
        let is_whole = u64::try_from(stat.st_size) == Ok(self.spec.size)
            && stat.st_mode & 0o777 == self.spec.mode & 0o777
            && (i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec))
                == (modified.tv_sec.into(), modified.tv_nsec.into());
        Ok((is_whole && inode_of(&file)? == Some(header.inode)).then_some(file))
    }

    /// Makes a new target one that can be resumed.
    async fn adopt(&self, target: &mut PendingTarget) -> io::Result<()> {
        let directory = self.resumption.store.open_or_make()?;
        let inode = inode_of(&target.file)?
            .ok_or_else(|| io::Error::other("the file system keeps no birth times"))?;
        let header = Header {
            journal: random(),
            identity: self.resumption.identity,
            size: self.spec.size,
            inode,
            created_ns: now_ns(),
            path: self.resumption.path.to_vec(),
            holes: self.holes.to_vec(),
        };
        let key = Key::of(self.resumption.path);
        // Until it has its name it goes away by itself.
        let (file, temporary) = open_unnamed(&directory, b"journal")?;
        let held = Held {
            directory,
            key,
            journal: file.try_clone()?,
        };
        let boot = self.resumption.store.boot;
        let journal = in_pool(move || Journal::create(file, &header, boot)).await??;
        if !held::lock(&held.journal)? {
            return Err(Errno::WOULDBLOCK.into());
        }
        link(
            held.journal.as_fd(),
            &held.directory,
            held.key.journal().as_bytes(),
        )?;
        drop(temporary);
        if let Err(error) = self.name_part(&held, target) {
            // The target still has the file, if that is what got the name.
            drop(held.remove()?);
            return Err(error);
        }
        // Its name in the final directory, if it had one, goes.
        target.hidden = None;
        let file = target.file.clone();
        let store = self.resumption.store;
        let partial = Partial::new(store, &held, journal, file, Found::default(), false);
        target.partial = Some(Box::new(partial));
        Ok(())
    }

    /// Puts the file into the store, in the place of what no journal knows.
    fn name_part(&self, held: &Held, target: &PendingTarget) -> io::Result<()> {
        unlink(&held.directory, &held.key.part())?;
        link(
            target.file.as_fd(),
            &held.directory,
            held.key.part().as_bytes(),
        )?;
        Ok(())
    }
}

/// Whether this program is short of something: that says nothing of the files.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
    )
}

/// Opens the file of a journal for reading and writing, if it is the one that the journal is of and nobody has meddled with
/// it.
pub(super) fn open_part(
    held: &Held,
    header: &Header,
    layout: &Layout,
) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let name = held.key.part();
    let Some(file) = open_if_there(&held.directory, name.as_bytes(), flags)? else {
        return Ok(None);
    };
    let stat = rustix::fs::fstat(&file)?;
    let reserved = layout.data().last().map_or(0, |range| range.1);
    let size_max = reserved.max(header.size).next_multiple_of(RESERVE_UNIT);
    let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw()
        // A second name may be that of a finished file.
        && stat.st_nlink == 1
        && u64::try_from(stat.st_size).is_ok_and(|size| size <= size_max);
    if !is_ours || inode_of(&file)? != Some(header.inode) {
        return Ok(None);
    }
    // io_uring takes O_NONBLOCK seriously on files too.
    rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
    Ok(Some(file))
}

fn open_if_there(directory: &OwnedFd, name: &[u8], flags: OFlags) -> io::Result<Option<OwnedFd>> {
    match retry_on_intr(|| openat(directory, name, flags, Mode::empty())) {
        Ok(file) => Ok(Some(file)),
        // LOOP: a symbolic link; ISDIR, NXIO: a directory, a FIFO. None of them is the file.
        Err(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What a file is known by; `None` where birth times are not kept, and an inode's number may be another's tomorrow.
pub(super) fn inode_of(file: impl AsFd) -> io::Result<Option<Inode>> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let stat = statx(file, "", AtFlags::EMPTY_PATH, wanted)?;
    let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(wanted);
    Ok(has_birth.then_some(Inode {
        number: stat.stx_ino,
        born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
    }))
}

/// Whether files can be moved from one directory to the other.
fn same_mount(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let one = statx(one, "", AtFlags::EMPTY_PATH, wanted)?;
    let other = statx(other, "", AtFlags::EMPTY_PATH, wanted)?;
    let mount = |stat: &Statx| (stat.stx_mnt_id, stat.stx_dev_major, stat.stx_dev_minor);
    Ok(mount(&one) == mount(&other))
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}
