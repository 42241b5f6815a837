//! How each job is carried out.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blk_datapath::files::{
    DirectorySyncs, FileError, FileErrorKind, FileStore, OlderPartial, PendingTarget, Remains,
};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::listings::{Cursor, Listings};
use super::locks::LockTable;
use super::ranged::Ranged;
use super::routes::Routes;
use super::{Job, Outcome};
use crate::exports::{
    AccessError, Exports, MadeDirectories, REMOVE, RENAME, Removable, Renamable, Snapshot,
};

/// Files larger than this are freed on the blocking pool: giving back their extents takes time.
const FREE_INLINE: u64 = 64 << 20;

/// A peer has its answer after this time, or has lost its connection.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Batches of small files that are read at the same time at most, each by a thread of the pool: enough for a disk.
const READS_MAX: usize = 16;

/// What the namespace threads share.
pub(super) struct Common {
    pub(super) store: Arc<FileStore>,
    pub(super) locks: Arc<Mutex<LockTable>>,
    pub(super) routes: Arc<Routes>,
}

/// What the jobs of a thread share.
pub(super) struct State {
    pub(super) exports: Exports,
    syncs: DirectorySyncs,
    pub(super) made: MadeDirectories,
    listings: RefCell<Listings>,
    pub(super) ranged: Ranged,
    pub(super) store: Arc<FileStore>,
    /// Turns of those that read small files.
    pub(super) reads: Semaphore,
}

impl State {
    pub(super) fn new(exports: Exports, common: &Common) -> State {
        let syncs = DirectorySyncs::default();
        State {
            exports,
            made: MadeDirectories::new(syncs.clone()),
            syncs,
            listings: RefCell::default(),
            ranged: Ranged::with(Arc::clone(&common.locks)),
            store: Arc::clone(&common.store),
            reads: Semaphore::new(READS_MAX),
        }
    }

    /// Carries out one job.
    pub(super) async fn run(&self, job: Job) -> Outcome {
        let result = self.attempt(job).await;
        result.unwrap_or_else(|error| {
            tracing::debug!(%error, "request refused");
            Outcome::Failed(error.to_failure())
        })
    }

    async fn attempt(&self, job: Job) -> Result<Outcome, AccessError> {
        Ok(match job {
            Job::CreateTarget {
                export,
                path,
                spec,
                identity,
                holes,
            } => {
                let export = self.exports.get(&export)?;
                let target = export
                    .create_target(&path, spec, identity, &holes, &self.made)
                    .await?;
                if let Some(upkeep) = target.upkeep() {
                    tokio_uring::spawn(upkeep);
                }
                Outcome::TargetReady(target)
            }
            Job::Commit { target } => {
                let older = target.older();
                let remains = target.commit_grouped(&self.syncs).await?;
                if let Some(older) = older.filter(OlderPartial::is_there) {
                    tokio_uring::spawn(remove(older));
                }
                if !remains.is_empty() {
                    tokio_uring::spawn(outlast_answer(remains));
                }
                Outcome::Committed
            }
            Job::Keep { target } => {
                target.keep().await?;
                Outcome::Kept
            }
            Job::Abandon { target } => {
                abandon(target).await?;
                Outcome::Abandoned
            }
            Job::Wait { time } => {
                sleep(time).await;
                Outcome::Waited
            }
            Job::OpenSource { export, path } => {
                Outcome::SourceReady(self.exports.get(&export)?.open_source(&path)?)
            }
            Job::Stat { export, path } => {
                Outcome::Attributes(self.exports.get(&export)?.attributes(&path)?)
            }
            Job::List {
                export,
                path,
                cursor,
            } => self.list(export, path, cursor).await?,
            Job::MakeDirectory { export, path, mode } => {
                let export = self.exports.get(&export)?;
                export.make_directory(&path, mode, &self.made).await?;
                Outcome::Made
            }
            Job::Remove { export, path } => {
                self.remove(self.exports.get(&export)?.removable(&path)?)
                    .await?
            }
            Job::RemoveDirectory { export, path } => {
                self.remove(self.exports.get(&export)?.removable_directory(&path)?)
                    .await?
            }
            Job::Rename {
                export,
                from,
                to,
                replace,
            } => {
                let export = self.exports.get(&export)?;
                let way = export.renamable(&from, &to, &self.made).await?;
                self.rename(way, replace).await?
            }
            Job::MakeLink {
                export,
                path,
                target,
            } => {
                let export = self.exports.get(&export)?;
                export.make_link(&path, &target, &self.made).await?;
                Outcome::Changed
            }
            Job::ReadLink { export, path } => {
                Outcome::Link(self.exports.get(&export)?.read_link(&path)?)
            }
            Job::SetAttributes {
                export,
                path,
                mode,
                mtime_ns,
            } => {
                let export = self.exports.get(&export)?;
                let made = &self.made;
                export.set_attributes(&path, mode, mtime_ns, made).await?;
                Outcome::Changed
            }
            Job::Ranged(job) => self.run_ranged(job).await?,
            Job::Store { export, files } => self.store(&export, files).await?,
            Job::Fetch { export, paths } => self.fetch(&export, paths).await?,
        })
    }

