//! Gather writes and scatter reads against real files, checked byte by byte.
//!
//! Files go to `BLK_TEST_DIR`, else to cargo's scratch directory (below the target directory, on a disk).

mod devices;
mod planner;
mod queue;
mod reads;
#[path = "../support/mod.rs"]
mod support;
mod writes;

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use blk_datapath::{
    disk::{
        Access, BlockFile, BufferedReason, Completion, DiskCounters, DiskQueue, Intent, QueueFull,
        RUN_MAX, Ways,
    },
    mailbox::mailbox,
    umem::{Disk, Frame, PAYLOAD_MAX, Umem},
};
use support::{PatternFile, skip, test_directory};

const LONG: Duration = Duration::from_secs(20);

fn create(directory: &tempfile::TempDir, name: &str) -> OwnedFd {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    options
        .open(directory.path().join(name))
        .expect("test file")
        .into()
}

fn open(directory: &tempfile::TempDir, name: &str) -> OwnedFd {
    File::open(directory.path().join(name))
        .expect("test file")
        .into()
}

/// Frames with payloads of these lengths; byte `n` of the run is `pattern(n)`.
fn run(umem: &mut Umem, lengths: &[usize]) -> Vec<Frame<Disk>> {
    let mut position = 0;
    lengths
        .iter()
        .map(|&len| {
            let mut frame = umem.allocate().expect("a free frame");
            let area = umem.payload_mut(&mut frame);
            // What the frame held before must not reach the file.
            area.fill(0xEE);
            PatternFile::fill(&mut area[..len], position);
            position += len as u64;
            umem.free_to_disk(frame, len as u16)
        })
        .collect()
}

/// Waits for exactly one outcome.
fn one(queue: &mut DiskQueue, umem: &mut Umem) -> Completion {
    let mut out = Vec::new();
    while out.is_empty() {
        queue.wait(Some(LONG)).expect("wait");
        queue.completions(umem, &mut out);
    }
    assert_eq!(out.len(), 1, "{out:?}");
    out.remove(0)
}

/// Writes a run and returns the outcome; the frames are back in the pool afterwards.
fn write(
    queue: &mut DiskQueue,
    umem: &mut Umem,
    file: &Arc<BlockFile>,
    offset: u64,
    lengths: &[usize],
) -> std::io::Result<Ways> {
    let frames = run(umem, lengths);
    let indices: Vec<_> = frames.iter().map(Frame::index).collect();
    queue
        .write(umem, file, offset, frames, 7)
        .expect("room in the queue");
    assert_eq!(queue.in_flight(), 1);
    let Completion::Written {
        tag,
        frames,
        result,
    } = one(queue, umem)
    else {
        panic!("not a write")
    };
    assert_eq!(tag, 7);
    assert_eq!(frames.iter().map(Frame::index).collect::<Vec<_>>(), indices);
    frames.into_iter().for_each(|frame| umem.release(frame));
    umem.assert_conserved();
    assert_eq!(umem.available(), umem.total());
    assert_eq!(queue.in_flight(), 0);
    result
}

/// A direct file, or a loud skip where the test directory cannot have one (an error under CI).
fn direct(directory: &tempfile::TempDir, name: &str, intent: Intent) -> Option<Arc<BlockFile>> {
    let fd = if intent == Intent::Write {
        create(directory, name)
    } else {
        open(directory, name)
    };
    let file = BlockFile::new(fd, intent).expect("statx");
    match file.access() {
        Access::Direct => Some(Arc::new(file)),
        Access::Buffered { reason } => {
            skip(format!("no direct I/O in the test directory: {reason}"));
            None
        }
    }
}

/// Reads `lengths` from `offset`; checks contents against the pattern; returns the bytes read.
fn read(
    queue: &mut DiskQueue,
    umem: &mut Umem,
    file: &Arc<BlockFile>,
    offset: u64,
    lengths: &[usize],
) -> u64 {
    let frames = lengths
        .iter()
        .map(|&len| {
            let frame = umem.allocate().expect("a free frame");
            umem.free_to_disk(frame, len as u16)
        })
        .collect();
    queue
        .read(umem, file, offset, frames, 9)
        .expect("room in the queue");
    let Completion::Read {
        tag: 9,
        frames,
        result,
        ..
    } = one(queue, umem)
    else {
        panic!("not a read")
    };
    let bytes = result.expect("read");
    let mut position = 0;
    for frame in frames {
        let payload = umem.payload(&frame);
        let valid = payload.len().min((bytes - position) as usize);
        assert_eq!(
            PatternFile::mismatch(&payload[..valid], offset + position),
            None
        );
        position += valid as u64;
        umem.release(frame);
    }
    assert_eq!(position, bytes);
    assert_eq!(umem.available(), umem.total());
    bytes
}
