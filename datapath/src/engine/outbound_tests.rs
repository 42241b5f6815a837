use std::fs::File;
use std::io::Write;

use super::*;

const LEN: u64 = 2_000_000;

/// A file being sent, and its first run on the way from the disk.
fn reading() -> (Outbound, ReadPlan) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&[7; 100]).expect("written");
    let file: File = file;
    let file = Arc::new(BlockFile::buffered(file.into()).expect("statx"));
    let work = Arc::new(SharedWork::new(0, LEN));
    let mut outbound = Outbound::new(1, file, work, Progress::default());
    let plan = outbound.plan(Time::default(), 3072).expect("work");
    outbound.reading(plan);
    (outbound, plan)
}

fn failure(mut outbound: Outbound) -> String {
    match outbound.outcome() {
        Some(Err(error)) => error.to_string(),
        other => panic!("no failure: {other:?}"),
    }
}

#[test]
fn a_read_error_ends_the_transfer_and_says_where() {
    let (mut outbound, first) = reading();
    let second = outbound.plan(Time::default(), 3072).expect("more work");
    outbound.reading(second);
    let error = io::Error::from_raw_os_error(libc::EIO);
    assert!(!outbound.read_over(second, Err(error)));
    assert!(
        outbound.outcome().is_none(),
        "not before the last read is over"
    );
    assert!(outbound.plan(Time::default(), 3072).is_none());
    assert!(!outbound.read_over(first, Ok(first.len)));
    let said = failure(outbound);
    assert!(said.contains("at byte 430080"), "{said}");
    assert!(said.contains("Input/output error"), "{said}");
}

#[test]
fn a_source_that_is_shorter_says_so() {
    let (mut outbound, plan) = reading();
    assert!(!outbound.read_over(plan, Ok(plan.len - 1)));
    let said = failure(outbound);
    assert!(said.contains("shrank") && said.contains("byte 0"), "{said}");
}

#[test]
fn reading_ahead_follows_what_the_disk_gives() {
    let (mut outbound, plan) = reading();
    assert!(!outbound.is_ahead(), "one run is not enough");
    for _ in 0..3 {
        let next = outbound.plan(Time::default(), 3072).expect("more work");
        outbound.reading(next);
    }
    assert!(outbound.is_ahead());
    // The network has nothing to send, again and again: more is kept under way.
    for at in 0..20 {
        let now = Time::from_nanos(at * 1_000_000);
        outbound.was_read(now, plan.len, (ReadWay::Direct, ReadWay::Direct), true);
    }
    assert!(!outbound.is_ahead());
    let mut frames = outbound.into_frames();
    assert!(frames.pop().is_none());
}
