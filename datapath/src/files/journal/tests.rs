//! The promise of the journal: after any crash, no piece is claimed that was not written, and after one of the machine none
//! that was not durable.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use blk_proto::geometry::GRID;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::disk::BlockFile;
use crate::engine::WriteObserver;

const BOOT: BootId = [1; 16];
const NEXT_BOOT: BootId = [2; 16];

fn header(size: u64, holes: &[(u64, u64)]) -> Header {
    Header {
        journal: [3; 16],
        identity: [4; 16],
        size,
        inode: Inode {
            number: 5,
            born: (6, 7),
        },
        created_ns: 8,
        path: b"a/b".to_vec(),
        holes: holes.to_vec(),
    }
}

/// A journal on a file, which can be looked at as bytes.
struct Bench {
    directory: TempDir,
    progress: Arc<Progress>,
}

impl Bench {
    fn new(size: u64, holes: &[(u64, u64)]) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let opened = |name| -> OwnedFd {
            let path = directory.path().join(name);
            let mut options = fs::OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(true);
            options.open(path).unwrap().into()
        };
        let journal = Journal::create(opened("journal"), &header(size, holes), BOOT).unwrap();
        let part = BlockFile::buffered(opened("part")).unwrap();
        Bench {
            progress: Progress::new(journal, Arc::new(part), Scribe::start(), Vec::new()),
            directory,
        }
    }

    /// The bytes of the journal as they are when the scribe has caught up.
    fn image(&self) -> Vec<u8> {
        self.progress.flush();
        fs::read(self.directory.path().join("journal")).unwrap()
    }

    /// What an image claims in some boot.
    fn claims(&self, image: &[u8], boot: BootId) -> Option<HashMap<u64, (State, u32)>> {
        let path = self.directory.path().join("crashed");
        fs::write(&path, image).unwrap();
        let file = File::open(path).unwrap();
        let (_, journal) = Journal::open(file.into(), boot).unwrap()?;
        let mut claims = HashMap::new();
        journal
            .scan(|piece, state, crc| {
                claims.insert(piece, (state, crc));
            })
            .unwrap();
        Some(claims)
    }

    /// A sync that takes place without a disk.
    fn sync(&self) {
        let synced = self.progress.synced_by(async |_| Ok(()));
        tokio_uring::start(synced).unwrap();
    }
}

#[test]
fn a_journal_that_is_cut_short_is_none() {
    let bench = Bench::new(3 * GRID, &[]);
    let image = bench.image();
    assert_eq!(image.len(), 4096 + 3 * 8);
    assert_eq!(bench.claims(&image, BOOT), Some(HashMap::new()));
    for len in [0, 1, 15, 16, 4095, 4096, image.len() - 1] {
        assert_eq!(bench.claims(&image[..len], BOOT), None, "{len} bytes");
    }
}

#[test]
fn a_failed_sync_is_final() {
    let bench = Bench::new(2 * GRID, &[]);
    bench.progress.written(0, GRID, 9);
    tokio_uring::start(async {
        let failed = bench.progress.synced_by(async |_| Err(Errno::IO.into()));
        failed.await.unwrap_err();
        // Whoever asks again, and would succeed, gets the same answer.
        let again = bench
            .progress
            .synced_by(async |_| Ok(()))
            .await
            .unwrap_err();
        assert_eq!(again.raw_os_error(), Some(Errno::IO.raw_os_error()));
    });
    // What was written counts no more in this boot either, though the program may end before it can drop the file.
    assert_eq!(bench.claims(&bench.image(), BOOT), None);
    bench.progress.written(GRID, GRID, 9);
    assert_eq!(bench.claims(&bench.image(), BOOT), None);
}

