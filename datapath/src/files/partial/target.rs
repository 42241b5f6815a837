//! A target that can be resumed, from its beginning to its end.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use blk_proto::message::Extent;
use rustix::fs::{FallocateFlags, FlockOperation, flock, fstat, renameat};
use tokio::time::{Instant, sleep};

use super::found::Found;
use super::held::{self, Held, Key, Taken, is_at, unlink};
use super::{PARTIALS, PartialStore};
use crate::disk::BlockFile;
use crate::engine::WriteObserver;
use crate::files::directory::sync_all;
use crate::files::journal::{Journal, Progress};
use crate::files::pool::in_pool;
use crate::files::{FileError, PendingTarget};

/// How often a file is synced that is being written.
#[derive(Copy, Clone, Debug)]
pub(super) struct Pace {
    /// When so many bytes are not durable …
    pub(super) bytes: u64,
    /// … or after so long, …
    pub(super) after: Duration,
    /// … to which it is looked so often.
    pub(super) look: Duration,
}

const PACE: Pace = Pace {
    bytes: 512 << 20,
    after: Duration::from_secs(10),
    look: Duration::from_secs(1),
};

/// What a target that can be resumed has besides the file.
#[derive(Debug)]
pub(in crate::files) struct Partial {
    /// The root of the export.
    root: Arc<OwnedFd>,
    directory: Arc<OwnedFd>,
    key: Key,
    progress: Arc<Progress>,
    done: Vec<Extent>,
    /// The file has its final name already.
    is_complete: bool,
}

impl Partial {
    /// Of a pair that is held, and what was found of it. The lock is the journal's from now on.
    pub(super) fn new(
        store: &PartialStore,
        held: &Held,
        journal: Journal,
        file: Arc<BlockFile>,
        found: Found,
        is_complete: bool,
    ) -> Partial {
        Partial {
            root: store.root.clone(),
            directory: held.directory.clone(),
            key: held.key.clone(),
            // What an earlier process has written is made durable with the rest.
            progress: Progress::new(journal, file, store.scribe(), found.written),
            done: found.extents,
            is_complete,
        }
    }

    pub(in crate::files) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Makes what was written durable by `sync`, the last time. `Err` also if an earlier sync failed.
    pub(in crate::files) async fn synced_by(
        &self,
        sync: impl AsyncFnOnce(&Arc<BlockFile>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.progress.synced_by(sync).await
    }

    /// Gives the file its name. Not if `.blockd` has been moved: then others may have got at what is in it.
    pub(in crate::files) fn publish(&self, directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
        if !is_at(&self.root, PARTIALS, &self.directory)? {
            return Err(io::Error::other(format!(
                "{PARTIALS} was moved or replaced while the file arrived; send it again"
            )));
        }
        Ok(renameat(&self.directory, self.key.part(), directory, name)?)
    }

    /// Removes what is in the store, while the lock is held.
    pub(in crate::files) fn remove(&self) {
        self.progress.give_up();
        let removed = unlink(&self.directory, &self.key.part())
            .and_then(|()| unlink(&self.directory, &self.key.journal()));
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot remove a partial file; it will be removed when it is old");
        }
    }

    /// Leaves the journal of a file that has its name.
    pub(in crate::files) fn into_remains(self) -> Remains {
        // Not by the close alone: a process that is just being started may still have the descriptor, and its lock.
        self.unlock();
        let inode = fstat(&*self.progress).map(|stat| stat.st_ino).ok();
        Remains(inode.map(|inode| (self.directory, self.key, inode)))
    }

    /// Lets others have the pair, though a worker may still hold the observer.
    pub(in crate::files) fn unlock(&self) {
        if let Err(error) = flock(&*self.progress, FlockOperation::Unlock) {
            tracing::warn!(%error, "cannot unlock the journal of a partial file");
        }
    }

    /// Gives back the space that is reserved for what is missing. Best effort.
    async fn release(&self, found: &Found) {
        let Ok(file) = self.progress.file().as_fd().try_clone_to_owned() else {
            return;
        };
        let file = tokio_uring::fs::File::from_std(file.into());
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for (start, end) in found.gaps(self.progress.journal().layout()) {
            let punched = file
                .fallocate(start, end - start, flags.bits() as i32)
                .await;
            if punched.is_err() {
                return;
            }
        }
    }
}

impl PendingTarget {
    /// What is there of an earlier put, ascending and apart, without the holes; at most
    /// [`MAX_RANGES`](blk_proto::message::MAX_RANGES) extents: what finds no room counts as missing. Empty for a target that cannot be
    /// resumed.
    pub fn done(&self) -> &[Extent] {
        self.partial.as_ref().map_or(&[], |partial| &partial.done)
    }

