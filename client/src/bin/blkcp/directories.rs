//! Directories that blkcp makes here: durable, and with the permissions of those they are copies of.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use blk_datapath::files::{self, sync_directory};
use rustix::fs::{Mode, OFlags, fchmod, fstat, mkdirat};
use rustix::io::Errno;

use crate::destination::Destination;
use crate::failure::Failure;

/// Permission bits of a directory that is no copy of another; the umask takes its share.
pub const PLAIN: u32 = 0o777;
/// What its owner needs to fill a directory.
const FILL: u32 = 0o700;

/// Directories that were made, and what is still to be done about them.
#[derive(Debug)]
pub struct Directories<'a> {
    /// Below it no link is followed.
    destination: &'a Destination,
    /// Those in which others were made.
    parents: BTreeSet<PathBuf>,
    /// Copies, with the permission bits they get in the end.
    copies: Vec<(PathBuf, u32)>,
}

impl<'a> Directories<'a> {
    /// None yet.
    pub fn below(destination: &'a Destination) -> Self {
        Self {
            destination,
            parents: BTreeSet::new(),
            copies: Vec::new(),
        }
    }

    /// Makes a directory, and its missing parents one by one. One that is there already stays as it is.
    pub fn make(&mut self, path: &Path) -> Result<(), Failure> {
        for missing in self.missing(path)?.into_iter().rev() {
            self.make_one(missing, PLAIN)?;
        }
        Ok(())
    }

