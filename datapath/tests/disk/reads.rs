//! Reads.

use super::*;

#[test]
fn reads_stop_at_the_end_of_the_file() {
    let directory = test_directory();
    let mut umem = Umem::anonymous(512).expect("memory");
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
                after.read.gathered.bytes - before.read.gathered.bytes
            } else {
                after.read.copied_bytes() - before.read.copied_bytes()
            };
            assert_eq!(counted, read);
        }
    }
}

#[test]
fn a_large_run_is_read_into_one_piece_of_memory_where_there_are_huge_pages() {
    const SIZE: u64 = 120 * PAYLOAD_MAX as u64;
    let directory = test_directory();
    PatternFile::write(&directory.path().join("run"), SIZE);
    let mut umem = Umem::anonymous(512).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let Some(file) = direct(&directory, "run", Intent::Read) else {
        return;
    };
    let lengths = [PAYLOAD_MAX; 120];
    assert_eq!(read(&mut queue, &mut umem, &file, 0, &lengths), SIZE);
    let huge = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge = huge.is_ok_and(|enabled| !enabled.contains("[never]"));
    let of = |queue: &DiskQueue| {
        let read = queue.counters().read;
        (read.coalesced.requests, read.gathered.requests)
    };
    assert_eq!(of(&queue), if huge { (1, 0) } else { (0, 1) });
    // A small read leaves the buffers to others.
    let few = [PAYLOAD_MAX; 8];
    let bytes = 8 * PAYLOAD_MAX as u64;
    assert_eq!(read(&mut queue, &mut umem, &file, 512, &few), bytes);
    assert_eq!(of(&queue), if huge { (1, 1) } else { (0, 2) });
    // Whoever wants them gathered has them gathered.
    queue.set_gather_min(0);
    let before = of(&queue);
    assert_eq!(read(&mut queue, &mut umem, &file, 0, &lengths), SIZE);
    assert_eq!(of(&queue), (before.0, before.1 + 1));
}

#[test]
fn large_reads_without_a_copy_buffer_go_into_their_frames() {
    const FRAMES: usize = 120;
    const READS: u64 = 14;
    const BYTES: u64 = (FRAMES * PAYLOAD_MAX) as u64;
    let directory = test_directory();
    PatternFile::write(&directory.path().join("run"), READS * BYTES);
    let mut umem = Umem::anonymous(2048).expect("memory");
    let mut queue = DiskQueue::new(&umem, 32).expect("io_uring");
    let Some(file) = direct(&directory, "run", Intent::Read) else {
        return;
    };
    for number in 0..READS {
        let frames = (0..FRAMES).map(|_| {
            let frame = umem.allocate().expect("a free frame");
            umem.free_to_disk(frame, PAYLOAD_MAX as u16)
        });
        let frames = frames.collect();
        let begun = queue.read(&mut umem, &file, number * BYTES, frames, number);
        begun.expect("room in the queue");
    }
    let mut done = Vec::new();
    while done.len() < READS as usize {
        queue.wait(Some(LONG)).expect("wait");
        queue.completions(&mut umem, &mut done);
    }
    for completion in done {
        let Completion::Read {
            tag,
            frames,
            result,
            ..
        } = completion
        else {
            panic!("not a read")
        };
        assert_eq!(result.expect("read"), BYTES);
        let mut position = tag * BYTES;
        for frame in frames {
            let payload = umem.payload(&frame);
            assert_eq!(PatternFile::mismatch(payload, position), None);
            position += payload.len() as u64;
            umem.release(frame);
        }
    }
    // Of 16 buffers one device gets 11, and all reads were begun before any had ended.
    let read = queue.counters().read;
    let all = read.coalesced.requests + read.gathered.requests;
    assert_eq!(all, READS);
    assert!(read.gathered.requests >= READS - 11, "{read:?}");
}

#[test]
fn small_frames_and_coalescing_files_are_copied_both_ways() {
    const SIZE: u64 = 400_000;
    let directory = test_directory();
    PatternFile::write(&directory.path().join("source"), SIZE);
    let mut umem = Umem::anonymous(512).expect("memory");
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
    assert_eq!(queue.counters().read.copied_bytes(), 128_000 + SIZE + 128);
    // A single frame needs no gathering.
    assert_eq!(
        read(&mut queue, &mut umem, &source, 512, &[PAYLOAD_MAX]),
        PAYLOAD_MAX as u64
    );
    assert_eq!(queue.counters().read.gathered.bytes, PAYLOAD_MAX as u64);

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
