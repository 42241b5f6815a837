//! Which bytes of a file being received are here: shared by all flows that bring them.
//!
//! Every byte is written exactly once, whoever brings it: a flow *claims* a run before it writes it, and what is
//! claimed already is a duplicate, which is normal (a block that moved to another flow, one that was sent again in
//! smaller pieces) and dropped. What could not be written is given back, and can be claimed again.
//!
//! The flows run on threads of their own, so this is behind a mutex. They come here once for a run of blocks, not for each
//! block.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blk_proto::message::Extent;
use tokio::sync::Notify;

use super::ReceivedFile;
use super::checksum::FileChecksum;
use crate::disk::Ways;

/// Ranges that are remembered at most. Only a sender that leaves that many holes loses by it: what would make one more
/// is dropped, and missing in the end. 64 KiB for each file.
pub const RANGES_MAX: usize = 4096;

/// A range of a file: offset and length in bytes.
pub type ByteRange = (u64, u64);

/// Told of each run of a file that was written, on the thread of the worker that wrote it: quick, and never blocking for long.
pub trait WriteObserver: fmt::Debug + Send + Sync {
    /// A run is written: not synced yet, but no crash of this program alone can take it back. `crc` is its CRC32.
    fn written(&self, offset: u64, len: u64, crc: u32);
}

/// The bytes of one file, or of a range of it.
#[derive(Debug)]
pub struct Coverage {
    start: u64,
    end: u64,
    observer: Option<Arc<dyn WriteObserver>>,
    /// Every byte is written; to be read without the lock.
    complete: AtomicBool,
    /// Somebody waits for [`Coverage::take_missing`].
    settling: AtomicBool,
    /// Told when the last write is over of a file that is [closed](Coverage::close).
    quiet: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    claimed: Claims,
    checksum: FileChecksum,
    ways: Ways,
    /// Runs claimed and not written yet.
    writing: usize,
    /// Flows that hold blocks which they have not claimed yet.
    gathering: usize,
    flows: usize,
    /// Nothing is claimed any more.
    closed: bool,
}

impl State {
    fn is_quiet(&self) -> bool {
        self.closed && self.writing == 0
    }
}

/// What a claim came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The run is the caller's to write; [`Coverage::written`] or [`Coverage::give_back`] must follow.
    Granted,
    /// Some of its bytes are claimed already.
    Overlap,
    /// There are too many holes already to remember one more.
    TooScattered,
    /// Nothing of the file is written any more.
    Closed,
}

/// A run that was claimed and is being written. When it is dropped before its end, because the write failed or its worker
/// ended early, it is given back: nobody must wait for it.
#[derive(Debug)]
pub struct ClaimedRun {
    coverage: Arc<Coverage>,
    offset: u64,
    len: u64,
    is_written: bool,
}

impl ClaimedRun {
    /// A run that was [granted](Claim::Granted).
    pub fn new(coverage: Arc<Coverage>, offset: u64, len: u64) -> Self {
        Self {
            coverage,
            offset,
            len,
            is_written: false,
        }
    }

    /// It was written; `crc` is its CRC32.
    pub fn written(mut self, crc: u32, ways: Ways) {
        self.is_written = true;
        self.coverage.written(self.offset, self.len, crc, ways);
    }
}

impl Drop for ClaimedRun {
    fn drop(&mut self) {
        if !self.is_written {
            self.coverage.give_back(self.offset, self.len);
        }
    }
}

impl Coverage {
    /// Nothing of a file of `size` bytes is here.
    pub fn new(size: u64) -> Self {
        Self::range(0, size, &[])
    }

