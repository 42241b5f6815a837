//! What is copied: two versions of the same names, put over each other in turn.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use blk_bench::lab::files;
use blk_bench::wire::random::Random;

/// Bytes compared at once.
const CHUNK: usize = 1 << 20;

/// Puts of files from this size on can be resumed.
pub const RESUME_MIN: u64 = 4 << 20;

/// Small files; every eighth name is longer than the others.
const SMALL: u64 = 300;

/// Medium ones.
const MEDIUM: u64 = 4;

/// Every so many bytes of the sparse file, there are [`SPARSE_DATA`] of data.
const SPARSE_STEP: u64 = 4 << 20;
const SPARSE_DATA: u64 = 1 << 20;

/// One of the two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u64);

impl Version {
    /// The other one.
    pub fn other(self) -> Self {
        Self(1 - self.0)
    }
}

/// One call of blkcp, and the names it is about.
#[derive(Debug)]
pub struct Copy {
    /// Its name in messages.
    pub name: &'static str,
    /// What it copies, in the directory of a version.
    pub source: &'static str,
    /// The number of the host that it runs on.
    pub client: u32,
    /// Every file, by its path in the version's directory and in the export.
    pub files: Vec<String>,
}

/// All of it.
#[derive(Debug)]
pub struct Sources {
    root: PathBuf,
    /// The puts of a round.
    pub copies: Vec<Copy>,
}

impl Sources {
    /// Writes both versions below a directory; the largest file has so many MiB.
    pub fn make(root: &Path, mebibytes: u64) -> Self {
        let mut tree: Vec<String> = (0..MEDIUM).map(|i| format!("tree/medium-{i}")).collect();
        tree.extend((0..SMALL).map(small_name));
        let copies = vec![
            copy("big", "big", 1, vec!["big".to_owned()]),
            copy("sparse", "sparse", 2, vec!["sparse".to_owned()]),
            copy("tree", "tree", 3, tree),
        ];
        let sources = Self {
            root: root.to_owned(),
            copies,
        };
        for version in [Version(0), Version(1)] {
            sources.write(version, mebibytes);
        }
        sources
    }

    fn write(&self, version: Version, mebibytes: u64) {
        let directory = self.root.join(version.0.to_string());
        std::fs::create_dir_all(directory.join("tree")).expect("cannot make the sources");
        let seed = 1_000 * version.0;
        // Not a whole number of sectors, and not the same size in both.
        let odd = 777 + 100 * version.0;
        files::write(&directory.join("big"), (mebibytes << 20) + odd, seed + 1);
        write_sparse(&directory.join("sparse"), mebibytes << 20, seed + 2);
        for i in 0..MEDIUM {
            let path = directory.join(format!("tree/medium-{i}"));
            files::write(&path, (6 << 20) + odd, seed + 10 + i);
        }
        for i in 0..SMALL {
            let size = 17 + i * 131 % 40_000 + version.0;
            files::write(&directory.join(small_name(i)), size, seed + 100 + i);
        }
    }

    /// A file of a version.
    pub fn path(&self, version: Version, file: &str) -> PathBuf {
        self.root.join(version.0.to_string()).join(file)
    }

    /// Bytes of it that are no hole: what a put has to send.
    pub fn data(&self, version: Version, file: &str) -> u64 {
        let metadata = self.path(version, file).metadata();
        let metadata = metadata.expect("the sources are there");
        metadata.len().min(metadata.blocks() * 512)
    }

    /// Its length.
    pub fn size(&self, version: Version, file: &str) -> u64 {
        let metadata = self.path(version, file).metadata();
        metadata.expect("the sources are there").len()
    }
}

fn copy(name: &'static str, source: &'static str, client: u32, files: Vec<String>) -> Copy {
    Copy {
        name,
        source,
        client,
        files,
    }
}

fn small_name(i: u64) -> String {
    match i % 8 {
        0 => format!("tree/a-small-file-with-a-longer-name-{i:04}"),
        _ => format!("tree/small-{i:04}"),
    }
}

/// A file with a hole after each stretch of data, and one at its end.
fn write_sparse(path: &Path, size: u64, seed: u64) {
    let file = File::create(path).expect("cannot make the sparse file");
    file.set_len(size).expect("cannot make the sparse file");
    let mut random = Random::new(seed);
    for start in (0..size).step_by(SPARSE_STEP as usize) {
        let mut data = BufWriter::with_capacity(CHUNK, Vec::new());
        for _ in 0..SPARSE_DATA / 8 {
            let _ = data.write_all(&random.bits().to_le_bytes());
        }
        let data = data.into_inner().expect("memory takes all");
        file.write_all_at(&data, start)
            .expect("cannot write the sparse file");
    }
}

/// Whether a file has the content of another, byte for byte.
pub fn same(expected: &Path, found: &Path) -> bool {
    let (Ok(mut expected), Ok(mut found)) = (File::open(expected), File::open(found)) else {
        return false;
    };
    let size = |file: &File| file.metadata().map(|metadata| metadata.len()).ok();
    if size(&expected) != size(&found) {
        return false;
    }
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = expected.read(&mut a).expect("cannot read a source");
        if read == 0 {
            return true;
        }
        if found.read_exact(&mut b[..read]).is_err() || a[..read] != b[..read] {
            return false;
        }
    }
}
