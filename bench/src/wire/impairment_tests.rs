//! Tests of the impairment queue in virtual time.

use super::*;

const MS: u64 = 1_000_000;

/// Offers frames numbered 0..count, one each `gap` nanoseconds, and gives what came out: (time, number).
fn run(impairment: Impairment, seed: u64, count: u32, gap: u64) -> (Vec<(u64, u32)>, Counters) {
    let mut pool = Pool::new(64);
    let mut queue = Queue::new(impairment, seed);
    let mut out = Vec::new();
    let mut drain = |queue: &mut Queue, pool: &mut Pool, until: u64| {
        while let Some(due) = queue.next_due().filter(|due| *due <= until) {
            while let Some(frame) = queue.take_due(due) {
                out.push((
                    due,
                    u32::from_be_bytes(frame.bytes()[..4].try_into().unwrap()),
                ));
                pool.give(frame);
            }
        }
    };
    for number in 0..count {
        let now = u64::from(number) * gap;
        drain(&mut queue, &mut pool, now);
        let mut frame = pool.take();
        frame.room()[..4].copy_from_slice(&number.to_be_bytes());
        frame.set_len(50);
        queue.offer(now, frame, &mut pool);
    }
    drain(&mut queue, &mut pool, u64::MAX);
    assert!(queue.is_empty());
    (out, queue.counters())
}

fn numbers(out: &[(u64, u32)]) -> Vec<u32> {
    out.iter().map(|(_, number)| *number).collect()
}

#[test]
fn a_clean_wire_changes_nothing() {
    let (out, counters) = run(Impairment::default(), 1, 1_000, 10);
    assert!(
        out.iter()
            .enumerate()
            .all(|(i, (time, number))| *number == i as u32 && *time == i as u64 * 10)
    );
    assert_eq!(
        counters,
        Counters {
            received: 1_000,
            delivered: 1_000,
            ..Counters::default()
        }
    );
}

#[test]
fn the_same_seed_makes_the_same_wire() {
    let impairment = Impairment {
        loss: 0.1,
        reorder: 0.1,
        duplicate: 0.1,
        jitter: MS,
        delay: MS,
        ..Impairment::default()
    };
    assert_eq!(
        run(impairment.clone(), 5, 2_000, 1_000),
        run(impairment.clone(), 5, 2_000, 1_000)
    );
    assert_ne!(
        run(impairment.clone(), 5, 2_000, 1_000).0,
        run(impairment, 6, 2_000, 1_000).0
    );
}

#[test]
fn loss_drops_its_share_and_keeps_the_order() {
    let (out, counters) = run(
        Impairment {
            loss: 0.01,
            ..Impairment::default()
        },
        2,
        100_000,
        1,
    );
    assert!((800..1_200).contains(&counters.lost), "{counters:?}");
    assert_eq!(out.len() as u64, 100_000 - counters.lost);
    assert!(out.windows(2).all(|pair| pair[0].1 < pair[1].1));
}

#[test]
fn delay_shifts_every_frame_by_the_same_time() {
    let (out, _) = run(
        Impairment {
            delay: 3 * MS,
            ..Impairment::default()
        },
        1,
        100,
        1_000,
    );
    assert!(
        out.iter()
            .all(|(time, number)| *time == u64::from(*number) * 1_000 + 3 * MS)
    );
}

#[test]
fn jitter_stays_within_its_bounds_and_never_goes_below_zero() {
    let (out, _) = run(
        Impairment {
            delay: MS,
            jitter: 2 * MS,
            ..Impairment::default()
        },
        1,
        5_000,
        1_000,
    );
    assert_eq!(out.len(), 5_000);
    let delays: Vec<u64> = out
        .iter()
        .map(|(time, number)| time - u64::from(*number) * 1_000)
        .collect();
    assert!(delays.iter().all(|delay| *delay <= 3 * MS));
    assert!(delays.contains(&0));
    assert!(out.windows(2).any(|pair| pair[0].1 > pair[1].1));
}

#[test]
fn reordered_frames_skip_the_delay() {
    let (out, counters) = run(
        Impairment {
            delay: MS,
            reorder: 0.05,
            ..Impairment::default()
        },
        4,
        10_000,
        1_000,
    );
    let early = out
        .iter()
        .filter(|(time, number)| *time == u64::from(*number) * 1_000)
        .count() as u64;
    assert_eq!(early, counters.reordered);
    assert!((400..600).contains(&early), "{early}");
}

#[test]
fn reordering_without_delay_falls_behind_the_next_few() {
    let (out, counters) = run(
        Impairment {
            reorder: 0.05,
            ..Impairment::default()
        },
        4,
        10_000,
        1_000,
    );
    let order = numbers(&out);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..10_000).collect::<Vec<_>>());
    let late = order.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(late > 300, "{late}");
    assert!((400..600).contains(&counters.reordered));
    // Held frames do not count as passing, so a run of them can fall a little further behind.
    assert!(
        order
            .iter()
            .enumerate()
            .all(|(place, number)| (place as i64 - i64::from(*number)).abs() < 16)
    );
}

#[test]
fn a_held_frame_with_nothing_behind_it_leaves_by_itself() {
    let (out, _) = run(
        Impairment {
            reorder: 1.0,
            ..Impairment::default()
        },
        1,
        1,
        1,
    );
    assert_eq!(out, vec![(HOLD_LIMIT, 0)]);
}

