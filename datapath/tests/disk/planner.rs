//! What is planned is what happens: reports that are made up, on the file system that is there.

use blk_datapath::disk::{
    DeviceReport, Plan,
    plan::{CoalesceReason, QueueLimits},
};

use super::*;

/// The report of the test directory with something changed; a loud skip where that has no direct I/O.
fn report(
    directory: &tempfile::TempDir,
    change: impl Fn(&mut DeviceReport),
) -> Option<DeviceReport> {
    let file = direct(directory, "reported", Intent::Write)?;
    let mut report = *file.report();
    change(&mut report);
    Some(report)
}

/// A device of one queue with such joints, whatever there is.
fn boundary(report: &mut DeviceReport, virt_boundary: u64) {
    report.queue = Some(QueueLimits {
        virt_boundary,
        max_segments: 128,
        max_kib: 1280,
        logical_block: 512,
        physical_block: 512,
        rotational: false,
        devices: 1,
    });
}

#[test]
fn a_device_with_joints_at_pages_gets_copies_and_the_same_bytes() {
    let directory = test_directory();
    let Some(report) = report(&directory, |report| boundary(report, 0xfff)) else {
        return;
    };
    let fd = create(&directory, "joints");
    let file = Arc::new(BlockFile::with_report(fd, Intent::Write, report).expect("file"));
    let reason = CoalesceReason::Joints { boundary: 0xfff };
    assert_eq!(file.plan(), Plan::Coalesce { reason, align: 512 });
    let mut umem = Umem::anonymous(512).expect("memory");
    let mut queue = DiskQueue::new(&umem, 8).expect("io_uring");
    let mut total = 0;
    // Runs as they come at MTU 1500, 3498 and 9000 or more.
    let runs = [
        (1024, RUN_MAX),
        (3072, RUN_MAX),
        (PAYLOAD_MAX, 240),
        (PAYLOAD_MAX, 2),
    ];
    for (payload, count) in runs {
        let lengths = vec![payload; count];
        let bytes = (payload * count) as u64;
        let ways = write(&mut queue, &mut umem, &file, total, &lengths).expect("write");
        assert_eq!((ways.direct, ways.copied), (0, bytes));
        let mut written = vec![0; bytes as usize];
        let plain = File::open(directory.path().join("joints")).expect("file");
        std::os::unix::fs::FileExt::read_exact_at(&plain, &mut written, total).expect("read");
        assert_eq!(PatternFile::mismatch(&written, 0), None);
        total += bytes;
    }
    let written = queue.counters().written;
    // Every run fits in one copy buffer.
    assert_eq!(written.coalesced.requests, runs.len() as u64);
    assert_eq!(written.coalesced.bytes, total);
    assert_eq!(
        (written.gathered.requests, written.buffered.requests),
        (0, 0)
    );
    // The same from the file as it is really reported: nothing of full frames is copied.
    let Some(file) = direct(&directory, "no-joints", Intent::Write) else {
        return;
    };
    if file.plan() == Plan::Gather {
        let ways = write(&mut queue, &mut umem, &file, 0, &[3072; RUN_MAX]).expect("write");
        assert_eq!(ways.copied, 0);
        assert_eq!(queue.counters().written.gathered.requests, 1);
    }
}

/// Writes `size` bytes of the pattern in runs cut anywhere, in no order, several in flight, and compares the file.
fn scattered(file: &Arc<BlockFile>, size: u64, cut: usize) -> DiskCounters {
    let mut umem = Umem::anonymous(1024).expect("memory");
    let mut queue = DiskQueue::new(&umem, 16).expect("io_uring");
    let mut runs = Vec::new();
    let mut start = 0;
    while start < size {
        let len = (size - start).min(cut as u64 + start % 5 * 512);
        runs.push((start, len as usize));
        start += len;
    }
    // Neighbours apart, then in between: 0, 2, 4 …, 1, 3, 5 …
    let (even, odd): (Vec<_>, Vec<_>) = (0..runs.len()).partition(|n| n % 2 == 0);
    let mut out = Vec::new();
    for n in even.into_iter().chain(odd) {
        let (offset, len) = runs[n];
        let mut frames = Vec::new();
        let mut at = 0;
        while at < len {
            let take = (len - at).min(3072);
            let mut frame = umem.allocate().expect("a free frame");
            PatternFile::fill(
                &mut umem.payload_mut(&mut frame)[..take],
                offset + at as u64,
            );
            frames.push(umem.free_to_disk(frame, take as u16));
            at += take;
        }
        queue
            .write(&mut umem, file, offset, frames, offset)
            .expect("room");
        queue.submit().expect("submit");
        queue.completions(&mut umem, &mut out);
        if queue.in_flight() >= 12 {
            assert!(queue.drain(&mut umem, LONG, &mut out).expect("drain"));
        }
        release(&mut umem, &mut out);
    }
    assert!(queue.drain(&mut umem, LONG, &mut out).expect("drain"));
    release(&mut umem, &mut out);
    assert_eq!(umem.available(), umem.total());
    let counters = queue.counters();
    assert_eq!(counters.written.bytes(), size);
    counters
}

