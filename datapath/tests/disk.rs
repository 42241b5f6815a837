//! Gather writes and scatter reads against real files, checked byte by byte.
//!
//! Files go to `BLK_TEST_DIR`, else to cargo's scratch directory (below the target directory, on a disk).

mod support;

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
use support::{PatternFile, read_pattern, test_directory};

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
            assert!(
                std::env::var_os("CI").is_none(),
                "no direct I/O in the test directory: {reason}"
            );
            eprintln!("SKIPPED, no direct I/O in the test directory: {reason}");
            None
        }
    }
}

#[test]
fn direct_gather_writes_of_all_shapes() {
    let directory = test_directory();
    let Some(file) = direct(&directory, "gather", Intent::Write) else {
        return;
    };
    let mut umem = Umem::anonymous(256).expect("memory");
    let mut queue = DiskQueue::new(&umem, 8).expect("io_uring");
    queue.set_gather_min(0);
    let mut expected = DiskCounters::default();
    for payload in [1024, 3072, PAYLOAD_MAX] {
        for count in [1, 2, 3, 17, 64, RUN_MAX] {
            for tail in [0, 1, 511, 512, 513] {
                let mut lengths = vec![payload; count];
                if tail > 0 {
                    lengths[count - 1] = tail;
                }
                let total: usize = lengths.iter().sum();
                let ways = write(&mut queue, &mut umem, &file, 4096, &lengths).expect("write");
                assert_eq!(
                    ways,
                    Ways {
                        direct: total as u64,
                        copied: 0
                    }
                );
                expected.direct_bytes_written += total as u64;
                expected.operations += 1;
                let bytes = fs::read(directory.path().join("gather")).expect("file");
                let end = 4096 + total;
                assert_eq!(
                    PatternFile::mismatch(&bytes[4096..end], 0),
                    None,
                    "{count} x {payload}, tail {tail}"
                );
                // The sector is filled up with zeros, never with what the frame held before.
                assert!(
                    bytes[end..end.next_multiple_of(512)]
                        .iter()
                        .all(|byte| *byte == 0)
                );
            }
        }
    }
    let counters = queue.counters();
    assert_eq!(
        DiskCounters {
            resubmissions: 0,
            ..counters
        },
        expected
    );
}

#[test]
fn a_partial_frame_within_a_run_goes_through_copies() {
    let directory = test_directory();
    let Some(file) = direct(&directory, "copies", Intent::Write) else {
        return;
    };
    let mut umem = Umem::anonymous(128).expect("memory");
    let mut queue = DiskQueue::new(&umem, 8).expect("io_uring");
    queue.set_gather_min(0);
    for (lengths, direct) in [
        (vec![1024, 1024, 100, 1024, 77], 2048),
        (vec![1, 1, 1], 0),
        // The padding does not fit behind the last frame.
        (vec![100, PAYLOAD_MAX], 0),
        // Longer than one copy buffer, which is therefore used again and again.
        ([vec![3072], vec![3001; 100]].concat(), 3072),
    ] {
        let total: usize = lengths.iter().sum();
        let ways = write(&mut queue, &mut umem, &file, 512, &lengths).expect("write");
        assert_eq!((ways.direct, ways.copied), (direct, total as u64 - direct));
        let bytes = fs::read(directory.path().join("copies")).expect("file");
        assert_eq!(PatternFile::mismatch(&bytes[512..512 + total], 0), None);
        assert!(
            bytes[512 + total..(512 + total).next_multiple_of(512)]
                .iter()
                .all(|byte| *byte == 0)
        );
    }
}

#[test]
fn more_copies_than_buffers_wait_for_each_other() {
    const WRITES: usize = 60;
    let directory = test_directory();
    let Some(file) = direct(&directory, "starved", Intent::Write) else {
        return;
    };
    let mut umem = Umem::anonymous(WRITES as u32 * 2).expect("memory");
    let mut queue = DiskQueue::new(&umem, WRITES as u32).expect("io_uring");
    for n in 0..WRITES {
        let frames = run(&mut umem, &[100, 924]);
        queue
            .write(&mut umem, &file, n as u64 * 1024, frames, n as u64)
            .expect("room");
    }
    assert_eq!(queue.in_flight(), WRITES);
    let mut out = Vec::new();
    assert!(queue.drain(&mut umem, LONG, &mut out).expect("drain"));
    let mut tags = Vec::new();
    for completion in out {
        let Completion::Written {
            tag,
            frames,
            result,
        } = completion
        else {
            panic!("not a write")
        };
        assert_eq!(
            result.expect("write"),
            Ways {
                direct: 0,
                copied: 1024
            }
        );
        tags.push(tag);
        frames.into_iter().for_each(|frame| umem.release(frame));
    }
    tags.sort_unstable();
    assert_eq!(tags, (0..WRITES as u64).collect::<Vec<_>>());
    assert_eq!(umem.available(), umem.total());
    let bytes = fs::read(directory.path().join("starved")).expect("file");
    for block in bytes.chunks(1024) {
        assert_eq!(PatternFile::mismatch(block, 0), None);
    }
}

