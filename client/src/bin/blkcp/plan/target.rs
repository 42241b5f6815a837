//! What is here of what is to be fetched.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use blk_datapath::files::{attributes_of, is_hidden_name};
use blk_proto::message::{Attributes, FileKind};
use rustix::fs::{AtFlags, Dir, OFlags, readlinkat, stat, statat};

use super::{Place, There, Tree, implied, is_into, join, parent};
use crate::destination::Destination;
use crate::failure::Failure;
use crate::filter::Filter;

/// What a target here has of a tree; with `all`, everything in the directories that are copied, as far as the filter lets it be seen.
/// Links are links, and what is behind one is not there, but the destination itself may be a link to the directory that is meant.
pub fn look_local<S>(
    base: &Path,
    tree: &Tree<S>,
    filter: &Filter,
    all: bool,
) -> Result<There, Failure> {
    let destination = Destination::new(base);
    let mut look = Look {
        destination: &destination,
        there: There::default(),
        last: None,
    };
    if is_into(tree) {
        look.note_destination()?;
    }
    for name in implied(tree) {
        look.note(name)?;
    }
    for found in tree {
        look.note(&found.name)?;
    }
    let directories = tree
        .iter()
        .filter(|found| found.attributes.kind == FileKind::Directory);
    for directory in directories.filter(|_| all) {
        let seen = look.there.get(&directory.name);
        if seen.is_some_and(|seen| seen.attributes.kind == FileKind::Directory) {
            look.below(&directory.name, filter)?;
        }
    }
    Ok(look.there)
}

struct Look<'a> {
    destination: &'a Destination,
    there: There,
    /// The directory that was looked into last, if it is one: names of one directory come one after the other.
    last: Option<(Vec<u8>, Option<OwnedFd>)>,
}