#[test]
fn what_is_written_during_a_sync_is_not_durable_after_it() {
    let bench = Bench::new(2 * GRID, &[]);
    bench.progress.written(0, GRID, 9);
    let synced = bench.progress.synced_by(async |_| {
        bench.progress.written(GRID, GRID, 10);
        Ok(())
    });
    tokio_uring::start(synced).unwrap();
    let durable = bench.claims(&bench.image(), NEXT_BOOT).unwrap();
    assert_eq!(durable, HashMap::from([(0, (State::Synced, 9))]));
    assert_eq!(bench.claims(&bench.image(), BOOT).unwrap().len(), 2);
    assert_eq!(bench.progress.unsynced(), GRID);
}

#[test]
fn a_run_across_a_bound_or_in_a_hole_is_not_counted() {
    let bench = Bench::new(2 * GRID, &[(4096, 4096)]);
    bench.progress.written(GRID - 512, 1024, 1);
    bench.progress.written(4096, 4096, 1);
    bench.progress.written(0, 8192, 1);
    bench.progress.written(2 * GRID, 512, 1);
    assert_eq!(bench.claims(&bench.image(), BOOT), Some(HashMap::new()));
    bench.progress.written(0, 4096, 2);
    let claims = bench.claims(&bench.image(), BOOT).unwrap();
    assert_eq!(claims, HashMap::from([(0, (State::Written, 2))]));
}

#[test]
fn a_full_disk_ends_the_journal_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    fs::write(&path, "").unwrap();
    let open = |writable| -> OwnedFd {
        let mut options = fs::OpenOptions::new();
        options
            .read(true)
            .write(writable)
            .open(&path)
            .unwrap()
            .into()
    };
    Journal::create(open(true), &header(GRID, &[]), BOOT).unwrap();
    // A descriptor that cannot write fails like a disk that cannot.
    let (_, journal) = Journal::open(open(false), BOOT).unwrap().unwrap();
    let part = BlockFile::buffered(tempfile::tempfile().unwrap().into()).unwrap();
    let progress = Progress::new(journal, Arc::new(part), Scribe::start(), Vec::new());
    progress.written(0, GRID, 1);
    progress.flush();
    assert!(!progress.is_kept());
    progress.written(0, GRID, 1);
    tokio_uring::start(progress.synced_by(async |_| Ok(()))).unwrap();
}

#[test]
fn the_scribe_writes_without_being_asked_to() {
    let bench = Bench::new(2 * GRID, &[]);
    bench.progress.written(GRID, GRID, 9);
    let mut word = [0; 8];
    while word == [0; 8] {
        std::thread::yield_now();
        let file = File::open(bench.directory.path().join("journal")).unwrap();
        file.read_exact_at(&mut word, 4096 + 8).unwrap();
    }
    let claims = bench.claims(&bench.image(), BOOT).unwrap();
    assert_eq!(claims, HashMap::from([(1, (State::Written, 9))]));
}

#[test]
fn a_late_entry_does_not_take_back_that_its_piece_is_durable() {
    let bench = Bench::new(64 * GRID, &[]);
    for piece in 0..64 {
        bench.progress.written(piece * GRID, GRID, 9);
        bench.sync();
    }
    let durable = bench.claims(&bench.image(), NEXT_BOOT).unwrap();
    assert_eq!(durable.len(), 64);
}

#[test]
fn several_threads_write_one_piece() {
    let bench = Bench::new(4 * GRID, &[]);
    let run = GRID / 105;
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let progress = &bench.progress;
            scope.spawn(move || {
                for number in (thread..4 * 105).step_by(3) {
                    let bytes = vec![number as u8; run as usize];
                    progress.written(number * run, run, crc32fast::hash(&bytes));
                }
            });
        }
    });
    let claims = bench.claims(&bench.image(), BOOT).unwrap();
    for piece in 0..4 {
        let bytes: Vec<u8> = (piece * 105..(piece + 1) * 105)
            .flat_map(|number| vec![number as u8; run as usize])
            .collect();
        let expected = (State::Written, crc32fast::hash(&bytes));
        assert_eq!(claims.get(&piece), Some(&expected));
    }
}

