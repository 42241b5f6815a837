//! What is here: sources to send, and targets of what is fetched.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use blk_datapath::files::{attributes_of, is_hidden_name};
use blk_proto::message::{Attributes, FileKind};
use rustix::fs::{Stat, lstat, stat};

use super::{Found, Place, Selection, There, Tree, join, merged};
use crate::failure::Failure;
use crate::filter::{FilesFrom, Filter};

/// What tells, beside size and time of modification, whether a file has been changed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    device: u64,
    inode: u64,
    /// Time of the last change of anything about it: seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Version {
    // Types of the fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// What a path stands for now; a link stands for itself.
pub fn look(path: &Path) -> io::Result<(Attributes, Version)> {
    let found = lstat(path)?;
    Ok((attributes_of(&found), Version::of(&found)))
}

/// What a path stands for, or leads to.
pub(super) fn look_through(path: &Path) -> io::Result<(Attributes, Version)> {
    let found = stat(path)?;
    Ok((attributes_of(&found), Version::of(&found)))
}

/// Walks the sources.
pub fn scan_local(
    roots: Vec<Found<PathBuf>>,
    selection: Selection<'_>,
) -> Result<Tree<PathBuf>, Failure> {
    let mut tree = Tree::new();
    for root in roots {
        match selection.files_from {
            Some(names) => scan_named(&mut tree, &root, names, selection)?,
            None => scan(&mut tree, root, selection)?,
        }
    }
    merged(tree)
}

/// Adds what was found, and, when it is a directory, what is in it.
fn scan(
    tree: &mut Tree<PathBuf>,
    found: Found<PathBuf>,
    selection: Selection<'_>,
) -> Result<(), Failure> {
    // A source that gets another name is known by its own.
    let known = match found.name.as_slice() {
        b"" if found.attributes.kind != FileKind::Directory => found.place.last(),
        name => name.to_vec(),
    };
    let is_directory = found.attributes.kind == FileKind::Directory;
    if selection.filter.excludes(&known, is_directory) {
        return Ok(());
    }
    let (path, name) = (found.place.clone(), found.name.clone());
    tree.push(found);
    if !is_directory || !selection.recursive {
        return Ok(());
    }
    for component in names_in(&path)? {
        let place = path.join(OsStr::from_bytes(&component));
        // Below the words on the command line, symbolic links are not followed: they may lead anywhere, or round.
        let below = find(place, join(&name, &component), selection.links)?;
        scan(tree, below, selection)?;
    }
    Ok(())
}

/// Adds what `--files-from` names below a source.
fn scan_named(
    tree: &mut Tree<PathBuf>,
    root: &Found<PathBuf>,
    names: &FilesFrom,
    selection: Selection<'_>,
) -> Result<(), Failure> {
    for (name, whole) in names.with_parents() {
        let found = find(root.place.below(name), name.to_vec(), selection.links)?;
        let recursive = selection.recursive && whole;
        scan(
            tree,
            found,
            Selection {
                recursive,
                ..selection
            },
        )?;
    }
    Ok(())
}

/// What is at a place; of a link, where it leads, when `links` are asked for.
fn find(place: PathBuf, name: Vec<u8>, links: bool) -> Result<Found<PathBuf>, Failure> {
    let (attributes, version) = look(&place).map_err(Failure::local("read", &place))?;
    let link = match attributes.kind {
        FileKind::Symlink if links => Some(read_link(&place)?),
        _ => None,
    };
    Ok(Found {
        place,
        name,
        attributes,
        link,
        version: Some(version),
    })
}

/// Where a link leads.
pub(super) fn read_link(path: &Path) -> Result<Vec<u8>, Failure> {
    let link = std::fs::read_link(path).map_err(Failure::local("read the link", path))?;
    Ok(link.into_os_string().into_vec())
}

/// The names in a directory, sorted.
fn names_in(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let entries = std::fs::read_dir(path).map_err(Failure::local("list", path))?;
    let names: io::Result<Vec<_>> = entries
        .map(|entry| Ok(entry?.file_name().into_vec()))
        .collect();
    let mut names = names.map_err(Failure::local("list", path))?;
    names.sort_unstable();
    Ok(names)
}

