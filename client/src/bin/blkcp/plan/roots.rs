//! Where each source goes.
//!
//! As with rsync, a directory goes into the destination under its own name; with a slash at its end, only what is in it does. A
//! file gets the destination's name, or, when that can only be a directory, goes into it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fmt::Display;
use std::hash::Hash;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use blk_client::{Connection, RemotePath};
use blk_proto::message::{Attributes, FileKind};

use super::local::{look, look_through, read_link};
use super::{Found, Place, Selection};
use crate::failure::Failure;
use crate::lanes::at_once;

/// Sources that are looked at at once.
const LOOKS: u32 = 32;

/// Looks at the local sources.
pub fn roots_put(
    sources: &[PathBuf],
    destination: &RemotePath,
    selection: Selection<'_>,
) -> Result<Vec<Found<PathBuf>>, Failure> {
    let into = destination.trailing_slash || destination.path.is_empty();
    several_go_into(sources.len(), into, destination)?;
    one_has_the_names(sources.len(), selection)?;
    let mut roots = Vec::new();
    for source in sources {
        let whole = means_content(source);
        let own = match selection.links && !whole {
            true => look(source),
            false => look_through(source),
        };
        let (attributes, version) = own.map_err(Failure::local("read", source))?;
        check(&attributes, source.display(), selection)?;
        let is_directory = attributes.kind == FileKind::Directory;
        let content = is_directory && (whole || selection.files_from.is_some());
        let name = match (is_directory || into) && !content {
            true => local_name(&source.last())?.into_vec(),
            false => Vec::new(),
        };
        let link = match attributes.kind {
            FileKind::Symlink => Some(read_link(source)?),
            _ => None,
        };
        roots.push(Found {
            place: source.clone(),
            name,
            attributes,
            link,
            version: Some(version),
        });
    }
    let named = roots.iter().filter(|root| !root.name.is_empty());
    no_target_twice(named.map(|root| {
        let target = destination.below(&root.name);
        (root.place.display(), root.name.clone(), target)
    }))?;
    Ok(roots)
}

/// What can be known of remote sources without a connection.
pub fn check_get(
    sources: &[RemotePath],
    destination: &Path,
    into: bool,
    selection: Selection<'_>,
) -> Result<(), Failure> {
    several_go_into(sources.len(), into, destination.display())?;
    one_has_the_names(sources.len(), selection)?;
    let alone = sources.iter().filter(|source| !source.trailing_slash);
    let targets: Vec<_> = alone
        .map(|source| Ok((source, destination.join(local_name(&source.last())?))))
        .collect::<Result<_, Failure>>()?;
    no_target_twice(
        targets
            .iter()
            .map(|(source, target)| (*source, target, target.display())),
    )
}

/// Looks at the remote sources.
pub async fn roots_get(
    connection: &Connection,
    sources: &[RemotePath],
    into: bool,
    selection: Selection<'_>,
) -> Result<Vec<Found<RemotePath>>, Failure> {
    let looked = at_once(
        LOOKS,
        sources.iter().collect(),
        async |source: &RemotePath| {
            let attributes = connection.stat(source).await?;
            Ok((source, attributes))
        },
    );
    let mut roots = Vec::new();
    for (source, attributes) in looked.await? {
        check(&attributes, source, selection)?;
        let is_directory = attributes.kind == FileKind::Directory;
        let content = is_directory && (source.trailing_slash || selection.files_from.is_some());
        let name = match (is_directory || into) && !content {
            true => local_name(&source.last())?.into_vec(),
            false => Vec::new(),
        };
        roots.push(Found {
            place: source.clone(),
            name,
            attributes,
            link: None,
            version: None,
        });
    }
    Ok(roots)
}

/// With a slash at its end, or as the name of itself or a parent, a directory stands for what is in it.
pub fn means_content(path: &Path) -> bool {
    let last = path
        .as_os_str()
        .as_bytes()
        .rsplit(|&byte| byte == b'/')
        .next();
    matches!(last, Some(b"" | b"." | b".."))
}

/// A directory must be asked for, and names can only be below one.
fn check(
    attributes: &Attributes,
    source: impl Display,
    selection: Selection<'_>,
) -> Result<(), Failure> {
    let is_directory = attributes.kind == FileKind::Directory;
    match selection.files_from {
        Some(_) if !is_directory => Err(Failure::Usage(format!(
            "{source} is no directory: --files-from names what is below one"
        ))),
        None if is_directory && !selection.recursive => Err(Failure::Directory(source.to_string())),
        _ => Ok(()),
    }
}

