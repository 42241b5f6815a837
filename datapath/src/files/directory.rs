//! Making directory entries durable, one sync for many of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{fdatasync, fstat, fsync};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::pool::in_pool;

/// Syncs a directory (or any file) without blocking the thread: its entries are durable when this
/// returns `Ok`. `fd` must be open for reading (not O_PATH). To be called inside a `tokio_uring`
/// runtime.
///
/// # Errors
///
/// What fsync(2) reports, or EMFILE when no descriptor is left. Never repeat a sync that failed
/// and take its success for an answer.
pub async fn sync_directory(fd: impl AsFd) -> io::Result<()> {
    // tokio_uring owns the descriptors that it works on, so it gets one of its own, which shares
    // the open file description and with it the record of errors already reported.
    let owned = fd.as_fd().try_clone_to_owned()?;
    tokio_uring::fs::File::from_std(File::from(owned))
        .sync_all()
        .await
}

/// As [`sync_directory`]. That no descriptor is left is no failure here: it says nothing of the file, and a sync that counts as
/// failed costs the whole file. Then the sync takes a thread of the pool instead.
pub(super) async fn sync_all<F: Syncable>(fd: &Arc<F>) -> io::Result<()> {
    match fd.as_fd().try_clone_to_owned() {
        Ok(owned) => {
            let file = tokio_uring::fs::File::from_std(File::from(owned));
            file.sync_all().await
        }
        Err(_) => without_duplicate(fd, |fd| fsync(fd)).await,
    }
}

/// As [`sync_all`] for the data of a file: without times and modes that reading it back does not need.
pub(super) async fn sync_data<F: Syncable>(fd: &Arc<F>) -> io::Result<()> {
    match fd.as_fd().try_clone_to_owned() {
        Ok(owned) => {
            let file = tokio_uring::fs::File::from_std(File::from(owned));
            file.sync_data().await
        }
        Err(_) => without_duplicate(fd, |fd| fdatasync(fd)).await,
    }
}

/// What an open file can be shared by with another thread.
pub(super) trait Syncable: AsFd + Send + Sync + 'static {}

impl<F: AsFd + Send + Sync + 'static> Syncable for F {}

async fn without_duplicate<F: Syncable>(
    fd: &Arc<F>,
    sync: fn(BorrowedFd<'_>) -> Result<(), Errno>,
) -> io::Result<()> {
    let fd = fd.clone();
    Ok(in_pool(move || sync(fd.as_fd())).await??)
}

/// A directory's identity: device and inode number.
type Identity = (u64, u64);

/// One who waits for a sync that starts later than now.
struct Waiter {
    directory: Arc<OwnedFd>,
    answer: oneshot::Sender<Result<(), Arc<io::Error>>>,
}

/// Syncs directories for many commits at once: while one sync of a directory runs, later callers
/// gather, and the next sync serves all of them.
///
/// A caller is only ever served by a sync that *started after* its call, so the entry it made
/// before calling is covered. When a sync fails, its callers fail, and so do those that gathered
/// while it ran: their entries were already in the directory and may be what was lost, and the
/// kernel will not report the loss again.
///
/// Cheap to clone; all clones share one state. Belongs to one thread and its `tokio_uring`
/// runtime.
#[derive(Clone, Default)]
pub struct DirectorySyncs {
    running: Rc<RefCell<HashMap<Identity, Vec<Waiter>>>>,
}

impl DirectorySyncs {
    /// Makes every entry that `directory` has at the time of the call durable.
    ///
    /// # Errors
    ///
    /// What fsync(2) reports.
    pub async fn sync(&self, directory: Arc<OwnedFd>) -> io::Result<()> {
        let stat = fstat(&directory)?;
        let identity = (stat.st_dev, stat.st_ino);
        let (answer, answered) = oneshot::channel();
        self.join(identity, Waiter { directory, answer });
        match answered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(copy_of(&error)),
            Err(_) => Err(io::Error::other("the sync of the directory was abandoned")),
        }
    }

    /// Queues behind the running sync of this directory, or starts one.
    fn join(&self, identity: Identity, waiter: Waiter) {
        let mut running = self.running.borrow_mut();
        if let Some(gathering) = running.get_mut(&identity) {
            gathering.push(waiter);
            return;
        }
        running.insert(identity, Vec::new());
        drop(running);
        let turn = Turn {
            syncs: self.clone(),
            identity,
        };
        // A task of its own: the callers may be dropped, the gathered ones must still be served.
        tokio_uring::spawn(turn.serve(vec![waiter]));
    }
}

/// The right to sync one directory; leaving it, in whatever way, lets the next caller start anew.
struct Turn {
    syncs: DirectorySyncs,
    identity: Identity,
}

impl Turn {
    async fn serve(self, mut batch: Vec<Waiter>) {
        while let Some(first) = batch.first() {
            let result = sync_all(&first.directory).await.map_err(Arc::new);
            let gathered = self.gathered();
            if result.is_err() {
                answer(batch, &result);
                answer(gathered, &result);
                // Those who answer may have queued again only after this function's next await,
                // of which there is none: the turn ends with nobody waiting.
                return;
            }
            answer(batch, &result);
            batch = gathered;
        }
    }

    /// Takes those who came while the last sync ran.
    fn gathered(&self) -> Vec<Waiter> {
        let mut running = self.syncs.running.borrow_mut();
        running
            .get_mut(&self.identity)
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.syncs.running.borrow_mut().remove(&self.identity);
    }
}

fn answer(waiters: Vec<Waiter>, result: &Result<(), Arc<io::Error>>) {
    for waiter in waiters {
        // A caller that is gone does not want the answer.
        let _ = waiter.answer.send(result.clone());
    }
}

/// io::Error is not Clone; the errno value (or the text) is what matters.
fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
