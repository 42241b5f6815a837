//! Cutting, by itself and against a receiver that drops what overlaps.

use super::*;
use proptest::prelude::*;

fn blocks(plan: ReadPlan) -> Vec<u16> {
    let blocks: Vec<u16> = plan.blocks().collect();
    assert_eq!(
        blocks.iter().map(|&len| frames_of(len)).sum::<usize>(),
        plan.frames()
    );
    assert!(blocks.len() <= READ_MAX && plan.frames() <= RUN_MAX);
    assert_eq!(
        blocks.iter().map(|len| u64::from(*len)).sum::<u64>(),
        plan.len
    );
    blocks
}

#[test]
fn runs_stay_within_the_grid() {
    let mut cutter = Cutter::new(GRID - 1000, 2000);
    let mut seen = Vec::new();
    while let Some(plan) = cutter.plan(512) {
        assert!(!plan.again);
        seen.push((plan.offset, blocks(plan)));
        cutter.reading(plan);
    }
    assert_eq!(
        seen,
        [(GRID - 1000, vec![512, 488]), (GRID, vec![512, 488])]
    );
    assert!(cutter.is_done());
}

#[test]
fn what_is_not_read_yet_follows_the_path() {
    let mut cutter = Cutter::new(0, GRID * 4);
    let first = cutter.plan(3584).unwrap();
    cutter.reading(first);
    assert_eq!(blocks(first), [3584; 120], "420 KiB");
    let second = cutter.plan(1024).unwrap();
    cutter.reading(second);
    assert_eq!(blocks(second), [1024; READ_MAX]);
    let third = cutter.plan(3584).unwrap();
    assert_eq!(third.offset, READ_GRID + READ_MAX as u64 * 1024);
    let lens = blocks(third);
    assert_eq!(lens[..70], [3584; 70]);
    assert_eq!(third.offset + third.len, READ_GRID * 2);
}

#[test]
fn long_blocks_are_read_in_whole_runs() {
    let lens = |block_len| {
        let mut cutter = Cutter::new(0, GRID);
        let mut runs = Vec::new();
        while let Some(plan) = cutter.plan(block_len) {
            runs.push((plan.len, blocks(plan).len(), plan.frames()));
            cutter.reading(plan);
        }
        runs
    };
    assert_eq!(lens(53_760), [(READ_GRID, 8, 120); 2]);
    assert_eq!(lens(8192), [(READ_GRID, 53, 158); 2]);
    assert_eq!(lens(4096), [(READ_GRID, 105, 210); 2]);
}

#[test]
fn a_long_block_that_came_back_is_cut_into_short_ones() {
    let mut cutter = Cutter::new(0, 2 * 53_760);
    cutter.reading(cutter.plan(53_760).unwrap());
    cutter.give_back(53_760, 53_760);
    let plan = cutter.plan(1024).unwrap();
    assert_eq!((plan.offset, plan.len), (53_760, 53_760));
    let expected = [vec![1024; 52], vec![512]].concat();
    assert_eq!(blocks(plan), expected);
}

#[test]
fn pieces_fill_their_frames() {
    assert_eq!(pieces(512).collect::<Vec<_>>(), [512]);
    assert_eq!(pieces(3584).collect::<Vec<_>>(), [3584]);
    assert_eq!(pieces(8192).collect::<Vec<_>>(), [3584, 3584, 1024]);
    assert_eq!(pieces(53_760).collect::<Vec<_>>(), [3584; 15]);
    assert_eq!((frames_of(0), frames_of(1), frames_of(8192)), (0, 1, 3));
}

#[test]
fn a_block_that_came_back_is_cut_within_its_bounds() {
    let mut cutter = Cutter::new(0, 3 * 3584);
    cutter.reading(cutter.plan(3584).unwrap());
    assert!(cutter.is_done());
    for at in [1, 0, 2] {
        cutter.give_back(at * 3584, 3584);
    }
    assert!(!cutter.is_done());
    let plan = cutter.plan(1024).unwrap();
    assert_eq!((plan.offset, plan.len, plan.again), (0, 3 * 3584, true));
    assert_eq!(blocks(plan), [[1024, 1024, 1024, 512]; 3].concat());
    cutter.reading(plan);
    assert!(cutter.is_done());
}

