//! From the words on the command line to a list of files to copy.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use blk_client::{Connection, Location, RemotePath};
use blk_proto::message::FileKind;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Which way the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// Local files to a host.
    Put {
        sources: Vec<PathBuf>,
        destination: RemotePath,
    },
    /// A host's files to here.
    Get {
        sources: Vec<RemotePath>,
        destination: PathBuf,
        into: bool,
    },
}

impl Direction {
    /// Reads the words; what cannot be copied is a usage failure.
    pub fn read(arguments: &Arguments) -> Result<Self, Failure> {
        let destination = Location::parse(&arguments.destination)?;
        let sources: Vec<Location> = arguments
            .sources
            .iter()
            .map(Location::parse)
            .collect::<Result<_, _>>()?;
        match destination {
            Location::Remote(destination) => {
                let locals = sources.into_iter().map(|source| match source {
                    Location::Local(path) => Ok(path),
                    Location::Remote(_) => Err(Failure::Usage(
                        "from host to host: copy to a local path first".into(),
                    )),
                });
                Ok(Self::Put {
                    sources: locals.collect::<Result<_, _>>()?,
                    destination,
                })
            }
            Location::Local(destination) => {
                let remotes = sources.into_iter().map(|source| match source {
                    Location::Remote(path) => Ok(path),
                    Location::Local(_) => Err(Failure::Usage(
                        "neither side is remote: write one as HOST:EXPORT/PATH".into(),
                    )),
                });
                let remotes: Vec<RemotePath> = remotes.collect::<Result<_, _>>()?;
                if remotes.iter().any(|remote| remote.host != remotes[0].host) {
                    return Err(Failure::Usage(
                        "the sources are on different hosts: copy them one host at a time".into(),
                    ));
                }
                let slash = arguments.destination.as_bytes().ends_with(b"/");
                let dots = matches!(destination.as_os_str().as_bytes(), b"." | b"..");
                Ok(Self::Get {
                    sources: remotes,
                    destination,
                    into: slash || dots,
                })
            }
        }
    }

    /// The host at the other end.
    pub fn host(&self) -> &str {
        match self {
            Self::Put { destination, .. } => &destination.host,
            Self::Get { sources, .. } => &sources[0].host,
        }
    }
}

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
    if sources.len() > 1 && !into {
        let text = format!("several sources need a directory to copy into: write {destination}/");
        return Err(Failure::Usage(text));
    }
    let mut plan = PutPlan::default();
    for source in sources {
        let target = if into {
            destination.join(base_name(source)?.as_bytes())
        } else {
            destination.clone()
        };
        let found = std::fs::metadata(source).map_err(Failure::local("read", source))?;
        if found.is_dir() && !recursive {
            return Err(Failure::Directory(source.display().to_string()));
        }
        add_local(&mut plan, source.clone(), target, &found)?;
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

/// Walks the remote sources.
pub async fn plan_get(
    connection: &Connection,
    sources: &[RemotePath],
    destination: &Path,
    into: bool,
    recursive: bool,
) -> Result<GetPlan, Failure> {
    if sources.len() > 1 && !into {
        let text = format!(
            "several sources need a directory to copy into: write {}/",
            destination.display()
        );
        return Err(Failure::Usage(text));
    }
    let mut plan = GetPlan::default();
    let mut open: Vec<(RemotePath, PathBuf)> = Vec::new();
    for source in sources {
        let target = if into {
            let name = source.name().unwrap_or(source.export.as_bytes());
            destination.join(local_name(name)?)
        } else {
            destination.to_owned()
        };
        let found = connection.stat(source).await?;
        match found.kind {
            FileKind::File => {
                plan.files.push(Item {
                    source: source.clone(),
                    target,
                    size: found.size,
                    mode: found.mode,
                });
            }
            FileKind::Directory if !recursive => {
                return Err(Failure::Directory(source.to_string()));
            }
            FileKind::Directory => {
                plan.directories.push(Item {
                    source: source.clone(),
                    target: target.clone(),
                    size: 0,
                    mode: found.mode,
                });
                open.push((source.clone(), target));
            }
            _ => plan
                .skipped
                .push(format!("{source}: neither a file nor a directory")),
        }
    }
    while let Some((directory, target)) = open.pop() {
        for entry in connection.list(&directory).await? {
            let source = directory.join(&entry.name);
            let target = target.join(local_name(&entry.name)?);
            let (size, mode) = (entry.attributes.size, entry.attributes.mode & 0o7777);
            match entry.attributes.kind {
                FileKind::File => plan.files.push(Item {
                    source,
                    target,
                    size,
                    mode,
                }),
                FileKind::Directory => {
                    plan.directories.push(Item {
                        source: source.clone(),
                        target: target.clone(),
                        size: 0,
                        mode,
                    });
                    open.push((source, target));
                }
                _ => plan
                    .skipped
                    .push(format!("{source}: neither a file nor a directory")),
            }
        }
    }
    Ok(plan)
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
    use clap::Parser;

    fn direction(words: &[&str]) -> Result<Direction, Failure> {
        Direction::read(&Arguments::try_parse_from([&["blkcp"], words].concat()).unwrap())
    }

    #[test]
    fn one_side_must_be_remote_and_only_one() {
        assert!(matches!(direction(&["a", "b"]), Err(Failure::Usage(_))));
        assert!(matches!(
            direction(&["h:x/a", "i:x/b"]),
            Err(Failure::Usage(_))
        ));
        assert!(matches!(
            direction(&["h:x/a", "i:x/b", "."]),
            Err(Failure::Usage(_))
        ));
        assert!(matches!(
            direction(&["a", "h:x/a"]),
            Ok(Direction::Put { .. })
        ));
        assert!(matches!(
            direction(&["h:x/a", "h:y/b", "."]),
            Ok(Direction::Get { into: true, .. })
        ));
    }

    #[test]
    fn a_tree_becomes_directories_and_files() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("d/empty")).unwrap();
        std::fs::write(tree.path().join("d/file"), b"12345").unwrap();
        std::os::unix::fs::symlink("file", tree.path().join("d/link")).unwrap();
        let Ok(Location::Remote(to)) = "h:data/".parse() else {
            panic!()
        };
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
        let Ok(Location::Remote(to)) = "h:data/x".parse() else {
            panic!()
        };
        assert!(matches!(
            plan_put(&["a".into(), "b".into()], &to, false),
            Err(Failure::Usage(_))
        ));
    }

    #[test]
    fn names_from_the_other_end_stay_in_their_directory() {
        for bad in [&b".."[..], b".", b"", b"a/b", b"/etc", b"a\0b"] {
            assert!(local_name(bad).is_err());
        }
        assert_eq!(local_name(b"\xff ok").unwrap().as_bytes(), b"\xff ok");
    }
}
