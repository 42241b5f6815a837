//! `blkcp mkdir`.

use std::ffi::OsString;

use blk_client::{Connection, RemotePath};
use clap::Parser;
use serde::Serialize;

use super::Scene;
use super::connect::ConnectArguments;
use super::output::is_known;
use super::place::{self, JsonPath};
use crate::failure::Failure;

/// Make directories on a host; each is durable when blkcp returns.
#[derive(Debug, Parser)]
#[command(name = "mkdir", after_help = AFTER_HELP)]
pub struct MakeDirectoryArguments {
    /// The directories
    #[arg(required = true, value_name = "HOST:EXPORT/PATH")]
    pub places: Vec<OsString>,
    /// Make what is missing on the way too; a directory that is there already is fine
    #[arg(short, long)]
    pub parents: bool,
    /// Permission bits, in octal
    #[arg(short, long, value_name = "MODE", default_value = "755", value_parser = mode)]
    pub mode: u32,
    /// A line of JSON for each directory
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArguments,
}

const AFTER_HELP: &str = "\
Without -p it is first looked whether the name is free and the directory above it is there. Of two
that make the same directory at the same moment, both may be told that it is theirs.

Exit codes are those of blkcp, that of the first name that failed: 14 for a name that is taken.

Example:
  blkcp mkdir -p storage1:data/images/2026";

#[derive(Serialize)]
struct Json {
    #[serde(flatten)]
    path: JsonPath,
    made: bool,
}

pub async fn run(words: &MakeDirectoryArguments, scene: &mut Scene<'_>) -> Result<(), Failure> {
    for place in &place::read(&words.places)? {
        let made = make(words, place, scene).await;
        if words.json && is_known(&made) {
            scene.output.json(&Json {
                path: place.into(),
                made: made.is_ok(),
            })?;
            scene.output.pass_on().await?;
        }
        if let Err(failure) = made {
            scene.troubles.note(failure)?;
        }
    }
    Ok(())
}

async fn make(
    words: &MakeDirectoryArguments,
    place: &RemotePath,
    scene: &mut Scene<'_>,
) -> Result<(), Failure> {
    let connection = scene.hosts.of(place).await?;
    if !words.parents {
        check(place, &connection).await?;
    }
    Ok(connection.make_directory(place, words.mode).await?)
}

/// Whether the name is free, in a directory that is there.
async fn check(place: &RemotePath, connection: &Connection) -> Result<(), Failure> {
    let Some(parent) = place::parent(place) else {
        return Err(Failure::Taken(place.to_string()));
    };
    match connection.is_directory(&parent).await? {
        Some(true) => {}
        Some(false) => return Err(Failure::NoDirectory(parent.to_string())),
        None => return Err(Failure::NoParent(parent.to_string())),
    }
    match connection.is_directory(place).await? {
        None => Ok(()),
        Some(_) => Err(Failure::Taken(place.to_string())),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let bits = u32::from_str_radix(text, 8).ok();
    bits.filter(|bits| *bits <= 0o777)
        .ok_or_else(|| "an octal number from 0 to 777, as 755".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("755"), Ok(0o755));
        assert_eq!(mode("0"), Ok(0));
        for bad in ["", "8", "1777", "-1", "u+x"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
