//! Files read the way that costs less, run by run: bytes, counters, and what that leaves in the page cache.
//!
//! Files go to `BLK_TEST_DIR`, else to cargo's scratch directory (below the target directory, on a disk).

mod support;

use std::{fs::File, os::fd::AsFd, path::Path, sync::Arc, time::Duration};

use blk_datapath::{
    disk::{
        BlockFile, Completion, DiskQueue, Intent, Presence, ReadChooser, ReadWay, ReadWays, cached,
    },
    umem::Umem,
};
use rustix::fs::{Advice, fadvise};
use support::{PatternFile, read_pattern, skip, test_directory};

/// A run: 120 frames of 3584 bytes, which is a cell of the grid.
const FRAMES: usize = 120;
const FRAME: usize = 3584;
const RUN: u64 = (FRAMES * FRAME) as u64;

/// Reads a file run by run.
struct Reader {
    umem: Umem,
    queue: DiskQueue,
    file: Arc<BlockFile>,
    chooser: ReadChooser,
}

impl Reader {
    /// A reader of a direct file on a kernel that tells what is cached, or a loud skip (an error under CI).
    fn open(path: &Path) -> Option<Self> {
        let reader = Self::open_any(path);
        let told = cached(reader.file.as_fd(), 0, 1).is_some();
        if reader.file.is_direct() && told {
            return Some(reader);
        }
        skip(format!("{:?}, cachestat {told}", reader.file.access()));
        None
    }

    fn open_any(path: &Path) -> Self {
        let umem = Umem::anonymous(FRAMES as u32).expect("memory");
        let queue = DiskQueue::new(&umem, 4).expect("io_uring");
        let fd = File::open(path).expect("test file").into();
        Self {
            file: Arc::new(BlockFile::new(fd, Intent::Read).expect("statx")),
            umem,
            queue,
            chooser: ReadChooser::default(),
        }
    }

    /// Reads one run and compares it; says which way it was to go.
    fn read(&mut self, run: u64) -> ReadWay {
        let offset = run * RUN;
        let len = RUN.min(self.file.size() - offset);
        let way = self
            .queue
            .choose(&mut self.chooser, &self.file, offset, len);
        self.read_by(way, offset, len);
        way
    }

    fn read_by(&mut self, way: ReadWay, offset: u64, len: u64) {
        let mut frames = Vec::new();
        let mut left = len as usize;
        while left > 0 {
            let mut frame = self.umem.allocate().expect("a free frame");
            self.umem.payload_mut(&mut frame).fill(0xEE);
            let now = left.min(FRAME);
            frames.push(self.umem.free_to_disk(frame, now as u16));
            left -= now;
        }
        self.queue
            .read_by(&mut self.umem, &self.file, way, offset, frames, 1)
            .expect("room");
        let mut out = Vec::new();
        while out.is_empty() {
            // As a worker does: without a sleep first.
            self.queue.submit().expect("submit");
            self.queue.completions(&mut self.umem, &mut out);
            if out.is_empty() {
                self.queue
                    .wait(Some(Duration::from_secs(20)))
                    .expect("wait");
            }
        }
        let Some(Completion::Read {
            frames,
            way: went,
            result,
            ..
        }) = out.pop()
        else {
            panic!("not a read")
        };
        assert_eq!(result.expect("read"), len);
        if way == ReadWay::Cache && went != ReadWay::Cache {
            self.chooser.missed();
        }
        let mut position = offset;
        for frame in frames {
            let payload = self.umem.payload(&frame);
            assert_eq!(PatternFile::mismatch(payload, position), None, "{way:?}");
            position += payload.len() as u64;
            self.umem.release(frame);
        }
    }

    fn read_all(&mut self) {
        for run in 0..self.file.size().div_ceil(RUN) {
            self.read(run);
        }
    }

    fn ways(&self) -> ReadWays {
        assert_eq!(
            self.file.reads(),
            self.queue.counters().reads,
            "one file, one queue"
        );
        self.file.reads()
    }

