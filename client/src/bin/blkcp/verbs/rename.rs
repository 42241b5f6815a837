//! `blkcp mv`.

use std::ffi::OsString;

use blk_client::{ClientError, ErrorKind, RemotePath};
use clap::Parser;
use serde::Serialize;

use super::Scene;
use super::connect::ConnectArguments;
use super::place::{self, JsonPath};
use crate::failure::Failure;

/// Give files and directories of a host other names, within one export.
///
/// Each gets its new name atomically, and durably when blkcp returns. No content is copied; from export to export, or host to host, copy.
/// When DEST is a directory, they go into it under their own names.
#[derive(Debug, Parser)]
#[command(name = "mv", after_help = AFTER_HELP)]
pub struct RenameArguments {
    /// What gets another name
    #[arg(required = true, value_name = "HOST:EXPORT/PATH")]
    pub sources: Vec<OsString>,
    /// The new name, or a directory to move into
    #[arg(required = true, value_name = "DEST")]
    pub destination: OsString,
    /// Replace what has the new name: a file by a file, an empty directory by a directory
    #[arg(short, long)]
    pub force: bool,
    /// Take DEST as the new name, also if a directory has it
    #[arg(short = 'T', long)]
    pub no_target_directory: bool,
    /// A line of JSON for each
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArguments,
}

const AFTER_HELP: &str = "\
Links are renamed themselves. A get of the file that is under way fails, as if the file had changed; a put
ends under the name that it was begun with.

Exit codes are those of blkcp, that of the first name that failed: 14 when the new name is taken.

Examples:
  blkcp mv storage1:data/disk.img.new storage1:data/disk.img -f
  blkcp mv storage1:data/a storage1:data/b storage1:data/old/";

#[derive(Serialize)]
struct Json {
    #[serde(flatten)]
    path: JsonPath,
    to: JsonPath,
    renamed: bool,
}

pub async fn run(words: &RenameArguments, scene: &mut Scene<'_>) -> Result<(), Failure> {
    let sources = place::read(&words.sources)?;
    let destination = place::read_one(&words.destination)?;
    check(&sources, &destination, words)?;
    let connection = scene.hosts.of(&destination).await?;
    let is_into = !words.no_target_directory && {
        let found = connection.is_directory(&destination).await?;
        let must_be = destination.trailing_slash || sources.len() > 1;
        match found {
            Some(false) if must_be => return Err(Failure::NoDirectory(destination.to_string())),
            None if must_be => return Err(Failure::NoParent(destination.to_string())),
            found => found == Some(true),
        }
    };
    for source in &sources {
        let to = match source.name() {
            Some(name) if is_into => destination.join(name),
            _ => destination.clone(),
        };
        let renamed = match source.path == to.path {
            true => Err(Failure::Usage(format!("{source} and {to} are one name"))),
            false => {
                let renamed = connection.rename(source, &to, words.force).await;
                renamed.map_err(|error| hint(error, words.force))
            }
        };
        if words.json {
            scene.output.json(&Json {
                path: source.into(),
                to: (&to).into(),
                renamed: renamed.is_ok(),
            })?;
        }
        if let Err(failure) = renamed {
            scene.troubles.note(failure)?;
        }
    }
    Ok(())
}

/// What is wrong can be said before anything is done.
fn check(
    sources: &[RemotePath],
    destination: &RemotePath,
    words: &RenameArguments,
) -> Result<(), Failure> {
    if words.no_target_directory && sources.len() > 1 {
        let message = "with -T there is one name to change, and its new one";
        return Err(Failure::Usage(message.to_owned()));
    }
    for source in sources {
        if (&source.host, &source.export) != (&destination.host, &destination.export) {
            return Err(Failure::Usage(format!(
                "{source} cannot be renamed to {destination}: names change within one export of one host; copy it, and remove it then"
            )));
        }
        if source.path.is_empty() {
            return Err(Failure::Usage(format!(
                "{source} is an export: those are renamed where blockd is started"
            )));
        }
    }
    Ok(())
}

/// What is in the way can be told to go.
fn hint(error: ClientError, is_forced: bool) -> Failure {
    match error.kind() {
        ErrorKind::Taken if !is_forced => Failure::InTheWay(error),
        _ => error.into(),
    }
}
