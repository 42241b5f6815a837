//! The search against paths of any size, with loss of any pattern.

use super::*;
use proptest::prelude::*;

const NOW: Time = Time::from_nanos(7);

fn pmtu(most: u16) -> Pmtu {
    let peer = Parameters {
        max_payload: most,
        ..Parameters::default()
    };
    Pmtu::new(&peer, None, u16::MAX)
}

/// Sends what is due over a path that takes payloads up to `fits` and otherwise loses what `lost` says; gives the sizes
/// that were probed.
fn search(pmtu: &mut Pmtu, now: Time, fits: u16, mut lost: impl FnMut() -> bool) -> Vec<u16> {
    let mut sizes = Vec::new();
    while pmtu.due(now) {
        let probe = pmtu.send().unwrap();
        assert!(!pmtu.due(now), "one at a time");
        sizes.push(probe.size);
        if probe.size <= fits && !lost() {
            pmtu.on_probe_acked(probe);
        } else {
            pmtu.on_probe_lost(probe);
        }
        assert!(sizes.len() < 1000, "no end: {pmtu:?}");
    }
    sizes
}

#[test]
fn a_jumbo_path_takes_one_probe() {
    let mut p = pmtu(3584);
    assert_eq!(p.limit(), 1024);
    assert_eq!(search(&mut p, NOW, u16::MAX, || false), [3584]);
    assert_eq!(p.limit(), 3584);
}

#[test]
fn a_smaller_path_is_halved() {
    let mut p = pmtu(3584);
    let sizes = search(&mut p, NOW, 2100, || false);
    assert_eq!(sizes, [3584, 3584, 3584, 2048, 2560, 2560, 2560]);
    assert_eq!(p.limit(), 2048);
    assert_eq!(p.counters.probes, 7);
}

#[test]
fn nothing_is_probed_when_the_base_is_all() {
    for most in [512, 1024] {
        let mut p = pmtu(most);
        assert_eq!(p.limit(), most);
        assert!(!p.due(NOW) && p.deadline().is_none());
    }
}

#[test]
fn odd_limits_are_rounded_down() {
    let mut p = pmtu(3000);
    search(&mut p, NOW, u16::MAX, || false);
    assert_eq!(p.limit(), 2560);
    let peer = Parameters {
        granule: 2048,
        max_payload: 2048,
        ..Parameters::default()
    };
    assert_eq!(Pmtu::new(&peer, None, 600).limit(), 600);
    assert_eq!(Pmtu::new(&peer, None, 9000).limit(), 2048);
}

#[test]
fn larger_sizes_are_tried_again_after_a_rest() {
    let mut p = pmtu(3584);
    search(&mut p, NOW, 1500, || false);
    assert_eq!(p.limit(), 1024);
    assert_eq!(p.deadline(), Some(NOW + RAISE_INTERVAL));
    assert!(!p.due(NOW + RAISE_INTERVAL / 2));
    assert_eq!(
        search(&mut p, NOW + RAISE_INTERVAL, u16::MAX, || false),
        [3584]
    );
    assert_eq!(p.limit(), 3584);
}

#[test]
fn a_probe_that_was_only_late_counts() {
    let mut p = pmtu(3584);
    let late: Vec<Probe> = (0..3)
        .map(|_| {
            assert!(p.due(NOW));
            let probe = p.send().unwrap();
            p.on_probe_lost(probe);
            probe
        })
        .collect();
    p.on_probe_acked(late[0]);
    assert_eq!(p.limit(), 3584);
    p.on_probe_acked(late[1]);
    p.on_probe_lost(late[2]);
    assert!(!p.due(NOW));
    assert_eq!(p.limit(), 3584);
}

fn lose(p: &mut Pmtu, len: u16, count: u8) {
    (0..count).for_each(|_| p.on_block_lost(len));
}

#[test]
fn a_black_hole_is_verified_and_the_search_begins_again() {
    let mut p = pmtu(3584);
    search(&mut p, NOW, u16::MAX, || false);
    lose(&mut p, 3584, SUSPICIOUS_LOSSES - 1);
    assert!(!p.due(NOW));
    lose(&mut p, 3584, 1);
    let sizes = search(&mut p, NOW, 1500, || false);
    assert_eq!(sizes[..6], [3584; 6], "first verified, then searched for");
    assert_eq!((p.limit(), p.counters.black_holes), (1024, 1));
}

#[test]
fn a_full_queue_is_no_black_hole() {
    let mut p = pmtu(3584);
    search(&mut p, NOW, u16::MAX, || false);
    lose(&mut p, 3584, 200);
    assert_eq!(search(&mut p, NOW, 3584, || false), [3584]);
    assert_eq!((p.limit(), p.counters.black_holes), (3584, 0));
    lose(&mut p, 3584, 200);
    p.on_block_acked(3584);
    assert!(!p.due(NOW), "a block is as good as a probe");
}

