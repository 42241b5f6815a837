//! What the threads of a store share: the bound on open files, the counters, the calls that sync.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit};

use super::store::StoreStats;
use super::store_device::Devices;

/// Most files of one file system that are open at once: a heap of so many costs little memory and makes its sync cheap.
const OPEN_MAX: u64 = 4096;
/// Fewer make no heap.
const OPEN_MIN: u64 = 16;
/// One file system gets so small a part of the descriptors that the process may have: those of one that stands still
/// are not given back.
const OPEN_SHARE: u64 = 4;

/// A call that makes something durable.
pub(super) type Sync = Box<dyn Fn(BorrowedFd<'_>) -> io::Result<()> + Send + std::marker::Sync>;

/// What the threads share.
pub(super) struct Shared {
    closing: AtomicBool,
    /// Files of one file system that may be open.
    pub(super) open_limit: usize,
    pub(super) counters: Counters,
    pub(super) devices: Devices,
    /// syncfs(2), and what tests put in its place.
    pub(super) syncfs: Sync,
    /// fsync(2), likewise.
    pub(super) fsync: Sync,
    /// Whether syncfs of the file system is worth its name, see [`Volume`](super::store_volume::Volume); tests say no.
    pub(super) trusts_syncfs: bool,
}

impl Shared {
    pub(super) fn new() -> Shared {
        Shared {
            closing: AtomicBool::new(false),
            open_limit: open_limit(),
            counters: Counters::default(),
            devices: Devices::default(),
            syncfs: Box::new(|fd| Ok(rustix::fs::syncfs(fd)?)),
            fsync: Box::new(|fd| Ok(rustix::fs::fsync(fd)?)),
            trusts_syncfs: true,
        }
    }

    /// No more batches will come.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.devices.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// A part of the descriptors that the process may have, within bounds.
fn open_limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (limit / OPEN_SHARE).clamp(OPEN_MIN, OPEN_MAX) as usize
}

/// Bounds how many files are open at once.
pub(super) struct OpenFiles {
    free: Mutex<usize>,
    freed: Condvar,
}

/// The right to have a file open.
pub(super) struct OpenPermit(Arc<OpenFiles>);

impl OpenFiles {
    pub(super) fn new(limit: usize) -> OpenFiles {
        OpenFiles {
            free: Mutex::new(limit),
            freed: Condvar::new(),
        }
    }

    /// A permit, if one is free.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<OpenPermit> {
        let mut free = lock(&self.free);
        *free = free.checked_sub(1)?;
        drop(free);
        Some(OpenPermit(Arc::clone(self)))
    }

    /// A permit, when one is free. Who waits here must not keep files from the others.
    pub(super) fn acquire(self: &Arc<Self>) -> OpenPermit {
        let mut free = lock(&self.free);
        while *free == 0 {
            free = wait(&self.freed, free);
        }
        *free -= 1;
        drop(free);
        OpenPermit(Arc::clone(self))
    }
}

impl Drop for OpenPermit {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

/// The running numbers behind [`StoreStats`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) files: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) syncfs: AtomicU64,
    pub(super) fsyncs: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> StoreStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            batches: read(&self.batches),
            files: read(&self.files),
            failed: read(&self.failed),
            syncfs: read(&self.syncfs),
            fsyncs: read(&self.fsyncs),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A lock whose holder panicked is taken all the same: what it guards is changed in single steps.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition
        .wait(guard)
        .unwrap_or_else(PoisonError::into_inner)
}
