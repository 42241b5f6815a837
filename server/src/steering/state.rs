//! What was changed, in a file: a blockd that is killed takes nothing back, so the next one, or `blockd restore`, does.
//!
//! The file is locked by who made the changes, for as long as he lives; it is written before the first change is made, and
//! removed after the last one is taken back.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use serde::{Deserialize, Serialize};

use super::plan::Change;

/// Version of the file's content.
const FORMAT: u32 = 1;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A process that is alive has changed the settings.
    #[error("another blockd, which is running, has set the steering of {0}")]
    InUse(String),
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not what blockd writes.
    #[error("cannot understand {path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    format: u32,
    /// Name of the interface.
    pub(super) interface: String,
    /// Its index: another one is another interface by now.
    pub(super) index: u32,
    /// What was to be changed.
    pub(super) changes: Vec<Change>,
}

impl Saved {
    pub(super) fn new(interface: &str, index: u32, changes: &[Change]) -> Self {
        Self {
            format: FORMAT,
            interface: interface.to_owned(),
            index,
            changes: changes.to_vec(),
        }
    }
}

/// The file of an interface, locked. It stays when this is dropped.
#[derive(Debug)]
pub(super) struct StateFile {
    file: File,
    path: PathBuf,
}

impl StateFile {
    /// Of an interface of this network namespace: names are the same in others.
    pub(super) fn path(directory: &Path, interface: &str) -> PathBuf {
        let namespace = fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino());
        directory.join(format!("{}{interface}.json", prefix(namespace)))
    }

    /// The files there are for this network namespace.
    pub(super) fn all(directory: &Path) -> Vec<PathBuf> {
        let namespace = fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino());
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix(namespace)) && name.ends_with(".json"))
        };
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
        paths.sort();
        paths
    }

    /// Locks the file, which is made when `create` is set; `None`: there is none.
    pub(super) fn lock(path: &Path, create: bool) -> Result<Option<Self>, StateError> {
        let failed = |source| StateError::Io {
            path: path.to_owned(),
            source,
        };
        if create && let Some(directory) = path.parent() {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(directory);
            made.map_err(failed)?;
        }
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(create).mode(0o600);
            let file = match options.open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !create => {
                    return Ok(None);
                }
                Err(error) => return Err(failed(error)),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(StateError::InUse(interface_of(path)));
                }
                Err(error) => return Err(failed(error.into())),
            }
            // Whoever had it may have removed it in between.
            let locked = file.metadata().map_err(failed)?;
            if fs::metadata(path).is_ok_and(|there| there.ino() == locked.ino()) {
                let path = path.to_owned();
                return Ok(Some(Self { file, path }));
            }
        }
    }

    /// What is in it; `None`: nothing, and then nothing had been changed yet. Of a longer content that it had before, the end may
    /// still stand behind it.
    ///
    /// # Errors
    /// [`StateError`]: it cannot be read, or is not what blockd has written.
    pub(super) fn read(&mut self) -> Result<Option<Saved>, StateError> {
        let mut bytes = Vec::new();
        let read = self.file.rewind();
        let read = read.and_then(|()| self.file.read_to_end(&mut bytes));
        read.map_err(|source| StateError::Io {
            path: self.path.clone(),
            source,
        })?;
        let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Saved>();
        let unreadable = |why: String| StateError::Unreadable {
            path: self.path.clone(),
            why,
        };
        match values.next() {
            None => Ok(None),
            Some(Ok(saved)) if saved.format == FORMAT => Ok(Some(saved)),
            Some(Ok(saved)) => Err(unreadable(format!("it has format {}", saved.format))),
            Some(Err(error)) => Err(unreadable(error.to_string())),
        }
    }

    /// Leaves what cannot be read to a person, under another name, at which nobody looks again; gives that. It is the first that
    /// is free: the person may not have looked at an earlier one.
    pub(super) fn set_aside(self) -> io::Result<PathBuf> {
        let mut number = 1_u64;
        loop {
            let mut name = self.path.clone().into_os_string();
            name.push(".unreadable");
            if number > 1 {
                name.push(format!("-{number}"));
            }
            let name = PathBuf::from(name);
            match renameat_with(CWD, &self.path, CWD, &name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(name),
                Err(rustix::io::Errno::EXIST) => number += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes it anew.
    pub(super) fn write(&mut self, saved: &Saved) -> Result<(), StateError> {
        let mut write = || {
            let text = serde_json::to_vec(saved)?;
            self.file.rewind()?;
            self.file.write_all(&text)?;
            self.file.set_len(text.len() as u64)
        };
        write().map_err(|source| StateError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// What is left to be taken back; nothing, and the file goes.
    pub(super) fn keep(&mut self, left: &Saved) {
        if left.changes.is_empty() {
            return self.remove();
        }
        if let Err(error) = self.write(left) {
            tracing::warn!("steering: {error}");
        }
    }

    /// Nothing is left to be taken back.
    pub(super) fn remove(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove a file that is not needed any more");
        }
    }
}

/// The interface that a file is of: its name is behind the word and the namespace.
pub(super) fn interface_of(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.splitn(3, '-').nth(2).unwrap_or_default().to_owned()
}

fn prefix(namespace: u64) -> String {
    format!("steering-{namespace}-")
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Key, Value};
    use super::*;

    fn saved() -> Saved {
        let change = Change {
            key: Key::Interrupt {
                number: 25,
                name: "virtio0-input.0".to_owned(),
            },
            from: Value::Numbers(vec![0, 1]),
            to: Value::Numbers(vec![1]),
        };
        Saved::new("eth1", 3, &[change])
    }

    #[test]
    fn what_was_written_is_there_for_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = StateFile::path(&directory.path().join("blockd"), "eth1");
        assert!(StateFile::lock(&path, false).unwrap().is_none());
        let mut first = StateFile::lock(&path, true).unwrap().unwrap();
        assert_eq!(first.read().unwrap(), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        first.write(&saved()).unwrap();
        let busy = StateFile::lock(&path, true).unwrap_err().to_string();
        assert!(
            busy.contains("is running") && busy.contains("eth1"),
            "{busy}"
        );
        // As a kill does.
        drop(first);
        assert_eq!(
            StateFile::all(path.parent().unwrap()),
            std::slice::from_ref(&path)
        );
        let mut next = StateFile::lock(&path, false).unwrap().unwrap();
        assert_eq!(next.read().unwrap(), Some(saved()));
        let fewer = Saved::new("eth1", 3, &[]);
        next.write(&fewer).unwrap();
        assert_eq!(next.read().unwrap(), Some(fewer));
        next.remove();
        assert!(StateFile::lock(&path, false).unwrap().is_none());
    }

    #[test]
    fn what_is_no_state_is_told_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = StateFile::path(directory.path(), "eth1");
        let whole = serde_json::to_vec(&saved()).unwrap();
        let other = String::from_utf8_lossy(&whole).replace("\"format\":1", "\"format\":2");
        let contents = [
            &whole[..whole.len() / 2],
            b"garbage",
            b"\xff\xfe",
            b"[]",
            other.as_bytes(),
        ];
        let mut kept = Vec::new();
        for bytes in contents {
            fs::write(&path, bytes).unwrap();
            let mut file = StateFile::lock(&path, false).unwrap().unwrap();
            let error = file.read().unwrap_err();
            assert!(matches!(error, StateError::Unreadable { .. }), "{error}");
            kept.push(file.set_aside().unwrap());
            assert!(StateFile::all(directory.path()).is_empty());
        }
        // Each, under the first name that was free.
        let path = path.to_str().unwrap();
        let ends = ["", "-2", "-3", "-4", "-5"];
        assert_eq!(
            kept,
            ends.map(|end| PathBuf::from(format!("{path}.unreadable{end}")))
        );
        for (name, bytes) in kept.iter().zip(contents) {
            assert_eq!(fs::read(name).unwrap(), bytes);
        }
    }

    #[test]
    fn the_end_of_a_longer_content_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = StateFile::path(directory.path(), "eth1");
        let mut bytes = serde_json::to_vec(&saved()).unwrap();
        bytes.extend_from_slice(b"0],\"to\":}]}");
        fs::write(&path, &bytes).unwrap();
        let mut file = StateFile::lock(&path, false).unwrap().unwrap();
        assert_eq!(file.read().unwrap(), Some(saved()));
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["steering-1-eth1.json", "other.json", "steering"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert!(StateFile::all(directory.path()).is_empty());
    }
}
