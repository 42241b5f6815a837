use super::*;
use proptest::prelude::*;

fn at(milliseconds: u64) -> Time {
    Time::from_nanos(milliseconds * 1_000_000)
}

fn range(offset: u64, len: u64) -> Range {
    Range { offset, len }
}

#[test]
fn ranges_are_taken_in_order_up_to_the_bounds_of_the_grid() {
    let mut work = Work::new(512, 2 * GRID);
    let (one, two) = (work.add_flow(), work.add_flow());
    assert_eq!(work.take(one, at(0)), Some(range(512, GRID - 512)));
    assert_eq!(work.take(two, at(0)), Some(range(GRID, GRID)));
    assert_eq!(work.take(one, at(0)), Some(range(2 * GRID, 512)));
    assert_eq!(work.take(two, at(0)), None);
    assert!(!work.has_untaken() && !work.is_complete());
}

#[test]
fn nothing_is_complete_from_the_start() {
    let mut work = Work::new(7, 0);
    let flow = work.add_flow();
    assert!(work.is_complete());
    assert_eq!(work.take(flow, at(0)), None);
}

#[test]
fn what_is_done_already_is_not_taken() {
    let done = [
        (0, 4096),
        (GRID, GRID),
        (2 * GRID, 512),
        (3 * GRID - 512, 512),
    ];
    let mut work = Work::without(0, 3 * GRID, done);
    let flow = work.add_flow();
    assert_eq!(work.take(flow, at(0)), Some(range(4096, GRID - 4096)));
    let last = range(2 * GRID + 512, GRID - 1024);
    assert_eq!(work.take(flow, at(0)), Some(last));
    assert!(!work.has_untaken() && work.take(flow, at(0)).is_none());
    assert!(Work::without(512, 1024, [(512, 1000), (1512, 24)]).is_complete());
}

#[test]
fn what_a_dead_flow_held_is_taken_first() {
    let mut work = Work::new(0, 4 * GRID);
    let (one, two) = (work.add_flow(), work.add_flow());
    let first = work.take(one, at(0)).unwrap();
    let second = work.take(one, at(0)).unwrap();
    assert!(work.done(one, first, at(1)));
    work.dead(one);
    assert_eq!(work.take(two, at(2)), Some(second));
    assert_eq!(work.take(two, at(2)).unwrap().offset, 2 * GRID);
    assert!(!work.done(one, second, at(3)), "not its own any more");
    assert!(work.done(two, second, at(3)));
}

#[test]
fn a_stalled_flow_does_not_hold_the_end() {
    let mut work = Work::new(0, 3 * GRID);
    let (slow, fast) = (work.add_flow(), work.add_flow());
    let stuck = work.take(slow, at(0)).unwrap();
    for _ in 0..2 {
        let range = work.take(fast, at(0)).unwrap();
        assert!(work.done(fast, range, at(10)));
    }
    // Ranges take 10 ms on average.
    assert_eq!(work.take(fast, at(39)), None);
    assert_eq!(work.takeover_at(fast), Some(at(40)));
    assert_eq!(work.takeover_at(slow), None, "its own");
    assert_eq!(work.take(fast, at(40)), Some(stuck));
    assert_eq!(work.take(fast, at(1000)), None, "it has it already");
    assert!(work.done(fast, stuck, at(50)));
    assert!(!work.done(slow, stuck, at(60)), "counts once");
    assert!(work.is_complete());
}

#[test]
fn two_flows_at_most_hold_a_range() {
    let mut work = Work::new(0, 1);
    let flows = [(); 3].map(|()| work.add_flow());
    let late = at(10_000);
    let only = work.take(flows[0], at(0)).unwrap();
    assert_eq!(work.take(flows[1], late), Some(only));
    assert_eq!(work.take(flows[2], late), None);
    work.dead(flows[0]);
    assert_eq!(work.take(flows[2], late), None, "the second has just begun");
    work.dead(flows[1]);
    assert_eq!(work.take(flows[2], late), Some(only));
}

#[derive(Debug, Clone)]
enum Step {
    Take(usize),
    Done(usize, usize),
    Dead(usize),
    Join,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..8).prop_map(Step::Take),
        6 => (0usize..8, 0usize..8).prop_map(|(flow, nth)| Step::Done(flow, nth)),
        1 => (0usize..8).prop_map(Step::Dead),
        1 => Just(Step::Join),
    ]
}

proptest! {
    /// Flows come, work and die in any order: every byte is done once, nothing is held by more than two, and whoever is
    /// left at the end finishes.
    #[test]
    fn every_byte_is_done_once(
        start in 0u64..3 * GRID,
        len in 1u64..6 * GRID,
        pace in 1u64..200,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut work = Work::new(start, len);
        let mut flows: Vec<(FlowId, Vec<Range>)> = vec![(work.add_flow(), Vec::new())];
        let mut finished: Vec<Range> = Vec::new();
        let mut clock = 0;
        for step in steps {
            clock += pace;
            match step {
                Step::Join if flows.len() < 8 => flows.push((work.add_flow(), Vec::new())),
                Step::Join => {}
                Step::Take(flow) => {
                    let flow = flow % flows.len();
                    let promised = work.takeover_at(flows[flow].0);
                    let untaken = work.has_untaken();
                    let taken = work.take(flows[flow].0, at(clock));
                    prop_assert_eq!(taken.is_some(), untaken || promised.is_some_and(|when| when <= at(clock)));
                    if let Some(range) = taken {
                        prop_assert!(range.len > 0 && range.offset / GRID == (range.offset + range.len - 1) / GRID);
                        prop_assert!(!finished.contains(&range) && !flows[flow].1.contains(&range));
                        flows[flow].1.push(range);
                        let holders = flows.iter().filter(|(_, held)| held.contains(&range)).count();
                        prop_assert!(holders <= 2 && (holders == 1 || !untaken));
                    }
                }
                Step::Done(flow, nth) => {
                    let flow = flow % flows.len();
                    let (id, held) = &mut flows[flow];
                    if !held.is_empty() {
                        let range = held.swap_remove(nth % held.len());
                        let counts = work.done(*id, range, at(clock));
                        prop_assert_eq!(counts, !finished.contains(&range));
                        if counts {
                            finished.push(range);
                        }
                    }
                }
                Step::Dead(flow) if flows.len() > 1 => {
                    let (id, _) = flows.swap_remove(flow % flows.len());
                    work.dead(id);
                }
                Step::Dead(_) => {}
            }
        }
        // The others stall for ever; one flow goes on.
        let last = flows[0].0;
        for range in std::mem::take(&mut flows[0].1) {
            if work.done(last, range, at(clock)) {
                finished.push(range);
            }
        }
        while !work.is_complete() {
            if let Some(when) = work.takeover_at(last) {
                clock = clock.max(when.as_nanos().div_ceil(1_000_000));
            }
            match work.take(last, at(clock)) {
                Some(range) => {
                    prop_assert!(work.done(last, range, at(clock + 1)));
                    finished.push(range);
                }
                None => {
                    // What two others hold comes free when one of them dies.
                    let (id, _) = flows.pop().unwrap();
                    prop_assert!(id != last, "stuck");
                    work.dead(id);
                }
            }
        }
        finished.sort();
        let mut next = start;
        for range in finished {
            prop_assert_eq!(range.offset, next);
            next += range.len;
        }
        prop_assert_eq!(next, start + len);
    }
}
