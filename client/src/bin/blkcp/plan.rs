//! From sources and a destination to a list of files to copy.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::hash::Hash;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use blk_client::{Connection, RemotePath};
use blk_proto::message::{Attributes, FileKind};

use crate::failure::Failure;

/// One file or directory to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<From, To> {
    /// Where it is.
    pub source: From,
    /// Where it goes.
    pub target: To,
    /// Bytes, when it is a file.
    pub size: u64,
    /// Permission bits, for a directory.
    pub mode: u32,
}

/// What is to be done: directories first, each before what is in it, then the files.
#[derive(Debug)]
pub struct Plan<From, To> {
    /// Directories to make at the target.
    pub directories: Vec<Item<From, To>>,
    /// Files to copy.
    pub files: Vec<Item<From, To>>,
    /// What is neither a file nor a directory, and is left out.
    pub skipped: Vec<String>,
}

impl<From, To> Default for Plan<From, To> {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            files: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

impl<From, To> Plan<From, To> {
    /// Bytes of all the files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// A plan to send local files.
pub type PutPlan = Plan<PathBuf, RemotePath>;
/// A plan to fetch remote files.
pub type GetPlan = Plan<RemotePath, PathBuf>;

/// Walks the local sources.
pub fn plan_put(
    sources: &[PathBuf],
    destination: &RemotePath,
    recursive: bool,
) -> Result<PutPlan, Failure> {
    let into = destination.trailing_slash || destination.path.is_empty();
    several_go_into(sources.len(), into, destination)?;
    let mut pairs = Vec::new();
    for source in sources {
        let target = if into {
            destination.join(base_name(source)?.as_bytes())
        } else {
            destination.clone()
        };
        pairs.push((source.clone(), target));
    }
    no_target_twice(
        pairs
            .iter()
            .map(|(source, target)| (source.display(), &target.path, target)),
    )?;
    let mut plan = PutPlan::default();
    for (source, target) in pairs {
        let found = std::fs::metadata(&source).map_err(Failure::local("read", &source))?;
        if found.is_dir() && !recursive {
            return Err(Failure::Directory(source.display().to_string()));
        }
        add_local(&mut plan, source, target, &found)?;
    }
    Ok(plan)
}

fn add_local(
    plan: &mut PutPlan,
    source: PathBuf,
    target: RemotePath,
    found: &std::fs::Metadata,
) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    let mode = found.mode() & 0o7777;
    if found.is_file() {
        plan.files.push(Item {
            source,
            target,
            size: found.len(),
            mode,
        });
    } else if found.is_dir() {
        let mut names: Vec<OsString> = std::fs::read_dir(&source)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .collect()
            })
            .map_err(Failure::local("list", &source))?;
        names.sort();
        plan.directories.push(Item {
            source: source.clone(),
            target: target.clone(),
            size: 0,
            mode,
        });
        for name in names {
            let path = source.join(&name);
            // Below the words on the command line, symbolic links are not followed: they may lead anywhere, or round.
            let found = std::fs::symlink_metadata(&path).map_err(Failure::local("read", &path))?;
            add_local(plan, path, target.join(name.as_bytes()), &found)?;
        }
    } else {
        plan.skipped.push(format!(
            "{}: neither a file nor a directory",
            source.display()
        ));
    }
    Ok(())
}

/// Where each of the remote sources goes; needs no connection.
pub fn targets_of(
    sources: &[RemotePath],
    destination: &Path,
    into: bool,
) -> Result<Vec<(RemotePath, PathBuf)>, Failure> {
    several_go_into(sources.len(), into, destination.display())?;
    let mut pairs = Vec::new();
    for source in sources {
        let target = if into {
            let name = source.name().unwrap_or(source.export.as_bytes());
            destination.join(local_name(name)?)
        } else {
            destination.to_owned()
        };
        pairs.push((source.clone(), target));
    }
    no_target_twice(
        pairs
            .iter()
            .map(|(source, target)| (source, target, target.display())),
    )?;
    Ok(pairs)
}

/// Walks the remote sources.
pub async fn plan_get(
    connection: &Connection,
    pairs: Vec<(RemotePath, PathBuf)>,
    recursive: bool,
) -> Result<GetPlan, Failure> {
    let mut plan = GetPlan::default();
    let mut open = Vec::new();
    for (source, target) in pairs {
        let found = connection.stat(&source).await?;
        if found.kind == FileKind::Directory && !recursive {
            return Err(Failure::Directory(source.to_string()));
        }
        open.extend(plan.add_remote(source, target, &found));
    }
    while let Some((directory, target)) = open.pop() {
        for entry in connection.list(&directory).await? {
            let source = directory.join(&entry.name);
            let target = target.join(local_name(&entry.name)?);
            open.extend(plan.add_remote(source, target, &entry.attributes));
        }
    }
    Ok(plan)
}

impl GetPlan {
    /// Adds what was found at `source`; a directory comes back, to be listed.
    fn add_remote(
        &mut self,
        source: RemotePath,
        target: PathBuf,
        found: &Attributes,
    ) -> Option<(RemotePath, PathBuf)> {
        let (size, mode) = (found.size, found.mode & 0o7777);
        match found.kind {
            FileKind::File => self.files.push(Item {
                source,
                target,
                size,
                mode,
            }),
            FileKind::Directory => {
                self.directories.push(Item {
                    source: source.clone(),
                    target: target.clone(),
                    size: 0,
                    mode,
                });
                return Some((source, target));
            }
            _ => self
                .skipped
                .push(format!("{source}: neither a file nor a directory")),
        }
        None
    }
}

