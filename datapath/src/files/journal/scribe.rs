//! The thread that writes entries, so that no worker does.
//!
//! A write of eight bytes into the page cache takes a microsecond, but for the moments when it takes seconds: the kernel makes
//! who dirties a page wait while others write more than the disk takes (`balance_dirty_pages`), while the page is
//! being written out, while the file system commits its own journal. (Beside one `dd` to the same loop device, on Linux 6.18: half of them 8 µs,
//! the slowest of 5000 140 ms on ext4, 47 ms on XFS.) A worker that waits receives for nobody. What the
//! thread has not written yet when this program is killed is sent again, no more.

use std::sync::Weak;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::Progress;

/// The thread of one store: a disk that stands still holds up its own journals only. It ends when all clones are gone.
#[derive(Clone, Debug)]
pub(in crate::files) struct Scribe {
    /// `None`: there was no thread to be had.
    queue: Option<Sender<Weak<Progress>>>,
}

impl Scribe {
    pub(in crate::files) fn start() -> Scribe {
        let (queue, woken) = channel();
        let thread = thread::Builder::new().name("blockd-journal".to_owned());
        match thread.spawn(move || write(&woken)) {
            Ok(_) => Scribe { queue: Some(queue) },
            Err(error) => {
                tracing::warn!(%error, "no thread for the journals of partial files: the workers write them");
                Scribe { queue: None }
            }
        }
    }

    /// Has the thread write what is pending; `false` when it is not there.
    pub(super) fn wake(&self, progress: &Weak<Progress>) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.send(progress.clone()).is_ok())
    }
}

fn write(woken: &Receiver<Weak<Progress>>) {
    while let Ok(progress) = woken.recv() {
        // Gone: it has written all itself.
        if let Some(progress) = progress.upgrade() {
            progress.flush();
        }
    }
}