impl Look<'_> {
    /// Notes the destination as what it leads to, if that is a directory.
    fn note_destination(&mut self) -> Result<(), Failure> {
        let found = stat(self.destination.path()).map(|found| attributes_of(&found));
        if let Ok(attributes) = found
            && attributes.kind == FileKind::Directory
        {
            self.there.add(Vec::new(), attributes);
        }
        Ok(())
    }

    /// Notes what has a name.
    fn note(&mut self, name: &[u8]) -> Result<(), Failure> {
        if self.there.get(name).is_some() {
            return Ok(());
        }
        let base = self.destination.path().to_owned();
        let path = base.below(name);
        let failed = |error: io::Error| Failure::local("read", &path)(error);
        let (attributes, link) = match self.find(&path, name) {
            Ok(found) => found,
            // Nothing can be below a file either; who makes the directory says it.
            Err(error) if is_nothing(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        self.there.add(name.to_vec(), attributes);
        if let Some(link) = link {
            self.there.set_link(name, link);
        }
        Ok(())
    }

    /// What has a name, and where it leads, when it is a link.
    fn find(&mut self, path: &Path, name: &[u8]) -> io::Result<(Attributes, Option<Vec<u8>>)> {
        let alone;
        let (directory, last) = match parent(name) {
            None => {
                alone = self.destination.entry(path)?;
                (&alone.0, alone.1)
            }
            Some(up) => {
                let last = path.file_name().unwrap_or_default();
                let opened = self.directory(up)?;
                (opened.ok_or(io::ErrorKind::NotFound)?, last)
            }
        };
        let found = statat(directory, last, AtFlags::SYMLINK_NOFOLLOW)?;
        let attributes = attributes_of(&found);
        let link = match attributes.kind {
            FileKind::Symlink => Some(readlinkat(directory, last, Vec::new())?.into_bytes()),
            _ => None,
        };
        Ok((attributes, link))
    }

    /// The directory that names are looked up in; `None` when it is none, or a link.
    fn directory(&mut self, name: &[u8]) -> io::Result<Option<&OwnedFd>> {
        let known = self.last.take().filter(|(known, _)| known == name);
        let opened = match known {
            Some((_, opened)) => opened,
            None => {
                let path = self.destination.path().to_owned().below(name);
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                match self.destination.open(&path, flags) {
                    Ok(opened) => Some(opened),
                    Err(error) if is_nothing(&error) => None,
                    Err(error) => return Err(error),
                }
            }
        };
        let (_, opened) = self.last.insert((name.to_vec(), opened));
        Ok(opened.as_ref())
    }

    /// Notes everything in a directory.
    fn below(&mut self, directory: &[u8], filter: &Filter) -> Result<(), Failure> {
        for component in self.names_in(directory)? {
            let name = join(directory, &component);
            self.note(&name)?;
            let Some(seen) = self.there.get(&name) else {
                continue;
            };
            let is_directory = seen.attributes.kind == FileKind::Directory;
            // A hidden name may be a file that another copy is about to complete.
            if is_hidden_name(&component) || filter.excludes(&name, is_directory) {
                self.there.hide(&name);
            } else if is_directory {
                self.below(&name, filter)?;
            }
        }
        Ok(())
    }

    /// The names in a directory, sorted.
    fn names_in(&self, name: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let path = self.destination.path().to_owned().below(name);
        let opened = self.destination.open_directory(&path)?;
        let names = Dir::new(opened).and_then(|entries| {
            let names = entries.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
            names.collect::<Result<Vec<_>, rustix::io::Errno>>()
        });
        let mut names = names.map_err(|errno| Failure::local("list", &path)(errno.into()))?;
        names.retain(|name| !matches!(name.as_slice(), b"." | b".."));
        names.sort_unstable();
        Ok(names)
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Found, look};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn found(place: PathBuf, name: &[u8]) -> Found<PathBuf> {
        let (attributes, version) = look(&place).unwrap();
        Found {
            name: name.to_vec(),
            place,
            attributes,
            link: None,
            version: Some(version),
        }
    }

    fn root(place: PathBuf) -> Tree<PathBuf> {
        vec![found(place, b"d")]
    }

    fn names(there: &There) -> Vec<&[u8]> {
        let mut names: Vec<_> = there.seen.keys().map(Vec::as_slice).collect();
        names.sort();
        names
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
        assert_eq!(names(&look(false)), [&b""[..], b"d"]);
        let there = look(true);
        let expected: [&[u8]; 4] = [b"", b"d", b"d/file", b"d/more"];
        assert_eq!(names(&there), expected);
        assert!(there.is_kept(b"d/more") && there.is_kept(b"d") && !there.is_kept(b"d/file"));
        let nothing = look_local(&at("none"), &tree, &filter, true).unwrap();
        assert!(names(&nothing).is_empty());
    }

    #[test]
    fn nothing_is_there_behind_a_link() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("source/x/deep")).unwrap();
        fs::write(at("source/x/deep/f"), b"1").unwrap();
        fs::create_dir_all(at("big/deep")).unwrap();
        fs::write(at("big/deep/f"), b"1").unwrap();
        fs::create_dir(at("here")).unwrap();
        symlink("../big", at("here/x")).unwrap();
        symlink("here", at("named")).unwrap();
        let filter = Filter::default();
        let full: Tree<PathBuf> = ["x", "x/deep", "x/deep/f"]
            .map(|name| found(at("source").join(name), name.as_bytes()))
            .into();
        // What --files-from and a filter can leave of it: its directories are not among it.
        let alone = vec![found(at("source/x/deep/f"), b"x/deep/f")];
        for (base, tree) in [("here", &full), ("named", &full), ("here", &alone)] {
            for all in [false, true] {
                let there = look_local(&at(base), tree, &filter, all).unwrap();
                assert_eq!(names(&there), [&b""[..], b"x"]);
                let link = there.get(b"x").unwrap();
                assert_eq!(link.link.as_deref(), Some(&b"../big"[..]));
                let root = there.get(b"").unwrap();
                assert_eq!(root.attributes.kind, FileKind::Directory);
            }
        }
    }

    #[test]
    fn a_single_name_is_seen_as_the_link_that_it_is() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("d")).unwrap();
        symlink("d", at("link")).unwrap();
        let tree = vec![found(at("link"), b"")];
        let there = look_local(&at("link"), &tree, &Filter::default(), false).unwrap();
        let seen = there.get(b"").unwrap();
        assert_eq!(seen.attributes.kind, FileKind::Symlink);
        assert_eq!(seen.link.as_deref(), Some(&b"d"[..]));
    }
}
