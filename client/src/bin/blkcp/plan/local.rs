//! What is here: sources to send, and targets of what is fetched.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use blk_datapath::files::{attributes_of, is_hidden_name};
use blk_proto::message::{Attributes, FileKind};
use rustix::fs::{Stat, lstat, stat};

use super::{Found, Place, Selection, Tree, join, merged};
use crate::failure::Failure;
use crate::filter::FilesFrom;

/// What tells, beside size and time of modification, whether a file has been changed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    device: u64,
    inode: u64,
    /// Time of the last change of anything about it: seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Version {
    /// Of what was found.
    // Types of the fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    pub fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// What is the same for all names of a file: its device and inode.
    pub fn file(&self) -> (u64, u64) {
        (self.device, self.inode)
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
        // The other end keeps these names for what is not complete, and takes none.
        if is_hidden_name(&component) {
            continue;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
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
        fs::create_dir(at("d/.blockd")).unwrap();
        fs::write(at("d/.x.blk-0123456789abcdef"), b"x").unwrap();
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
}
