//! A disk that stands still: a frozen file system.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::must;

/// A file system on which every write waits, as on a disk that does not answer. Goes on when dropped.
#[derive(Debug)]
pub struct Frozen {
    mount: PathBuf,
}

impl Frozen {
    /// Stops the file system mounted at `mount`.
    ///
    /// # Panics
    /// When it cannot be stopped.
    pub fn freeze(mount: &Path) -> Self {
        must(Command::new("fsfreeze").arg("--freeze").arg(mount));
        Self {
            mount: mount.to_owned(),
        }
    }

    /// Lets it go on.
    pub fn thaw(self) {
        drop(self);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze")
            .arg("--unfreeze")
            .arg(&self.mount)
            .output();
    }
}
