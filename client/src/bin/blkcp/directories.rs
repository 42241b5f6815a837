//! Directories that blkcp makes here: durable, and with the permissions of those they are copies of.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use blk_datapath::files::{self, sync_directory};
use rustix::fs::{Mode, OFlags};

use crate::failure::Failure;

/// Permission bits of a directory that is no copy of another; the umask takes its share.
pub const PLAIN: u32 = 0o777;
/// What its owner needs to fill a directory.
const FILL: u32 = 0o700;

/// Directories that were made, and what is still to be done about them.
#[derive(Debug, Default)]
pub struct Directories {
    /// Those in which others were made.
    parents: BTreeSet<PathBuf>,
    /// Copies, with the permission bits they get in the end.
    copies: Vec<(PathBuf, u32)>,
}

impl Directories {
    /// Makes a directory, and its missing parents one by one. One that is there already stays as it is.
    pub fn make(&mut self, path: &Path) -> Result<(), Failure> {
        for missing in missing(path)?.into_iter().rev() {
            self.make_one(missing, PLAIN)?;
        }
        Ok(())
    }

    /// Makes a directory as a copy of one with these permission bits; [`Self::set_modes`] gives it them.
    pub fn make_copy(&mut self, path: &Path, mode: u32) -> Result<(), Failure> {
        let mut missing = missing(path)?.into_iter();
        let last = missing.next();
        for parent in missing.rev() {
            self.make_one(parent, PLAIN)?;
        }
        if let Some(last) = last
            && self.make_one(last, mode & PLAIN | FILL)?
        {
            self.copies.push((path.to_owned(), mode & PLAIN));
        }
        Ok(())
    }

    /// Whether it was made: somebody else may have been faster.
    fn make_one(&mut self, path: &Path, mode: u32) -> Result<bool, Failure> {
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => {
                self.parents.insert(parent_of(path).to_owned());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                Ok(false)
            }
            Err(error) => Err(Failure::local("make directory", path)(error)),
        }
    }

    /// Something in a directory has got or lost its name: [`Self::sync`] makes that durable.
    pub fn note(&mut self, path: &Path) {
        self.parents.insert(parent_of(path).to_owned());
    }

    /// Makes the names of all directories made, and what else was noted, durable.
    pub async fn sync(&mut self) -> Result<(), Failure> {
        while let Some(parent) = self.parents.pop_first() {
            match open(&parent) {
                // It has been removed itself since.
                Err(Failure::Local { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                opened => sync(&opened?, &parent).await?,
            }
        }
        Ok(())
    }

    /// Gives the copies their permissions, durably. To be called when everything is in them: the deepest come first,
    /// because a directory without permissions hides what is below it.
    pub async fn set_modes(self) -> Result<(), Failure> {
        for (path, mode) in self.copies.into_iter().rev() {
            let directory = open(&path)?;
            // A directory below a set-group-ID one has inherited that bit, which the source knows nothing of.
            let inherited = directory
                .metadata()
                .map_err(Failure::local("read", &path))?
                .mode()
                & 0o2000;
            directory
                .set_permissions(Permissions::from_mode(mode | inherited))
                .map_err(Failure::local("set the mode of", &path))?;
            sync(&directory, &path).await?;
        }
        Ok(())
    }
}

/// Gives a directory or file here mode and time, durably; a link is not followed.
pub async fn set_attributes(path: &Path, mode: u32, mtime_ns: i64) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let opened = File::from(opened.map_err(|errno| Failure::local("open", path)(errno.into()))?);
    files::set_attributes(opened.as_fd(), mode, mtime_ns)
        .map_err(|errno| Failure::local("set the mode and time of", path)(errno.into()))?;
    sync(&opened, path).await
}

/// The directory that a path is an entry of.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Opens a directory.
pub fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(Failure::local("open", path))
}

async fn sync(directory: &File, path: &Path) -> Result<(), Failure> {
    sync_directory(directory)
        .await
        .map_err(Failure::local("make durable", path))
}

/// What is missing of a path, the deepest first.
fn missing(path: &Path) -> Result<Vec<&Path>, Failure> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if ancestor.as_os_str().is_empty() {
            break;
        }
        match std::fs::metadata(ancestor) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => {
                let error = io::Error::from(io::ErrorKind::NotADirectory);
                return Err(Failure::local("make directory", ancestor)(error));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(ancestor),
            // Something on the way is a file; the ancestor that is it says so.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(Failure::local("make directory", path)(error)),
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn missing_parents_are_made_and_remembered() {
        let place = tempfile::tempdir().unwrap();
        let (a, deep) = (place.path().join("a"), place.path().join("a/b/c"));
        let mut made = Directories::default();
        made.make(&deep).unwrap();
        assert!(deep.is_dir());
        let parents = [place.path().to_owned(), a.clone(), a.join("b")];
        assert_eq!(made.parents, BTreeSet::from(parents));
        tokio_uring::start(made.sync()).unwrap();
        assert!(made.parents.is_empty());
        made.make(&deep).unwrap();
        assert!(made.parents.is_empty(), "nothing was made");
    }

    #[test]
    fn copies_get_their_permissions_at_the_end() {
        let place = tempfile::tempdir().unwrap();
        let (outer, inner) = (
            place.path().join("x/outer"),
            place.path().join("x/outer/in"),
        );
        let mut made = Directories::default();
        made.make_copy(&outer, 0o2500).unwrap();
        made.make_copy(&inner, 0o070).unwrap();
        assert_eq!(mode_of(&inner) & FILL, FILL);
        std::fs::write(inner.join("file"), b"x").unwrap();
        tokio_uring::start(made.set_modes()).unwrap();
        assert_eq!(mode_of(&outer), 0o500);
        assert_eq!(mode_of(&inner), 0o070);
        // So that anybody's test can take the place away.
        for path in [&outer, &inner] {
            std::fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
        }
    }

    #[test]
    fn what_was_there_keeps_its_permissions() {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o750)).unwrap();
        let mut made = Directories::default();
        made.make_copy(place.path(), 0o777).unwrap();
        tokio_uring::start(made.set_modes()).unwrap();
        assert_eq!(mode_of(place.path()), 0o750);
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, b"").unwrap();
        for path in [file.clone(), file.join("below"), file.join("far/below")] {
            let failure = Directories::default().make(&path).unwrap_err();
            assert_eq!(failure.exit_code(), 7, "{failure}");
        }
    }

    #[test]
    fn parents() {
        for (path, parent) in [("a/b", "a"), ("a", "."), ("/a", "/"), ("/", "/")] {
            assert_eq!(parent_of(Path::new(path)), Path::new(parent));
        }
    }
}