fn long(most: u16) -> Pmtu {
    let mut p = Pmtu::new(&Parameters::default(), Some(most), u16::MAX);
    assert_eq!(search(&mut p, NOW, most, || false), [most]);
    p
}

#[test]
fn long_blocks_of_which_only_probes_arrive_become_short() {
    let mut p = long(53_760);
    for (fall, wait) in [1, 1, 2, 4].into_iter().enumerate() {
        for _ in 0..MAX_VAIN {
            assert_eq!(p.limit(), 53_760);
            lose(&mut p, 53_760, SUSPICIOUS_LOSSES);
            // Of the control stream something arrives.
            p.on_block_acked(3584);
            assert!(p.due(NOW));
            let probe = p.send().unwrap();
            p.on_probe_acked(probe);
        }
        assert_eq!((p.limit(), p.counters.shortened), (3584, fall as u64 + 1));
        assert!(!p.due(NOW));
        assert_eq!(p.deadline(), Some(NOW + Duration::from_secs(wait)));
        let later = NOW + Duration::from_secs(wait);
        assert_eq!(search(&mut p, later, 53_760, || false), [53_760]);
    }
    assert_eq!(p.counters.black_holes, 0);
}

#[test]
fn long_blocks_that_arrive_now_and_then_stay_long() {
    let mut p = long(53_760);
    for _ in 0..100 {
        for _ in 1..MAX_VAIN {
            lose(&mut p, 53_760, SUSPICIOUS_LOSSES);
            assert_eq!(search(&mut p, NOW, 53_760, || false), [53_760]);
        }
        p.on_block_acked(53_760);
    }
    // Nor is there reason in mere silence.
    for _ in 0..100 {
        p.on_silence();
        assert_eq!(search(&mut p, NOW, 53_760, || false), [53_760]);
    }
    assert_eq!((p.limit(), p.counters.shortened), (53_760, 0));
}

#[test]
fn small_blocks_prove_nothing() {
    let mut p = pmtu(3584);
    search(&mut p, NOW, u16::MAX, || false);
    for _ in 0..SUSPICIOUS_LOSSES {
        lose(&mut p, 3584, 1);
        p.on_block_acked(1536);
    }
    assert!(p.due(NOW));
    let mut p = pmtu(3584);
    search(&mut p, NOW, u16::MAX, || false);
    lose(&mut p, 1024, 100);
    assert!(!p.due(NOW), "the base is taken to fit");
}

#[test]
fn silence_is_looked_into_but_is_no_proof() {
    let mut p = pmtu(3584);
    p.on_silence();
    assert_eq!(search(&mut p, NOW, u16::MAX, || false), [3584]);
    p.on_silence();
    p.on_silence();
    assert!(p.due(NOW));
    let probe = p.send().unwrap();
    p.on_silence();
    assert!(!p.due(NOW), "its outcome is awaited, however long");
    p.on_probe_acked(probe);
    assert!(!p.due(NOW));
    assert_eq!(p.limit(), 3584);
}

#[test]
fn a_block_ends_the_doubt_that_silence_raised() {
    let mut p = pmtu(3584);
    search(&mut p, NOW, u16::MAX, || false);
    p.on_silence();
    let probe = p.send().unwrap();
    p.on_block_acked(3584);
    assert_eq!(p.phase, Phase::Verify, "it may be older than the silence");
    p.on_probe_lost(probe);
    p.on_block_acked(1536);
    assert!(p.due(NOW), "it was short");
    p.on_block_acked(3584);
    assert!(!p.due(NOW));
    assert_eq!((p.limit(), p.counters.black_holes), (3584, 0));
}

#[test]
fn repeated_black_holes_slow_the_search_down() {
    let mut p = pmtu(3584);
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..5 {
        search(&mut p, now, u16::MAX, || false);
        assert_eq!(p.limit(), 3584);
        lose(&mut p, 3584, SUSPICIOUS_LOSSES);
        // The verification fails; what follows, if anything, is the next search.
        for _ in 0..MAX_PROBES {
            assert!(p.due(now));
            let probe = p.send().unwrap();
            p.on_probe_lost(probe);
        }
        assert_eq!(p.limit(), 1024);
        if p.due(now) {
            waits.push(Duration::ZERO);
        } else {
            let until = p.deadline().unwrap();
            waits.push(until.saturating_since(now));
            now = until;
        }
    }
    assert_eq!(waits.map_secs(), [0, 1, 2, 4, 8]);
    search(&mut p, now, u16::MAX, || false);
    now += RAISE_INTERVAL;
    assert!(!p.due(now), "all is well: nothing to look for");
    assert_eq!(p.recent_holes, 0, "forgiven");
}

