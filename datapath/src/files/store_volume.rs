//! What a store knows of a file system: whether one sync of the whole is enough, and worth it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fstatfs, openat};

use super::store::StorePlace;

/// `statfs.f_type`, include/uapi/linux/magic.h.
const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683e;
const F2FS: u64 = 0xf2f5_2010;

/// Whether syncfs(2) makes everything durable on a file system of this kind (`statfs.f_type`), and tells of all lost writes.
/// Only of these it is known: FUSE answers it without asking its server, network file systems do nothing, vfat sends no flush
/// to the device, and overlayfs does not hear of the lost writes of the file system beneath.
pub(crate) fn syncs_whole(kind: u64) -> bool {
    matches!(kind, EXT4 | XFS | BTRFS | F2FS)
}

/// A file system in use.
pub(super) struct Volume {
    /// Opened before any file is written, so that each error since then is told to it.
    sync: OwnedFd,
    kind: u64,
}

impl Volume {
    /// That of a place.
    pub(super) fn of(place: &StorePlace) -> io::Result<Volume> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let sync = openat(&place.directory, c".", flags, Mode::empty())?;
        let kind = fstatfs(&sync)?.f_type as u64;
        Ok(Volume { sync, kind })
    }

    /// The descriptor to sync it by.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.sync.as_fd()
    }

    /// Whether one sync of the whole is enough.
    pub(super) fn syncs_whole(&self) -> bool {
        syncs_whole(self.kind)
    }

    /// Whether syncfs(2) does not tell of blocks that could not be allocated, see
    /// [`is_on_blocks`](super::store_extents::is_on_blocks).
    pub(super) fn hides_failed_allocations(&self) -> bool {
        self.kind == EXT4
    }
}

/// A sync of the whole that takes longer may have waited for the writes of others.
const LONG: Duration = Duration::from_secs(1);
/// So many times the time of a long sync passes before the next try.
const PAUSE: u32 = 8;
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The time of an fsync(2) before any was measured: that of a hard disk, two flushes and a seek.
const SINGLE_GUESS: Duration = Duration::from_millis(20);

/// What syncs take: one of the whole also waits for whatever else was written to the file system.
pub(super) struct Pace {
    single: Duration,
    /// How long the last sync of the whole took, and until when that counts.
    long: Option<(Duration, Instant)>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            single: SINGLE_GUESS,
            long: None,
        }
    }
}

impl Pace {
    /// Whether so many single syncs take much less time than one of the whole probably would.
    pub(super) fn prefers_single(&self, calls: usize, now: Instant) -> bool {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        let singly = self.single.saturating_mul(calls).saturating_mul(2);
        self.long
            .is_some_and(|(took, until)| now < until && singly < took)
    }

    /// A sync of the whole took so long.
    pub(super) fn whole(&mut self, took: Duration, now: Instant) {
        let pause = took.saturating_mul(PAUSE).min(PAUSE_MAX);
        self.long = (took > LONG).then_some((took, now + pause));
    }

    /// So many single syncs took so long.
    pub(super) fn singles(&mut self, calls: usize, took: Duration) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        if calls > 0 {
            self.single = (self.single * 3 + took / calls) / 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn after_a_long_sync_of_the_whole_few_files_are_synced_singly() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(!pace.prefers_single(4, start));
        pace.whole(900 * MS, start);
        assert!(!pace.prefers_single(4, start));
        pace.whole(5000 * MS, start);
        assert!(pace.prefers_single(100, start));
        assert!(!pace.prefers_single(200, start), "that is no gain");
        assert!(pace.prefers_single(100, start + 39_000 * MS));
        assert!(!pace.prefers_single(100, start + 41_000 * MS), "a new try");
        // Others write no more.
        pace.whole(20 * MS, start);
        assert!(!pace.prefers_single(4, start));
    }

    #[test]
    fn the_time_of_single_syncs_is_learnt() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.whole(5000 * MS, start);
        (0..20).for_each(|_| pace.singles(10, 10 * MS));
        assert!(pace.prefers_single(1000, start));
        (0..20).for_each(|_| pace.singles(10, 5000 * MS));
        assert!(!pace.prefers_single(10, start));
        pace.singles(0, MS);
    }
}
