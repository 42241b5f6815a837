use std::pin::pin;
use std::task::{Context, Waker};

use super::*;
use proptest::prelude::*;

fn missing(coverage: &Coverage) -> Option<Vec<ByteRange>> {
    coverage.take_missing(usize::MAX)
}

fn write(coverage: &Coverage, offset: u64, bytes: &[u8]) {
    let len = bytes.len() as u64;
    let ways = Ways {
        direct: len,
        copied: 0,
    };
    coverage.written(offset, len, crc32fast::hash(bytes), ways);
}

#[test]
fn a_file_is_whole_when_its_last_claim_is_written() {
    let coverage = Coverage::new(10);
    assert_eq!(coverage.claim(4, 6), Claim::Granted);
    assert_eq!(coverage.claim(0, 4), Claim::Granted);
    write(&coverage, 4, b"456789");
    assert_eq!(coverage.received(), None);
    write(&coverage, 0, b"0123");
    let received = coverage.received().unwrap();
    assert_eq!(received.crc, crc32fast::hash(b"0123456789"));
    assert_eq!((received.bytes, received.ways.direct), (10, 10));
}

#[test]
fn an_empty_file_is_whole_from_the_start() {
    let received = Coverage::new(0).received().unwrap();
    assert_eq!((received.bytes, received.crc), (0, 0));
}

#[test]
fn bytes_are_claimed_once() {
    let coverage = Coverage::new(100);
    assert_eq!(coverage.claim(10, 20), Claim::Granted);
    for (offset, len) in [(10, 20), (0, 11), (29, 1), (15, 2), (0, 100)] {
        assert_eq!(
            coverage.claim(offset, len),
            Claim::Overlap,
            "{offset}+{len}"
        );
        assert!(coverage.is_claimed(offset, len), "{offset}+{len}");
    }
    for (offset, len) in [(0, 10), (30, 70)] {
        assert!(!coverage.is_claimed(offset, len), "{offset}+{len}");
        assert_eq!(coverage.claim(offset, len), Claim::Granted);
    }
}

#[test]
fn what_was_given_back_is_missing_and_can_be_claimed_again() {
    let coverage = Coverage::new(30);
    assert_eq!(coverage.claim(0, 10), Claim::Granted);
    assert_eq!(coverage.claim(10, 10), Claim::Granted);
    assert_eq!(coverage.claim(20, 10), Claim::Granted);
    write(&coverage, 0, &[1; 10]);
    write(&coverage, 20, &[3; 10]);
    coverage.give_back(10, 10);
    coverage.settle();
    assert_eq!(missing(&coverage), Some(vec![(10, 10)]));
    assert_eq!(coverage.claim(10, 10), Claim::Granted);
    write(&coverage, 10, &[2; 10]);
    assert!(coverage.received().is_some());
}

#[test]
fn what_is_missing_is_told_once_and_when_all_is_quiet() {
    let coverage = Coverage::new(20);
    coverage.enter();
    assert_eq!(missing(&coverage), None, "nobody asked");
    coverage.settle();
    coverage.set_gathering(true);
    assert_eq!(missing(&coverage), None, "blocks are gathered");
    assert_eq!(coverage.claim(0, 5), Claim::Granted);
    coverage.set_gathering(false);
    assert_eq!(missing(&coverage), None, "a run is being written");
    write(&coverage, 0, &[0; 5]);
    assert_eq!(missing(&coverage), Some(vec![(5, 15)]));
    assert_eq!(missing(&coverage), None, "it was told");
    coverage.set_gathering(true);
    coverage.settle();
    coverage.leave(true);
    assert_eq!(coverage.take_missing(0), Some(vec![]));
    assert_eq!(coverage.flows(), 0);
}

#[test]
fn a_whole_file_misses_nothing() {
    let coverage = Coverage::new(5);
    assert_eq!(coverage.claim(0, 5), Claim::Granted);
    write(&coverage, 0, &[0; 5]);
    coverage.settle();
    assert_eq!(missing(&coverage), None);
}

#[test]
fn holes_are_bounded() {
    let coverage = Coverage::new(u64::from(u32::MAX));
    for at in 0..RANGES_MAX as u64 {
        assert_eq!(coverage.claim(at * 2, 1), Claim::Granted);
    }
    let beyond = 2 * RANGES_MAX as u64 + 5;
    assert_eq!(coverage.claim(beyond, 1), Claim::TooScattered);
    assert_eq!(coverage.claim(1, 1), Claim::Granted, "fills a hole");
    assert_eq!(coverage.claim(beyond, 1), Claim::Granted);
}

