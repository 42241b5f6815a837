//! What a name of a host stands for, where a link is not followed.

use blk_client::{Connection, RemotePath};
use blk_proto::message::FileKind;

use super::place;
use crate::failure::Failure;

/// What has the name. The directory that it is in is read for it: of a link the server tells only there that it is one.
///
/// # Errors
/// Nothing has the name, or the directory cannot be read.
pub async fn look(place: &RemotePath, connection: &Connection) -> Result<FileKind, Failure> {
    let entries = match place::parent(place) {
        Some(parent) => connection.list(&parent).await?,
        None => Vec::new(),
    };
    let found = entries
        .iter()
        .find(|entry| Some(&entry.name[..]) == place.name());
    match found {
        Some(entry) => Ok(entry.attributes.kind),
        // In the server's words.
        None => match connection.stat(place).await {
            Ok(attributes) => Ok(attributes.kind),
            Err(error) => Err(error.into()),
        },
    }
}

/// What was written with a slash at its end must be a directory, and no link to one.
///
/// # Errors
/// It is something else; as [`look`].
pub async fn must_be_directory(place: &RemotePath, connection: &Connection) -> Result<(), Failure> {
    match look(place, connection).await? {
        FileKind::Directory => Ok(()),
        _ => Err(Failure::NoDirectory(place.to_string())),
    }
}
