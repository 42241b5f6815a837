//! Whether two trees are the same, by rsync's word and by stat(2).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Blocks of 512 bytes that a copy may take more than what it is a copy of: ends of runs, and metadata of extents.
const SLACK: u64 = 128;
/// Holes of smaller files need not be kept (README.md, Limits).
const SPARSE_MIN: u64 = 1 << 20;

/// `copy` is what `model` is.
///
/// # Panics
/// With what differs.
#[track_caller]
pub fn assert_same(model: &Path, copy: &Path, what: &str) {
    let found = Command::new("rsync")
        .args(["-nac", "--omit-link-times", "--delete", "--itemize-changes"])
        .arg(with_slash(model))
        .arg(with_slash(copy))
        .output()
        .expect("cannot start rsync");
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    let errors = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(
        found.status.success() && said.is_empty(),
        "{what}: rsync would have something to do:\n{said}{errors}"
    );
    let (expected, found) = (attributes(model), attributes(copy));
    for (path, attributes) in &expected {
        let there = found.get(path);
        assert!(
            there.is_some_and(|there| attributes.is_copied_as(there)),
            "{what}: {} is\n{attributes:?}, and the copy\n{there:?}",
            path.display()
        );
    }
    assert_eq!(
        expected.len(),
        found.len(),
        "{what}: more than there should be"
    );
}

/// The content of a directory, not the directory.
pub fn with_slash(path: &Path) -> OsString {
    let mut word = path.as_os_str().to_owned();
    word.push("/");
    word
}

/// What stat(2) tells of an item.
#[derive(Debug, PartialEq, Eq)]
struct Attributes {
    mode: u32,
    size: u64,
    mtime: (i64, i64),
    link: Option<PathBuf>,
    blocks: u64,
}

impl Attributes {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        let is_directory = metadata.is_dir();
        Self {
            mode: metadata.mode(),
            // Those of a directory are the file system's affair.
            size: if is_directory { 0 } else { metadata.len() },
            // Links get times of their own (docs/operations.md).
            mtime: match metadata.is_symlink() {
                true => (0, 0),
                false => (metadata.mtime(), metadata.mtime_nsec()),
            },
            link: metadata
                .is_symlink()
                .then(|| std::fs::read_link(path).expect("cannot read a link")),
            blocks: if is_directory { 0 } else { metadata.blocks() },
        }
    }

    fn is_copied_as(&self, copy: &Self) -> bool {
        let same = (self.mode, self.size, self.mtime, &self.link)
            == (copy.mode, copy.size, copy.mtime, &copy.link);
        same && (self.size < SPARSE_MIN || copy.blocks <= self.blocks + SLACK)
    }
}

/// Everything below a directory, and the directory.
fn attributes(root: &Path) -> BTreeMap<PathBuf, Attributes> {
    let mut all = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let here = root.join(&path);
        let metadata = std::fs::symlink_metadata(&here)
            .unwrap_or_else(|error| panic!("{}: {error}", here.display()));
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&here).expect("cannot read a directory");
            left.extend(
                entries.map(|entry| path.join(entry.expect("cannot read a directory").file_name())),
            );
        }
        let found = Attributes::of(&here, &metadata);
        all.insert(path, found);
    }
    all
}