#[test]
fn duplicates_are_equal_and_counted() {
    let (out, counters) = run(
        Impairment {
            duplicate: 0.5,
            ..Impairment::default()
        },
        1,
        1_000,
        10,
    );
    assert_eq!(out.len() as u64, 1_000 + counters.duplicated);
    assert!((400..600).contains(&counters.duplicated));
}

#[test]
fn corruption_flips_exactly_one_bit() {
    let mut pool = Pool::new(64);
    let mut queue = Queue::new(
        Impairment {
            corrupt: 1.0,
            ..Impairment::default()
        },
        9,
    );
    for _ in 0..200 {
        let mut frame = pool.take();
        frame.room()[..64].fill(0);
        frame.set_len(64);
        queue.offer(0, frame, &mut pool);
        let frame = queue.take_due(0).unwrap();
        assert_eq!(
            frame
                .bytes()
                .iter()
                .map(|byte| byte.count_ones())
                .sum::<u32>(),
            1
        );
        pool.give(frame);
    }
    assert_eq!(queue.counters().corrupted, 200);
}

#[test]
fn a_line_rate_spaces_frames() {
    // 50 bytes at 1 Mb/s take 400 us.
    let (out, _) = run(
        Impairment {
            rate: Some(1_000_000),
            delay: MS,
            ..Impairment::default()
        },
        1,
        10,
        1,
    );
    assert!(
        out.iter()
            .enumerate()
            .all(|(i, (time, _))| *time == (i as u64 + 1) * 400_000 + MS)
    );
}

#[test]
fn the_limit_bounds_what_is_on_the_way() {
    let (out, counters) = run(
        Impairment {
            delay: MS,
            limit: 10,
            ..Impairment::default()
        },
        1,
        100,
        1,
    );
    assert_eq!(out.len(), 10);
    assert_eq!(counters.overflowed, 90);
}

#[test]
fn empty_frames_survive_corruption() {
    let mut pool = Pool::new(64);
    let mut queue = Queue::new(
        Impairment {
            corrupt: 1.0,
            ..Impairment::default()
        },
        9,
    );
    let frame = pool.take();
    queue.offer(0, frame, &mut pool);
    assert!(queue.take_due(0).is_some());
    assert_eq!(queue.counters().corrupted, 0);
}

/// Frames of 50 bytes that arrive at twice the rate of the line: 50 bytes at 1 Mb/s take 400 us.
fn overload(queue: Depth, mark: Option<Depth>) -> (Vec<(u64, u32)>, Counters) {
    let impairment = Impairment {
        rate: Some(1_000_000),
        queue: Some(queue),
        mark,
        ..Impairment::default()
    };
    run(impairment, 1, 1_000, 200_000)
}

#[test]
fn a_full_queue_drops_at_its_tail_and_the_line_stays_busy() {
    for (queue, deepest) in [(Depth::Frames(10), 10), (Depth::Bytes(250), 5)] {
        let (out, counters) = overload(queue, None);
        // The line sends a frame each 400 us while frames arrive, for 200 ms; then what is in the queue.
        assert_eq!(out.len() as u64, 1_000 - counters.queue_drops);
        assert!((500..=511).contains(&out.len()), "{queue:?}: {}", out.len());
        assert!(out.windows(2).all(|pair| pair[1].0 - pair[0].0 == 400_000));
        let wait = |&(time, number): &(u64, u32)| time - u64::from(number) * 200_000;
        let longest = out.iter().map(wait).max().unwrap();
        assert!((deepest - 1) * 400_000 < longest && longest <= deepest * 400_000);
    }
}

#[test]
fn frames_behind_a_long_queue_are_marked_when_they_can_be() {
    // Not IP: nothing to mark.
    let (_, counters) = overload(Depth::Frames(10), Some(Depth::Frames(5)));
    assert_eq!(counters.marked, 0);

    let mut pool = Pool::new(64);
    let impairment = Impairment {
        rate: Some(1_000_000),
        mark: Some(Depth::Frames(5)),
        ..Impairment::default()
    };
    let mut queue = Queue::new(impairment, 1);
    for _ in 0..20 {
        let mut frame = pool.take();
        frame.set_len(60);
        frame.bytes_mut().fill(0);
        frame.bytes_mut()[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0b10]);
        queue.offer(0, frame, &mut pool);
    }
    assert_eq!(queue.counters().marked, 14);
    let classes: Vec<u8> =
        std::iter::from_fn(|| queue.take_due(u64::MAX).map(|frame| frame.bytes()[15])).collect();
    assert_eq!(classes[..6], [0b10; 6]);
    assert_eq!(classes[6..], [0b11; 14]);
}

#[test]
fn packets_above_the_mtu_vanish_and_a_change_holds_for_what_comes_after() {
    let mut pool = Pool::new(64);
    let narrow = |mtu| Impairment {
        mtu: Some(mtu),
        ..Impairment::default()
    };
    let mut queue = Queue::new(narrow(36), 1);
    let mut offer = |queue: &mut Queue| {
        let mut frame = pool.take();
        frame.set_len(50);
        frame.bytes_mut().fill(0);
        queue.offer(0, frame, &mut pool);
    };
    offer(&mut queue);
    queue.set_impairment(narrow(35));
    offer(&mut queue);
    let counters = queue.counters();
    assert_eq!((counters.too_long, queue.len()), (1, 1));
}