fn several_go_into(sources: usize, into: bool, destination: impl Display) -> Result<(), Failure> {
    if sources > 1 && !into {
        let text = format!("several sources need a directory to copy into: write {destination}/");
        return Err(Failure::Usage(text));
    }
    Ok(())
}

/// Of two sources with one target the second would replace the first, or run into it. Takes each source, its target,
/// and the target's name for people.
fn no_target_twice<S: Display, T: Eq + Hash, N: Display>(
    pairs: impl Iterator<Item = (S, T, N)>,
) -> Result<(), Failure> {
    let mut taken = HashMap::new();
    for (source, target, name) in pairs {
        match taken.entry(target) {
            Entry::Occupied(first) => {
                let first: &S = first.get();
                return Err(Failure::Usage(format!(
                    "{first} and {source} would both become {name}: copy them one at a time, under different names"
                )));
            }
            Entry::Vacant(free) => {
                free.insert(source);
            }
        }
    }
    Ok(())
}

fn base_name(source: &Path) -> Result<OsString, Failure> {
    if let Some(name) = source.file_name() {
        return Ok(name.to_owned());
    }
    // `.`, `..` and `/` have a name only as what they stand for.
    let real = source
        .canonicalize()
        .map_err(Failure::local("read", source))?;
    real.file_name()
        .map(OsStr::to_owned)
        .ok_or_else(|| Failure::Name(source.display().to_string()))
}

/// A name from the other end must be one component and nothing else: it decides where files are written here.
fn local_name(name: &[u8]) -> Result<OsString, Failure> {
    let bad = name.is_empty()
        || name == b"."
        || name == b".."
        || name.contains(&b'/')
        || name.contains(&0);
    if bad {
        return Err(Failure::Name(String::from_utf8_lossy(name).into_owned()));
    }
    Ok(OsString::from_vec(name.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_client::Location;

    fn remote(word: &str) -> RemotePath {
        match word.parse() {
            Ok(Location::Remote(remote)) => remote,
            other => panic!("{word}: {other:?}"),
        }
    }

    #[test]
    fn a_tree_becomes_directories_and_files() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("d/empty")).unwrap();
        std::fs::write(tree.path().join("d/file"), b"12345").unwrap();
        std::os::unix::fs::symlink("file", tree.path().join("d/link")).unwrap();
        let to = remote("h:data/");
        let plan = plan_put(&[tree.path().join("d")], &to, true).unwrap();
        let names: Vec<_> = plan
            .directories
            .iter()
            .map(|item| item.target.path.clone())
            .collect();
        assert_eq!(names, [b"d".to_vec(), b"d/empty".to_vec()]);
        assert_eq!(
            (plan.files.len(), plan.bytes(), plan.skipped.len()),
            (1, 5, 1)
        );
        assert_eq!(plan.files[0].target.path, b"d/file");
        let refused = plan_put(&[tree.path().join("d")], &to, false);
        assert!(matches!(refused, Err(Failure::Directory(_))));
    }

    #[test]
    fn several_sources_need_a_directory() {
        let to = remote("h:data/x");
        assert!(matches!(
            plan_put(&["a".into(), "b".into()], &to, false),
            Err(Failure::Usage(_))
        ));
    }

    #[test]
    fn two_sources_with_one_target_are_both_named() {
        let to = remote("h:data/");
        let twice = plan_put(&["a/x".into(), "b/x".into()], &to, true);
        let text = twice.unwrap_err().to_string();
        for named in ["a/x", "b/x", "h:data/x"] {
            assert!(text.contains(named), "{text}");
        }
        let sources = [remote("h:data/a/x"), remote("h:other/x")];
        let twice = targets_of(&sources, Path::new("here"), true).unwrap_err();
        assert_eq!(twice.exit_code(), 2);
        for named in ["h:data/a/x", "h:other/x", "here/x"] {
            assert!(twice.to_string().contains(named), "{twice}");
        }
        let different = [remote("h:data/x"), remote("h:data/y")];
        let pairs = targets_of(&different, Path::new("here/.."), true).unwrap();
        assert_eq!(pairs[1].1, Path::new("here/../y"));
    }

    #[test]
    fn what_is_found_there_is_sorted_by_kind() {
        let mut plan = GetPlan::default();
        let found = |kind| Attributes {
            kind,
            size: 3,
            mode: 0o100_755,
            mtime_ns: 0,
        };
        let mut add = |kind| plan.add_remote(remote("h:data/x"), PathBuf::from("x"), &found(kind));
        assert!(add(FileKind::File).is_none() && add(FileKind::Symlink).is_none());
        assert_eq!(
            add(FileKind::Directory),
            Some((remote("h:data/x"), "x".into()))
        );
        assert_eq!((plan.bytes(), plan.skipped.len()), (3, 1));
        assert_eq!(plan.directories[0].mode, 0o755);
    }

    #[test]
    fn names_from_the_other_end_stay_in_their_directory() {
        for bad in [&b".."[..], b".", b"", b"a/b", b"/etc", b"a\0b"] {
            assert!(local_name(bad).is_err());
        }
        assert_eq!(local_name(b"\xff ok").unwrap().as_bytes(), b"\xff ok");
    }
}