fn one_has_the_names(sources: usize, selection: Selection<'_>) -> Result<(), Failure> {
    if sources > 1 && selection.files_from.is_some() {
        let text = "--files-from names what is below one source: give one directory";
        return Err(Failure::Usage(text.to_owned()));
    }
    Ok(())
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

/// A name from the other end must be one component and nothing else: it decides where files are written here.
pub fn local_name(name: &[u8]) -> Result<OsString, Failure> {
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
    use crate::filter::{FilesFrom, Filter};
    use blk_client::Location;

    fn remote(word: &str) -> RemotePath {
        match word.parse() {
            Ok(Location::Remote(remote)) => remote,
            other => panic!("{word}: {other:?}"),
        }
    }

    fn selection(recursive: bool) -> Selection<'static> {
        static NONE: std::sync::LazyLock<Filter> = std::sync::LazyLock::new(Filter::default);
        Selection {
            recursive,
            links: false,
            filter: &NONE,
            files_from: None,
        }
    }

    fn put(sources: &[PathBuf], to: &str, recursive: bool) -> Result<Vec<String>, Failure> {
        let to = remote(to);
        let roots = roots_put(sources, &to, selection(recursive))?;
        let target = |root: &Found<PathBuf>| to.below(&root.name).to_string();
        Ok(roots.iter().map(target).collect())
    }

    #[test]
    fn a_directory_goes_into_the_destination_and_with_a_slash_only_what_is_in_it() {
        let place = tempfile::tempdir().unwrap();
        let (d, file) = (place.path().join("d"), place.path().join("file"));
        std::fs::create_dir(&d).unwrap();
        std::fs::write(&file, b"x").unwrap();
        let content = [d.join(""), d.join("."), d.join("../d/")];
        for to in ["h:data/x", "h:data/x/"] {
            assert_eq!(
                put(std::slice::from_ref(&d), to, true).unwrap(),
                ["h:data/x/d"]
            );
            for source in &content {
                let source = std::slice::from_ref(source);
                assert_eq!(put(source, to, true).unwrap(), ["h:data/x"]);
            }
        }
        let root = put(std::slice::from_ref(&d), "h:data", true).unwrap();
        assert_eq!(root, ["h:data/d"]);
        let file = std::slice::from_ref(&file);
        assert_eq!(put(file, "h:data/x", false).unwrap(), ["h:data/x"]);
        assert_eq!(put(file, "h:data/x/", false).unwrap(), ["h:data/x/file"]);
        let refused = put(&[d], "h:data/", false);
        assert!(matches!(refused, Err(Failure::Directory(_))));
    }

    #[test]
    fn names_need_one_directory() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        let names = FilesFrom::default();
        let selection = Selection {
            files_from: Some(&names),
            ..selection(false)
        };
        let to = remote("h:data/");
        for sources in [vec![file.clone()], vec![file.clone(), file]] {
            let refused = roots_put(&sources, &to, selection).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{refused}");
        }
        let here = [place.path().to_owned()];
        assert_eq!(roots_put(&here, &to, selection).unwrap()[0].name, b"");
    }

    #[test]
    fn several_sources_need_a_directory() {
        let refused = put(&["a".into(), "b".into()], "h:data/x", false);
        assert!(matches!(refused, Err(Failure::Usage(_))));
    }

    #[test]
    fn two_sources_with_one_target_are_both_named() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["a", "b"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("x"), b"x").unwrap();
        }
        let twice = put(&[at("a/x"), at("b/x")], "h:data/", true);
        let text = twice.unwrap_err().to_string();
        for named in ["a/x", "b/x", "h:data/x"] {
            assert!(text.contains(named), "{text}");
        }
        let sources = [remote("h:data/a/x"), remote("h:other/x")];
        let here = Path::new("here");
        let twice = check_get(&sources, here, true, selection(false)).unwrap_err();
        assert_eq!(twice.exit_code(), 2);
        for named in ["h:data/a/x", "h:other/x", "here/x"] {
            assert!(twice.to_string().contains(named), "{twice}");
        }
        let different = [
            remote("h:data/x"),
            remote("h:data/y"),
            remote("h:data/a/x/"),
        ];
        check_get(&different, here, true, selection(true)).unwrap();
    }

    #[test]
    fn names_from_the_other_end_stay_in_their_directory() {
        for bad in [&b".."[..], b".", b"", b"a/b", b"/etc", b"a\0b"] {
            assert!(local_name(bad).is_err());
        }
        assert_eq!(local_name(b"\xff ok").unwrap().as_bytes(), b"\xff ok");
    }

    #[test]
    fn some_names_stand_for_what_is_in_a_directory() {
        for content in ["a/", "/", ".", "..", "../..", "a/..", "a/.", "./", "/.."] {
            assert!(means_content(Path::new(content)), "{content}");
        }
        for name in ["a", "a/b", "..a", "a..", "...", "../a", "./.a"] {
            assert!(!means_content(Path::new(name)), "{name}");
        }
    }
}
