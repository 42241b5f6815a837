//! A file system whose every write is recorded, and what is promised of the files on it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::promise::{Promises, Ticket};
use super::ranged::RangedWrite;
use crate::blockdev::{Disk, Kind, Log, Mounted, Options};

/// Writes that are recorded at most, in bytes.
const LIMIT: usize = 2 << 30;

/// A recording under way.
#[derive(Debug)]
pub struct Recording {
    kind: Kind,
    options: Options,
    // Unmounted before its disk goes.
    mount: Mounted,
    disk: Disk,
    promises: Promises,
}

/// A recording that has ended.
#[derive(Debug)]
pub struct Recorded {
    /// The file system on the disk.
    pub kind: Kind,
    /// The disk.
    pub options: Options,
    /// Everything that it was told.
    pub log: Log,
    /// Everything that was promised.
    pub promises: Promises,
}

impl Recording {
    /// Makes a file system on a disk and mounts it at `directory`/mount. Recording begins now.
    ///
    /// # Errors
    /// No such disk can be made here.
    pub fn start(directory: &Path, kind: Kind, size: u64) -> Result<Self> {
        let options = Options::of(size.max(kind.smallest()));
        let disk = Disk::formatted(&directory.join("disk"), options, kind)?;
        let at = directory.join("mount");
        std::fs::create_dir_all(&at).with_context(|| format!("cannot make {}", at.display()))?;
        let mount = disk.mount(kind, &at)?;
        let root = File::open(&at).context("cannot open the mount")?;
        rustix::fs::syncfs(&root).context("cannot sync the new file system")?;
        disk.control().record(LIMIT);
        Ok(Self {
            kind,
            options,
            mount,
            disk,
            promises: Promises::default(),
        })
    }

    /// Where the file system is mounted.
    pub fn root(&self) -> &Path {
        self.mount.path()
    }

    /// The disk below it.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The file at `source` is about to be sent to `name`.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn begin(&mut self, name: &str, source: &Path) -> Result<Ticket> {
        let position = self.position();
        self.promises
            .begin(name, source, position)
            .with_context(|| format!("cannot read {}", source.display()))
    }

    /// How much the log has so far.
    pub fn position(&self) -> usize {
        self.disk.control().position()
    }

    /// What happened since a position deserves more points than its share of the log.
    pub fn dwell_on(&mut self, since: usize) {
        let position = self.position();
        self.promises.dwell_on(since..position);
    }

    /// A range of a file is about to be written in place.
    pub fn write(&mut self, name: &str, write: RangedWrite) {
        let position = self.position();
        self.promises.write(name, write, position);
    }

    /// A sync of such a file, begun after its last write was over, has succeeded.
    pub fn synced(&mut self, name: &str) {
        let position = self.position();
        self.promises.synced(name, position);
    }

    /// It was acknowledged.
    pub fn acknowledge(&mut self, ticket: &Ticket) {
        let position = self.position();
        self.promises.acknowledge(ticket, position);
    }

    /// Ends it. Whoever used the file system has left.
    ///
    /// # Errors
    /// The file system is in use; more was written than a recording holds; the files are not what was promised even without a
    /// loss of power.
    pub fn end(self) -> Result<Recorded> {
        let Self {
            kind,
            options,
            mount,
            disk,
            promises,
        } = self;
        if let Err(sentence) = promises.check(mount.path(), disk.control().position()) {
            anyhow::bail!("without any loss of power: {sentence}");
        }
        let at: PathBuf = mount.path().to_owned();
        mount
            .unmount()
            .with_context(|| format!("cannot unmount {}", at.display()))?;
        let log = disk.control().recorded().context("nothing was recorded")?;
        ensure!(!log.overflown(), "more than {LIMIT} bytes were written");
        Ok(Recorded {
            kind,
            options,
            log,
            promises,
        })
    }
}