    /// Of `len` bytes from byte `start` of a file, some are here: what is in `done`, ascending, apart, and within the range.
    /// Nobody brings the rest of the file.
    pub fn range(start: u64, len: u64, done: &[Extent]) -> Self {
        let mut claimed = Claims::default();
        let mut checksum = FileChecksum::new(len);
        for extent in done {
            let end = extent.offset + extent.len;
            // What finds no room is not here.
            if claimed.insert(extent.offset, end) == Claim::Granted {
                checksum.add(end - start, extent.len, extent.crc);
            }
        }
        Self {
            start,
            end: start + len,
            observer: None,
            complete: AtomicBool::new(checksum.covered() == len),
            settling: AtomicBool::new(false),
            quiet: Notify::new(),
            state: Mutex::new(State {
                claimed,
                checksum,
                ways: Ways::default(),
                writing: 0,
                gathering: 0,
                flows: 0,
                closed: false,
            }),
        }
    }

    /// Tells `observer` of each run that is written.
    pub fn observed(mut self, observer: Arc<dyn WriteObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        self.end - self.start
    }

    /// The first byte of it.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where it ends: for a whole file its size.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether any of these bytes is claimed.
    pub fn is_claimed(&self, offset: u64, len: u64) -> bool {
        self.state().claimed.overlaps(offset, offset + len)
    }

    /// Claims a run, which must lie within the whole and not be empty.
    pub fn claim(&self, offset: u64, len: u64) -> Claim {
        debug_assert!(len > 0 && self.start <= offset && offset + len <= self.end);
        let mut state = self.state();
        if state.closed {
            return Claim::Closed;
        }
        let claim = state.claimed.insert(offset, offset + len);
        if claim == Claim::Granted {
            state.writing += 1;
        }
        claim
    }

    /// A claimed run could not be written: whoever brings it again may.
    pub fn give_back(&self, offset: u64, len: u64) {
        let mut state = self.state();
        state.claimed.remove(offset, offset + len);
        state.writing -= 1;
        self.tell_if_quiet(&state);
    }

    /// A claimed run was written; `crc` is its CRC32.
    pub fn written(&self, offset: u64, len: u64, crc: u32, ways: Ways) {
        if let Some(observer) = &self.observer {
            observer.written(offset, len, crc);
        }
        let mut state = self.state();
        state.writing -= 1;
        state.checksum.add(offset + len - self.start, len, crc);
        state.ways.direct += ways.direct;
        state.ways.copied += ways.copied;
        if state.checksum.covered() == self.size() {
            // Release: who sees it also sees the file's writes as over.
            self.complete.store(true, Ordering::Release);
        }
        self.tell_if_quiet(&state);
    }