proptest! {
    /// Against a plain array of bytes.
    #[test]
    fn claims_agree_with_a_bitmap(
        steps in proptest::collection::vec((any::<bool>(), 0u64..200, 1u64..20), 0..300),
    ) {
        let coverage = Coverage::new(220);
        let mut taken = [false; 220];
        let mut runs: Vec<ByteRange> = Vec::new();
        for (give_back, offset, len) in steps {
            if give_back && !runs.is_empty() {
                let (offset, len) = runs.swap_remove(offset as usize % runs.len());
                coverage.give_back(offset, len);
                taken[offset as usize..(offset + len) as usize].fill(false);
            } else {
                let bytes = &mut taken[offset as usize..(offset + len) as usize];
                let free = !bytes.contains(&true);
                prop_assert_eq!(coverage.is_claimed(offset, len), !free);
                let claim = coverage.claim(offset, len);
                prop_assert_eq!(claim == Claim::Granted, free);
                if free {
                    bytes.fill(true);
                    runs.push((offset, len));
                }
            }
        }
        let mut found = [true; 220];
        for (offset, len) in coverage.state().claimed.gaps(0, 220) {
            found[offset as usize..(offset + len) as usize].fill(false);
        }
        prop_assert_eq!(found, taken);
    }
}

#[test]
fn what_a_worker_that_ended_early_was_writing_is_missing_again() {
    let coverage = Arc::new(Coverage::new(10));
    assert_eq!(coverage.claim(0, 4), Claim::Granted);
    assert_eq!(coverage.claim(4, 6), Claim::Granted);
    let run = |offset, len| ClaimedRun::new(Arc::clone(&coverage), offset, len);
    let (lost, written) = (run(0, 4), run(4, 6));
    written.written(0, Ways::default());
    assert_eq!(coverage.missing(9), None, "a write is on its way");
    drop(lost);
    assert_eq!(coverage.missing(9), Some(vec![(0, 4)]));
}

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<(u64, u64, u32)>>);

impl WriteObserver for Seen {
    fn written(&self, offset: u64, len: u64, crc: u32) {
        self.0.lock().unwrap().push((offset, len, crc));
    }
}

#[test]
fn a_range_with_some_of_it_here_is_whole_with_the_rest() {
    let bytes: Vec<u8> = (0..100).collect();
    let part = |from: usize, to: usize| Extent {
        offset: 1000 + from as u64,
        len: (to - from) as u64,
        crc: crc32fast::hash(&bytes[from..to]),
    };
    let seen = Arc::new(Seen::default());
    let done = [part(10, 20), part(60, 100)];
    let coverage = Coverage::range(1000, 100, &done).observed(seen.clone());
    assert_eq!((coverage.start(), coverage.end()), (1000, 1100));
    assert_eq!(coverage.missing(9), Some(vec![(1000, 10), (1020, 40)]));
    assert_eq!(coverage.claim(1010, 10), Claim::Overlap);
    for (from, to) in [(20, 60), (0, 10)] {
        assert_eq!(coverage.received(), None);
        let part = part(from, to);
        assert_eq!(coverage.claim(part.offset, part.len), Claim::Granted);
        write(&coverage, part.offset, &bytes[from..to]);
    }
    let received = coverage.received().unwrap();
    assert_eq!(
        (received.bytes, received.crc),
        (100, crc32fast::hash(&bytes))
    );
    let crc = crc32fast::hash(&bytes[20..60]);
    assert_eq!(seen.0.lock().unwrap()[0], (1020, 40, crc));
    let nothing_left = [Extent {
        offset: 0,
        len: 3,
        crc: 7,
    }];
    assert_eq!(
        Coverage::range(0, 3, &nothing_left).received().unwrap().crc,
        7
    );
}

#[test]
fn what_is_closed_is_quiet_when_the_last_of_its_writes_is_over() {
    let coverage = Arc::new(Coverage::new(4096));
    assert_eq!(coverage.claim(0, 1024), Claim::Granted);
    assert_eq!(coverage.claim(1024, 1024), Claim::Granted);
    let failing = ClaimedRun::new(Arc::clone(&coverage), 1024, 1024);
    let mut context = Context::from_waker(Waker::noop());
    let mut quiet = pin!(coverage.quiet());
    assert!(quiet.as_mut().poll(&mut context).is_pending());
    // Whatever comes now is too late, also what nobody has brought.
    assert_eq!(coverage.claim(2048, 1024), Claim::Closed);
    coverage.written(0, 1024, 7, Ways::default());
    assert!(quiet.as_mut().poll(&mut context).is_pending());
    drop(failing);
    assert!(quiet.as_mut().poll(&mut context).is_ready());
    assert_eq!(coverage.claim(1024, 1024), Claim::Closed);
}

#[test]
fn who_waits_for_quiet_is_woken_by_the_last_write() {
    let coverage = Arc::new(Coverage::new(4096));
    assert_eq!(coverage.claim(0, 1024), Claim::Granted);
    let last = ClaimedRun::new(Arc::clone(&coverage), 0, 1024);
    let worker = std::thread::spawn(move || last.written(7, Ways::default()));
    tokio_uring::start(coverage.quiet());
    worker.join().unwrap();
    assert_eq!(coverage.covered(), 1024);
}