    /// Makes a directory as a copy of one with these permission bits; [`Self::set_modes`] gives it them.
    pub fn make_copy(&mut self, path: &Path, mode: u32) -> Result<(), Failure> {
        let mut missing = self.missing(path)?.into_iter();
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
        let made = self.destination.entry(path).and_then(|(parent, name)| {
            let mode = Mode::from_raw_mode(mode);
            Ok(mkdirat(parent, name, mode)?)
        });
        match made {
            Ok(()) => {
                self.parents.insert(parent_of(path).to_owned());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_there(path) => {
                Ok(false)
            }
            Err(error) => Err(Failure::local("make directory", path)(error)),
        }
    }

    fn is_there(&self, path: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.destination.open(path, flags).is_ok()
    }

    /// What is missing of a path, the deepest first.
    fn missing<'p>(&self, path: &'p Path) -> Result<Vec<&'p Path>, Failure> {
        let refused = |path: &Path| {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            Err(Failure::local("make directory", path)(error))
        };
        let (mut missing, mut blocked) = (Vec::new(), None);
        for ancestor in path.ancestors() {
            if ancestor.as_os_str().is_empty() {
                break;
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            match self.destination.open(ancestor, flags) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(ancestor),
                // It, or something on the way to it, is no directory, or a link below the destination.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    blocked = Some(ancestor);
                }
                Err(error) => return Err(Failure::local("make directory", path)(error)),
            }
        }
        blocked.map_or(Ok(missing), refused)
    }

    /// Something in a directory has got or lost its name: [`Self::sync`] makes that durable.
    pub fn note(&mut self, path: &Path) {
        self.parents.insert(parent_of(path).to_owned());
    }

    /// Makes the names of all directories made, and what else was noted, durable.
    pub async fn sync(&mut self) -> Result<(), Failure> {
        while let Some(parent) = self.parents.pop_first() {
            match self.destination.open_directory(&parent) {
                // It has been removed itself since.
                Err(Failure::Local { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                opened => sync(&opened?, &parent).await?,
            }
        }
        Ok(())
    }

    /// Gives the copies their permissions, durably. To be called when everything is in them: the deepest come first,
    /// because a directory without permissions hides what is below it. Those that get a time too are left to
    /// [`set_attributes`]: some permissions keep a directory from being opened once more.
    pub async fn set_modes(self, left: impl Fn(&Path) -> bool) -> Result<(), Failure> {
        let copies = self.copies.into_iter().rev();
        for (path, mode) in copies.filter(|(path, _)| !left(path)) {
            let directory = self.destination.open_directory(&path)?;
            let set = || {
                // A directory below a set-group-ID one has inherited that bit, which the source knows nothing of.
                let inherited = fstat(&directory)?.st_mode & 0o2000;
                fchmod(&directory, Mode::from_raw_mode(mode | inherited))
            };
            set().map_err(|errno: Errno| Failure::local("set the mode of", &path)(errno.into()))?;
            sync(&directory, &path).await?;
        }
        Ok(())
    }
}

/// Gives a directory or file here mode and time, through one descriptor, durably; below the destination no link is followed.
pub async fn set_attributes(
    destination: &Destination,
    path: &Path,
    mode: u32,
    mtime_ns: i64,
) -> Result<(), Failure> {
    let opened = destination.open_entry(path);
    let opened = opened.map_err(Failure::local("open", path))?;
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

async fn sync(directory: &OwnedFd, path: &Path) -> Result<(), Failure> {
    sync_directory(directory)
        .await
        .map_err(Failure::local("make durable", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn missing_parents_are_made_and_remembered() {
        let place = tempfile::tempdir().unwrap();
        let (a, deep) = (place.path().join("a"), place.path().join("a/b/c"));
        let destination = Destination::new(place.path());
        let mut made = Directories::below(&destination);
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
        let destination = Destination::new(place.path());
        let mut made = Directories::below(&destination);
        made.make_copy(&outer, 0o2500).unwrap();
        made.make_copy(&inner, 0o070).unwrap();
        assert_eq!(mode_of(&inner) & FILL, FILL);
        std::fs::write(inner.join("file"), b"x").unwrap();
        tokio_uring::start(made.set_modes(|_| false)).unwrap();
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
        let destination = Destination::new(place.path());
        let mut made = Directories::below(&destination);
        made.make_copy(place.path(), 0o777).unwrap();
        tokio_uring::start(made.set_modes(|_| false)).unwrap();
        assert_eq!(mode_of(place.path()), 0o750);
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let destination = Destination::new(place.path());
        for path in [file.clone(), file.join("below"), file.join("far/below")] {
            let failure = Directories::below(&destination).make(&path).unwrap_err();
            assert_eq!(failure.exit_code(), 7, "{failure}");
        }
    }

    #[test]
    fn a_link_below_the_destination_is_in_the_way() {
        let place = tempfile::tempdir().unwrap();
        let (base, outside) = (place.path().join("base"), place.path().join("outside"));
        for directory in [&base, &outside] {
            std::fs::create_dir(directory).unwrap();
        }
        symlink(&outside, base.join("link")).unwrap();
        let destination = Destination::new(&base);
        for path in ["link", "link/below", "link/far/below"] {
            let mut made = Directories::below(&destination);
            let failure = made.make(&base.join(path)).unwrap_err();
            assert_eq!(failure.exit_code(), 7, "{failure}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        // The destination itself may be one.
        symlink(&base, place.path().join("named")).unwrap();
        let destination = Destination::new(&place.path().join("named"));
        let mut made = Directories::below(&destination);
        made.make(&place.path().join("named/new")).unwrap();
        assert!(base.join("new").is_dir());
    }

    #[test]
    fn mode_and_time_come_through_one_descriptor() {
        let place = tempfile::tempdir().unwrap();
        let (outer, inner) = (place.path().join("outer"), place.path().join("outer/inner"));
        let destination = Destination::new(place.path());
        let mut made = Directories::below(&destination);
        made.make_copy(&outer, 0o200).unwrap();
        made.make_copy(&inner, 0o000).unwrap();
        let set = async {
            made.set_modes(|_| true).await?;
            set_attributes(&destination, &inner, 0o000, 1).await?;
            set_attributes(&destination, &outer, 0o200, 2).await
        };
        tokio_uring::start(set).unwrap();
        assert_eq!(mode_of(&outer), 0o200);
        std::fs::set_permissions(&outer, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(mode_of(&inner), 0);
        std::fs::set_permissions(&inner, Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn parents() {
        for (path, parent) in [("a/b", "a"), ("a", "."), ("/a", "/"), ("/", "/")] {
            assert_eq!(parent_of(Path::new(path)), Path::new(parent));
        }
    }
}
