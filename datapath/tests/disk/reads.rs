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
    let huge = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
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