fn release(umem: &mut Umem, out: &mut Vec<Completion>) {
    for completion in out.drain(..) {
        let Completion::Written { frames, result, .. } = completion else {
            panic!("not a write")
        };
        result.expect("write");
        frames.into_iter().for_each(|frame| umem.release(frame));
    }
}

/// Writes a file with whole blocks direct and the pieces around them not, and checks all of it, in the cache and on disk.
pub(super) fn blocks_and_pieces(
    path: &std::path::Path,
    report: Option<DeviceReport>,
    intent: Intent,
) {
    const SIZE: u64 = 3_000_123;
    let mut options = OpenOptions::new();
    let fd = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path);
    let plain = fd.expect("test file");
    // Longer than what is written: what lies behind must stay.
    plain.set_len(SIZE + 10_000).expect("length");
    let fd: OwnedFd = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("file")
        .into();
    let file = match report {
        Some(report) => BlockFile::with_report(fd, intent, report),
        None => BlockFile::new(fd, intent),
    };
    let file = Arc::new(file.expect("file"));
    assert!(file.is_direct(), "{}: {}", file.plan(), file.report());
    let counters = scattered(&file, SIZE, 100_352 + 512);
    let written = counters.written;
    // Only what shares a block with a neighbour goes through the page cache.
    let unit = u64::from(file.report().offset_align.max(4096));
    let pieces = 2 * unit * (SIZE / 100_000 + 1);
    assert!(
        written.buffered.bytes > 0 && written.buffered.bytes <= pieces,
        "{written:?}"
    );
    assert!(written.buffered.requests > 0 && written.coalesced.bytes + written.gathered.bytes > 0);
    drop(file);
    for cold in [false, true] {
        if cold {
            plain.sync_all().expect("sync");
            rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
        }
        let bytes = fs::read(path).expect("file");
        assert_eq!(bytes.len() as u64, SIZE + 10_000);
        assert_eq!(
            PatternFile::mismatch(&bytes[..SIZE as usize], 0),
            None,
            "cold: {cold}"
        );
        assert!(bytes[SIZE as usize..].iter().all(|byte| *byte == 0));
    }
    // Read back directly, whole blocks and the end of the file.
    let fd = File::open(path).expect("file");
    let file = BlockFile::new(fd.into(), Intent::Read).expect("file");
    let file = Arc::new(file);
    let mut umem = Umem::anonymous(512).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    assert_eq!(
        read(&mut queue, &mut umem, &file, 512 * 3, &[3072; RUN_MAX]),
        860_160
    );
}

#[test]
fn files_with_coarse_alignment_and_files_in_place_are_written_whole() {
    let directory = test_directory();
    let path = directory.path().join("pieces");
    for offset_align in [4096, 16_384] {
        let Some(report) = report(&directory, |report| report.offset_align = offset_align) else {
            return;
        };
        blocks_and_pieces(&path, Some(report), Intent::Write);
    }
    blocks_and_pieces(&path, None, Intent::Update);
}

#[test]
fn a_file_in_memory_is_buffered_and_says_so() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return skip("no /dev/shm");
    };
    let file = BlockFile::new(create(&directory, "memory"), Intent::Write).expect("file");
    let file = Arc::new(file);
    let reason = BufferedReason::NotReported;
    assert_eq!(file.plan(), Plan::Buffered { reason });
    assert!(file.plan().to_string().starts_with("buffered: "));
    let counters = scattered(&file, 1_000_001, 100_000);
    let written = counters.written;
    assert_eq!(written.buffered.bytes, 1_000_001);
    assert!(written.buffered.requests >= 10);
    let bytes = fs::read(directory.path().join("memory")).expect("file");
    assert_eq!(PatternFile::mismatch(&bytes, 0), None);
}