#[test]
fn runs_of_returned_blocks_end_at_gaps_and_odd_lengths() {
    let mut cutter = Cutter::new(0, 0);
    for (offset, len) in [
        (0, 2048),
        (2048, 2048),
        (4096, 700),
        (4796, 2048),
        (9000, 100),
    ] {
        cutter.give_back(offset, len);
    }
    let mut seen = Vec::new();
    while let Some(plan) = cutter.plan(1500) {
        seen.push((plan.offset, blocks(plan)));
        cutter.reading(plan);
    }
    assert_eq!(
        seen,
        [
            (0, vec![1500, 548, 1500, 548, 700]),
            (4796, vec![1500, 548]),
            (9000, vec![100]),
        ]
    );
}

#[test]
fn a_limit_that_rose_again_leaves_returned_blocks_whole() {
    let mut cutter = Cutter::new(0, 0);
    cutter.give_back(512, 2048);
    assert_eq!(blocks(cutter.plan(3584).unwrap()), [2048]);
}

/// What happens to the oldest block in flight.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It arrives and is acknowledged.
    Acked,
    /// It comes back: too long. It arrives all the same, soon, late, or never.
    Returned { arrives: Arrival },
    /// The path changes.
    Limit(u16),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Arrival {
    Before,
    Late,
    Never,
}

fn step() -> impl Strategy<Value = Step> {
    let arrival = prop::sample::select(vec![Arrival::Before, Arrival::Late, Arrival::Never]);
    prop_oneof![
        5 => Just(Step::Acked),
        5 => arrival.prop_map(|arrives| Step::Returned { arrives }),
        2 => (1u16..=7).prop_map(|sectors| Step::Limit(sectors * 512)),
        1 => (8u16..=105).prop_map(|sectors| Step::Limit(sectors * 512)),
    ]
}

/// Has each byte once, and drops every block of which it has some.
struct Receiver {
    bytes: Vec<bool>,
}

impl Receiver {
    fn take(&mut self, (offset, len): (u64, u64)) {
        let range = &mut self.bytes[offset as usize / 4..(offset + len).div_ceil(4) as usize];
        if range.iter().all(|here| !here) {
            range.fill(true);
        }
    }
}

proptest! {
    #[test]
    fn every_byte_arrives_whatever_comes_back(
        start in 0u64..3,
        len in 1u64..200_000,
        first in prop::sample::select(vec![3584u16, 8192, 53_760]),
        steps in prop::collection::vec(step(), 1..400),
    ) {
        // In units of 4 bytes, for speed; blocks are of whole sectors but the last.
        let (start, len) = (start * 512 + GRID - 4096, len * 4);
        let end = start + len;
        let mut cutter = Cutter::new(start, len);
        let mut receiver = Receiver { bytes: vec![false; end as usize / 4] };
        receiver.bytes[..start as usize / 4].fill(true);
        let (mut limit, mut late, mut flying) = (first, Vec::new(), std::collections::VecDeque::new());
        let mut steps = steps.into_iter();
        loop {
            while flying.len() < 300 && let Some(plan) = cutter.plan(limit) {
                let mut offset = plan.offset;
                for len in blocks(plan) {
                    prop_assert!(len <= limit && len > 0);
                    let block = (offset, u64::from(len));
                    offset += u64::from(len);
                    prop_assert!(block.0 / GRID == (offset - 1) / GRID, "crosses the grid");
                    flying.push_back(block);
                }
                cutter.reading(plan);
            }
            let Some(block) = flying.pop_front() else { break };
            match steps.next().unwrap_or(Step::Acked) {
                Step::Acked => receiver.take(block),
                Step::Returned { arrives } => {
                    match arrives {
                        Arrival::Before => receiver.take(block),
                        Arrival::Late => late.push(block),
                        Arrival::Never => {}
                    }
                    cutter.give_back(block.0, block.1);
                    if late.len() > 3 {
                        late.drain(..).for_each(|block| receiver.take(block));
                    }
                }
                Step::Limit(new) => {
                    limit = new;
                    flying.push_front(block);
                }
            }
        }
        prop_assert!(cutter.is_done());
        prop_assert!(receiver.bytes.iter().all(|here| *here));
    }
}
