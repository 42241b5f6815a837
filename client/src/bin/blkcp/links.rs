//! Symbolic links as links, in both directions.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk_client::{ClientError, Connection, RemotePath};
use blk_datapath::files::{self, sync_directory};
use blk_proto::message::FileKind;

use crate::destination::Destination;
use crate::directories::{Directories, parent_of};
use crate::failure::Failure;
use crate::lanes::at_once;
use crate::plan::{There, Tree};

/// Requests under way at once: those for links in one directory share their syncs.
const AT_ONCE: u32 = 64;

/// Makes links at the other end.
pub async fn put(
    connection: &Connection,
    links: Vec<(RemotePath, Vec<u8>)>,
) -> Result<u64, Failure> {
    let made = at_once(AT_ONCE, links, async |(path, target)| {
        Ok(connection.make_link(&path, &target).await?)
    });
    Ok(made.await?.len() as u64)
}

/// Makes links here.
pub async fn get(
    destination: &Destination,
    links: Vec<(PathBuf, Vec<u8>)>,
) -> Result<u64, Failure> {
    let mut made = Directories::below(destination);
    for (path, _) in &links {
        made.make(parent_of(path))?;
    }
    let count = links.len() as u64;
    // Sorted by name: links of one directory come one after the other.
    let mut last: Option<(PathBuf, Arc<OwnedFd>)> = None;
    for (path, target) in links {
        let parent = parent_of(&path);
        let directory = match &last {
            Some((known, directory)) if known == parent => Arc::clone(directory),
            _ => {
                let opened: Arc<OwnedFd> = Arc::new(destination.open_directory(parent)?);
                if let Some((before, done)) = last.take() {
                    sync(&done, &before).await?;
                }
                last = Some((parent.to_owned(), Arc::clone(&opened)));
                opened
            }
        };
        let name = path.file_name().unwrap_or_default().as_bytes();
        files::make_link(&directory, name, &target)
            .map_err(|error| error.with_path(path.as_os_str().as_bytes()))?;
    }
    if let Some((path, directory)) = last {
        sync(&directory, &path).await?;
    }
    made.sync().await?;
    Ok(count)
}

async fn sync(directory: &OwnedFd, path: &Path) -> Result<(), Failure> {
    let synced = sync_directory(directory).await;
    synced.map_err(Failure::local("make durable", path))
}

/// Asks where the links of a source lead.
pub async fn read_sources(
    connection: &Connection,
    tree: &mut Tree<RemotePath>,
) -> Result<(), Failure> {
    let links = tree
        .iter()
        .enumerate()
        .filter(|(_, found)| found.attributes.kind == FileKind::Symlink)
        .map(|(at, found)| (at, found.place.clone()));
    let read = at_once(AT_ONCE, links.collect(), async |(at, place)| {
        Ok((at, connection.read_link(&place).await?))
    });
    for (at, target) in read.await? {
        tree[at].link = Some(target);
    }
    Ok(())
}

/// Asks where those links of a target lead that the source has as links too.
pub async fn read_targets(
    connection: &Connection,
    base: &RemotePath,
    tree: &Tree<PathBuf>,
    there: &mut There,
) -> Result<(), Failure> {
    let is_link = |name: &[u8]| {
        let seen = there.get(name);
        seen.is_some_and(|seen| seen.attributes.kind == FileKind::Symlink && seen.link.is_none())
    };
    let names = tree
        .iter()
        .filter(|found| found.link.is_some() && is_link(&found.name))
        .map(|found| found.name.clone());
    let read = at_once(AT_ONCE, names.collect(), async |name: Vec<u8>| {
        let read = connection.read_link(&base.join(&name)).await;
        let unknown = |error: &ClientError| matches!(error, ClientError::Refused { .. });
        match read {
            Ok(target) => Ok(Some((name, target))),
            // It has gone, or is a link no more: it is made anew.
            Err(error) if unknown(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    for (name, target) in read.await?.into_iter().flatten() {
        there.set_link(&name, target);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_are_made_in_their_directories() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("old"), b"file").unwrap();
        let links = [("a/x", "1"), ("a/y", "2"), ("b/c/z", "3"), ("old", "4")];
        let wanted = links.map(|(path, target)| (at(path), target.as_bytes().to_vec()));
        let destination = Destination::new(place.path());
        let made = tokio_uring::start(get(&destination, wanted.to_vec())).unwrap();
        assert_eq!(made, 4);
        for (path, target) in links {
            assert_eq!(fs::read_link(at(path)).unwrap(), Path::new(target));
        }
        fs::create_dir(at("d")).unwrap();
        let refused = tokio_uring::start(get(&destination, vec![(at("d"), b"x".to_vec())]));
        let refused = refused.unwrap_err();
        assert_eq!(refused.exit_code(), 7, "{refused}");
    }
}
