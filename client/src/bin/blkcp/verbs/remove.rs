//! `blkcp rm`.

use std::ffi::OsString;

use blk_client::{ClientError, Connection, ErrorKind, RemotePath};
use blk_proto::message::{ErrorCode, FileKind};
use clap::Parser;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use super::connect::ConnectArguments;
use super::look::look;
use super::place::{self, JsonPath};
use super::walk::{Step, Walk};
use super::{Scene, show};
use crate::failure::Failure;

/// Remove files of a host, and with -r directories with everything below them; durably when blkcp returns.
///
/// Links are removed, never what they lead to. An export itself is never removed.
#[derive(Debug, Parser)]
#[command(name = "rm", after_help = AFTER_HELP)]
pub struct RemoveArguments {
    /// What is to go
    #[arg(required = true, value_name = "HOST:EXPORT/PATH")]
    pub places: Vec<OsString>,
    /// Directories too, with everything below them
    #[arg(short, long)]
    pub recursive: bool,
    /// A name that is not there is fine
    #[arg(short, long)]
    pub force: bool,
    /// Only say what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Say what goes
    #[arg(short, long)]
    pub verbose: bool,
    /// A line of JSON for each name
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArguments,
}

const AFTER_HELP: &str = "\
What cannot be removed is named, and the rest goes nevertheless. A get of the file that is under way
fails, as if the file had changed; a put is stored when it ends, unless its directory is gone.
A directory that somebody fills meanwhile stays. In a tree in which somebody else puts links in the
place of directories while it is being removed, what they lead to within the export may go.

Exit codes are those of blkcp, that of the first name that failed: 2 for an export itself, before
anything is removed; 7 for a directory without -r; 14 for a directory that is not empty in the end.

Examples:
  blkcp rm storage1:data/disk.img.old
  blkcp rm -r --dry-run storage1:data/photos";

/// Names that are removed at the same time at most: enough that they share the syncs of their directory.
const AT_ONCE: usize = 64;

#[derive(Serialize)]
struct Json {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
    removed: bool,
}

pub async fn run(words: &RemoveArguments, scene: &mut Scene<'_>) -> Result<(), Failure> {
    let places = place::read(&words.places)?;
    if let Some(export) = places.iter().find(|place| place.path.is_empty()) {
        return Err(Failure::Usage(format!(
            "{export} is an export itself, and stays; to empty it, name what is in it"
        )));
    }
    for place in &places {
        match remove(words, place, scene).await {
            Err(Failure::Client(error)) if words.force && is_gone(&error) => {}
            Err(failure) => scene.troubles.note(failure)?,
            Ok(()) => {}
        }
    }
    Ok(())
}

fn is_gone(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { failure, .. } if failure.code == ErrorCode::NotFound)
}

/// Removes what was named.
async fn remove(
    words: &RemoveArguments,
    place: &RemotePath,
    scene: &mut Scene<'_>,
) -> Result<(), Failure> {
    let connection = scene.hosts.of(place).await?;
    let is_directory = if words.dry_run || place.trailing_slash {
        let kind = look(place, &connection).await?;
        if place.trailing_slash && kind != FileKind::Directory {
            return Err(Failure::NoDirectory(place.to_string()));
        }
        if kind != FileKind::Directory {
            return tell(words, place, kind, scene).await;
        }
        true
    } else {
        match connection.remove(place).await {
            Ok(()) => return tell(words, place, FileKind::File, scene).await,
            Err(error) if is_directory(&error) => true,
            Err(error) => return Err(error.into()),
        }
    };
    if is_directory && !words.recursive {
        return Err(Failure::IsDirectory(place.to_string()));
    }
    tree(words, place, &connection, scene).await
}

fn is_directory(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { failure, .. } if failure.code == ErrorCode::IsDirectory)
}

/// Removes a directory with everything below it.
async fn tree(
    words: &RemoveArguments,
    root: &RemotePath,
    connection: &Connection,
    scene: &mut Scene<'_>,
) -> Result<(), Failure> {
    let mut walk = Walk::new(root.clone());
    // Of each directory on the way to where the walk is: whether something in it stays, which was said.
    let mut stays: Vec<bool> = Vec::new();
    while let Some(step) = walk.next(connection).await {
        let trouble = match step {
            Step::Entered(directory, entries) => {
                let mut troubles = Vec::new();
                let names = entries
                    .into_iter()
                    .map(|entry| (directory.join(&entry.name), entry.attributes.kind));
                let mut removals = stream::iter(names)
                    .map(|(path, kind)| async move {
                        let removed = match words.dry_run {
                            true => Ok(()),
                            false => connection.remove(&path).await,
                        };
                        (path, kind, removed)
                    })
                    .buffered(AT_ONCE);
                while let Some((path, kind, removed)) = removals.next().await {
                    match removed {
                        Ok(()) => tell(words, &path, kind, scene).await?,
                        // Somebody was faster.
                        Err(error) if is_gone(&error) => {}
                        Err(error) => troubles.push(error),
                    }
                }
                stays.push(!troubles.is_empty());
                for error in troubles {
                    scene.troubles.note(error.into())?;
                }
                false
            }
            Step::Left(directory) => match stays.pop().unwrap_or(false) {
                true => true,
                false => !leave(words, &directory, connection, scene).await?,
            },
            Step::Closed(error) if is_gone(&error) => false,
            Step::Closed(error) => {
                scene.troubles.note(error.into())?;
                true
            }
        };
        if let Some(above) = stays.last_mut() {
            *above |= trouble;
        }
    }
    Ok(())
}

/// Removes a directory that is empty by now; whether it is gone. Why not is said.
async fn leave(
    words: &RemoveArguments,
    directory: &RemotePath,
    connection: &Connection,
    scene: &mut Scene<'_>,
) -> Result<bool, Failure> {
    let removed = match words.dry_run {
        true => Ok(()),
        false => connection.remove_directory(directory).await,
    };
    match removed {
        Ok(()) => tell(words, directory, FileKind::Directory, scene).await?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            scene.troubles.note(error.into())?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says that something is gone, or would be.
async fn tell(
    words: &RemoveArguments,
    path: &RemotePath,
    kind: FileKind,
    scene: &mut Scene<'_>,
) -> Result<(), Failure> {
    if words.json {
        scene.output.json(&Json {
            path: path.into(),
            kind: show::kind(kind),
            removed: !words.dry_run,
        })?;
        return scene.output.pass_on().await;
    }
    let text = match (words.dry_run, words.verbose) {
        (true, _) => "would remove ",
        (false, true) => "removed ",
        (false, false) => return Ok(()),
    };
    scene.output.name(text, &place::bytes(path), kind);
    scene.output.pass_on().await
}
