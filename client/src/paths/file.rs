//! The file in which figures outlast a process.
//!
//! It is written beside itself and renamed, so whoever reads sees the old one or the new one, whole; who writes holds the lock of a
//! second file, so that nobody's figures are lost to somebody else's.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::record::{Run, Site, now};

/// Version of the file's content.
const FORMAT: u32 = 2;
/// The running blkcp: only what it has found counts.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Sites that are kept, each with its newest run; the oldest go first.
pub(super) const SITES_MAX: usize = 256;
/// A file that is larger is not ours: a full one has some 200 KiB.
pub(super) const FILE_MAX: u64 = 1 << 20;
/// Older figures do not count, in seconds: kernels, cards and neighbours change.
pub(super) const AGE_MAX: u64 = 30 * 86_400;
/// How long is waited for somebody else who writes: he takes some milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Why figures are not remembered, or not known.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file, or its directory, cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not what this version writes.
    #[error(
        "{path} is damaged or of another version ({why}): it counts as empty until it is replaced"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody has held the lock for long.
    #[error("cannot lock {path}: another process has had it for a second")]
    Locked {
        /// The file that is locked.
        path: PathBuf,
    },
    /// There is no place for a file.
    #[error("there is no file for it ($XDG_CACHE_HOME, $HOME, BLK_PATHS)")]
    NoFile,
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Content {
    format: u32,
    /// The newest run of each site, the oldest first.
    pub(super) runs: Vec<Entry>,
}

/// What was found on a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    site: Site,
    #[serde(flatten)]
    run: Run,
    /// Of the blkcp that has found it: another one may be faster over the one or the other.
    version: String,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            format: FORMAT,
            runs: Vec::new(),
        }
    }
}

/// What is remembered, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    path: Option<PathBuf>,
    /// How long the lock is waited for.
    pub(super) patience: Duration,
}

impl History {
    /// In this file, which need not be there.
    pub fn at(path: PathBuf) -> Self {
        Self {
            path: Some(path),
            ..Self::none()
        }
    }

    /// Nothing is remembered.
    pub fn none() -> Self {
        Self {
            path: None,
            patience: LOCK_PATIENCE,
        }
    }

    /// The newest run on a site, if it still counts.
    ///
    /// # Errors
    /// [`HistoryError`]: there is a file, and it tells nothing.
    pub fn look_up(&self, site: &Site) -> Result<Option<Run>, HistoryError> {
        let content = match &self.path {
            Some(path) => read(path)?,
            None => Content::default(),
        };
        Ok(content.newest(site, now()))
    }

    /// Remembers what a run has found, in place of what was known of the site. May wait for somebody else who writes, for a second.
    ///
    /// # Errors
    /// [`HistoryError`]: it is not remembered.
    pub fn record(&self, site: &Site, run: Run) -> Result<(), HistoryError> {
        self.change(|content| content.add(site, run))
    }

    /// Forgets what was found on a site, e.g. as a data path of then cannot be had any more. Where nothing counts, nothing is
    /// written.
    ///
    /// # Errors
    /// [`HistoryError`]: it may still count.
    pub fn forget(&self, site: &Site) -> Result<(), HistoryError> {
        match self.look_up(site) {
            Ok(Some(_)) => self.change(|content| content.remove(site)),
            Ok(None) | Err(HistoryError::Unreadable { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads, changes and writes the file, alone. What cannot be understood is replaced.
    pub(super) fn change(&self, change: impl FnOnce(&mut Content)) -> Result<(), HistoryError> {
        let path = self.path.as_ref().ok_or(HistoryError::NoFile)?;
        let failed = |source| HistoryError::Io {
            path: path.clone(),
            source,
        };
        if let Some(directory) = path.parent() {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(directory);
            made.map_err(failed)?;
        }
        let _lock = lock(&beside(path, ".lock"), self.patience)?;
        let mut content = match read(path) {
            Ok(content) => content,
            Err(error @ HistoryError::Unreadable { .. }) => {
                tracing::warn!("{error}, which is now");
                Content::default()
            }
            Err(error) => return Err(error),
        };
        change(&mut content);
        write(path, &content).map_err(failed)
    }
}

impl Content {
    /// Adds a run, and drops what it replaces and what is too much.
    pub(super) fn add(&mut self, site: &Site, run: Run) {
        self.remove(site);
        self.runs.push(Entry {
            site: site.clone(),
            run,
            version: VERSION.to_owned(),
        });
        let surplus = self.runs.len().saturating_sub(SITES_MAX);
        self.runs.drain(..surplus);
    }

    fn remove(&mut self, site: &Site) {
        self.runs.retain(|entry| entry.site != *site);
    }

    pub(super) fn newest(&self, site: &Site, now: u64) -> Option<Run> {
        let entry = self.runs.iter().find(|entry| entry.site == *site)?;
        let run = &entry.run;
        // One from the future was written under another clock.
        let is_new = run.at <= now && now - run.at <= AGE_MAX;
        let counts = is_new && entry.version == VERSION && run.is_sound();
        counts.then(|| run.clone())
    }
}

/// The content of a file; nothing, where there is none.
pub(super) fn read(path: &Path) -> Result<Content, HistoryError> {
    let failed = |source| HistoryError::Io {
        path: path.to_owned(),
        source,
    };
    let unreadable = |why: String| HistoryError::Unreadable {
        path: path.to_owned(),
        why,
    };
    // Whatever has its place, a FIFO too, must not keep a copy waiting.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    let read = file.take(FILE_MAX + 1).read_to_end(&mut bytes);
    read.map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(unreadable(format!("it has more than {FILE_MAX} bytes")));
    }
    let content: Content =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    match content.format {
        FORMAT => Ok(content),
        format => Err(unreadable(format!("it has format {format}"))),
    }
}

/// A file in the same directory, whose name has this at its end.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Replaces the file. No sync: after a loss of power, figures that are gone are taken again.
fn write(path: &Path, content: &Content) -> io::Result<()> {
    let new = beside(path, ".new");
    let text = serde_json::to_vec(content)?;
    // Under the lock nobody else writes it; one that is there was left by a process that was killed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&text)
        .and_then(|()| fs::rename(&new, path))
        .inspect_err(|_| drop(fs::remove_file(&new)))
}

/// Locks a file, which is made if it is missing and waited for for so long, until what is returned is dropped.
fn lock(path: &Path, patience: Duration) -> Result<File, HistoryError> {
    let failed = |source| HistoryError::Io {
        path: path.to_owned(),
        source,
    };
    // A link in its place would have another file made, with root's rights perhaps; a FIFO would keep it waiting.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let opened = options.custom_flags(flags.bits() as i32).open(path);
    let file = opened.map_err(failed)?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(HistoryError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}
