use super::*;
use Chain::{Many, One};
use proptest::prelude::*;

const NOW: Time = Time::from_nanos(5);
/// Blocks of a run.
const RUN: usize = 280;

fn ends<B>(runs: &[Run<B>]) -> Vec<(u64, u64)> {
    runs.iter().map(|run| (run.offset, run.len)).collect()
}

#[test]
fn blocks_in_any_order_fill_a_chunk_into_one_run() {
    let mut gather = Gather::new(2048, 128);
    let mut runs = Vec::new();
    for offset in [1024, 0, 1536, 512] {
        assert!(runs.is_empty());
        gather
            .insert(NOW, offset, 512, 0, One(offset), &mut runs)
            .unwrap();
    }
    assert_eq!(ends(&runs), [(0, 2048)]);
    assert_eq!(runs[0].frames, [0, 512, 1024, 1536]);
    assert_eq!(runs[0].blocks, [1; 4]);
    assert_eq!(gather.waiting(), 0);
    assert_eq!(gather.oldest(), None);
}

#[test]
fn every_length_of_block_fills_a_chunk() {
    for sectors in 1..=7 {
        let len = 512 * sectors;
        let mut gather = Gather::new(10 * GRID, RUN);
        let mut runs = Vec::new();
        for at in (3 * GRID..4 * GRID).step_by(len as usize) {
            gather.insert(NOW, at, len, 0, One(()), &mut runs).unwrap();
        }
        assert_eq!(gather.waiting(), 0, "{sectors}");
        assert_eq!(runs.iter().map(|run| run.len).sum::<u64>(), GRID);
        let fewest = (GRID / u64::from(len)).div_ceil(RUN as u64) as usize;
        assert!(runs.len() <= fewest + 1, "{sectors}: {:?}", ends(&runs));
        for run in runs {
            assert!(run.offset.is_multiple_of(4096), "{sectors}: {}", run.offset);
        }
    }
}

#[test]
fn a_full_run_does_not_wait_for_the_chunk() {
    let mut gather = Gather::new(GRID, RUN);
    let mut runs = Vec::new();
    for at in 0..RUN as u64 {
        assert!(runs.is_empty());
        gather
            .insert(NOW, at * 1024, 1024, 0, One(()), &mut runs)
            .unwrap();
    }
    assert_eq!(ends(&runs), [(0, (RUN as u64) << 10)]);
    let again = gather.insert(NOW, 1024, 1024, 0, One(()), &mut runs);
    assert!(matches!(again, Err(Misplaced::Overlap(One(())))));
}

#[test]
fn long_blocks_fill_a_chunk_and_stay_whole() {
    for (sectors, frames) in [(105u32, 16usize), (16, 3), (8, 2), (60, 9), (99, 15)] {
        let len = 512 * sectors;
        let mut gather = Gather::new(GRID, RUN);
        let mut runs = Vec::new();
        for at in (0..GRID).step_by(len as usize) {
            let len = u64::from(len).min(GRID - at) as u32;
            let block = Many(vec![at; frames]);
            gather.insert(NOW, at, len, 0, block, &mut runs).unwrap();
        }
        assert_eq!(gather.waiting(), 0, "{sectors}");
        assert_eq!(runs.iter().map(|run| run.len).sum::<u64>(), GRID);
        for run in runs {
            assert!(run.frames.len() <= RUN, "{sectors}: {}", run.frames.len());
            assert_eq!(run.blocks, vec![frames as u16; run.frames.len() / frames]);
            assert!(
                run.frames
                    .chunks(frames)
                    .all(|of| of.iter().all(|at| *at == of[0]))
            );
            let page = run.offset.is_multiple_of(4096);
            assert!(page || sectors == 99, "{sectors}: {}", run.offset);
        }
    }
}

#[test]
fn blocks_may_become_shorter_on_the_way() {
    let mut gather = Gather::new(GRID, RUN);
    let mut runs = Vec::new();
    let cut = 100 * 3584;
    for at in (0..cut).step_by(3584) {
        gather.insert(NOW, at, 3584, 0, One(()), &mut runs).unwrap();
    }
    for at in (cut..GRID).step_by(1024) {
        gather.insert(NOW, at, 1024, 0, One(()), &mut runs).unwrap();
    }
    assert_eq!(gather.waiting(), 0);
    assert_eq!(runs.iter().map(|run| run.len).sum::<u64>(), GRID);
}