    /// Removes a name, and returns when that is durable. So it is when there was none: whoever asks again, as he has not heard of the first
    /// removal, or that it could not be made durable, is not told so of a name that a loss of power brings back.
    async fn remove(&self, name: Removable) -> Result<Outcome, AccessError> {
        let (directory, path) = (Arc::clone(&name.directory), name.path.clone());
        // Giving back the extents of a large file takes time.
        let removed = in_pool(REMOVE, &path, move || name.remove()).await;
        let is_gone = removed
            .as_ref()
            .map_or_else(|error| error.kind == FileErrorKind::NotFound, |()| true);
        if is_gone {
            let failed = |error| FileError::new(REMOVE, &path, error);
            self.syncs.sync(directory).await.map_err(failed)?;
        }
        removed?;
        Ok(Outcome::Removed)
    }

    /// Gives something another name, and returns when that is durable.
    async fn rename(&self, way: Renamable, replace: bool) -> Result<Outcome, AccessError> {
        let (from, to) = (
            Arc::clone(&way.from.directory),
            Arc::clone(&way.to.directory),
        );
        let path = way.from.path.clone();
        let held = match way.directory() {
            Some(directory) => Some(self.made.hold(directory).await),
            None => None,
        };
        // As above, of what makes room.
        let renamed = in_pool(RENAME, &path, move || way.rename(replace)).await;
        let durable = async {
            // What was not renamed is as durable as it was.
            let Ok(is_one) = &renamed else {
                return Ok(());
            };
            // The new name first: a file system that loses power in between must not have neither.
            self.syncs.sync(to).await?;
            if !is_one {
                self.syncs.sync(from).await?;
            }
            Ok(())
        };
        let durable = durable.await;
        if let Some(held) = held {
            held.finish(durable.is_ok());
        }
        renamed?;
        durable.map_err(|error: io::Error| FileError::new(RENAME, &path, error))?;
        Ok(Outcome::Renamed)
    }

    async fn list(
        &self,
        export: String,
        path: Vec<u8>,
        cursor: u64,
    ) -> Result<Outcome, AccessError> {
        let Cursor {
            snapshot: number,
            index,
        } = Cursor::from_wire(cursor);
        let kept = self.listings.borrow().find(number, &export, &path);
        let was_kept = kept.is_some();
        let snapshot = match kept {
            Some(snapshot) => snapshot,
            None => self.snapshot(&export, &path).await?,
        };
        let pages = snapshot.clone();
        let page = in_pool("list", &path, move || pages.page(index)).await?;

        let mut listings = self.listings.borrow_mut();
        let next = match page.next {
            Some(index) => {
                let snapshot = match was_kept {
                    true => number,
                    false => listings.keep(export, path, snapshot),
                };
                Some(Cursor { snapshot, index }.to_wire())
            }
            None => {
                // Only what was found by its directory too: the number is the peer's word.
                if was_kept {
                    listings.forget(number);
                }
                None
            }
        };
        Ok(Outcome::Entries {
            entries: page.entries,
            next,
        })
    }

    async fn snapshot(&self, export: &str, path: &[u8]) -> Result<Arc<Snapshot>, AccessError> {
        let directory = self.exports.get(export)?.open_listing(path)?;
        let label = path.to_vec();
        let snapshot = in_pool("list", path, move || Snapshot::read(directory, &label)).await?;
        Ok(Arc::new(snapshot))
    }
}

/// Gives back the space of an incomplete file.
async fn abandon(target: PendingTarget) -> Result<(), FileError> {
    // Until then the space is in use.
    target.quiet().await;
    if target.spec().size <= FREE_INLINE {
        target.discard();
        return Ok(());
    }
    in_pool("abandon", b"", move || {
        target.discard();
        Ok(())
    })
    .await
}

/// Removes what an earlier put of another file has left for a name that is taken now.
async fn remove(older: OlderPartial) {
    let removed = in_pool("remove", b"a partial file", move || {
        let failed = |error| FileError::new("remove", b"a partial file", error);
        older.remove().map_err(failed)
    });
    if let Err(error) = removed.await {
        tracing::warn!(%error, "what an earlier put has left stays until it is old");
    }
}

/// Keeps the journal of a committed file until its peer has heard of the commit: should this program or the connection end before
/// that, the put that comes again is found done.
async fn outlast_answer(remains: Remains) {
    sleep(ANSWER_TIME).await;
    drop(remains);
}

/// Runs what blocks for long on the runtime's pool of threads.
pub(super) async fn in_pool<T: Send + 'static>(
    operation: &'static str,
    path: &[u8],
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(FileError::new(operation, path, io::Error::other(error))),
    }
}
