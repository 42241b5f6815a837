//! What is at the other end: sources to fetch, and targets of what is sent.

use std::collections::{BTreeSet, HashSet};

use blk_client::{ClientError, Connection, ErrorKind, RemotePath};
use blk_proto::message::{Attributes, ErrorCode, FileKind};

use super::{Found, Place, Selection, There, Tree, implied, is_into, join, local_name, merged};
use crate::failure::Failure;
use crate::filter::{FilesFrom, Filter};
use crate::lanes::at_once;

/// Requests about single names under way at once.
const LOOKS: u32 = 32;
/// Listings under way at once: a server keeps some dozens, of all its clients.
const LISTS: u32 = 8;

/// What has a name at the other end, or what it leads to; `None`: nothing.
pub async fn look(
    connection: &Connection,
    place: &RemotePath,
) -> Result<Option<Attributes>, Failure> {
    match connection.stat(place).await {
        Ok(attributes) => Ok(Some(attributes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What has a name at the other end, a link as a link and where it leads; `None`: nothing. Links on the way to it are followed.
async fn look_at_name(
    connection: &Connection,
    place: &RemotePath,
) -> Result<Option<(Attributes, Option<Vec<u8>>)>, Failure> {
    match connection.read_link(place).await {
        Ok(link) => {
            let attributes = Attributes {
                kind: FileKind::Symlink,
                size: link.len() as u64,
                mode: 0o777,
                mtime_ns: 0,
            };
            Ok(Some((attributes, Some(link))))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(ClientError::Refused { failure, .. }) if failure.code == ErrorCode::Unsupported => {
            let found = look(connection, place).await?;
            Ok(found.map(|attributes| (attributes, None)))
        }
        Err(error) => Err(error.into()),
    }
}

/// The same, but a destination that was written with a slash at its end is what it leads to; where that is said too.
async fn look_at_target(
    connection: &Connection,
    base: &RemotePath,
    name: &[u8],
) -> Result<Option<(Attributes, Option<Vec<u8>>)>, Failure> {
    let found = look_at_name(connection, &base.below(name)).await?;
    match found {
        Some((attributes, link))
            if attributes.kind == FileKind::Symlink && name.is_empty() && base.trailing_slash =>
        {
            let leads_to = look(connection, base).await?;
            Ok(leads_to.map(|attributes| (attributes, link)))
        }
        found => Ok(found),
    }
}

/// Walks the sources.
pub async fn scan_remote(
    connection: &Connection,
    roots: Vec<Found<RemotePath>>,
    selection: Selection<'_>,
) -> Result<Tree<RemotePath>, Failure> {
    let mut tree = Tree::new();
    let mut level = Vec::new();
    for root in roots {
        match selection.files_from {
            Some(names) => {
                let found = find_named(connection, &root, names).await?;
                level.extend(found.into_iter().filter_map(|(found, whole)| {
                    add(&mut tree, found, selection).filter(|_| whole)
                }));
            }
            None => level.extend(add(&mut tree, root, selection)),
        }
    }
    while !level.is_empty() {
        let mut next = Vec::new();
        for (directory, entries) in list_all(connection, level).await? {
            for (component, attributes) in entries {
                let place = directory.place.join(&component);
                let name = join(&directory.name, &component);
                next.extend(add(&mut tree, found(place, name, attributes), selection));
            }
        }
        level = next;
    }
    merged(tree)
}

fn found(place: RemotePath, name: Vec<u8>, attributes: Attributes) -> Found<RemotePath> {
    Found {
        place,
        name,
        attributes,
        link: None,
        version: None,
    }
}

/// A directory that is to be listed.
struct Open {
    place: RemotePath,
    name: Vec<u8>,
}

/// Adds what was found; a directory whose content is to be copied comes back.
fn add(
    tree: &mut Tree<RemotePath>,
    found: Found<RemotePath>,
    selection: Selection<'_>,
) -> Option<Open> {
    let is_directory = found.attributes.kind == FileKind::Directory;
    let known = match found.name.as_slice() {
        b"" if !is_directory => found.place.last(),
        name => name.to_vec(),
    };
    if selection.filter.excludes(&known, is_directory) {
        return None;
    }
    let open = (is_directory && selection.recursive).then(|| Open {
        place: found.place.clone(),
        name: found.name.clone(),
    });
    tree.push(found);
    open
}

/// What `--files-from` names below a source, and whether the content of each, when it is a directory, is meant too.
async fn find_named(
    connection: &Connection,
    root: &Found<RemotePath>,
    names: &FilesFrom,
) -> Result<Vec<(Found<RemotePath>, bool)>, Failure> {
    let named = names.with_parents();
    at_once(LOOKS, named, async |(name, whole)| {
        for component in name.split(|&byte| byte == b'/') {
            local_name(component)?;
        }
        let place = root.place.below(name);
        let attributes = connection.stat(&place).await?;
        Ok((found(place, name.to_vec(), attributes), whole))
    })
    .await
}

type Listing = Vec<(Vec<u8>, Attributes)>;

/// The names in each of some directories, each a single component.
async fn list_all(
    connection: &Connection,
    level: Vec<Open>,
) -> Result<Vec<(Open, Listing)>, Failure> {
    at_once(LISTS, level, async |directory: Open| {
        let mut listing = Listing::new();
        for entry in connection.list(&directory.place).await? {
            // It decides where files are written here.
            local_name(&entry.name)?;
            listing.push((entry.name, entry.attributes));
        }
        Ok((directory, listing))
    })
    .await
}

/// What a target at the other end has of a tree; with `all`, everything in the directories that are copied, as far as the filter
/// lets it be seen. Links are links, and what is behind one is not there.
///
/// A destination that is to be a directory and is a link is refused, unless it was written with a slash at its end: with `--delete`, what
/// the link leads to would lose all that the source does not have, and only the slash says that it is meant.
pub async fn look_remote<S>(
    connection: &Connection,
    base: &RemotePath,
    tree: &Tree<S>,
    filter: &Filter,
    all: bool,
) -> Result<There, Failure> {
    let mut there = There::default();
    let names: HashSet<&[u8]> = tree.iter().map(|found| found.name.as_slice()).collect();
    let directories: HashSet<&[u8]> = tree
        .iter()
        .filter(|found| found.attributes.kind == FileKind::Directory)
        .map(|found| found.name.as_slice())
        .collect();
    // What no listing of a directory of the tree tells.
    let unlisted = tree
        .iter()
        .map(|found| found.name.as_slice())
        .filter(|name| super::parent(name).is_none_or(|up| !directories.contains(up)));
    let mut alone: BTreeSet<&[u8]> = implied(tree);
    alone.extend(unlisted);
    let into = is_into(tree);
    if into {
        alone.insert(b"");
    }
    let looked = at_once(LOOKS, alone.into_iter().collect(), async |name| {
        Ok((name, look_at_target(connection, base, name).await?))
    });
    let mut level = Vec::new();
    for (name, found) in looked.await? {
        let Some((attributes, link)) = found else {
            continue;
        };
        if name.is_empty() && into && attributes.kind == FileKind::Symlink {
            return Err(Failure::LinkedDestination(base.to_string()));
        }
        there.add(name.to_vec(), attributes);
        match (link, attributes.kind) {
            (Some(link), FileKind::Symlink) => there.set_link(name, link),
            (Some(_), _) => there.is_linked = true,
            (None, _) => {}
        }
        if attributes.kind == FileKind::Directory && directories.contains(name) {
            level.push(Open {
                place: base.below(name),
                name: name.to_vec(),
            });
        }
    }
    while !level.is_empty() {
        let mut next = Vec::new();
        for (directory, entries) in list_all(connection, level).await? {
            for (component, attributes) in entries {
                let name = join(&directory.name, &component);
                let is_directory = attributes.kind == FileKind::Directory;
                if filter.excludes(&name, is_directory) {
                    there.keep(&name);
                    continue;
                }
                if !all && !names.contains(name.as_slice()) {
                    continue;
                }
                there.add(name.clone(), attributes);
                if is_directory && (all || directories.contains(name.as_slice())) {
                    next.push(Open {
                        place: directory.place.join(&component),
                        name,
                    });
                }
            }
        }
        level = next;
    }
    Ok(there)
}

/// Whether something is still what it was, as far as size and time of modification tell.
pub async fn is_unchanged(
    connection: &Connection,
    place: &RemotePath,
    before: &Attributes,
) -> Result<bool, ClientError> {
    let now = connection.stat(place).await?;
    Ok(now.kind == before.kind && now.size == before.size && now.mtime_ns == before.mtime_ns)
}
