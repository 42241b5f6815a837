//! Whole small files, many at once: written side by side, made durable by syncs that they share.
//!
//! ```text
//!   submit(batch) ──► writers: O_TMPFILE ► pwrite ► fchmod ► futimens        no name yet
//!                        │  one heap, and threads of its own, per file system
//!                        ▼
//!      syncer:    sync k ────────► sync k+1 ──────► sync k+2 ──► answers of k
//!                 (data of k,  │   (data of k+1)    (names of k, data of k+2)
//!                  names of k-2)                  ▲
//!      linker:                 └► link all of k ──┘
//! ```
//!
//! The promise is that of [`PendingTarget::commit`](super::PendingTarget::commit): a name shows what it showed before or the
//! whole new file, also after a power loss, and an answer `Ok` means that data, size, mode, time and name are durable. A file
//! is linked only after a sync that began after its last write has ended well, and answered only after one that began after it
//! was linked.
//!
//! A heap of [`GROUP_MIN`] files and more is synced by one syncfs(2), a smaller one by an fsync(2) for each file and
//! each directory. So is any heap on file systems other than ext4, XFS, btrfs and f2fs, of which alone it is known that a syncfs
//! is enough, and for a while after a syncfs that took much longer than that would: it waits for what others have
//! written as well. Why syncfs is enough: it writes all dirty pages of the file system and waits for them, then
//! has it commit everything that it knows (fs/sync.c, `sync_filesystem`). ext4 commits its journal, and when
//! the commit sends no flush to the device flushes it itself (fs/ext4/super.c, `ext4_sync_fs`); with `data=ordered` and
//! delayed allocation the blocks are allocated by the write-out before, whose transaction that commit includes. XFS
//! forces its log, which flushes the device before the records that refer to the data (fs/xfs/xfs_super.c, `xfs_fs_sync_fs`;
//! fs/xfs/xfs_log.c, `xlog_write_iclog`).
//!
//! Errors: a page that could not be written is recorded in the superblock (include/linux/pagemap.h,
//! `mapping_set_error`, Linux 5.8) and told once to each descriptor that was opened before, so each
//! file system in use has a descriptor, opened before the first write. Whoever may have been hit by a sync that failed fails
//! with it: its heap, the names that it was to make durable, and what was being written while it ran, because the kernel does not
//! tell twice. No sync is tried again. What syncfs does not tell on ext4 is a delayed allocation that failed, so a file gets
//! its name there only when FIEMAP says that all of its bytes lie in blocks.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::fstat;
use tokio::sync::oneshot;

use super::FileError;
use super::store_batch::{Batch, Done};
use super::store_device::Job;
use super::store_shared::{Shared, count};

/// From so many files on one syncfs costs less than an fsync for each. Measured on ext4 and XFS were 8 files, where it takes a
/// third of the time, and 2, where it takes about the same; 4 lies between them and was not measured.
pub const GROUP_MIN: usize = 4;

/// The directory that a file goes to.
#[derive(Debug)]
pub struct StorePlace {
    /// Open for reading (not O_PATH), so that it can be synced; durable itself.
    pub directory: Arc<OwnedFd>,
    /// A directory on the same file system for names that must not be seen, which somebody sweeps after a crash. Without
    /// it they are hidden names in `directory`.
    pub staging: Option<Arc<OwnedFd>>,
}

/// A whole file to be stored.
#[derive(Debug)]
pub struct StoreFile {
    /// Where it goes.
    pub place: Arc<StorePlace>,
    /// Its name there.
    pub name: Vec<u8>,
    /// Its name in messages.
    pub label: Vec<u8>,
    /// Permission bits; only 0o777 is taken, as in [`TargetSpec`](super::TargetSpec).
    pub mode: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// CRC32 that its bytes must have.
    pub crc: u32,
    /// The content.
    pub bytes: Vec<u8>,
}

/// What became of each file of a batch, in its order: `Ok` is durable under its name.
pub type StoreResults = Vec<Result<(), FileError>>;

/// What a store has done so far.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct StoreStats {
    /// Batches taken.
    pub batches: u64,
    /// Files that are durable.
    pub files: u64,
    /// Files that failed.
    pub failed: u64,
    /// Calls of syncfs.
    pub syncfs: u64,
    /// Calls of fsync, for files and directories.
    pub fsyncs: u64,
}

impl fmt::Display for StoreStats {
    /// `name=value` pairs on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            batches,
            files,
            failed,
            syncfs,
            fsyncs,
        } = self;
        write!(
            f,
            "small_batches={batches} small_files={files} small_failed={failed} small_syncfs={syncfs} small_fsyncs={fsyncs}"
        )
    }
}

/// A store of small files: some threads of its own. Dropped, it finishes and answers what it has taken.
pub struct FileStore {
    shared: Arc<Shared>,
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

impl FileStore {
    /// A store without threads yet: they come and go with the files, some for each file system.
    pub fn start() -> FileStore {
        FileStore::with(Shared::new())
    }

    pub(super) fn with(shared: Shared) -> FileStore {
        FileStore {
            shared: Arc::new(shared),
        }
    }

    /// Takes a batch; `done` is called once, from another thread unless all fails at once, with what became of each file.
    /// It must not block.
    pub fn submit(&self, files: Vec<StoreFile>, done: impl FnOnce(StoreResults) + Send + 'static) {
        let done: Done = Box::new(done);
        let tickets = Batch::tickets(files, done);
        if tickets.is_empty() {
            return;
        }
        count(&self.shared.counters.batches);
        for (number, job) in self.by_device(tickets) {
            if let Err(error) = self.shared.devices.submit(&self.shared, number, job) {
                // Its tickets have answered.
                tracing::error!(%error, "no thread for small files");
            }
        }
    }

    /// The files of each file system; those of which it is not known fail.
    fn by_device(&self, tickets: Job) -> Vec<(u64, Job)> {
        let mut jobs: Vec<(u64, Job)> = Vec::new();
        let mut last: Option<(Arc<StorePlace>, u64)> = None;
        for (file, ticket) in tickets {
            let known = last
                .as_ref()
                .filter(|(place, _)| Arc::ptr_eq(place, &file.place));
            let number = match known {
                Some((_, number)) => *number,
                None => match fstat(&file.place.directory) {
                    Ok(stat) => stat.st_dev,
                    Err(errno) => {
                        count(&self.shared.counters.failed);
                        ticket.fail("create", errno);
                        continue;
                    }
                },
            };
            last = Some((Arc::clone(&file.place), number));
            match jobs.iter_mut().find(|(other, _)| *other == number) {
                Some((_, job)) => job.push((file, ticket)),
                None => jobs.push((number, vec![(file, ticket)])),
            }
        }
        jobs
    }

    /// Stores a batch; dropped, it goes on nevertheless. Works on any executor.
    pub async fn store(&self, files: Vec<StoreFile>) -> StoreResults {
        let labels: Vec<Vec<u8>> = files.iter().map(|file| file.label.clone()).collect();
        let (answer, answered) = oneshot::channel();
        self.submit(files, move |results| drop(answer.send(results)));
        answered.await.unwrap_or_else(|_| {
            let lost = |label: &Vec<u8>| {
                let reason = io::Error::other("the store of small files has ended");
                Err(FileError::new("store", label, reason))
            };
            labels.iter().map(lost).collect()
        })
    }

    /// What it has done so far.
    pub fn statistics(&self) -> StoreStats {
        self.shared.counters.read()
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.devices.join();
    }
}
