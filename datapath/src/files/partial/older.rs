//! What an earlier put left for a name that has got another file by now.

use std::io;
use std::sync::Arc;

use rustix::fs::{AtFlags, statat};

use super::PartialStore;
use super::held::{self, Key, Taken};
use crate::files::PendingTarget;

/// The place of a partial file beside a target that is none itself. Nobody goes on with it once that target has the name.
#[derive(Clone, Debug)]
pub struct OlderPartial {
    store: Arc<PartialStore>,
    key: Key,
}

impl OlderPartial {
    /// Whether there is one. Cheap.
    pub fn is_there(&self) -> bool {
        let look = |directory| statat(directory, self.key.journal(), AtFlags::SYMLINK_NOFOLLOW);
        matches!(self.store.open(), Ok(Some(directory)) if look(&*directory).is_ok())
    }

    /// Removes it, unless a put has it. Freeing a large file takes a while.
    ///
    /// # Errors
    ///
    /// As unlinkat(2).
    pub fn remove(&self) -> io::Result<()> {
        let Some(directory) = self.store.open()? else {
            return Ok(());
        };
        match held::take(&directory, &self.key)? {
            Taken::Held(held) => held.remove().map(drop),
            Taken::Nothing | Taken::InUse => Ok(()),
        }
    }
}

impl PendingTarget {
    /// Tells where an earlier put of the same path may have left a partial file: see [`older`](PendingTarget::older).
    pub fn beside(&mut self, store: Arc<PartialStore>, path: &[u8]) {
        let key = Key::of(path);
        self.around.older = Some(OlderPartial { store, key });
    }

    /// What an earlier put of the path may have left and nobody needs after the commit of this target. `None` for one that can be
    /// resumed: its own partial has that place.
    pub fn older(&self) -> Option<OlderPartial> {
        self.around.older.clone().filter(|_| !self.is_resumable())
    }
}
