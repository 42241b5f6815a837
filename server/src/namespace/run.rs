//! How each job is carried out.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use blk_datapath::files::{DirectorySyncs, FileError, PendingTarget};
use tokio::task::spawn_blocking;

use super::listings::{Cursor, Listings};
use super::{Job, Outcome};
use crate::exports::{AccessError, Exports, MadeDirectories, Snapshot};

/// Files larger than this are freed on the blocking pool: giving back their extents takes time.
const FREE_INLINE: u64 = 64 << 20;

/// What the jobs share.
pub(super) struct State {
    exports: Exports,
    syncs: DirectorySyncs,
    made: MadeDirectories,
    listings: RefCell<Listings>,
}

impl State {
    pub(super) fn new(exports: Exports) -> State {
        let syncs = DirectorySyncs::default();
        State {
            exports,
            made: MadeDirectories::new(syncs.clone()),
            syncs,
            listings: RefCell::default(),
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
            Job::CreateTarget { export, path, spec } => {
                let export = self.exports.get(&export)?;
                let target = export.create_target(&path, spec, &self.made).await?;
                Outcome::TargetReady(target)
            }
            Job::Commit { target } => {
                target.commit_grouped(&self.syncs).await?;
                Outcome::Committed
            }
            Job::Abandon { target } => {
                abandon(target).await?;
                Outcome::Abandoned
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
        })
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
    if target.spec().size <= FREE_INLINE {
        drop(target);
        return Ok(());
    }
    in_pool("abandon", b"", move || {
        drop(target);
        Ok(())
    })
    .await
}

/// Runs what blocks for long on the runtime's pool of threads.
async fn in_pool<T: Send + 'static>(
    operation: &'static str,
    path: &[u8],
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(FileError::new(operation, path, io::Error::other(error))),
    }
}