    fn cached(&self) -> Presence {
        cached(self.file.as_fd(), 0, self.file.size()).expect("told before")
    }

    fn evict(&self) {
        fadvise(&*self.file, 0, None, Advice::DontNeed).expect("fadvise");
    }
}

/// 50 runs and a bit that is no whole sector.
const SIZE: u64 = 50 * RUN + 77_777;

#[test]
fn a_cold_file_is_read_directly_and_stays_cold() {
    let directory = test_directory();
    let path = directory.path().join("cold");
    PatternFile::write(&path, SIZE);
    let Some(mut reader) = Reader::open(&path) else {
        return;
    };
    assert_eq!(reader.cached().cached, 0);
    reader.read_all();
    let ways = reader.ways();
    assert_eq!((ways.direct_runs, ways.direct_bytes), (51, SIZE));
    assert_eq!((ways.cache_runs, ways.buffered_runs), (0, 0));
    assert!(ways.cachestat_calls <= 10, "{ways}");
    assert_eq!(reader.cached().cached, 0);
}

#[test]
fn a_hot_file_is_read_from_the_cache_and_stays_hot() {
    let directory = test_directory();
    let path = directory.path().join("hot");
    PatternFile::write(&path, SIZE);
    read_pattern(&path);
    let Some(mut reader) = Reader::open(&path) else {
        return;
    };
    reader.read_all();
    let ways = reader.ways();
    let all = ways.cache_bytes + ways.direct_bytes + ways.buffered_bytes;
    assert_eq!(all, SIZE, "{ways}");
    // A machine short of memory takes pages away at any time: some, not most.
    assert!(
        ways.cache_bytes + ways.buffered_bytes >= SIZE / 10 * 8,
        "{ways}"
    );
    let now = reader.cached();
    assert!(now.cached >= now.pages / 10 * 8, "{now:?}");
}

#[test]
fn a_file_that_changes_in_the_middle_changes_over() {
    let directory = test_directory();
    let path = directory.path().join("flips");
    PatternFile::write(&path, SIZE);
    let Some(mut reader) = Reader::open(&path) else {
        return;
    };
    let mut chosen = Vec::new();
    for run in 0..51 {
        match run {
            10 | 40 => read_pattern(&path),
            25 => reader.evict(),
            _ => {}
        }
        chosen.push(reader.read(run));
    }
    assert!(chosen[..10].iter().all(|&way| way == ReadWay::Direct));
    // An answer covers up to 16 runs.
    assert_eq!(chosen[24], ReadWay::Cache, "{chosen:?}");
    assert_eq!(chosen[39], ReadWay::Direct, "{chosen:?}");
    let ways = reader.ways();
    assert!(ways.cache_bytes > 0 && ways.direct_bytes > 0, "{ways}");
    let sum = ways.cache_bytes + ways.direct_bytes + ways.buffered_bytes;
    assert_eq!(sum, SIZE);
}

#[test]
fn what_is_not_in_the_cache_any_more_is_read_directly() {
    let directory = test_directory();
    let path = directory.path().join("missed");
    PatternFile::write(&path, 3 * RUN);
    let Some(mut reader) = Reader::open(&path) else {
        return;
    };
    // Chosen before it was evicted, all of it …
    reader.read_by(ReadWay::Cache, 0, RUN);
    let ways = reader.ways();
    assert_eq!((ways.nowait_misses, ways.direct_runs), (1, 1), "{ways}");
    assert_eq!(ways.cache_bytes + ways.direct_bytes, RUN);
    // … or all but its first pages.
    reader.evict();
    let mut head = vec![0; 100_000];
    let second = File::open(&path).expect("file");
    fadvise(&second, 0, None, Advice::Random).expect("fadvise");
    rustix::io::pread(&second, &mut head, RUN).expect("read");
    reader.read_by(ReadWay::Cache, RUN, RUN);
    let ways = reader.ways();
    assert_eq!((ways.nowait_misses, ways.direct_runs), (2, 2), "{ways}");
    assert!(ways.cache_bytes >= 98_304, "{ways}");
    assert_eq!(ways.cache_bytes + ways.direct_bytes, 2 * RUN);
}

