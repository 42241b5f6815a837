//! The files of the serving end: made, dropped from the page cache, synced and compared there.

use std::fs::File;
use std::io::{Read, copy, sink};
use std::path::{Path, PathBuf};

use blk_bench::lab::files;
use rustix::fs::{Advice, fadvise};

/// What a measurement wants of the server's files. Names are those of [`scene`](super::scene).
pub trait FarFiles {
    /// Makes a file of zeros without blocks, for tools that write into one that is there.
    fn make(&self, name: &str, size: u64);
    /// Makes a file with content, on the disk and in the page cache. The same size gives the same content.
    fn fill(&self, name: &str, size: u64);
    /// Removes a file, if it is there.
    fn remove(&self, name: &str);
    /// Writes what is not on the disk yet.
    fn sync(&self, name: &str);
    /// Reads it into the page cache.
    fn warm(&self, name: &str);
    /// Takes it out of the page cache.
    fn cool(&self, name: &str);
    /// Seconds that the CPUs of another machine were not idle; 0 on this one, which are counted anyway.
    fn busy_seconds(&self) -> f64 {
        0.0
    }
    /// The same, and the seconds of it that were spent in user mode on something else, and stolen.
    fn cpu(&self) -> [f64; 3] {
        [0.0; 3]
    }
    /// Waits until the disk of another machine is at rest: whether it is. On this one it is waited for anyway.
    fn settle(&self) -> bool {
        true
    }
    /// Starts the server of this tool on another machine, and ends the one that ran there before. On this one
    /// [`Scene::serve`](super::scene::Scene::serve) does so.
    fn serve(&self, _tool: &str) {}
    /// Ends it.
    fn stop(&self) {}
    /// # Panics
    /// When it differs from a file of this end.
    fn assert_same(&self, name: &str, with: &Path);
}

/// On this machine.
#[derive(Debug)]
pub struct Local {
    /// The directory.
    pub export: PathBuf,
}

impl Local {
    fn open(&self, name: &str) -> File {
        let path = self.export.join(name);
        File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl FarFiles for Local {
    fn make(&self, name: &str, size: u64) {
        let file = File::create(self.export.join(name)).expect("cannot make the file");
        file.set_len(size).expect("cannot size the file");
    }

    fn fill(&self, name: &str, size: u64) {
        files::write(&self.export.join(name), size, 1);
        self.sync(name);
    }

    fn remove(&self, name: &str) {
        let _ = std::fs::remove_file(self.export.join(name));
    }

    fn sync(&self, name: &str) {
        self.open(name).sync_all().expect("cannot sync");
    }

    fn warm(&self, name: &str) {
        warm(&self.export.join(name));
    }

    fn cool(&self, name: &str) {
        cool(&self.export.join(name));
    }

    fn assert_same(&self, name: &str, with: &Path) {
        files::assert_same(with, &self.export.join(name));
    }
}

/// Reads a file into the page cache.
pub fn warm(path: &Path) {
    let mut file = File::open(path).expect("the file is there");
    copy(&mut file, &mut sink()).expect("the file can be read");
}

/// Writes what of a file is not on the disk yet: that is not the work of who is measured next.
pub fn sync(path: &Path) {
    let file = File::open(path).expect("the file is there");
    file.sync_all().expect("cannot sync");
}

/// Takes a file out of the page cache: what is dirty stays there, so it is written first.
pub fn cool(path: &Path) {
    let file = File::open(path).expect("the file is there");
    file.sync_all().expect("cannot sync");
    fadvise(&file, 0, None, Advice::DontNeed).expect("posix_fadvise");
}

/// CRC32 of a file, to compare it with one on another machine.
pub fn digest(path: &Path) -> std::io::Result<u32> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&buffer[..count]);
    }
}
