//! Serves a disk to the kernel as the only file of a FUSE file system.
//!
//! One thread answers. Requests that wait at the same time have no order among themselves, so flushes are answered first:
//! a flush never covers a write that was not completed before it was asked for, which a disk may do, and which the strictest
//! disk does.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use zerocopy::{FromBytes, IntoBytes};

use super::abi::{self, opcode};
use super::state::Shared;

/// Requests taken at a time.
const BATCH: usize = 16;

/// Answers requests until the file system is unmounted, or `stop` is readable. Closing the descriptor on return ends every request
/// that still waits.
pub fn serve(fuse: File, stop: OwnedFd, disk: Arc<Shared>) {
    let mut buffers: Vec<Vec<u8>> = Vec::new();
    let mut answer = vec![0; abi::MAX_WRITE];
    loop {
        let mut ready = [
            PollFd::new(&fuse, PollFlags::IN),
            PollFd::new(&stop, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        let Some(lengths) = take(&fuse, &mut buffers) else {
            return;
        };
        let mut requests: Vec<&[u8]> = lengths
            .iter()
            .zip(&buffers)
            .map(|(length, buffer)| &buffer[..*length])
            .collect();
        requests.sort_by_key(|request| opcode_of(request) != Some(opcode::FSYNC));
        for request in requests {
            // The one that asked may be gone; then nobody misses the answer.
            let _ = handle(&fuse, &disk, request, &mut answer);
        }
    }
}

/// Takes what waits, up to [`BATCH`] requests. `None` when the file system is gone.
fn take(fuse: &File, buffers: &mut Vec<Vec<u8>>) -> Option<Vec<usize>> {
    let mut lengths = Vec::new();
    while lengths.len() < BATCH {
        if buffers.len() == lengths.len() {
            buffers.push(vec![0; abi::MAX_REQUEST]);
        }
        match rustix::io::read(fuse, buffers[lengths.len()].as_mut_slice()) {
            Ok(length) => lengths.push(length),
            // ENOENT: the request was interrupted before it was taken.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOENT) => break,
            Err(_) => return None,
        }
    }
    Some(lengths)
}

fn opcode_of(request: &[u8]) -> Option<u32> {
    abi::InHeader::read_from_prefix(request)
        .ok()
        .map(|(header, _)| header.opcode)
}

/// Carries out one request and answers it.
fn handle(fuse: &File, disk: &Shared, request: &[u8], buffer: &mut [u8]) -> Result<(), Errno> {
    let Ok((header, body)) = abi::InHeader::read_from_prefix(request) else {
        return Ok(());
    };
    let done = |bytes: &[u8]| reply(fuse, header.unique, 0, bytes);
    let outcome = match header.opcode {
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return Ok(()),
        opcode::INIT => return done(init().as_bytes()),
        opcode::GETATTR | opcode::SETATTR => return done(attributes(disk.size()).as_bytes()),
        opcode::OPEN => return done(open().as_bytes()),
        opcode::STATFS => return done(abi::StatfsOut::default().as_bytes()),
        opcode::RELEASE | opcode::FLUSH | opcode::ACCESS | opcode::DESTROY => return done(&[]),
        opcode::READ => read(disk, body, buffer),
        opcode::WRITE => write(disk, body, buffer),
        opcode::FSYNC => disk.flush().map(|()| 0),
        opcode::FALLOCATE => fallocate(disk, body),
        _ => Err(Errno::NOSYS),
    };
    match outcome {
        Ok(length) => done(&buffer[..length]),
        Err(errno) => reply(fuse, header.unique, -errno.raw_os_error(), &[]),
    }
}

fn reply(fuse: &File, unique: u64, error: i32, bytes: &[u8]) -> Result<(), Errno> {
    let header = abi::OutHeader {
        len: (size_of::<abi::OutHeader>() + bytes.len()) as u32,
        error,
        unique,
    };
    rustix::io::writev(
        fuse,
        &[IoSlice::new(header.as_bytes()), IoSlice::new(bytes)],
    )
    .map(drop)
}

fn init() -> abi::InitOut {
    abi::InitOut {
        major: abi::MAJOR,
        minor: abi::MINOR,
        max_readahead: abi::MAX_WRITE as u32,
        flags: abi::ASYNC_READ | abi::BIG_WRITES | abi::ASYNC_DIO | abi::MAX_PAGES,
        max_background: 64,
        congestion_threshold: 64,
        max_write: abi::MAX_WRITE as u32,
        time_gran: 1,
        max_pages: (abi::MAX_WRITE / 4096) as u16,
        ..abi::InitOut::default()
    }
}

fn attributes(size: u64) -> abi::AttrOut {
    abi::AttrOut {
        valid: 3600,
        ino: 1,
        size,
        blocks: size / 512,
        mode: libc::S_IFREG | 0o600,
        nlink: 1,
        blksize: 4096,
        ..abi::AttrOut::default()
    }
}

fn open() -> abi::OpenOut {
    abi::OpenOut {
        fh: 0,
        flags: abi::OPEN_DIRECT_IO | abi::OPEN_PARALLEL_DIRECT_WRITES,
        padding: 0,
    }
}

fn read(disk: &Shared, body: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    let (ask, _) = abi::IoIn::read_from_prefix(body).map_err(|_| Errno::INVAL)?;
    let rest = disk.size().saturating_sub(ask.offset);
    let length = (u64::from(ask.size).min(rest) as usize).min(buffer.len());
    disk.read(ask.offset, &mut buffer[..length])?;
    Ok(length)
}

fn write(disk: &Shared, body: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    let (ask, bytes) = abi::IoIn::read_from_prefix(body).map_err(|_| Errno::INVAL)?;
    let bytes = bytes.get(..ask.size as usize).ok_or(Errno::INVAL)?;
    disk.write(ask.offset, bytes)?;
    let out = abi::WriteOut {
        size: ask.size,
        padding: 0,
    };
    let out = out.as_bytes();
    buffer[..out.len()].copy_from_slice(out);
    Ok(out.len())
}

fn fallocate(disk: &Shared, body: &[u8]) -> Result<usize, Errno> {
    let (ask, _) = abi::FallocateIn::read_from_prefix(body).map_err(|_| Errno::INVAL)?;
    let zeroing = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
    if ask.mode & zeroing as u32 == 0 {
        // Room for the whole image is always there.
        return Ok(0);
    }
    disk.zero(ask.offset, ask.length)?;
    Ok(0)
}
