//! The files at this end: one to send, one that comes back.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::spawn_blocking;

use crate::failure::Failure;

/// Random bytes, so that nothing on the way can make less of them; some, again and again.
const PIECE: usize = 1 << 20;

/// A directory of its own. Removed when dropped.
pub struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    /// Where it is, by its name.
    pub fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(name)
    }

    /// Makes it.
    pub fn make(name: &str) -> Result<Self, Failure> {
        let directory = Self::place(name);
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(Failure::local("make", &directory))?;
        Ok(Self { directory })
    }

    /// Makes the file to send, of so many bytes, on another thread. That stops soon when the future is dropped.
    pub async fn fill(&self, size: u64) -> Result<(), Failure> {
        let source = self.source();
        let failed = Failure::local("write", &source);
        let stop = Stop::default();
        let stopped = Arc::clone(&stop.0);
        let path = source.clone();
        let filled = spawn_blocking(move || fill(&path, size, &stopped)).await;
        filled.map_err(io::Error::other).flatten().map_err(failed)
    }

    /// The file to send.
    pub fn source(&self) -> PathBuf {
        self.directory.join("sent")
    }

    /// The name of the file that comes back.
    pub fn got(&self) -> &'static str {
        "received"
    }

    /// Removes that.
    pub fn remove_got(&self) -> Result<(), Failure> {
        let path = self.directory.join(self.got());
        fs::remove_file(&path).map_err(Failure::local("remove", &path))
    }

    /// Where it comes to.
    pub fn open(&self) -> Result<OwnedFd, Failure> {
        let opened = File::open(&self.directory);
        Ok(opened
            .map_err(Failure::local("open", &self.directory))?
            .into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!(
                "blkcp: cannot remove {}: {error}; remove it",
                self.directory.display()
            );
        }
    }
}

/// Set when it is dropped.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn fill(path: &Path, size: u64, stop: &AtomicBool) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    File::open("/dev/urandom")?.read_exact(&mut piece)?;
    let mut file = File::create_new(path)?;
    let mut left = size;
    while left > 0 {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = left.min(PIECE as u64);
        file.write_all(&piece[..len as usize])?;
        left -= len;
    }
    // What is still to be written must not be, while something is measured.
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_come_and_go() {
        let name = format!("blkcp-test-{}", std::process::id());
        let size = 2 * PIECE as u64 + 5;
        let scratch = Scratch::make(&name).unwrap();
        let source = scratch.source();
        tokio_uring::start(scratch.fill(size)).unwrap();
        assert_eq!(fs::metadata(&source).unwrap().len(), size);
        assert!(Scratch::make(&name).is_err(), "it is somebody's");
        assert!(source.exists(), "and stays his");
        fs::write(source.with_file_name(scratch.got()), "x").unwrap();
        scratch.remove_got().unwrap();
        assert!(scratch.remove_got().is_err(), "it is gone");
        drop(scratch);
        assert!(!source.parent().unwrap().exists());
    }

    #[test]
    fn filling_stops_when_nobody_waits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sent");
        let stop = Stop::default();
        let stopped = Arc::clone(&stop.0);
        drop(stop);
        let error = fill(&path, 1 << 40, &stopped).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
