//! Whole pages, in blocks: each read and each write is a transfer of its own, from or into a file in memory.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{Coverage, Progress, SentFile, SharedWork, TransferError};
use blk_datapath::files::FileError;
use blk_proto::message::{Reply, Request};
use rustix::fs::{MemfdFlags, memfd_create};

use super::link::{Link, Part};
use crate::error::ClientError;
use crate::service::Command;
use crate::transfer::{check_missing, expect};

/// So often what is missing of a write is sent again.
const WRITE_TRIES: usize = 8;

/// A file in memory that has, or gets, the bytes of a range, at the offsets that they have in the remote file.
pub(super) struct Staging {
    pub(super) bytes: File,
    file: Arc<BlockFile>,
}

impl Staging {
    fn new() -> io::Result<Self> {
        let fd = memfd_create("blk-range", MemfdFlags::CLOEXEC)?;
        let bytes = File::from(fd.as_fd().try_clone_to_owned()?);
        Ok(Self {
            bytes,
            file: Arc::new(BlockFile::buffered(fd)?),
        })
    }

    fn holding(bytes: &[u8], offset: u64) -> io::Result<Self> {
        let staging = Self::new()?;
        staging.bytes.write_all_at(bytes, offset)?;
        Ok(staging)
    }
}

pub(super) fn staged<T>(link: &Link, result: io::Result<T>) -> Result<T, ClientError> {
    let failed = |error| FileError::new("keep in memory a part of", link.what.as_bytes(), error);
    Ok(result.map_err(failed)?)
}

/// Reads whole pages, of which the last may end with the file.
pub(super) async fn read(link: &Link, offset: u64, buffer: &mut [u8]) -> Result<(), ClientError> {
    let len = buffer.len() as u64;
    let part = Part::new(link);
    let request = Request::ReadRange {
        transfer: part.number,
        file: link.file,
        offset,
        len,
    };
    let staging = receive(link, part.number, request, (offset, len)).await?;
    part.over();
    staged(link, staging.bytes.read_exact_at(buffer, offset))
}

/// Has a range come into memory, by a request that has the server send it as blocks of a transfer, and checks it.
pub(super) async fn receive(
    link: &Link,
    transfer: u32,
    request: Request,
    (offset, len): (u64, u64),
) -> Result<Staging, ClientError> {
    let _permit = link.blocks().await;
    let staging = staged(link, Staging::new())?;
    let coverage = Arc::new(Coverage::range(offset, len, &[]));
    // Asked for in this order, so that the worker expects the blocks before they can come.
    let receiving = link.line.ask(|answer| Command::Receive {
        transfer,
        file: Arc::clone(&staging.file),
        coverage: Arc::clone(&coverage),
        progress: Progress::default(),
        answer,
    });
    let reply = link.line.request(&link.what, request).await?;
    let sent = expect(&link.what, reply, |reply| match reply {
        Reply::ReadDone { crc } => Some(*crc),
        _ => None,
    })?;
    // Every block was acknowledged here, so all that comes has come.
    link.line.tell(Command::Settle {
        coverage: Arc::clone(&coverage),
    });
    let received = receiving.await?.map_err(|source| ClientError::Transfer {
        what: link.what.clone(),
        source,
    })?;
    if received.crc != sent {
        return Err(link.mismatch(received.crc, sent));
    }
    Ok(staging)
}

/// Writes whole pages.
pub(super) async fn write(link: &Link, offset: u64, bytes: &[u8]) -> Result<(), ClientError> {
    let _permit = link.blocks().await;
    let len = bytes.len() as u64;
    let staging = staged(link, Staging::holding(bytes, offset))?;
    let part = Part::new(link);
    let transfer = part.number;
    let request = Request::Write {
        transfer,
        file: link.file,
        offset,
        len,
    };
    let reply = link.line.request(&link.what, request).await?;
    expect(&link.what, reply, |reply| {
        matches!(reply, Reply::WriteReady).then_some(())
    })?;
    let sent = send(link, transfer, &staging, (offset, len)).await?;
    for _ in 0..WRITE_TRIES {
        let request = Request::WriteDone {
            transfer,
            crc: sent.crc,
        };
        let reply = link.line.request(&link.what, request).await?;
        let Reply::Missing { ranges } = reply else {
            part.over();
            return expect(&link.what, reply, |reply| {
                matches!(reply, Reply::Written { .. }).then_some(())
            });
        };
        for range in ranges {
            check_missing(&link.what, range, (offset, len))?;
            send(link, transfer, &staging, range).await?;
        }
    }
    Err(ClientError::Transfer {
        what: link.what.clone(),
        source: TransferError::Incomplete,
    })
}

async fn send(
    link: &Link,
    transfer: u32,
    staging: &Staging,
    (offset, len): (u64, u64),
) -> Result<SentFile, ClientError> {
    let sending = link.line.ask(|answer| Command::Send {
        transfer,
        file: Arc::clone(&staging.file),
        work: Arc::new(SharedWork::new(offset, len)),
        progress: Progress::default(),
        answer,
    });
    sending.await?.map_err(|source| ClientError::Transfer {
        what: link.what.clone(),
        source,
    })
}
