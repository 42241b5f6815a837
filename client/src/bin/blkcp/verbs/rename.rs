//! `blkcp mv`.

use std::collections::HashMap;
use std::ffi::OsString;

use blk_client::{ClientError, Connection, ErrorKind, RemotePath};
use clap::Parser;
use serde::Serialize;

use super::Scene;
use super::connect::ConnectArguments;
use super::look::must_be_directory;
use super::output::is_known;
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

With -f, where both names are of one file (hard links), the old one goes. A slash at the end of a name
means a directory, and no link to one.

Exit codes are those of blkcp, that of the first name that failed: 14 when the new name is taken, 6 when it
is the old one by another way; 2 for two names that would become one, before anything is renamed.

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
        let renamed = rename(source, &to, words, &connection).await;
        if words.json && is_known(&renamed) {
            scene.output.json(&Json {
                path: source.into(),
                to: (&to).into(),
                renamed: renamed.is_ok(),
            })?;
            scene.output.pass_on().await?;
        }
        if let Err(failure) = renamed {
            scene.troubles.note(failure)?;
        }
    }
    Ok(())
}

/// Gives a source its new name.
async fn rename(
    source: &RemotePath,
    to: &RemotePath,
    words: &RenameArguments,
    connection: &Connection,
) -> Result<(), Failure> {
    if source.path == to.path {
        return Err(Failure::Usage(format!("{source} and {to} are one name")));
    }
    // A slash at the end of the new name, which -T leaves there, says the same.
    if source.trailing_slash || to.trailing_slash {
        must_be_directory(source, connection).await?;
    }
    let renamed = connection.rename(source, to, words.force).await;
    renamed.map_err(|error| hint(error, words.force))
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
    one_name_each(sources, destination)
}

/// Of two sources with one name the second would replace the first, in the directory that both go into.
fn one_name_each(sources: &[RemotePath], destination: &RemotePath) -> Result<(), Failure> {
    let mut names = HashMap::new();
    for source in sources {
        if let Some(other) = names.insert(source.name(), source) {
            return Err(Failure::Usage(format!(
                "{other} and {source} would have one name in {destination}: nothing was renamed"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sources_of_one_name_are_refused() {
        let check = |words: &[&str]| {
            let words = RenameArguments::try_parse_from([&["mv"], words].concat()).unwrap();
            let sources = place::read(&words.sources).unwrap();
            let destination = place::read_one(&words.destination).unwrap();
            check(&sources, &destination, &words)
        };
        for words in [
            ["h:data/a/x", "h:data/b/x", "h:data/d"],
            ["h:data/x", "h:data/x/", "h:data/d/"],
        ] {
            let refused = check(&words).unwrap_err();
            assert_eq!(refused.exit_code(), 2);
            assert!(refused.to_string().contains("one name"), "{refused}");
        }
        assert!(check(&["h:data/a/x", "h:data/x/y", "h:data/x"]).is_ok());
    }
}
