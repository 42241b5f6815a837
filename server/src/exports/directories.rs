//! Making directories so that what is put into them is durable.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use blk_datapath::files::DirectorySyncs;
use rustix::fs::{AtFlags, Mode, fstat, mkdirat, statat, unlinkat};
use rustix::io::Errno;
use tokio::sync::oneshot;

/// A directory's identity: device and inode number.
type Identity = (u64, u64);
/// Told whether the directory became durable.
type Waiting = oneshot::Sender<bool>;

/// Makes directories and knows which of them are not durable yet.
///
/// A new directory's entry in its parent must be durable before a file in it may be called
/// durable. Whoever makes the directory syncs the parent; whoever finds it made in the meantime
/// waits for that sync (`settled`). So a directory that `settled` lets
/// pass is durable as far as this process made the way to it: its parent was settled before it
/// was made.
///
/// Cheap to clone; all clones share one state. Belongs to one thread and its `tokio_uring`
/// runtime.
#[derive(Clone, Default)]
pub struct MadeDirectories {
    unsettled: Rc<RefCell<HashMap<Identity, Vec<Waiting>>>>,
    syncs: DirectorySyncs,
}

impl MadeDirectories {
    /// With the directory syncs that the commits use, so that they share them.
    pub fn new(syncs: DirectorySyncs) -> MadeDirectories {
        MadeDirectories {
            unsettled: Rc::default(),
            syncs,
        }
    }

    /// Makes `name` in `parent` (open for reading) and returns when its entry is durable.
    ///
    /// # Errors
    ///
    /// EEXIST and the like from mkdirat(2), and what the sync of `parent` reports; after the
    /// latter the new directory is taken away again, if that is possible.
    pub(super) async fn make(
        &self,
        parent: &Arc<OwnedFd>,
        name: &[u8],
        mode: Mode,
    ) -> io::Result<()> {
        mkdirat(parent, name, mode)?;
        // No other task of this thread has run since: none has seen the directory unregistered.
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let entry = Unsettled {
            made: self.clone(),
            identity: (stat.st_dev, stat.st_ino),
        };
        self.unsettled
            .borrow_mut()
            .insert(entry.identity, Vec::new());

        let result = self.syncs.sync(parent.clone()).await;
        if result.is_err() {
            // Empty still: whoever would put something into it waits. If it stays nevertheless,
            // the error has at least been reported to everybody who was told of it.
            let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
        entry.finish(result.is_ok());
        result
    }

    /// Returns when `directory` is durable, unless somebody else than this process makes it.
    ///
    /// # Errors
    ///
    /// EIO when the sync that it depends on failed.
    pub(super) async fn settled(&self, directory: &OwnedFd) -> io::Result<()> {
        let settled = {
            let mut unsettled = self.unsettled.borrow_mut();
            if unsettled.is_empty() {
                return Ok(());
            }
            let stat = fstat(directory)?;
            let Some(waiting) = unsettled.get_mut(&(stat.st_dev, stat.st_ino)) else {
                return Ok(());
            };
            let (answer, settled) = oneshot::channel();
            waiting.push(answer);
            settled
        };
        match settled.await {
            Ok(true) => Ok(()),
            // Not durable, or its maker is gone without a word.
            Ok(false) | Err(_) => Err(Errno::IO.into()),
        }
    }

    /// Makes all earlier entries of a directory durable.
    pub(super) async fn sync(&self, directory: Arc<OwnedFd>) -> io::Result<()> {
        self.syncs.sync(directory).await
    }
}

/// A directory whose entry is not durable yet; leaving this, in whatever way, ends the waiting.
struct Unsettled {
    made: MadeDirectories,
    identity: Identity,
}

impl Unsettled {
    fn finish(self, durable: bool) {
        let waiting = self.made.unsettled.borrow_mut().remove(&self.identity);
        for answer in waiting.into_iter().flatten() {
            // Who is gone does not want the answer.
            let _ = answer.send(durable);
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.made.unsettled.borrow_mut().remove(&self.identity);
    }
}
