//! Writes of all shapes.

use super::*;

#[test]
fn direct_gather_writes_of_all_shapes() {
    let directory = test_directory();
    let Some(file) = direct(&directory, "gather", Intent::Write) else {
        return;
    };
    let mut umem = Umem::anonymous(512).expect("memory");
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
                expected.written.gathered.bytes += total as u64;
                expected.written.gathered.requests += 1;
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
    assert_eq!(counters, expected);
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
    assert_eq!(queue.counters().written.buffered.bytes, total as u64);
    let bytes = fs::read(directory.path().join("buffered")).expect("file");
    assert_eq!(bytes.len(), 333 + total);
    assert_eq!(PatternFile::mismatch(&bytes[333..], 0), None);
}