/// What happens to a file in a test.
#[derive(Clone, Debug)]
enum Step {
    /// The run of this number, of those in shuffled order.
    Write,
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![6 => Just(Step::Write), 1 => Just(Step::Sync)];
    proptest::collection::vec(step, 0..120)
}

/// Cuts the pieces into runs, and shuffles these.
fn runs(layout: &Layout, cut: u64, seed: u64) -> Vec<(u64, u64)> {
    let mut runs = Vec::new();
    for piece in 0..layout.pieces() {
        let (mut start, end) = layout.piece(piece);
        while start < end {
            let len = cut.min(end - start);
            runs.push((start, len));
            start += len;
        }
    }
    let count = runs.len();
    for at in 0..count {
        let other = (seed ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        runs.swap(at, other as usize % count);
    }
    runs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The disk gets any of the sectors of the journal at any time: a crash image has each of them from any moment.
    #[test]
    fn no_crash_makes_a_claim_that_is_not_true(
        steps in steps(),
        seed: u64,
        cut in (1u64..60).prop_map(|pages| pages * 4096),
        holes in prop::sample::select(vec![vec![], vec![(8192, 4096)], vec![(0, GRID), (GRID + 4096, 40960)]]),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 64),
    ) {
        let size = 200 * GRID + 777;
        let bench = Bench::new(size, &holes);
        let layout = bench.progress.journal().layout().clone();
        let mut left = runs(&layout, cut * 3, seed);
        let mut written: HashMap<u64, u64> = HashMap::new();
        let mut durable: HashMap<u64, u64> = HashMap::new();
        let mut images = vec![bench.image()];
        for step in steps {
            match step {
                Step::Write => {
                    let Some((offset, len)) = left.pop() else { break };
                    bench.progress.written(offset, len, 0);
                    *written.entry(layout.piece_of(offset, len).unwrap()).or_default() += len;
                }
                Step::Sync => {
                    bench.sync();
                    durable = written.clone();
                }
            }
            images.push(bench.image());
        }
        let is_whole = |sums: &HashMap<u64, u64>, piece: u64| {
            let (start, end) = layout.piece(piece);
            sums.get(&piece) == Some(&(end - start))
        };
        // The program dies: exactly what was written whole.
        let claims = bench.claims(images.last().unwrap(), BOOT).unwrap();
        for piece in 0..layout.pieces() {
            prop_assert_eq!(claims.contains_key(&piece), is_whole(&written, piece));
        }
        // The machine dies: any mixture of sectors.
        let mut torn = images.last().unwrap().clone();
        for (sector, bytes) in torn.chunks_mut(512).enumerate() {
            let image = &images[picks[sector % picks.len()].index(images.len())];
            bytes.copy_from_slice(&image[sector * 512..][..bytes.len()]);
        }
        for (piece, (state, _)) in bench.claims(&torn, NEXT_BOOT).unwrap() {
            prop_assert_eq!(state, State::Synced);
            prop_assert!(is_whole(&durable, piece), "piece {} is not durable", piece);
        }
    }

    /// Even bytes torn at will: what is no entry fails its check.
    #[test]
    fn torn_words_are_no_entries(words in proptest::collection::vec((0u64..200, 0usize..9, any::<u32>()), 1..50)) {
        let bench = Bench::new(200 * GRID, &[]);
        let before = bench.image();
        for (piece, _, crc) in &words {
            bench.progress.written(piece * GRID, GRID, *crc);
        }
        let mut image = bench.image();
        for (piece, kept, _) in &words {
            let at = 4096 + *piece as usize * 8;
            image[at + kept..at + 8].copy_from_slice(&before[at + kept..at + 8]);
        }
        let truth = bench.claims(&bench.image(), BOOT).unwrap();
        for (piece, claim) in bench.claims(&image, BOOT).unwrap() {
            prop_assert_eq!(truth.get(&piece), Some(&claim));
        }
    }
}
