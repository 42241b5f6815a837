use proptest::prelude::*;

use super::*;

const PAGE: u64 = 4096;

/// A cache of a file: which of its pages are there, and how often somebody asked.
struct Cache {
    pages: Vec<bool>,
    questions: u64,
}

impl Cache {
    fn new(size: u64, hot: impl Fn(u64) -> bool) -> Self {
        Self {
            pages: (0..size.div_ceil(PAGE)).map(hot).collect(),
            questions: 0,
        }
    }

    fn ask(&mut self, offset: u64, len: u64) -> Option<Presence> {
        self.questions += 1;
        let range = (offset / PAGE) as usize..(offset + len).div_ceil(PAGE) as usize;
        let cached = self.pages[range.clone()].iter().filter(|&&hot| hot).count() as u64;
        Some(Presence {
            pages: range.len() as u64,
            cached,
        })
    }
}

/// Reads all runs of a file, one after the other.
fn ways(size: u64, cache: &mut Cache) -> Vec<ReadWay> {
    let (mut chooser, mut costs) = (ReadChooser::default(), ReadCosts::default());
    (0..size.div_ceil(GRID))
        .map(|cell| {
            let offset = cell * GRID;
            let run = (offset, GRID.min(size - offset));
            chooser.choose(&mut costs, run, size, |offset, len| cache.ask(offset, len))
        })
        .collect()
}

const SIZE: u64 = 200 * GRID + 777;

#[test]
fn hot_and_cold_files_need_few_questions() {
    for (hot, way) in [(true, ReadWay::Cache), (false, ReadWay::Direct)] {
        let mut cache = Cache::new(SIZE, |_| hot);
        let ways = ways(SIZE, &mut cache);
        assert_eq!(ways, vec![way; 201]);
        assert!(
            cache.questions <= SIZE / WINDOW_MAX + 5,
            "{}",
            cache.questions
        );
    }
}

#[test]
fn each_half_of_a_half_hot_file_goes_its_way() {
    let half = 100 * GRID / PAGE;
    let mut cache = Cache::new(SIZE, |page| page < half);
    let ways = ways(SIZE, &mut cache);
    assert_eq!(ways[..100], [ReadWay::Cache; 100]);
    assert_eq!(ways[100..], [ReadWay::Direct; 101]);
    assert!(cache.questions <= 60, "{}", cache.questions);
}

#[test]
fn few_gaps_are_filled_and_many_are_not() {
    let mut cache = Cache::new(SIZE, |page| page % 50 != 7);
    assert_eq!(ways(SIZE, &mut cache)[..200], [ReadWay::Buffered; 200]);
    let mut cache = Cache::new(SIZE, |page| page % 2 == 0);
    assert_eq!(ways(SIZE, &mut cache)[..200], [ReadWay::Direct; 200]);
}

#[test]
fn two_flows_that_alternate_share_the_saving() {
    let mut cache = Cache::new(SIZE, |_| true);
    let (mut chooser, mut costs) = (ReadChooser::default(), ReadCosts::default());
    for cell in (0..200).step_by(2) {
        let way = chooser.choose(&mut costs, (cell * GRID, GRID), SIZE, |offset, len| {
            cache.ask(offset, len)
        });
        assert_eq!(way, ReadWay::Cache);
    }
    assert!(
        cache.questions <= SIZE / WINDOW_MAX + 5,
        "{}",
        cache.questions
    );
}

#[test]
fn after_a_miss_it_asks_again() {
    let mut cache = Cache::new(SIZE, |_| true);
    let (mut chooser, mut costs) = (ReadChooser::default(), ReadCosts::default());
    let mut choose = |chooser: &mut ReadChooser, cache: &mut Cache, cell: u64| {
        chooser.choose(&mut costs, (cell * GRID, GRID), SIZE, |offset, len| {
            cache.ask(offset, len)
        })
    };
    for cell in 0..10 {
        assert_eq!(choose(&mut chooser, &mut cache, cell), ReadWay::Cache);
    }
    // Evicted in the middle; the reads in flight notice.
    cache.pages.fill(false);
    chooser.missed();
    assert_eq!(choose(&mut chooser, &mut cache, 10), ReadWay::Direct);
    // And back: at the next question.
    cache.pages.fill(true);
    let back = (11..60).find(|&cell| choose(&mut chooser, &mut cache, cell) == ReadWay::Cache);
    assert!(back.is_some_and(|cell| cell < 11 + 17), "{back:?}");
}

#[test]
fn where_nobody_tells_it_tries_now_and_then() {
    let (mut chooser, mut costs) = (ReadChooser::default(), ReadCosts::default());
    let mut tries = 0;
    for cell in 0..1000 {
        let way = chooser.choose(&mut costs, (cell * GRID, GRID), 1000 * GRID, |_, _| None);
        if way == ReadWay::Cache {
            tries += 1;
            chooser.missed();
        }
    }
    assert!((5..=15).contains(&tries), "{tries}");
    let mut hot = ReadChooser::default();
    for cell in 0..100 {
        let way = hot.choose(&mut costs, (cell * GRID, GRID), 1000 * GRID, |_, _| None);
        assert_eq!(way, ReadWay::Cache, "as long as it finds what it wants");
    }
}

proptest! {
    /// Whatever the cache holds and wherever runs lie: what is wholly there comes from it, of what is mostly missing
    /// nothing is added to it, and there are at most two questions a run.
    #[test]
    fn choices_fit_the_cache(
        pieces in proptest::collection::vec((1u64..400, any::<bool>()), 1..30),
        runs in proptest::collection::vec((0u64..20_000_000, 1u64..=GRID), 1..60),
    ) {
        let mut pages = Vec::new();
        for (len, hot) in pieces {
            pages.extend(std::iter::repeat_n(hot, len as usize));
        }
        let size = pages.len() as u64 * PAGE;
        let mut cache = Cache { pages, questions: 0 };
        let (mut chooser, mut costs) = (ReadChooser::default(), ReadCosts::default());
        let count = runs.len() as u64;
        for (offset, len) in runs {
            let offset = offset % size;
            let len = len.min(size - offset);
            let way = chooser.choose(&mut costs, (offset, len), size, |offset, len| cache.ask(offset, len));
            let truth = Cache { pages: cache.pages.clone(), questions: 0 }.ask(offset, len);
            let truth = truth.expect("always told");
            let expected = if truth.is_all() {
                ReadWay::Cache
            } else if costs.is_filling_cheaper(truth) {
                ReadWay::Buffered
            } else {
                ReadWay::Direct
            };
            prop_assert_eq!(way, expected);
        }
        prop_assert!(cache.questions <= 2 * count);
    }
}