#[test]
fn few_missing_pages_are_added_to_the_cache() {
    let directory = test_directory();
    let path = directory.path().join("gaps");
    PatternFile::write(&path, 4 * RUN);
    // Page by page and without read-ahead, so that the cache has it in pieces of a page.
    let pages = File::open(&path).expect("file");
    fadvise(&pages, 0, None, Advice::Random).expect("fadvise");
    for at in (0..4 * RUN).step_by(4096) {
        rustix::io::pread(&pages, &mut [0; 4096], at).expect("read");
    }
    let Some(mut reader) = Reader::open(&path) else {
        return;
    };
    // Only whole folios go; a file system may have larger ones always.
    let (offset, len) = (RUN + 65_536, std::num::NonZeroU64::new(16_384));
    fadvise(&*reader.file, offset, len, Advice::DontNeed).expect("fadvise");
    let missing = reader.cached();
    if missing.cached == missing.pages || missing.pages - missing.cached > 13 {
        return skip(format!("folios are too large for a small gap: {missing:?}"));
    }
    assert_eq!(reader.read(1), ReadWay::Buffered);
    let ways = reader.ways();
    assert_eq!(
        (ways.buffered_runs, ways.buffered_bytes),
        (1, RUN),
        "{ways}"
    );
    let now = reader.cached();
    assert!(now.cached > missing.cached, "{now:?}");
}

#[test]
fn dirty_pages_are_seen_by_direct_reads() {
    let directory = test_directory();
    let path = directory.path().join("dirty");
    PatternFile::write(&path, 2 * RUN);
    let Some(mut reader) = Reader::open(&path) else {
        return;
    };
    let mut changed = vec![0; RUN as usize];
    PatternFile::fill(&mut changed, RUN);
    let writer = File::options().write(true).open(&path).expect("file");
    rustix::io::pwrite(&writer, &vec![0; RUN as usize], RUN).expect("write");
    writer.sync_all().expect("sync");
    reader.evict();
    // Now the device has zeros, and only the cache the pattern.
    rustix::io::pwrite(&writer, &changed, RUN).expect("write");
    reader.read_by(ReadWay::Direct, RUN, RUN);
    assert_eq!(reader.ways().direct_runs, 1);
}

#[test]
fn a_file_without_direct_io_is_buffered() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return skip("no /dev/shm");
    };
    let path = directory.path().join("memory");
    let mut bytes = vec![0; RUN as usize + 5];
    PatternFile::fill(&mut bytes, 0);
    std::fs::write(&path, &bytes).expect("file");
    let mut reader = Reader::open_any(&path);
    // Since Linux 6.6 a tmpfs takes the flag, but it reports no alignment.
    assert!(!reader.file.is_direct(), "{}", reader.file.report());
    reader.read_all();
    let ways = reader.ways();
    assert_eq!((ways.buffered_runs, ways.buffered_bytes), (2, RUN + 5));
    assert_eq!(ways.cachestat_calls, 0);
}

#[test]
fn a_file_in_place_is_read_past_a_hot_cache() {
    let directory = test_directory();
    let path = directory.path().join("place");
    PatternFile::write(&path, SIZE);
    read_pattern(&path);
    let Some(mut reader) = Reader::open(&path) else {
        return;
    };
    let fd = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .expect("file");
    reader.file = Arc::new(BlockFile::new(fd.into(), Intent::Update).expect("statx"));
    reader.read_all();
    let ways = reader.ways();
    assert_eq!((ways.direct_runs, ways.direct_bytes), (51, SIZE), "{ways}");
    assert_eq!((ways.cachestat_calls, ways.cache_runs), (0, 0));
}
