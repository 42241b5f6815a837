//! Small files to the server.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;

use blk_datapath::files::{FileError, SmallSource, read_small};
use blk_proto::message::{Failure, Reply, Request, SmallFile};

use super::pack::{ROOM, next_message, store_cost};
use super::readers::Readers;
use super::{LANES, SmallDone, copied, miscounted, of_one, refused};
use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::transfer::expect;

/// A small local file and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallPut {
    /// The file.
    pub source: PathBuf,
    /// Where it goes.
    pub target: RemotePath,
    /// Its length in bytes, as far as is known.
    pub size: u64,
}

/// What was read of a file.
type Read = Result<SmallSource, FileError>;

impl Connection {
    /// Stores small files, many at once. `told` hears of each one when it is durable or has failed, in any order; an error
    /// that it gives back ends everything, and what is on its way then may still be stored.
    ///
    /// # Errors
    ///
    /// What `told` gives back; it is also told when the connection is lost.
    pub async fn store_many<E: From<ClientError>>(
        &self,
        files: Vec<SmallPut>,
        told: impl FnMut(SmallPut, Result<SmallDone, ClientError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let readers = Readers::start().map_err(ClientError::Threads)?;
        let (queue, told) = (RefCell::new(VecDeque::from(files)), RefCell::new(told));
        let lane = async || {
            loop {
                let batch = next_message(&mut queue.borrow_mut(), put_cost, same_export);
                if batch.is_empty() {
                    return Ok(());
                }
                let results = self.store_batch(&readers, &batch).await;
                let mut told = told.borrow_mut();
                for (file, result) in batch.into_iter().zip(results) {
                    told(file, result)?;
                }
            }
        };
        let lanes = (0..LANES).map(|_| lane());
        futures_util::future::try_join_all(lanes).await.map(drop)
    }

    /// Reads the files of a message and has them stored; a result for each.
    async fn store_batch(
        &self,
        readers: &Readers,
        batch: &[SmallPut],
    ) -> Vec<Result<SmallDone, ClientError>> {
        let sources: Vec<PathBuf> = batch.iter().map(|file| file.source.clone()).collect();
        let read = readers.call(move || sources.iter().map(|path| read_small(path)).collect());
        let Some(read) = read.await else {
            return batch.iter().map(|file| Err(unread(file))).collect();
        };
        let (files, mut results) = into_message(batch, read);
        let Some(first) = batch.first().filter(|_| !files.is_empty()) else {
            return results.into_iter().flatten().collect();
        };
        let sent: Vec<SmallDone> = files
            .iter()
            .map(|file| copied(file.bytes.len() as u64, file.crc))
            .collect();
        let failures = self.store(&first.target, files).await;
        let waiting = results
            .iter_mut()
            .zip(batch)
            .filter(|(result, _)| result.is_none());
        for (index, (result, file)) in waiting.enumerate() {
            *result = Some(match &failures {
                Ok(failures) => match failures.get(index).cloned().flatten() {
                    None => Ok(sent[index]),
                    Some(failure) => Err(refused(&file.target, failure)),
                },
                Err(error) => Err(of_one(error, &file.target)),
            });
        }
        results.into_iter().flatten().collect()
    }

    /// One message: a failure for each file that was not stored.
    async fn store(
        &self,
        first: &RemotePath,
        files: Vec<SmallFile>,
    ) -> Result<Vec<Option<Failure>>, ClientError> {
        let (what, asked) = (first.to_string(), files.len());
        let request = || Request::Store {
            export: first.export.clone(),
            files: files.clone(),
        };
        let reply = self.ask_patiently(&what, request).await?;
        let failures = expect(&what, reply, |reply| match reply {
            Reply::Stored { failures } => Some(failures.clone()),
            _ => None,
        })?;
        if failures.len() != asked {
            return Err(miscounted(first, failures.len(), asked));
        }
        Ok(failures)
    }
}

fn put_cost(file: &SmallPut) -> usize {
    store_cost(
        file.target.path.len(),
        usize::try_from(file.size).unwrap_or(usize::MAX / 2),
    )
}

fn same_export(one: &SmallPut, other: &SmallPut) -> bool {
    one.target.export == other.target.export
}

fn unread(file: &SmallPut) -> ClientError {
    let label = file.source.as_os_str().as_encoded_bytes();
    let reason = std::io::Error::other("the thread that reads it panicked");
    FileError::new("read", label, reason).into()
}

/// Those of the files that go into the message, and what is known of the others; `None` for one that goes.
#[allow(clippy::type_complexity)]
fn into_message(
    batch: &[SmallPut],
    read: Vec<Read>,
) -> (Vec<SmallFile>, Vec<Option<Result<SmallDone, ClientError>>>) {
    let mut room = ROOM;
    let (mut files, mut results) = (Vec::new(), Vec::new());
    for (put, read) in batch.iter().zip(read) {
        let known = match read {
            Ok(SmallSource::Whole { attributes, bytes }) => {
                match room.checked_sub(store_cost(put.target.path.len(), bytes.len())) {
                    Some(left) => {
                        room = left;
                        files.push(SmallFile {
                            path: put.target.path.clone(),
                            mode: attributes.mode,
                            mtime_ns: attributes.mtime_ns,
                            crc: crc32fast::hash(&bytes),
                            bytes,
                        });
                        None
                    }
                    // It has grown since the message was planned.
                    None => Some(Ok(SmallDone::Large)),
                }
            }
            Ok(SmallSource::Large(_)) => Some(Ok(SmallDone::Large)),
            Err(error) => Some(Err(error.into())),
        };
        results.push(known);
    }
    (files, results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_proto::message::{Attributes, FileKind, RequestFrame, encode};

    fn put(name: &str, size: u64) -> SmallPut {
        SmallPut {
            source: name.into(),
            target: RemotePath {
                host: "h".to_owned(),
                export: "data".to_owned(),
                path: name.as_bytes().to_vec(),
                trailing_slash: false,
            },
            size,
        }
    }

    fn whole(len: usize) -> Read {
        let attributes = Attributes {
            kind: FileKind::File,
            size: len as u64,
            mode: 0o644,
            mtime_ns: i64::MIN,
        };
        Ok(SmallSource::Whole {
            attributes,
            bytes: vec![7; len],
        })
    }

    #[test]
    fn files_that_have_grown_go_another_way() {
        let batch = [put("a", 10), put("b", 10), put("c", 10), put("d", 10)];
        let read = vec![whole(32 * 1024), whole(32 * 1024), whole(5), whole(10)];
        let (files, results) = into_message(&batch, read);
        assert_eq!(
            files.iter().map(|file| file.bytes.len()).sum::<usize>(),
            32 * 1024 + 15
        );
        assert!(matches!(
            results[..],
            [None, Some(Ok(SmallDone::Large)), None, None]
        ));
    }

    #[test]
    fn a_planned_message_can_be_encoded() {
        for size in [0_u64, 100, 4096, 32 * 1024] {
            let name = "n".repeat(200);
            let mut queue: VecDeque<_> = (0..200).map(|_| put(&name, size)).collect();
            let batch = next_message(&mut queue, put_cost, same_export);
            let read = batch.iter().map(|_| whole(size as usize)).collect();
            let (files, results) = into_message(&batch, read);
            assert!(results.iter().all(Option::is_none));
            let export = "e".repeat(64);
            let request = Request::Store { export, files };
            encode(
                &RequestFrame {
                    id: u32::MAX,
                    request,
                },
                &mut Vec::new(),
            )
            .unwrap();
        }
    }
}
