//! Small files from the server.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk_datapath::files::{FileError, FileStore, StoreFile, StorePlace};
use blk_proto::message::{FetchedFile, Reply, Request, SmallFile};

use super::pack::{fetch_cost, next_message};
use super::{LANES, SmallDone, copied, miscounted, of_one, parent_of, refused};
use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::transfer::expect;

/// A small remote file and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallGet {
    /// The file.
    pub source: RemotePath,
    /// Where it goes; its directory exists.
    pub target: PathBuf,
    /// Its length in bytes, as far as is known.
    pub size: u64,
}

/// The directory that was opened last: files of one directory come one after the other.
type Last = RefCell<Option<(PathBuf, Arc<StorePlace>)>>;

impl Connection {
    /// Fetches small files, many at once. `open` opens the directory of a target for reading: it decides which links are followed on the
    /// way to it. `told` hears of each file when it is durable here or has failed, in any order; an error that it gives back ends
    /// everything, and what is on its way then may still be stored.
    ///
    /// # Errors
    ///
    /// What `told` gives back; it is also told when the connection is lost.
    pub async fn fetch_many<E: From<ClientError>>(
        &self,
        files: Vec<SmallGet>,
        open: impl Fn(&Path) -> io::Result<OwnedFd>,
        told: impl FnMut(SmallGet, Result<SmallDone, ClientError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let store = FileStore::start();
        let (queue, told) = (RefCell::new(VecDeque::from(files)), RefCell::new(told));
        let last = Last::default();
        let place = |path: &Path| place(&last, &open, path);
        let lane = async || {
            loop {
                let batch = next_message(&mut queue.borrow_mut(), get_cost, same_export);
                if batch.is_empty() {
                    return Ok(());
                }
                let results = self.fetch_batch(&store, &place, &batch).await;
                let mut told = told.borrow_mut();
                for (file, result) in batch.into_iter().zip(results) {
                    told(file, result)?;
                }
            }
        };
        let lanes = (0..LANES).map(|_| lane());
        futures_util::future::try_join_all(lanes).await.map(drop)
    }

    /// Fetches the files of a message and stores them here; a result for each.
    async fn fetch_batch(
        &self,
        store: &FileStore,
        place: &impl Fn(&Path) -> Result<Arc<StorePlace>, FileError>,
        batch: &[SmallGet],
    ) -> Vec<Result<SmallDone, ClientError>> {
        let fetched = match self.fetch(batch).await {
            Ok(fetched) => fetched,
            Err(error) => {
                let of = |file: &SmallGet| Err(of_one(&error, &file.source));
                return batch.iter().map(of).collect();
            }
        };
        let (mut files, mut waiting) = (Vec::new(), Vec::new());
        let mut results: Vec<Option<Result<SmallDone, ClientError>>> = Vec::new();
        for (get, fetched) in batch.iter().zip(fetched) {
            results.push(match fetched {
                FetchedFile::Large(_) => Some(Ok(SmallDone::Large)),
                FetchedFile::Failed(failure) => Some(Err(refused(&get.source, failure))),
                FetchedFile::Whole(file) => match place(&get.target) {
                    Ok(place) => {
                        let file = into_local(place, get, file);
                        waiting.push((results.len(), copied(file.bytes.len() as u64, file.crc)));
                        files.push(file);
                        None
                    }
                    Err(error) => Some(Err(error.into())),
                },
            });
        }
        let stored = store.store(files).await;
        for ((index, done), result) in waiting.into_iter().zip(stored) {
            results[index] = Some(result.map(|()| done).map_err(ClientError::from));
        }
        results.into_iter().flatten().collect()
    }

    /// One message: what became of each file.
    async fn fetch(&self, batch: &[SmallGet]) -> Result<Vec<FetchedFile>, ClientError> {
        let Some(first) = batch.first() else {
            return Ok(Vec::new());
        };
        let what = first.source.to_string();
        let request = || Request::Fetch {
            export: first.source.export.clone(),
            paths: batch.iter().map(|file| file.source.path.clone()).collect(),
        };
        let reply = self.ask_patiently(&what, request).await?;
        let Reply::Fetched { files } = reply else {
            return expect(&what, reply, |_| None);
        };
        if files.len() != batch.len() {
            return Err(miscounted(&first.source, files.len(), batch.len()));
        }
        Ok(files)
    }
}

fn get_cost(file: &SmallGet) -> usize {
    let size = usize::try_from(file.size).unwrap_or(usize::MAX / 2);
    fetch_cost(file.source.path.len(), size)
}

fn same_export(one: &SmallGet, other: &SmallGet) -> bool {
    one.source.export == other.source.export
}

/// The file as it is to be stored here. Its checksum is compared when it is.
fn into_local(place: Arc<StorePlace>, get: &SmallGet, file: SmallFile) -> StoreFile {
    let name = get.target.file_name().map(OsStr::as_bytes);
    StoreFile {
        place,
        name: name.unwrap_or_default().to_vec(),
        label: get.target.as_os_str().as_bytes().to_vec(),
        mode: file.mode,
        mtime_ns: file.mtime_ns,
        crc: file.crc,
        bytes: file.bytes,
    }
}

/// The directory that a file goes to.
fn place(
    last: &Last,
    open: impl Fn(&Path) -> io::Result<OwnedFd>,
    target: &Path,
) -> Result<Arc<StorePlace>, FileError> {
    let parent = parent_of(target);
    let mut last = last.borrow_mut();
    if let Some((_, place)) = last.as_ref().filter(|(path, _)| *path == parent) {
        return Ok(Arc::clone(place));
    }
    let opened = open(&parent)
        .map_err(|error| FileError::new("open", parent.as_os_str().as_bytes(), error))?;
    let place = Arc::new(StorePlace {
        directory: Arc::new(opened),
        staging: None,
    });
    *last = Some((parent, Arc::clone(&place)));
    Ok(place)
}
