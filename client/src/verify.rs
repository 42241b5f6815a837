//! Compares what the server has of a file with the source, by checksums: on a thread of its own, with one buffer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_datapath::disk::BlockFile;
use blk_datapath::files::{FileError, SourceFile};
use blk_proto::message::Extent;
use rustix::io::{Errno, pread};
use tokio::sync::oneshot;

use crate::error::ClientError;

/// Bytes read at once: enough for a disk to be busy with, and all the memory that it takes.
const CHUNK: usize = 1 << 20;

/// What direct I/O asks of memory, at most.
const ALIGNMENT: usize = 4096;

/// Why the comparison did not come to a good end.
pub enum Mismatch {
    /// An extent has another checksum here.
    Differs,
    /// The source cannot be read.
    Failed(ClientError),
}

/// Ready when every extent has the checksum that it says. The source is read in the way of its own descriptor: with
/// direct I/O, which leaves the page cache alone, unless it is in there. Dropped, the reading ends soon.
pub async fn verify(source: &SourceFile, extents: Vec<Extent>) -> Result<(), Mismatch> {
    if extents.is_empty() {
        return Ok(());
    }
    let (answer, waiting) = oneshot::channel();
    let stop = Stop(Arc::new(AtomicBool::new(false)));
    let (file, stopped) = (Arc::clone(source.file()), Arc::clone(&stop.0));
    std::thread::Builder::new()
        .name("blk-verify".to_owned())
        .spawn(move || {
            // Nobody may wait any more.
            let _ = answer.send(compare(&file, &extents, &stopped));
        })
        .map_err(failed)?;
    match waiting.await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Mismatch::Differs),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed(io::Error::other("the thread that reads it ended"))),
    }
}

/// Tells the thread to end.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn failed(error: io::Error) -> Mismatch {
    Mismatch::Failed(FileError::new("read again", b"the source", error).into())
}

/// Whether all extents have their checksums; nobody wants to know when `stop` is set.
fn compare(file: &BlockFile, extents: &[Extent], stop: &AtomicBool) -> io::Result<bool> {
    let mut memory = vec![0; CHUNK + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let buffer = memory
        .get_mut(start..start + CHUNK)
        .ok_or(io::ErrorKind::OutOfMemory)?;
    for extent in extents {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if checksum(file.as_fd(), extent, buffer, stop)? != Some(extent.crc) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The CRC32 of an extent's bytes; `None` when the file ends before it, or it is not wanted any more.
fn checksum(
    file: BorrowedFd<'_>,
    extent: &Extent,
    buffer: &mut [u8],
    stop: &AtomicBool,
) -> io::Result<Option<u32>> {
    let mut hasher = crc32fast::Hasher::new();
    let mut done = 0;
    while done < extent.len {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // Whole chunks: direct I/O reads whole sectors, and the last one ends at the end of the file.
        let read = match pread(file, &mut *buffer, extent.offset + done) {
            Ok(0) => return Ok(None),
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let wanted = (extent.len - done).min(read as u64) as usize;
        hasher.update(&buffer[..wanted]);
        done += wanted as u64;
    }
    Ok(Some(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn extents_are_compared_with_the_file() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = directory.path().join("file");
        let bytes: Vec<u8> = (0..3 * CHUNK + 777)
            .map(|at| ((at * 31) >> 3) as u8)
            .collect();
        fs::write(&path, &bytes).unwrap();
        let extent = |offset: usize, len: usize| Extent {
            offset: offset as u64,
            len: len as u64,
            crc: crc32fast::hash(&bytes[offset..offset + len]),
        };
        let source = SourceFile::open(&path).unwrap();
        let good = vec![
            extent(0, 4096),
            extent(8192, 2 * CHUNK),
            extent(3 * CHUNK, 777),
        ];
        let check = |extents| {
            tokio_uring::start(async {
                verify(&source, extents)
                    .await
                    .map_err(|stop| matches!(stop, Mismatch::Differs))
            })
        };
        assert_eq!(check(good.clone()), Ok(()));
        assert_eq!(check(Vec::new()), Ok(()));
        for number in 0..good.len() {
            let mut wrong = good.clone();
            wrong[number].crc ^= 1;
            assert_eq!(check(wrong), Err(true));
        }
        // The file has become shorter.
        fs::write(&path, &bytes[..CHUNK]).unwrap();
        assert_eq!(check(good), Err(true));
    }
}
