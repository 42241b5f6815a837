//! What goes: at the target what the source does not have, at the source what has been copied.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use blk_client::{ClientError, Connection, ErrorKind, RemotePath};
use blk_datapath::files::attributes_of;
use blk_proto::message::FileKind;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, open, unlinkat};
use rustix::io::retry_on_intr;

use crate::destination::Destination;
use crate::directories::Directories;
use crate::failure::Failure;
use crate::lanes::at_once;
use crate::plan::{Original, Place, Version, is_unchanged};

/// Requests under way at once: those in one directory share their syncs.
const AT_ONCE: u32 = 32;

/// Removes names here, what is in a directory before the directory; how many. What has gone by itself counts too.
pub async fn remove_here(
    destination: &Destination,
    names: &[(PathBuf, FileKind)],
) -> Result<u64, Failure> {
    let mut changed = Directories::below(destination);
    for (path, kind) in names {
        let flags = match kind {
            FileKind::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        let entry = destination.entry(path);
        let removed = entry.and_then(|(parent, name)| Ok(unlinkat(parent, name, flags)?));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::local("remove", path)(error));
            }
            _ => changed.note(path),
        }
    }
    changed.sync().await?;
    Ok(names.len() as u64)
}

/// Removes copied sources here that are what they were when they were looked at; how many. The others are told.
pub fn remove_originals_here(originals: &[Original<PathBuf>], told: &mut Vec<String>) -> u64 {
    let mut removed = 0;
    // Names of one file: that one of them has gone has changed the file.
    let mut known = HashMap::new();
    for original in originals {
        match remove_original_here(original, &mut known) {
            Ok(true) => removed += 1,
            Ok(false) => told.push(stays(original, CHANGED)),
            Err(error) => told.push(stays(original, &error.to_string())),
        }
    }
    removed
}

/// Whether it was removed: else it has changed. `known` has what the files with several names were when the last of them went.
fn remove_original_here(
    original: &Original<PathBuf>,
    known: &mut HashMap<(u64, u64), Version>,
) -> io::Result<bool> {
    let path = &original.place;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = retry_on_intr(|| open(path, flags, Mode::empty()))?;
    let found = fstat(&held)?;
    let (now, version) = (attributes_of(&found), Version::of(&found));
    let expected = known.get(&version.file()).copied().or(original.version);
    let same = now.size == original.attributes.size
        && now.mtime_ns == original.attributes.mtime_ns
        && original.version.map(|before| before.file()) == Some(version.file())
        && Some(version) == expected;
    if !same {
        return Ok(false);
    }
    std::fs::remove_file(path)?;
    if found.st_nlink > 1 {
        known.insert(version.file(), Version::of(&fstat(&held)?));
    }
    Ok(true)
}

const CHANGED: &str = "it has changed since it was looked at";

fn stays<S: Place>(original: &Original<S>, why: &str) -> String {
    format!("{}: the source stays: {why}", original.place.shown())
}

/// The same at the other end, as far as size and time of modification tell.
pub async fn remove_originals_there(
    connection: &Connection,
    originals: Vec<Original<RemotePath>>,
    told: &mut Vec<String>,
) -> Result<u64, Failure> {
    let removed = at_once(
        AT_ONCE,
        originals,
        async |original: Original<RemotePath>| {
            let place = &original.place;
            // What a link leads to says nothing of the link.
            let is_link = original.attributes.kind == FileKind::Symlink;
            let result = async {
                match is_link || is_unchanged(connection, place, &original.attributes).await? {
                    true => connection.remove(place).await.map(|()| true),
                    false => Ok(false),
                }
            };
            match result.await {
                Ok(true) => Ok(None),
                Ok(false) => Ok(Some(stays(&original, CHANGED))),
                Err(ClientError::Refused { failure, .. }) => {
                    Ok(Some(stays(&original, &failure.message)))
                }
                Err(error) => Err(error.into()),
            }
        },
    );
    let mut count = 0;
    for stays in removed.await? {
        match stays {
            None => count += 1,
            Some(text) => told.push(text),
        }
    }
    Ok(count)
}

