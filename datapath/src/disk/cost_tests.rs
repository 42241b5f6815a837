use super::*;

fn shape(frames: u64, bytes: u64) -> Shape {
    Shape {
        frames,
        bytes,
        max_segments: 254,
        max_request: 4 << 20,
    }
}

fn run(len: u64) -> Shape {
    shape(140, 140 * len)
}

#[test]
fn full_frames_are_gathered_and_empty_ones_copied() {
    let model = CostModel::default();
    assert!((1..2048).all(|len| !model.gathers(run(len))));
    assert!((2048..=3584).all(|len| model.gathers(run(len))));
    // One frame needs no gathering.
    assert!(model.gathers(shape(1, 100)));
}

#[test]
fn a_device_that_takes_few_segments_is_given_copies() {
    let model = CostModel::default();
    let limited = |max_segments| Shape {
        max_segments,
        ..run(3072)
    };
    assert!(
        model.gathers(limited(254)) && model.gathers(limited(128)) && model.gathers(limited(64))
    );
    assert!(!model.gathers(limited(8)) && !model.gathers(limited(1)));
    // Where requests are small anyway, segments do not matter.
    let small = Shape {
        max_request: 16 << 10,
        ..limited(16)
    };
    assert!(model.gathers(small));
}

#[test]
fn a_fixed_point_is_all_that_counts() {
    let mut model = CostModel::default();
    model.fix(0);
    assert!(model.gathers(run(1024)));
    model.fix(4096);
    assert!(!model.gathers(run(3584)));
}

#[test]
fn no_number_is_too_large() {
    let huge = Shape {
        frames: u64::MAX,
        bytes: u64::MAX,
        max_segments: 0,
        max_request: 0,
    };
    let mut model = CostModel::default();
    let _ = model.gathers(huge);
    model.fix(usize::MAX);
    let _ = model.gathers(huge);
}

#[test]
fn large_reads_are_copied_out_of_huge_pages_unless_somebody_says_otherwise() {
    let large = READ_WHOLE_MIN;
    assert!(!CostModel::default().copies_read(large));
    assert!(!CostModel::with_huge_copies(false).copies_read(large));
    let mut model = CostModel::with_huge_copies(true);
    assert!(model.copies_read(large) && !model.copies_read(large - 1));
    model.fix(0);
    assert!(!model.copies_read(large));
}