/// What a target here has of a tree; with `all`, everything in the directories that are copied, as far as the filter lets it be seen.
pub fn look_local<S>(
    base: &Path,
    tree: &Tree<S>,
    filter: &Filter,
    all: bool,
) -> Result<There, Failure> {
    let base = base.to_owned();
    let mut there = There::default();
    for found in tree {
        note(&mut there, &base, &found.name)?;
    }
    let directories = tree
        .iter()
        .filter(|found| found.attributes.kind == FileKind::Directory);
    for directory in directories.filter(|_| all) {
        let seen = there.get(&directory.name);
        if seen.is_some_and(|seen| seen.attributes.kind == FileKind::Directory) {
            look_below(&mut there, &base, &directory.name, filter)?;
        }
    }
    Ok(there)
}

/// Notes what has a name.
fn note(there: &mut There, base: &PathBuf, name: &[u8]) -> Result<(), Failure> {
    let path = base.below(name);
    // What the user named may be a link to the directory that is meant.
    let found = match (name.is_empty(), look_through(&path)) {
        (true, Ok(found)) if found.0.kind == FileKind::Directory => Ok(found),
        _ => look(&path),
    };
    match found {
        Ok((attributes, _)) => {
            there.add(name.to_vec(), attributes);
            if attributes.kind == FileKind::Symlink {
                there.set_link(name, read_link(&path)?);
            }
            Ok(())
        }
        // Nothing can be below a file either; who makes the directory says it.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(Failure::local("read", &path)(error)),
    }
}

/// Notes everything in a directory.
fn look_below(
    there: &mut There,
    base: &PathBuf,
    directory: &[u8],
    filter: &Filter,
) -> Result<(), Failure> {
    for component in names_in(&base.below(directory))? {
        let name = join(directory, &component);
        if there.get(&name).is_none() {
            note(there, base, &name)?;
        }
        let Some(seen) = there.get(&name) else {
            continue;
        };
        let is_directory = seen.attributes.kind == FileKind::Directory;
        // A hidden name may be a file that another copy is about to complete.
        if is_hidden_name(&component) || filter.excludes(&name, is_directory) {
            there.hide(&name);
        } else if is_directory {
            look_below(there, base, &name, filter)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root(place: PathBuf) -> Vec<Found<PathBuf>> {
        let (attributes, version) = look(&place).unwrap();
        vec![Found {
            name: b"d".to_vec(),
            place,
            attributes,
            link: None,
            version: Some(version),
        }]
    }

    #[test]
    fn a_tree_is_found_without_what_is_excluded() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("d/empty")).unwrap();
        fs::create_dir_all(at("d/out/deep")).unwrap();
        fs::write(at("d/file"), b"12345").unwrap();
        symlink("file", at("d/link")).unwrap();
        let mut filter = Filter::default();
        filter.add(b"/d/out/", true);
        let mut selection = Selection {
            recursive: true,
            links: true,
            filter: &filter,
            files_from: None,
        };
        let names = |selection| {
            let tree = scan_local(root(at("d")), selection).unwrap();
            let name = |found: Found<PathBuf>| String::from_utf8(found.name).unwrap();
            tree.into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(selection), ["d", "d/empty", "d/file", "d/link"]);
        let tree = scan_local(root(at("d")), selection).unwrap();
        assert_eq!(tree[3].link.as_deref(), Some(&b"file"[..]));
        selection.recursive = false;
        assert_eq!(names(selection), ["d"]);
    }

    #[test]
    fn a_target_is_seen_with_what_else_is_in_it() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("here/d/more")).unwrap();
        fs::write(at("here/d/file"), b"1").unwrap();
        fs::write(at("here/d/more/kept.o"), b"1").unwrap();
        fs::write(at("here/d/.x.blk-0123456789abcdef"), b"1").unwrap();
        fs::write(at("here/beside"), b"1").unwrap();
        let mut filter = Filter::default();
        filter.add(b"*.o", true);
        let tree = root(at("here/d"));
        let look = |all| look_local(&at("here"), &tree, &filter, all).unwrap();
        let names = |there: &There| {
            let mut names: Vec<_> = there.seen.keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(names(&look(false)), [b"d".to_vec()]);
        let there = look(true);
        let expected: [&[u8]; 3] = [b"d", b"d/file", b"d/more"];
        assert_eq!(names(&there), expected);
        assert!(there.is_kept(b"d/more") && there.is_kept(b"d") && !there.is_kept(b"d/file"));
        let nothing = look_local(&at("none"), &tree, &filter, true).unwrap();
        assert!(names(&nothing).is_empty());
    }
}