    /// Who is to be told of each run that is written; see [`Coverage::observed`](crate::engine::Coverage::observed). `None`
    /// for a target that cannot be resumed, or is complete.
    pub fn observer(&self) -> Option<Arc<dyn WriteObserver>> {
        let partial = self
            .partial
            .as_ref()
            .filter(|partial| !partial.is_complete)?;
        Some(partial.progress.clone())
    }

    /// Whether what arrives survives the end of this program.
    pub fn is_resumable(&self) -> bool {
        self.partial.is_some()
    }

    /// Makes what has arrived durable now and then, until the target is gone: a future to be spawned on a `tokio_uring`
    /// runtime. When a sync fails it ends, and the commit will fail.
    pub fn upkeep(&self) -> Option<impl Future<Output = ()> + use<>> {
        self.upkeep_at(PACE)
    }

    /// The same as often as a test likes.
    pub(super) fn upkeep_at(&self, pace: Pace) -> Option<impl Future<Output = ()> + use<>> {
        let partial = self
            .partial
            .as_ref()
            .filter(|partial| !partial.is_complete)?;
        let progress = Arc::downgrade(&partial.progress);
        Some(upkeep(progress, partial.directory.clone(), pace))
    }

    /// Leaves the file to a later put, with all that has arrived made durable. A target that cannot be resumed, or has nothing
    /// yet, is [discarded](PendingTarget::discard). A write that completes from now on does not count. To be called inside a
    /// `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// What the sync of the file reports; then the file is discarded, because what it has is not known any more.
    pub async fn keep(self) -> Result<(), FileError> {
        let Some(partial) = &self.partial else {
            self.quiet().await;
            self.discard();
            return Ok(());
        };
        // Who gets the pair next must be alone with it: one late write could change a file that was committed by then.
        self.quiet().await;
        if partial.is_complete {
            partial.unlock();
            return Ok(());
        }
        let kept = keep(partial).await;
        if matches!(kept, Ok(true)) {
            partial.unlock();
            return Ok(());
        }
        let label = self.label.clone();
        let failed = |error| FileError::new("make durable", &label, error);
        let discarded = in_pool(move || self.discard()).await;
        kept.and(discarded).map_err(failed)
    }

    /// Drops the file for good, also if it could be resumed. Freeing a large file takes a while.
    pub fn discard(self) {
        if let Some(partial) = &self.partial {
            partial.remove();
        }
    }
}

/// Whether there was something to keep.
async fn keep(partial: &Partial) -> io::Result<bool> {
    let progress = &partial.progress;
    // Before anything is looked at: a piece that became whole later might lie in space that was given back.
    progress.close();
    progress.sync().await?;
    if !progress.is_kept() {
        return Ok(false);
    }
    let (journal, file) = (progress.journal().clone(), progress.file().clone());
    let found = in_pool(move || Found::read(&journal, &*file)).await??;
    if found.bytes == 0 {
        return Ok(false);
    }
    partial.release(&found).await;
    sync_all(&partial.directory).await?;
    Ok(true)
}

async fn upkeep(progress: Weak<Progress>, directory: Arc<OwnedFd>, pace: Pace) {
    let mut synced = Instant::now();
    let mut is_named = false;
    loop {
        sleep(pace.look).await;
        let Some(progress) = progress.upgrade() else {
            return;
        };
        let unsynced = progress.unsynced();
        let is_due = unsynced >= pace.bytes || unsynced > 0 && synced.elapsed() >= pace.after;
        if !is_due {
            continue;
        }
        if let Err(error) = progress.sync().await {
            tracing::error!(%error, "cannot make a partial file durable: its commit will fail");
            return;
        }
        // The names need that once. Should it fail, they may be gone after a power loss, and the put starts afresh.
        if !is_named {
            is_named = sync_all(&directory).await.is_ok();
        }
        synced = Instant::now();
    }
}

/// The journal of a file that has its name. As long as it is there, a put of the same file that comes again, because
/// nobody heard that it was done, finds it done. Removed when this is dropped.
#[derive(Debug, Default)]
pub struct Remains(Option<(Arc<OwnedFd>, Key, u64)>);

impl Remains {
    /// Whether there is nothing to be removed.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let Some((directory, key, inode)) = self.0.take() else {
            return;
        };
        // In use, or another one: the next put has come already.
        if let Ok(Taken::Held(held)) = held::take(&directory, &key)
            && fstat(&held.journal).is_ok_and(|stat| stat.st_ino == inode)
            && let Err(error) = unlink(&directory, &key.journal())
        {
            tracing::warn!(%error, "cannot remove the journal of a finished file; it will be removed when it is old");
        }
    }
}
