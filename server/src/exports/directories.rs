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
pub(super) type Identity = (u64, u64);
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
        let entry = self.register((stat.st_dev, stat.st_ino));

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
        if self.unsettled.borrow().is_empty() {
            return Ok(());
        }
        let stat = fstat(directory)?;
        match self.wait_for((stat.st_dev, stat.st_ino)) {
            None => Ok(()),
            Some(settled) => match settled.await {
                Ok(true) => Ok(()),
                // Not durable, or its maker is gone without a word.
                Ok(false) | Err(_) => Err(Errno::IO.into()),
            },
        }
    }

    /// Registers a directory that gets another name: whoever finds it under that one waits until [`Unsettled::finish`] is told that the
    /// name is durable. Waits first for whoever has registered it before. Directories below it are not registered: what is put into
    /// those meanwhile does not wait.
    pub(crate) async fn hold(&self, identity: Identity) -> Unsettled {
        while let Some(settled) = self.wait_for(identity) {
            // In whatever way that ended.
            let _ = settled.await;
        }
        self.register(identity)
    }

    fn register(&self, identity: Identity) -> Unsettled {
        let mut unsettled = self.unsettled.borrow_mut();
        unsettled.insert(identity, Vec::new());
        Unsettled {
            made: self.clone(),
            identity,
        }
    }

    /// What to wait for, if the directory is registered.
    fn wait_for(&self, identity: Identity) -> Option<oneshot::Receiver<bool>> {
        let mut unsettled = self.unsettled.borrow_mut();
        let waiting = unsettled.get_mut(&identity)?;
        let (answer, settled) = oneshot::channel();
        waiting.push(answer);
        Some(settled)
    }

    /// Makes all earlier entries of a directory durable.
    pub(super) async fn sync(&self, directory: Arc<OwnedFd>) -> io::Result<()> {
        self.syncs.sync(directory).await
    }
}

/// A directory whose entry is not durable yet; leaving this, in whatever way, ends the waiting.
pub(crate) struct Unsettled {
    made: MadeDirectories,
    identity: Identity,
}

impl Unsettled {
    /// Tells whoever waits whether the entry is durable.
    pub(crate) fn finish(self, durable: bool) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, OFlags, openat};
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[track_caller]
    fn waits<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) {
        let polled = future.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
    }

    #[test]
    fn a_directory_that_gets_another_name_is_waited_for() {
        tokio_uring::start(async {
            let directory = openat(CWD, "/", OFlags::RDONLY, Mode::empty()).unwrap();
            let stat = fstat(&directory).unwrap();
            let made = MadeDirectories::default();
            for durable in [true, false] {
                let held = made.hold((stat.st_dev, stat.st_ino)).await;
                let mut settled = pin!(made.settled(&directory));
                waits(settled.as_mut());
                let mut second = pin!(made.hold((stat.st_dev, stat.st_ino)));
                waits(second.as_mut());
                held.finish(durable);
                assert_eq!(settled.await.is_ok(), durable);
                // Dropped without a word: not durable, as far as anybody knows.
                let second = second.await;
                let mut settled = pin!(made.settled(&directory));
                waits(settled.as_mut());
                drop(second);
                assert!(settled.await.is_err());
                assert!(made.settled(&directory).await.is_ok());
            }
        });
    }
}