#[test]
fn buffered_writes_take_any_length_and_count_as_copied() {
    let directory = test_directory();
    let file = Arc::new(BlockFile::buffered(create(&directory, "buffered")).expect("file"));
    assert_eq!(
        file.access(),
        Access::Buffered {
            reason: BufferedReason::Asked
        }
    );
    let mut umem = Umem::anonymous(64).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let lengths = [3000, 1, 17, 3584, 5];
    let total: usize = lengths.iter().sum();
    let ways = write(&mut queue, &mut umem, &file, 333, &lengths).expect("write");
    assert_eq!(
        ways,
        Ways {
            direct: 0,
            copied: total as u64
        }
    );
    assert_eq!(queue.counters().copied_bytes_written, total as u64);
    let bytes = fs::read(directory.path().join("buffered")).expect("file");
    assert_eq!(bytes.len(), 333 + total);
    assert_eq!(PatternFile::mismatch(&bytes[333..], 0), None);
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

#[test]
fn reads_stop_at_the_end_of_the_file() {
    let directory = test_directory();
    let mut umem = Umem::anonymous(256).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    queue.set_gather_min(0);
    for size in [0u64, 1, 511, 512, 513, 100_000, 409_600, 500_000] {
        let name = format!("read-{size}");
        PatternFile::write(&directory.path().join(&name), size);
        let buffered = Arc::new(BlockFile::buffered(open(&directory, &name)).expect("file"));
        let cold = direct(&directory, &name, Intent::Read);
        for file in std::iter::once(buffered).chain(cold) {
            assert_eq!(file.size(), size);
            let before = queue.counters();
            assert_eq!(
                read(&mut queue, &mut umem, &file, 0, &[PAYLOAD_MAX; 128]),
                size.min(458_752)
            );
            assert_eq!(
                read(&mut queue, &mut umem, &file, 512, &[1024, 1024, 100]),
                size.saturating_sub(512).min(2148)
            );
            let after = queue.counters();
            let read = size.min(458_752) + size.saturating_sub(512).min(2148);
            let counted = if file.access() == Access::Direct {
                after.direct_bytes_read - before.direct_bytes_read
            } else {
                after.copied_bytes_read - before.copied_bytes_read
            };
            assert_eq!(counted, read);
        }
    }
}

#[test]
fn small_frames_and_coalescing_files_are_copied_both_ways() {
    const SIZE: u64 = 400_000;
    let directory = test_directory();
    PatternFile::write(&directory.path().join("source"), SIZE);
    let mut umem = Umem::anonymous(256).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let Some(target) = direct(&directory, "target", Intent::Write) else {
        return;
    };
    let fd = open(&directory, "source");
    let source = Arc::new(BlockFile::new(fd, Intent::Read).expect("statx").coalesced());
    assert!(source.is_coalescing() && source.access() == Access::Direct);

    // 1000 is no multiple of a sector: only a copy can do this.
    assert_eq!(
        read(&mut queue, &mut umem, &source, 0, &[1000; 128]),
        128_000
    );
    assert_eq!(
        read(&mut queue, &mut umem, &source, 0, &[PAYLOAD_MAX; 128]),
        SIZE
    );
    assert_eq!(
        read(&mut queue, &mut umem, &source, 399_872, &[512, 512]),
        128
    );
    assert_eq!(queue.counters().copied_bytes_read, 128_000 + SIZE + 128);
    // A single frame needs no gathering.
    assert_eq!(
        read(&mut queue, &mut umem, &source, 512, &[PAYLOAD_MAX]),
        PAYLOAD_MAX as u64
    );
    assert_eq!(queue.counters().direct_bytes_read, PAYLOAD_MAX as u64);

    for (lengths, copied) in [
        (vec![1024; 128], true),
        (vec![2048; 64], false),
        (vec![1024], false),
    ] {
        let total = lengths.iter().sum::<usize>() as u64;
        let ways = write(&mut queue, &mut umem, &target, 0, &lengths).expect("write");
        let expected = if copied { (0, total) } else { (total, 0) };
        assert_eq!((ways.direct, ways.copied), expected);
        let bytes = fs::read(directory.path().join("target")).expect("file");
        assert_eq!(PatternFile::mismatch(&bytes[..total as usize], 0), None);
    }
}

#[test]
fn a_file_in_the_page_cache_is_read_from_there() {
    let directory = test_directory();
    let path = directory.path().join("hot");
    PatternFile::write(&path, 1 << 20);
    read_pattern(&path);
    let file = BlockFile::new(open(&directory, "hot"), Intent::Read).expect("file");
    let Access::Buffered { reason } = file.access() else {
        // Before Linux 6.5 the kernel does not say; this one does.
        panic!("1 MiB just read is not in the page cache")
    };
    assert!(
        matches!(reason, BufferedReason::Hot { cached, pages: 256 } if cached >= 192)
            || reason == BufferedReason::NotReported,
        "{reason}"
    );
}

#[test]
fn errors_come_as_completions_with_the_frames() {
    let directory = test_directory();
    PatternFile::write(&directory.path().join("readonly"), 4096);
    let file = Arc::new(BlockFile::buffered(open(&directory, "readonly")).expect("file"));
    let mut umem = Umem::anonymous(256).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let error =
        write(&mut queue, &mut umem, &file, 0, &[512; 3]).expect_err("the file is read-only");
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    let error =
        write(&mut queue, &mut umem, &file, 0, &[512; RUN_MAX + 1]).expect_err("too many frames");
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    if let Some(file) = direct(&directory, "unaligned", Intent::Write) {
        let error =
            write(&mut queue, &mut umem, &file, 100, &[512]).expect_err("an unaligned offset");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
    assert!(queue.counters().errors >= 2);
    assert_eq!(queue.counters().direct_bytes_written, 0);
}

#[test]
fn a_write_of_no_frames_succeeds_at_once() {
    let directory = test_directory();
    let file = Arc::new(BlockFile::buffered(create(&directory, "empty")).expect("file"));
    let mut umem = Umem::anonymous(4).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    assert_eq!(
        write(&mut queue, &mut umem, &file, 0, &[]).expect("write"),
        Ways::default()
    );
}

#[test]
fn a_full_queue_hands_the_frames_back() {
    let directory = test_directory();
    let file = Arc::new(BlockFile::buffered(create(&directory, "full")).expect("file"));
    let mut umem = Umem::anonymous(16).expect("memory");
    let mut queue = DiskQueue::new(&umem, 2).expect("io_uring");
    for n in 0..2 {
        let frames = run(&mut umem, &[512]);
        queue
            .write(&mut umem, &file, n * 512, frames, n)
            .expect("room");
    }
    let frames = run(&mut umem, &[512, 512]);
    let frames = queue
        .write(&mut umem, &file, 1024, frames, 2)
        .expect_err("the queue is full");
    assert_eq!(frames.len(), 2);
    let mut out = Vec::new();
    assert!(queue.drain(&mut umem, LONG, &mut out).expect("drain"));
    assert_eq!(out.len(), 2);
    queue
        .write(&mut umem, &file, 1024, frames, 2)
        .expect("room again");
    assert!(queue.drain(&mut umem, LONG, &mut out).expect("drain"));
    for completion in out {
        let Completion::Written { frames, .. } = completion else {
            panic!("not a write")
        };
        frames.into_iter().for_each(|frame| umem.release(frame));
    }
    assert_eq!(umem.available(), 16);
}

#[test]
fn polls_wake_the_queue() {
    let mut umem = Umem::anonymous(4).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let (sender, mut receiver) = mailbox::<u32>().expect("mailbox");
    queue.poll_readable(receiver.fd(), 42).expect("room");
    let mut out = Vec::new();
    queue.wait(Some(Duration::from_millis(20))).expect("wait");
    assert_eq!(queue.completions(&mut umem, &mut out), 0);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        sender.send(5).expect("receiver lives");
    });
    assert!(matches!(
        one(&mut queue, &mut umem),
        Completion::Wakeup { tag: 42 }
    ));
    thread.join().expect("sender");
    assert_eq!(receiver.drain().collect::<Vec<_>>(), [5]);
    assert_eq!(queue.in_flight(), 0);
    for tag in 0..blk_datapath::disk::POLLS_MAX as u64 {
        queue.poll_readable(receiver.fd(), tag).expect("room");
    }
    assert_eq!(queue.poll_readable(receiver.fd(), 99), Err(QueueFull));
}

