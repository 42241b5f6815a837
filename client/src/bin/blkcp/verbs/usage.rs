//! `blkcp du`.

use std::ffi::OsString;

use blk_client::RemotePath;
use blk_proto::message::{Attributes, FileKind};
use clap::{ArgAction, Parser};
use serde::Serialize;

use super::connect::ConnectArguments;
use super::list::is_no_directory;
use super::place::{self, JsonPath};
use super::walk::{Step, Walk};
use super::{Scene, show};
use crate::failure::Failure;

/// Sum up the sizes of files below directories of a host.
///
/// What is summed up is the length of regular files, in bytes: holes count, and a file with several names counts for each. Links are not
/// followed.
#[derive(Debug, Parser)]
#[command(name = "du", disable_help_flag = true, after_help = AFTER_HELP)]
pub struct UsageArguments {
    /// Directories or files
    #[arg(required = true, value_name = "HOST:EXPORT/PATH")]
    pub places: Vec<OsString>,
    /// Only the sum for each that is named, not for the directories below
    #[arg(short, long)]
    pub summarize: bool,
    /// Sizes as 1.5K, 12M, in powers of 1024
    #[arg(short, long)]
    pub human_readable: bool,
    /// A line of JSON for each sum
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub help: Option<bool>,
}

const AFTER_HELP: &str = "\
Exit codes are those of blkcp: that of the first thing that failed. What cannot be read is not counted.

Example:
  blkcp du -sh storage1:data/images";

/// What is below a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Sum {
    bytes: u64,
    files: u64,
    directories: u64,
}

impl Sum {
    /// Counts what is no directory, if it is a regular file.
    fn count(&mut self, file: &Attributes) {
        if file.kind == FileKind::File {
            self.bytes = self.bytes.saturating_add(file.size);
            self.files += 1;
        }
    }

    fn add(&mut self, other: &Sum) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.files += other.files;
        self.directories += other.directories;
    }
}

#[derive(Serialize)]
struct Json {
    #[serde(flatten)]
    path: JsonPath,
    #[serde(flatten)]
    sum: Sum,
}

pub async fn run(words: &UsageArguments, scene: &mut Scene<'_>) -> Result<(), Failure> {
    for place in &place::read(&words.places)? {
        if let Err(failure) = sum_up(words, place, scene).await {
            scene.troubles.note(failure)?;
        }
    }
    Ok(())
}

async fn sum_up(
    words: &UsageArguments,
    place: &RemotePath,
    scene: &mut Scene<'_>,
) -> Result<(), Failure> {
    let connection = scene.hosts.of(place).await?;
    let mut walk = Walk::new(place.clone());
    // Of the directories on the way to where the walk is.
    let mut sums: Vec<Sum> = Vec::new();
    while let Some(step) = walk.next(&connection).await {
        match step {
            Step::Entered(_, entries) => {
                let mut sum = Sum {
                    directories: 1,
                    ..Sum::default()
                };
                for entry in &entries {
                    sum.count(&entry.attributes);
                }
                sums.push(sum);
            }
            Step::Left(directory) => {
                let sum = sums.pop().unwrap_or_default();
                if let Some(above) = sums.last_mut() {
                    above.add(&sum);
                }
                if sums.is_empty() || !words.summarize {
                    tell(words, &directory, sum, scene).await?;
                }
            }
            Step::Closed(error)
                if sums.is_empty() && is_no_directory(&error) && !place.trailing_slash =>
            {
                let file = connection.stat(place).await?;
                let mut sum = Sum::default();
                sum.count(&file);
                tell(words, place, sum, scene).await?;
            }
            Step::Closed(error) => scene.troubles.note(error.into())?,
        }
    }
    Ok(())
}

async fn tell(
    words: &UsageArguments,
    place: &RemotePath,
    sum: Sum,
    scene: &mut Scene<'_>,
) -> Result<(), Failure> {
    if words.json {
        let path = place.into();
        scene.output.json(&Json { path, sum })?;
    } else {
        let size = show::size(sum.bytes, words.human_readable);
        let name = place::bytes(place);
        let output = &mut scene.output;
        output.name(&format!("{size}\t"), &name, FileKind::File);
    }
    scene.output.pass_on().await
}
