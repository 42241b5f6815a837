//! A range of a file that one or several flows send: who sends what, and the checksum of the whole.
//!
//! The flows run on threads of their own, so this is behind a mutex. They come here twice for a run of blocks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blk_proto::flows::{FlowId, Range, Work};
use blk_proto::message::Extent;
use blk_proto::time::Time;

use super::SentFile;
use super::checksum::FileChecksum;

/// A flow that found nothing to do looks again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// … and not before this.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);

/// The work of one transfer.
#[derive(Debug)]
pub struct SharedWork {
    start: u64,
    len: u64,
    /// The flows' clocks differ; the times of the work are this one's.
    epoch: Instant,
    /// Every range is done; to be read without the lock.
    complete: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    work: Work,
    checksum: FileChecksum,
}

impl SharedWork {
    /// `len` bytes from byte `offset` of a file.
    pub fn new(offset: u64, len: u64) -> Self {
        Self::without(offset, len, &[])
    }

    /// The same without what the other end has already, or knows to be zeros: ascending, apart, and within the whole. The
    /// checksum is still that of the whole.
    pub fn without(offset: u64, len: u64, done: &[Extent]) -> Self {
        let mut checksum = FileChecksum::new(len);
        for extent in done {
            checksum.add(extent.offset + extent.len - offset, extent.len, extent.crc);
        }
        let ranges = done.iter().map(|extent| (extent.offset, extent.len));
        let work = Work::without(offset, len, ranges);
        Self {
            start: offset,
            len,
            epoch: Instant::now(),
            complete: AtomicBool::new(work.is_complete()),
            state: Mutex::new(State { work, checksum }),
        }
    }

    /// Offset and length of the whole, in bytes.
    pub fn range(&self) -> (u64, u64) {
        (self.start, self.len)
    }

    /// One more flow shares the work.
    pub fn add_flow(&self) -> FlowId {
        self.state().work.add_flow()
    }

    /// The next range for a flow. `Err`: none now; after so long it is worth to look again.
    pub fn take(&self, flow: FlowId) -> Result<Range, Duration> {
        let now = self.now();
        let work = &mut self.state().work;
        work.take(flow, now).ok_or_else(|| {
            let wait = work
                .takeover_at(flow)
                .map_or(LOOK_AGAIN, |when| when.saturating_since(now));
            wait.clamp(LOOK_AGAIN_MIN, LOOK_AGAIN)
        })
    }

    /// A flow has sent all of a range, and it was acknowledged; `crc` is the CRC32 of its bytes. `true` the first time.
    pub fn done(&self, flow: FlowId, range: Range, crc: u32) -> bool {
        let now = self.now();
        let mut state = self.state();
        if !state.work.done(flow, range, now) {
            return false;
        }
        let end = range.offset + range.len - self.start;
        state.checksum.add(end, range.len, crc);
        if state.work.is_complete() {
            self.complete.store(true, Ordering::Release);
        }
        true
    }

    /// A flow is no more.
    pub fn dead(&self, flow: FlowId) {
        self.state().work.dead(flow);
    }

    /// The whole, when every range is done. Cheap while it is not.
    pub fn sent(&self) -> Option<SentFile> {
        if !self.complete.load(Ordering::Acquire) {
            return None;
        }
        Some(SentFile {
            bytes: self.len,
            crc: self.state().checksum.finish()?,
        })
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.epoch.elapsed().as_nanos() as u64)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No method panics in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::hole;
    use blk_proto::geometry::GRID;

    #[test]
    fn the_checksum_is_that_of_the_whole_whoever_sends_it() {
        let bytes: Vec<u8> = (0..2 * GRID as usize + 77).map(|at| at as u8).collect();
        let crc = |range: Range| {
            let start = range.offset as usize - 1024;
            crc32fast::hash(&bytes[start..start + range.len as usize])
        };
        let work = SharedWork::new(1024, bytes.len() as u64);
        let (one, two) = (work.add_flow(), work.add_flow());
        let first = work.take(one).unwrap();
        let second = work.take(two).unwrap();
        assert!(work.done(two, second, crc(second)));
        work.dead(one);
        assert!(!work.done(one, first, 0), "it is dead");
        while let Ok(range) = work.take(two) {
            assert_eq!(work.sent(), None);
            assert!(work.done(two, range, crc(range)));
        }
        let sent = work.sent().unwrap();
        assert_eq!(sent.bytes, bytes.len() as u64);
        assert_eq!(sent.crc, crc32fast::hash(&bytes));
    }

    #[test]
    fn what_is_done_already_counts_in_the_checksum() {
        let mut bytes: Vec<u8> = (0..10_000).map(|at| (at * 7) as u8).collect();
        bytes[4096..8192].fill(0);
        let done = [
            Extent {
                offset: 512,
                len: 1024,
                crc: crc32fast::hash(&bytes[..1024]),
            },
            hole(512 + 4096, 4096),
        ];
        let work = SharedWork::without(512, 10_000, &done);
        let flow = work.add_flow();
        while let Ok(range) = work.take(flow) {
            let at = range.offset as usize - 512;
            let crc = crc32fast::hash(&bytes[at..at + range.len as usize]);
            assert!(work.done(flow, range, crc));
        }
        let sent = work.sent().unwrap();
        assert_eq!((sent.bytes, sent.crc), (10_000, crc32fast::hash(&bytes)));
        assert!(
            SharedWork::without(0, 4096, &[hole(0, 4096)])
                .sent()
                .is_some()
        );
    }

    #[test]
    fn nothing_to_send_is_sent() {
        let sent = SharedWork::new(512, 0).sent().unwrap();
        assert_eq!((sent.bytes, sent.crc), (0, 0));
    }

    #[test]
    fn who_finds_nothing_is_told_when_to_look_again() {
        let work = SharedWork::new(0, 1);
        let (one, two) = (work.add_flow(), work.add_flow());
        work.take(one).unwrap();
        assert_eq!(work.take(two), Err(LOOK_AGAIN));
    }
}