#[test]
fn dropping_a_queue_in_any_order_waits_for_the_kernel() {
    let directory = test_directory();
    let (pipe_reader, mut pipe_writer) = std::io::pipe().expect("pipe");
    for umem_first in [false, true] {
        let mut umem = Umem::anonymous(1024).expect("memory");
        let mut queue = DiskQueue::new(&umem, 16).expect("io_uring");
        let name = format!("dropped-{umem_first}");
        let Some(file) = direct(&directory, &name, Intent::Write) else {
            return;
        };
        for n in 0..8 {
            let frames = run(&mut umem, &[PAYLOAD_MAX; 100]);
            queue
                .write(&mut umem, &file, n * 358_400, frames, n)
                .expect("room");
        }
        // One request that would never end by itself.
        queue
            .poll_readable(pipe_reader.as_raw_fd(), 0)
            .expect("room");
        queue.submit().expect("submit");
        assert_eq!(umem.counts().disk, 800);
        umem.assert_conserved();
        if umem_first {
            drop(umem);
            drop(queue);
        } else {
            drop(queue);
            drop(umem);
        }
    }
    pipe_writer
        .write_all(b"x")
        .expect("the pipe outlives the queues");
}

#[test]
fn a_full_file_system_ends_with_an_error_not_a_hang() {
    let device = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let file = Arc::new(BlockFile::buffered(device.into()).expect("file"));
    let mut umem = Umem::anonymous(4).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let error = write(&mut queue, &mut umem, &file, 0, &[512]).expect_err("no space");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
}