    /// Lets nothing be claimed any more, by whatever flow: the transfer is over. Writes that are under way go on.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.tell_if_quiet(&state);
    }

    /// [Closes](Self::close) it; ready when no write is under way any more, so that whoever gets the file next is not
    /// disturbed. A worker that ends early ends its writes first, so this is ready at the latest when all workers are
    /// gone.
    pub async fn quiet(&self) {
        self.close();
        let mut told = pin!(self.quiet.notified());
        loop {
            // Before the look: what is told after that is not missed.
            told.as_mut().enable();
            if self.state().is_quiet() {
                return;
            }
            told.as_mut().await;
            told.set(self.quiet.notified());
        }
    }

    fn tell_if_quiet(&self, state: &State) {
        if state.is_quiet() {
            self.quiet.notify_waiters();
        }
    }

    /// Bytes that are written, or were there.
    pub fn covered(&self) -> u64 {
        self.state().checksum.covered()
    }

    /// The whole file, when every byte is written. Cheap while it is not.
    pub fn received(&self) -> Option<ReceivedFile> {
        if !self.complete.load(Ordering::Acquire) {
            return None;
        }
        let state = self.state();
        Some(ReceivedFile {
            bytes: self.size(),
            crc: state.checksum.finish()?,
            ways: state.ways,
        })
    }

    /// A flow begins to bring blocks.
    pub fn enter(&self) {
        self.state().flows += 1;
    }

    /// A flow ends; `gathering` as last told.
    pub fn leave(&self, gathering: bool) {
        let mut state = self.state();
        state.flows -= 1;
        state.gathering -= usize::from(gathering);
    }

    /// Flows that bring blocks.
    pub fn flows(&self) -> usize {
        self.state().flows
    }

    /// A flow has come to hold blocks that it has not claimed, or holds none any more.
    pub fn set_gathering(&self, gathering: bool) {
        let mut state = self.state();
        if gathering {
            state.gathering += 1;
        } else {
            state.gathering -= 1;
        }
    }

    /// No more blocks will come: [`Coverage::take_missing`] gives an answer when all that have come are written.
    pub fn settle(&self) {
        self.settling.store(true, Ordering::Release);
    }

    /// What is missing, up to `limit` ranges, if that was asked for by [`Coverage::settle`], nothing is on its way to the
    /// disk, and the file is not whole. One caller gets the answer, once. Cheap while nobody has asked.
    pub fn take_missing(&self, limit: usize) -> Option<Vec<ByteRange>> {
        if !self.settling.load(Ordering::Acquire) || self.complete.load(Ordering::Acquire) {
            return None;
        }
        let missing = self.missing(limit)?;
        self.settling
            .swap(false, Ordering::AcqRel)
            .then_some(missing)
    }

    /// What is missing, up to `limit` ranges, if nothing is on its way to the disk and the file is not whole.
    pub fn missing(&self, limit: usize) -> Option<Vec<ByteRange>> {
        let state = self.state();
        let quiet = state.writing == 0 && state.gathering == 0;
        let whole = state.checksum.covered() == self.size();
        (quiet && !whole).then(|| {
            state
                .claimed
                .gaps(self.start, self.end)
                .take(limit)
                .collect()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked elsewhere leaves the state whole: no method here panics in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Disjoint ranges `[start, end)` in ascending order, none touching the next.
#[derive(Debug, Default)]
struct Claims {
    ranges: Vec<(u64, u64)>,
}

impl Claims {
    /// The first range that ends after `offset`.
    fn first_after(&self, offset: u64) -> usize {
        // Files come roughly in order, so the last range is looked at first.
        match self.ranges.last() {
            Some(last) if last.1 <= offset => self.ranges.len(),
            Some(last) if last.0 <= offset => self.ranges.len() - 1,
            _ => self.ranges.partition_point(|range| range.1 <= offset),
        }
    }

    fn overlaps(&self, start: u64, end: u64) -> bool {
        let at = self.first_after(start);
        self.ranges.get(at).is_some_and(|range| range.0 < end)
    }

    fn insert(&mut self, start: u64, end: u64) -> Claim {
        let at = self.first_after(start);
        let after = self.ranges.get(at).map_or(u64::MAX, |range| range.0);
        if after < end {
            return Claim::Overlap;
        }
        let joins_before = at > 0 && self.ranges[at - 1].1 == start;
        let joins_after = at < self.ranges.len() && after == end;
        match (joins_before, joins_after) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = end,
            (false, true) => self.ranges[at].0 = start,
            (false, false) if self.ranges.len() >= RANGES_MAX => return Claim::TooScattered,
            (false, false) => self.ranges.insert(at, (start, end)),
        }
        Claim::Granted
    }

    /// Takes out what was inserted as one.
    fn remove(&mut self, start: u64, end: u64) {
        let at = self.first_after(start);
        let Some(&(first, last)) = self.ranges.get(at) else {
            return;
        };
        debug_assert!(first <= start && end <= last);
        match (first < start, end < last) {
            (false, false) => {
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at].1 = start,
            (false, true) => self.ranges[at].0 = end,
            (true, true) => {
                self.ranges[at].1 = start;
                self.ranges.insert(at + 1, (end, last));
            }
        }
    }

    /// What lies between the ranges from `start` to `end`, as offsets and lengths.
    fn gaps(&self, start: u64, end: u64) -> impl Iterator<Item = ByteRange> + '_ {
        let starts = std::iter::once(start).chain(self.ranges.iter().map(|range| range.1));
        let ends = self.ranges.iter().map(|range| range.0);
        starts
            .zip(ends.chain(std::iter::once(end)))
            .filter(|(start, end)| start < end)
            .map(|(start, end)| (start, end - start))
    }
}

#[cfg(test)]
#[path = "coverage_tests.rs"]
mod tests;
