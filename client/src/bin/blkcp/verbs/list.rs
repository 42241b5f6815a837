//! `blkcp ls`.

use std::ffi::OsString;

use blk_client::{ClientError, Connection, RemotePath};
use blk_proto::message::{Attributes, Entry, ErrorCode, FileKind};
use clap::Parser;
use serde::Serialize;

use super::connect::ConnectArguments;
use super::output::Output;
use super::place::{self, JsonPath};
use super::{Scene, show};
use crate::failure::Failure;

/// List what is in directories of a host.
///
/// One name a line, sorted by bytes. On a terminal names are quoted where a shell would need it, or where they have control characters or
/// no UTF-8; in a pipe they are as they are.
#[derive(Debug, Parser)]
#[command(name = "ls", disable_help_flag = true, after_help = AFTER_HELP)]
pub struct ListArguments {
    /// Directories or files
    #[arg(required = true, value_name = "HOST:EXPORT/PATH")]
    pub places: Vec<OsString>,
    /// Modes, sizes and times (of last modification, in UTC) too
    #[arg(short, long)]
    pub long: bool,
    /// Names that begin with a dot too
    #[arg(short, long)]
    pub all: bool,
    /// Sizes as 1.5K, 12M, in powers of 1024
    #[arg(short, long)]
    pub human_readable: bool,
    /// Everything below the directories too. Links are not followed
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// A line of JSON for each entry
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

const AFTER_HELP: &str = "\
A link that is named itself is followed, within its export; those in a directory are listed as links.

Exit codes are those of blkcp: that of the first thing that failed.

Examples:
  blkcp ls storage1:data
  blkcp ls -lhR storage1:data/images";

/// An entry, as programs read it.
#[derive(Serialize)]
pub struct Json {
    #[serde(flatten)]
    path: JsonPath,
    #[serde(flatten)]
    attributes: JsonAttributes,
}

/// Attributes, as programs read them.
#[derive(Serialize)]
pub struct JsonAttributes {
    kind: &'static str,
    size: u64,
    mode: String,
    mtime_ns: i64,
}

impl From<&Attributes> for JsonAttributes {
    fn from(attributes: &Attributes) -> Self {
        Self {
            kind: show::kind(attributes.kind),
            size: attributes.size,
            mode: format!("{:04o}", attributes.mode),
            mtime_ns: attributes.mtime_ns,
        }
    }
}

pub async fn run(words: &ListArguments, scene: &mut Scene<'_>) -> Result<(), Failure> {
    let places = place::read(&words.places)?;
    let has_headings = !words.json && (words.recursive || places.len() > 1);
    let mut lister = Lister {
        words,
        has_headings,
        is_first: true,
    };
    for place in &places {
        if let Err(failure) = lister.list(place, scene).await {
            scene.troubles.note(failure)?;
        }
    }
    Ok(())
}

struct Lister<'a> {
    words: &'a ListArguments,
    has_headings: bool,
    is_first: bool,
}

impl Lister<'_> {
    /// Lists what was named.
    async fn list(&mut self, place: &RemotePath, scene: &mut Scene<'_>) -> Result<(), Failure> {
        let connection = scene.hosts.of(place).await?;
        let entries = match connection.list(place).await {
            Ok(entries) => entries,
            Err(error) if is_no_directory(&error) && !place.trailing_slash => {
                let attributes = connection.stat(place).await?;
                let entry = Entry {
                    name: place::bytes(place),
                    attributes,
                };
                self.is_first = false;
                match self.words.json {
                    true => scene.output.json(&json(place, &attributes))?,
                    false => self.lines(&[entry], &mut scene.output),
                }
                return scene.output.pass_on().await;
            }
            Err(error) => return Err(error.into()),
        };
        self.tree(place, entries, &connection, scene).await
    }

    /// Lists a directory, and what is below it.
    async fn tree(
        &mut self,
        place: &RemotePath,
        entries: Vec<Entry>,
        connection: &Connection,
        scene: &mut Scene<'_>,
    ) -> Result<(), Failure> {
        // The next one last.
        let mut directories = vec![(place.clone(), Some(entries))];
        while let Some((place, entries)) = directories.pop() {
            let entries = match entries {
                Some(entries) => entries,
                None => match connection.list(&place).await {
                    Ok(entries) => entries,
                    Err(error) => {
                        scene.troubles.note(error.into())?;
                        continue;
                    }
                },
            };
            let shown: Vec<Entry> = entries
                .into_iter()
                .filter(|entry| self.words.all || !entry.name.starts_with(b"."))
                .collect();
            self.directory(&place, &shown, &mut scene.output)?;
            scene.output.pass_on().await?;
            if self.words.recursive {
                let below = shown.iter().rev();
                let below = below.filter(|entry| entry.attributes.kind == FileKind::Directory);
                directories.extend(below.map(|entry| (place.join(&entry.name), None)));
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        place: &RemotePath,
        entries: &[Entry],
        output: &mut Output,
    ) -> Result<(), Failure> {
        if self.words.json {
            let mut lines = entries.iter();
            return lines.try_for_each(|entry| {
                output.json(&json(&place.join(&entry.name), &entry.attributes))
            });
        }
        if self.has_headings {
            if !self.is_first {
                output.line("");
            }
            output.heading(&place::bytes(place));
        }
        self.is_first = false;
        self.lines(entries, output);
        Ok(())
    }

    fn lines(&self, entries: &[Entry], output: &mut Output) {
        let size = |entry: &Entry| show::size(entry.attributes.size, self.words.human_readable);
        let width = entries.iter().map(|entry| size(entry).len()).max();
        for entry in entries {
            let attributes = &entry.attributes;
            let before = match self.words.long {
                true => format!(
                    "{} {:>width$} {} ",
                    show::mode(attributes),
                    size(entry),
                    show::minute(attributes.mtime_ns),
                    width = width.unwrap_or(0)
                ),
                false => String::new(),
            };
            output.name(&before, &entry.name, attributes.kind);
        }
    }
}

/// What a name stands for, as programs read it.
pub fn json(path: &RemotePath, attributes: &Attributes) -> Json {
    Json {
        path: path.into(),
        attributes: attributes.into(),
    }
}

/// Whether there is something else than a directory, perhaps on the way.
pub fn is_no_directory(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { failure, .. } if failure.code == ErrorCode::NotDirectory)
}
