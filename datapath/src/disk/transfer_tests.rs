use std::sync::Arc;

use super::*;
use crate::disk::{
    BlockFile, BufferedReason, DeviceReport, Intent, Plan, cost::CostModel, operation::vectors,
};

const BUFFERED: Plan = Plan::Buffered {
    reason: BufferedReason::Asked,
};

/// Three frames of 1024, 1024 and 1000 bytes.
fn operation(kind: Kind, plan: Plan) -> (Umem, Operation) {
    let mut umem = Umem::anonymous(3).expect("memory");
    let frames = [1024, 1024, 1000]
        .map(|len| {
            let frame = umem.allocate().expect("a free frame");
            umem.free_to_disk(frame, len)
        })
        .into();
    let report = DeviceReport {
        memory_align: 512,
        offset_align: 512,
        ..DeviceReport::default()
    };
    let rules = (plan != BUFFERED).then(|| report.rules(Intent::Write));
    let mut gather = CostModel::default();
    gather.fix(0);
    let file = Arc::new(BlockFile::null(plan, rules));
    let operation = Operation::plan((kind, ReadWay::Direct), &file, 512, frames, 0, &gather)
        .expect("a run that can be");
    (umem, operation)
}

fn goes_on(operation: &mut Operation, result: i32) -> bool {
    matches!(outcome(operation, result), Next::Continue)
}

fn error(operation: &mut Operation, result: i32) -> io::Error {
    match outcome(operation, result) {
        Next::End(Err(error)) => error,
        _ => panic!("no error"),
    }
}

/// (offset within its chunk, length) of each vector of the next request.
fn next_vectors(umem: &Umem, operation: &Operation) -> Vec<(usize, usize)> {
    let mut vectors = vectors();
    let count = operation.gather(umem, operation.layout.end, &mut vectors);
    vectors[..count]
        .iter()
        .map(|vector| (vector.iov_base as usize % 4096, vector.iov_len))
        .collect()
}

#[test]
fn a_short_buffered_write_goes_on_at_the_byte() {
    let (umem, mut operation) = operation(Kind::Write, BUFFERED);
    assert_eq!(
        next_vectors(&umem, &operation),
        [(512, 1024), (512, 1024), (512, 1000)]
    );
    assert!(goes_on(&mut operation, 1100));
    assert_eq!(next_vectors(&umem, &operation), [(588, 948), (512, 1000)]);
    assert!(goes_on(&mut operation, 948));
    assert_eq!(next_vectors(&umem, &operation), [(512, 1000)]);
    assert!(matches!(outcome(&mut operation, 1000), Next::End(Ok(()))));
}

#[test]
fn a_short_direct_write_goes_on_at_a_sector() {
    let (umem, mut operation) = operation(Kind::Write, Plan::Gather);
    assert_eq!(
        next_vectors(&umem, &operation),
        [(512, 1024), (512, 1024), (512, 1024)]
    );
    assert!(goes_on(&mut operation, 1100));
    assert_eq!(next_vectors(&umem, &operation), [(512, 1024), (512, 1024)]);
    // Less than a sector is no progress, and must not go on for ever.
    assert_eq!(error(&mut operation, 100).kind(), io::ErrorKind::WriteZero);
}

#[test]
fn reads_end_at_the_end_of_the_file() {
    let (_, mut buffered) = operation(Kind::Read, BUFFERED);
    assert!(goes_on(&mut buffered, 1100));
    assert!(matches!(outcome(&mut buffered, 0), Next::End(Ok(()))));
    assert_eq!(buffered.done, 1100);
    let (_, mut direct) = operation(Kind::Read, Plan::Gather);
    assert!(goes_on(&mut direct, 1024));
    assert!(matches!(outcome(&mut direct, 1000), Next::End(Ok(()))));
    assert_eq!(direct.done, 2024);
}

#[test]
fn transient_errors_are_tried_again_ever_slower_but_not_for_ever() {
    let (_, mut operation) = operation(Kind::Write, BUFFERED);
    for _ in 0..4 {
        assert!(matches!(
            outcome(&mut operation, -libc::EAGAIN),
            Next::Retry
        ));
    }
    let mut rested = 0;
    let ended = loop {
        match outcome(&mut operation, -libc::EINTR) {
            Next::Rest(milliseconds) => rested += milliseconds,
            other => break other,
        }
    };
    assert!((5_000..10_000).contains(&rested), "{rested} ms");
    assert!(matches!(ended, Next::End(Err(error)) if error.raw_os_error() == Some(libc::EINTR)));
    assert_eq!(
        error(&mut operation, -libc::EIO).raw_os_error(),
        Some(libc::EIO)
    );
    assert_eq!(error(&mut operation, 0).kind(), io::ErrorKind::WriteZero);
}

#[test]
fn joints_that_the_kernel_refuses_are_copied_from_then_on() {
    let (_, mut operation) = operation(Kind::Write, Plan::Gather);
    assert_eq!(operation.phase(), Phase::Gather(3072));
    assert!(matches!(outcome(&mut operation, -libc::EINVAL), Next::Copy));
    // What the queue does then; a second refusal is an error.
    operation.layout.gathered = operation.done;
    assert_eq!(operation.phase(), Phase::Copy(3072));
    assert_eq!(
        error(&mut operation, -libc::EINVAL).raw_os_error(),
        Some(libc::EINVAL)
    );
}
