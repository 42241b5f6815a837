//! `blkcp stat`.

use std::ffi::OsString;

use blk_client::RemotePath;
use blk_proto::message::{Attributes, FileKind};
use clap::Parser;

use super::connect::ConnectArguments;
use super::list::json;
use super::place;
use super::{Scene, show};
use crate::failure::Failure;

/// Show what names of a host stand for: kind, size, mode and time of last modification.
///
/// Links are followed, within their export.
#[derive(Debug, Parser)]
#[command(name = "stat", after_help = AFTER_HELP)]
pub struct StatArguments {
    /// Files or directories
    #[arg(required = true, value_name = "HOST:EXPORT/PATH")]
    pub places: Vec<OsString>,
    /// A line of JSON for each
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArguments,
}

const AFTER_HELP: &str = "\
Exit codes are those of blkcp: that of the first name that failed.

Example:
  blkcp stat storage1:data/images/disk.img";

pub async fn run(words: &StatArguments, scene: &mut Scene<'_>) -> Result<(), Failure> {
    for place in &place::read(&words.places)? {
        match look_up(place, scene).await {
            Ok(attributes) if words.json => scene.output.json(&json(place, &attributes))?,
            Ok(attributes) => tell(place, &attributes, scene),
            Err(failure) => scene.troubles.note(failure)?,
        }
        scene.output.pass_on().await?;
    }
    Ok(())
}

async fn look_up(place: &RemotePath, scene: &mut Scene<'_>) -> Result<Attributes, Failure> {
    let attributes = scene.hosts.of(place).await?.stat(place).await?;
    if place.trailing_slash && attributes.kind != FileKind::Directory {
        return Err(Failure::NoDirectory(place.to_string()));
    }
    Ok(attributes)
}

fn tell(place: &RemotePath, attributes: &Attributes, scene: &mut Scene<'_>) {
    let output = &mut scene.output;
    output.name("    Name: ", &place::bytes(place), FileKind::File);
    output.line(&format!("    Kind: {}", show::kind(attributes.kind)));
    output.line(&format!("    Size: {}", attributes.size));
    let (bits, mode) = (attributes.mode, show::mode(attributes));
    output.line(&format!("    Mode: {bits:04o} ({mode})"));
    let time = show::instant(attributes.mtime_ns);
    output.line(&format!("Modified: {time}"));
}