trait Seconds {
    fn map_secs(&self) -> Vec<u64>;
}

impl Seconds for Vec<Duration> {
    fn map_secs(&self) -> Vec<u64> {
        self.iter().map(Duration::as_secs).collect()
    }
}

#[test]
fn news_from_before_the_black_hole_is_old() {
    let mut p = pmtu(3584);
    assert!(p.due(NOW));
    let old = p.send().unwrap();
    p.on_probe_lost(old);
    search(&mut p, NOW, u16::MAX, || false);
    lose(&mut p, 3584, SUSPICIOUS_LOSSES);
    search(&mut p, NOW, 1024, || false);
    p.on_probe_acked(old);
    assert_eq!(p.limit(), 1024);
}

/// What may happen to a session that the state machine must survive.
#[derive(Copy, Clone, Debug)]
enum Step {
    Probe { lost: bool },
    Forgotten,
    Acked(u16),
    Lost(u16, u8),
    Silence,
    Wait(u64),
    Path(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|lost| Step::Probe { lost }),
        1 => Just(Step::Forgotten),
        1 => (1u16..5000).prop_map(Step::Acked),
        2 => (1u16..5000, 1u8..20).prop_map(|(len, count)| Step::Lost(len, count)),
        1 => Just(Step::Silence),
        1 => (0u64..1_000).prop_map(Step::Wait),
        1 => (1024u16..5000).prop_map(Step::Path),
    ]
}

/// The largest size that the search may find.
fn largest(granule: u16, most: u16, fits: u16) -> u16 {
    let peer = Parameters {
        granule,
        max_payload: most,
        ..Parameters::default()
    };
    let base = Pmtu::new(&peer, None, u16::MAX).limit();
    (most.min(fits) / granule * granule).max(base)
}

proptest! {
    #[test]
    fn finds_the_largest_that_fits(
        granule in prop::sample::select(vec![1u16, 64, 500, 512]),
        most in 600u16..=u16::MAX,
        fits in 1166u16..=u16::MAX,
        pattern in prop::collection::vec(any::<bool>(), 1..100),
    ) {
        let peer = Parameters { granule, max_payload: most, ..Parameters::default() };
        let mut p = Pmtu::new(&peer, None, u16::MAX);
        // Any loss, but never three in a row: that is what the search takes for a path that is too small.
        let (mut at, mut row) = (0, 0);
        let mut highest = 0;
        let sizes = search(&mut p, NOW, fits, || {
            at += 1;
            row = if pattern[at % pattern.len()] && row < MAX_PROBES - 1 { row + 1 } else { 0 };
            row > 0
        });
        for size in &sizes {
            prop_assert!(*size <= most && size.is_multiple_of(granule));
            highest = highest.max(*size);
        }
        prop_assert_eq!(p.limit(), largest(granule, most, fits));
        // Each candidate at most three times, and at most one candidate for each bit of their count.
        prop_assert!(sizes.len() <= 3 * 18, "{} probes", sizes.len());
    }

    #[test]
    fn recovers_from_any_history(
        steps in prop::collection::vec(step(), 0..200),
        last in 1024u16..5000,
    ) {
        let mut p = pmtu(3584);
        let (mut now, mut fits, mut flying) = (NOW, 3584, Vec::new());
        for step in steps {
            match step {
                Step::Probe { lost } => {
                    if p.due(now) {
                        flying.push(p.send().unwrap());
                    }
                    if let Some(probe) = flying.pop() {
                        if lost || probe.size > fits {
                            p.on_probe_lost(probe);
                        } else {
                            p.on_probe_acked(probe);
                        }
                    }
                }
                Step::Forgotten => {
                    if p.due(now) {
                        flying.push(p.send().unwrap());
                    }
                }
                Step::Acked(len) => p.on_block_acked(len),
                Step::Lost(len, count) => lose(&mut p, len, count),
                Step::Silence => p.on_silence(),
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Path(size) => fits = size,
            }
            prop_assert!((1024..=3584).contains(&p.limit()) && p.limit().is_multiple_of(512));
        }
        // The path stays as it is from now on, and what is in flight is lost.
        flying.into_iter().for_each(|probe| p.on_probe_lost(probe));
        search(&mut p, now, last, || false);
        if p.limit() > last {
            // Blocks of that size are lost in a row.
            let limit = p.limit();
            lose(&mut p, limit, SUSPICIOUS_LOSSES);
            search(&mut p, now, last, || false);
        }
        prop_assert!(p.limit() <= last);
        now += RAISE_INTERVAL * 2;
        search(&mut p, now, last, || false);
        prop_assert_eq!(p.limit(), largest(512, 3584, last));
    }
}
