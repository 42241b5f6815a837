//! The small files of a copy: apart from the others, many in one message.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use blk_client::{ClientError, Connection, RemotePath, SMALL_MAX, SmallDone, SmallGet, SmallPut};
use rustix::fs::OFlags;

use crate::carry::{Sums, into_directory};
use crate::destination::Destination;
use crate::directories::{Directories, parent_of};
use crate::failure::Failure;
use crate::plan::Item;
use crate::progress::Bar;

/// So many files are worth the threads that small ones take.
const FROM: usize = 2;

/// A file to send, and one to fetch.
pub type ToPut = Item<PathBuf, RemotePath>;
/// See [`ToPut`].
pub type ToGet = Item<RemotePath, PathBuf>;

type Items<S, T> = Vec<Item<S, T>>;

/// The small files and the others.
pub fn divide<S, T>(files: Items<S, T>) -> (Items<S, T>, Items<S, T>) {
    let (small, large): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.size <= SMALL_MAX);
    if small.len() < FROM {
        let all = large.into_iter().chain(small).collect();
        return (Vec::new(), all);
    }
    (small, large)
}

/// Sends small files; those that turn out not to be small come back.
pub async fn put(
    connection: &Connection,
    files: Vec<ToPut>,
    bar: &Bar,
) -> Result<(Sums, Vec<ToPut>), Failure> {
    let (mut sums, mut others) = (Sums::default(), Vec::new());
    if files.is_empty() {
        return Ok((sums, others));
    }
    let pack = |file: ToPut| SmallPut {
        source: file.source,
        target: file.target,
        size: file.size,
    };
    let files = files.into_iter().map(pack).collect();
    let told = |file: SmallPut, result: Result<SmallDone, ClientError>| {
        let failed = |error| into_directory(error, &file.target.to_string());
        match result.map_err(failed)? {
            SmallDone::Copied(copied) => {
                bar.small_done(copied.bytes);
                sums.add(&copied);
            }
            SmallDone::Large => others.push(Item {
                source: file.source,
                target: file.target,
                size: file.size,
                mode: 0,
            }),
        }
        Ok::<_, Failure>(())
    };
    connection.store_many(files, told).await?;
    Ok((sums, others))
}

/// Fetches small files; those that turn out not to be small come back.
pub async fn get(
    connection: &Connection,
    destination: &Destination,
    files: Vec<ToGet>,
    bar: &Bar,
) -> Result<(Sums, Vec<ToGet>), Failure> {
    let (mut sums, mut others) = (Sums::default(), Vec::new());
    if files.is_empty() {
        return Ok((sums, others));
    }
    make_parents(destination, &files).await?;
    let pack = |file: ToGet| SmallGet {
        source: file.source,
        target: file.target,
        size: file.size,
    };
    let files = files.into_iter().map(pack).collect();
    let told = |file: SmallGet, result: Result<SmallDone, ClientError>| {
        let failed = |error| into_directory(error, &file.target.display().to_string());
        match result.map_err(failed)? {
            SmallDone::Copied(copied) => {
                bar.small_done(copied.bytes);
                sums.add(&copied);
            }
            SmallDone::Large => others.push(Item {
                source: file.source,
                target: file.target,
                size: file.size,
                mode: 0,
            }),
        }
        Ok::<_, Failure>(())
    };
    let open = |path: &Path| destination.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
    connection.fetch_many(files, open, told).await?;
    Ok((sums, others))
}

/// Makes the directories that the files go to, durably.
async fn make_parents(destination: &Destination, files: &[ToGet]) -> Result<(), Failure> {
    let parents: BTreeSet<&Path> = files.iter().map(|file| parent_of(&file.target)).collect();
    let mut made = Directories::below(destination);
    for parent in parents {
        made.make(parent)?;
    }
    made.sync().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> Item<u32, u32> {
        Item {
            source: 0,
            target: 0,
            size,
            mode: 0,
        }
    }

    #[test]
    fn one_small_file_goes_with_the_others() {
        let (small, large) = divide(vec![file(1), file(SMALL_MAX + 1)]);
        assert_eq!((small.len(), large.len()), (0, 2));
        let (small, large) = divide(vec![file(1), file(SMALL_MAX + 1), file(SMALL_MAX)]);
        assert_eq!((small.len(), large.len()), (2, 1));
    }
}