/// Removes names at the other end, what is in a directory before the directory; how many. What has gone by itself counts too.
pub async fn remove_there(
    connection: &Connection,
    names: Vec<(RemotePath, FileKind)>,
) -> Result<u64, Failure> {
    let count = names.len() as u64;
    let (directories, others): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|(_, kind)| *kind == FileKind::Directory);
    at_once(AT_ONCE, others, async |(path, _)| {
        gone(connection.remove(&path).await)
    })
    .await?;
    // One after the other: each has to be empty.
    for (path, _) in directories {
        gone(connection.remove_directory(&path).await)?;
    }
    Ok(count)
}

fn gone(removed: Result<(), ClientError>) -> Result<(), Failure> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::look;
    use std::fs;

    #[test]
    fn names_go_and_links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("d/e")).unwrap();
        fs::write(at("d/e/x"), b"x").unwrap();
        fs::write(at("kept"), b"x").unwrap();
        std::os::unix::fs::symlink("../kept", at("d/link")).unwrap();
        let names = [
            (at("d/link"), FileKind::Symlink),
            (at("d/gone"), FileKind::File),
            (at("d/e/x"), FileKind::File),
            (at("d/e"), FileKind::Directory),
            (at("d"), FileKind::Directory),
        ];
        let destination = Destination::new(place.path());
        let remove = |names: &[_]| tokio_uring::start(remove_here(&destination, names));
        assert_eq!(remove(&names).unwrap(), 5);
        assert!(at("kept").exists() && !at("d").exists());
        fs::create_dir_all(at("full/x")).unwrap();
        assert!(remove(&[(at("full"), FileKind::Directory)]).is_err());
        std::os::unix::fs::symlink("full", at("through")).unwrap();
        assert!(remove(&[(at("through/x"), FileKind::Directory)]).is_err());
        assert!(at("full/x").exists());
    }

    #[test]
    fn all_names_of_a_file_go() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for file in ["one", "changed"] {
            fs::write(at(file), b"x").unwrap();
            fs::hard_link(at(file), at(&format!("{file} more"))).unwrap();
        }
        let original = |name: &str| {
            let (attributes, version) = look(&at(name)).unwrap();
            Original {
                place: at(name),
                attributes,
                version: Some(version),
            }
        };
        let names = ["one", "one more", "changed", "changed more"];
        let originals = names.map(original);
        fs::write(at("changed"), b"longer").unwrap();
        let mut told = Vec::new();
        assert_eq!(remove_originals_here(&originals, &mut told), 2);
        assert!(!at("one").exists() && !at("one more").exists());
        assert!(at("changed").exists() && at("changed more").exists());
        assert_eq!(told.len(), 2, "{told:?}");
    }

    #[test]
    fn a_source_that_changed_stays() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let original = |name: &str| {
            fs::write(at(name), name).unwrap();
            let (attributes, version) = look(&at(name)).unwrap();
            Original {
                place: at(name),
                attributes,
                version: Some(version),
            }
        };
        let originals = ["same", "replaced", "gone"].map(original);
        // Of the same size and time: only that it is another file tells.
        fs::rename(at("replaced"), at("old")).unwrap();
        let file = fs::File::create(at("replaced")).unwrap();
        io::Write::write_all(&mut &file, b"REPLACED").unwrap();
        let before = fs::metadata(at("old")).unwrap().modified().unwrap();
        file.set_modified(before).unwrap();
        fs::remove_file(at("gone")).unwrap();
        let mut told = Vec::new();
        assert_eq!(remove_originals_here(&originals, &mut told), 1);
        assert!(!at("same").exists() && at("replaced").exists());
        assert!(
            told[0].contains("replaced: the source stays: it has changed"),
            "{told:?}"
        );
        assert_eq!(told.len(), 2);
    }
}