#[test]
fn the_last_chunk_is_full_at_the_end_of_the_file() {
    let mut gather = Gather::new(GRID + 7, 128);
    let mut runs = Vec::new();
    gather.insert(NOW, GRID, 7, 0, One(()), &mut runs).unwrap();
    assert_eq!(ends(&runs), [(GRID, 7)]);
}

#[test]
fn a_gap_splits_an_old_chunk() {
    let mut gather = Gather::new(4096, 128);
    let mut runs = Vec::new();
    for offset in [0, 512, 2048] {
        gather
            .insert(NOW, offset, 512, 0, One(()), &mut runs)
            .unwrap();
    }
    gather.take_older(Time::from_nanos(4), &mut runs);
    assert!(runs.is_empty());
    gather.take_older(NOW, &mut runs);
    assert_eq!(ends(&runs), [(0, 1024), (2048, 512)]);
}

#[test]
fn overlaps_and_blocks_past_the_end_come_back() {
    let mut gather = Gather::new(4096, 128);
    let mut runs = Vec::new();
    gather.insert(NOW, 512, 1024, 0, One(1), &mut runs).unwrap();
    for (offset, len) in [(512, 512), (1024, 512), (0, 1024), (511, 2)] {
        let result = gather.insert(NOW, offset, len, 0, One(2), &mut runs);
        assert!(
            matches!(result, Err(Misplaced::Overlap(One(2)))),
            "{offset} {len}"
        );
    }
    for (offset, len) in [(4096, 1), (4000, 97), (u64::MAX, 2), (0, 0)] {
        let result = gather.insert(NOW, offset, len, 0, One(3), &mut runs);
        assert!(
            matches!(result, Err(Misplaced::PastEnd(One(3)))),
            "{offset} {len}"
        );
    }
}

proptest! {
    #[test]
    fn every_byte_comes_out_once_with_the_right_crc(
        data in proptest::collection::vec(any::<u8>(), 1..20_000),
        start in 0u64..40_000,
        block in 1usize..700,
        run_blocks in 1usize..40,
        shuffle in any::<u64>(),
        flush_each in 1usize..50,
    ) {
        // Somewhere across a bound of the grid, and with blocks that cross it.
        let start = GRID - start;
        let mut order: Vec<usize> = (0..data.len().div_ceil(block)).collect();
        let count = order.len();
        for i in 0..count {
            order.swap(i, (shuffle as usize).wrapping_add(i * 31) % count);
        }
        let mut gather = Gather::new(start + data.len() as u64, run_blocks);
        let mut runs = Vec::new();
        for (step, at) in order.into_iter().enumerate() {
            let piece = &data[at * block..data.len().min((at + 1) * block)];
            let (offset, len) = (start + (at * block) as u64, piece.len() as u32);
            gather.insert(NOW, offset, len, crc32fast::hash(piece), One(piece.to_vec()), &mut runs).unwrap();
            let out: usize = runs.iter().map(|run| run.blocks.len()).sum();
            prop_assert_eq!(gather.waiting(), step + 1 - out);
            if step % flush_each == 0 {
                gather.take_all(&mut runs);
            }
        }
        gather.take_all(&mut runs);
        prop_assert_eq!(gather.waiting(), 0);
        let mut out = vec![None; data.len()];
        for run in runs {
            prop_assert!(run.frames.len() <= run_blocks);
            let bytes = run.frames.concat();
            prop_assert_eq!(bytes.len() as u64, run.len);
            prop_assert_eq!(crc32fast::hash(&bytes), run.crc);
            for (i, byte) in bytes.into_iter().enumerate() {
                prop_assert!(out[(run.offset - start) as usize + i].replace(byte).is_none());
            }
        }
        prop_assert_eq!(out.into_iter().collect::<Option<Vec<u8>>>(), Some(data));
    }
}
