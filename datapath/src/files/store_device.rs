//! The file systems in use, each with threads of its own: one that stands still holds up nobody else.
//!
//! ```text
//!   jobs ──► writers ──► written ──► syncer ──► synced ──► linker ──► linked ──► syncer: answers
//! ```
//!
//! The four heaps lie behind one mutex, which nobody holds during a call that touches the disk.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::store::{StoreFile, StorePlace};
use super::store_batch::Ticket;
use super::store_shared::{OpenFiles, Shared, count, lock, wait};
use super::store_sync::{link_heaps, sync_heaps};
use super::store_volume::Volume;
use super::store_write::{Written, write_jobs};

/// A file system without files for so long is let go: it may be unmounted then.
const IDLE: Duration = Duration::from_millis(500);

/// Threads that write to one file system, the one that waits for it to be idle among them. The directory's lock and the
/// journal admit little more.
const WRITERS: usize = 2;

/// So many files and names are worth a sync at once.
const HEAP: usize = 2048;
/// So long a sync waits for files that are on their way: about as long as it takes itself.
const GATHER: Duration = Duration::from_millis(10);

/// Files of one batch that go to one file system.
pub(super) type Job = Vec<(StoreFile, Ticket)>;

/// The file systems in use, by device number.
#[derive(Default)]
pub(super) struct Devices(Mutex<Registry>);

#[derive(Default)]
struct Registry {
    devices: HashMap<u64, Arc<Device>>,
    threads: Vec<JoinHandle<()>>,
}

/// A file system in use.
pub(super) struct Device {
    number: u64,
    /// Syncs of the whole that failed.
    failures: AtomicU64,
    pub(super) open: Arc<OpenFiles>,
    heaps: Mutex<Heaps>,
    changed: Condvar,
}

/// What lies between its threads.
#[derive(Default)]
struct Heaps {
    jobs: VecDeque<Job>,
    written: Vec<Written>,
    synced: Vec<Written>,
    linked: Vec<Linked>,
    /// Threads that have something in hand.
    busy: usize,
    /// Those among them that will add to what is to be synced: writers and linker.
    bringing: usize,
    /// Nothing comes any more.
    over: bool,
}

/// A file under its name, which is not durable yet.
pub(super) struct Linked {
    pub(super) place: Arc<StorePlace>,
    pub(super) ticket: Ticket,
    /// [`Device::failures`] before it got it.
    pub(super) failures: u64,
}

impl Heaps {
    fn is_idle(&self) -> bool {
        let Heaps {
            jobs,
            written,
            synced,
            linked,
            busy,
            bringing: _,
            over: _,
        } = self;
        let empty = written.is_empty() && synced.is_empty() && linked.is_empty();
        *busy == 0 && jobs.is_empty() && empty
    }
}

impl Devices {
    /// Hands over files of one file system; its threads are started if it has none.
    pub(super) fn submit(&self, shared: &Arc<Shared>, number: u64, job: Job) -> io::Result<()> {
        let mut registry = lock(&self.0);
        let device = match registry.devices.get(&number) {
            Some(device) => Arc::clone(device),
            None => {
                let device = Arc::new(Device::new(number, shared.open_limit));
                let (shared, own) = (Arc::clone(shared), Arc::clone(&device));
                let thread = std::thread::Builder::new()
                    .name("blk-store".to_owned())
                    .spawn(move || serve(&shared, &own))?;
                registry.threads.retain(|thread| !thread.is_finished());
                registry.threads.push(thread);
                registry.devices.insert(number, Arc::clone(&device));
                device
            }
        };
        // Under the lock of the registry: it is not let go in between.
        lock(&device.heaps).jobs.push_back(job);
        device.changed.notify_all();
        Ok(())
    }

    /// Takes out a device that has nothing to do; `false`: it has.
    fn leave(&self, device: &Device) -> bool {
        let mut registry = lock(&self.0);
        let mut heaps = lock(&device.heaps);
        if !heaps.is_idle() {
            return false;
        }
        heaps.over = true;
        registry.devices.remove(&device.number);
        device.changed.notify_all();
        true
    }

    /// Takes out a device whose threads have ended, however; what lies there is answered by its tickets.
    fn bury(&self, device: &Device) {
        let mut registry = lock(&self.0);
        let mut heaps = lock(&device.heaps);
        // After `leave` another one may be there under this number.
        let own = registry.devices.get(&device.number);
        if own.is_some_and(|own| std::ptr::eq(&**own, device)) {
            registry.devices.remove(&device.number);
        }
        let lost = std::mem::take(&mut *heaps);
        heaps.over = true;
        drop((heaps, registry));
        drop(lost);
    }

    /// Has all threads look again.
    pub(super) fn wake(&self) {
        for device in lock(&self.0).devices.values() {
            // So that none misses it between its look and its wait.
            drop(lock(&device.heaps));
            device.changed.notify_all();
        }
    }

    /// Waits for the threads, when the store is closing.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut lock(&self.0).threads);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store of small files panicked");
            }
        }
    }
}

/// The main function of a device's first thread, which starts the others.
fn serve(shared: &Arc<Shared>, device: &Device) {
    let _grave = Grave { shared, device };
    let Some(volume) = open(shared, device) else {
        return;
    };
    let (shared, volume) = (&**shared, &volume);
    std::thread::scope(|scope| {
        // Should a thread be missing, the others must not wait for it.
        let start = |name: &str, main: Box<dyn FnOnce() + Send>| {
            let builder = std::thread::Builder::new().name(name.to_owned());
            builder.spawn_scoped(scope, main).map(drop)
        };
        let started = start("blk-sync", Box::new(|| sync_heaps(shared, device, volume)))
            .and_then(|()| start("blk-link", Box::new(|| link_heaps(shared, device, volume))));
        if let Err(error) = started {
            tracing::error!(%error, "cannot start the threads of the store of small files");
            device.end();
            return;
        }
        for _ in 1..WRITERS {
            // One is enough.
            let _ = start("blk-write", Box::new(|| write_jobs(shared, device)));
        }
        write_jobs(shared, device);
    });
}

/// Opens the file system; when that fails, all that has come fails.
fn open(shared: &Shared, device: &Device) -> Option<Volume> {
    while let Some((job, _working)) = device.take_job(shared) {
        let first = job.first().map(|(file, _)| Arc::clone(&file.place));
        let opened = first.as_deref().map(Volume::of);
        match opened {
            Some(Ok(volume)) => {
                lock(&device.heaps).jobs.push_front(job);
                return Some(volume);
            }
            Some(Err(error)) => {
                for (_, ticket) in job {
                    count(&shared.counters.failed);
                    ticket.fail("create", copy_of(&error));
                }
            }
            None => {}
        }
    }
    None
}

/// io::Error is not Clone; the errno value (or the text) is what matters.
pub(super) fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Takes a device out of the registry when its first thread ends, also by a panic.
struct Grave<'a> {
    shared: &'a Shared,
    device: &'a Device,
}

impl Drop for Grave<'_> {
    fn drop(&mut self) {
        self.shared.devices.bury(self.device);
    }
}

/// A thread has something in hand.
pub(super) struct Working<'a> {
    device: &'a Device,
    brings: bool,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut heaps = lock(&self.device.heaps);
        heaps.busy = heaps.busy.saturating_sub(1);
        if self.brings {
            heaps.bringing = heaps.bringing.saturating_sub(1);
        }
        drop(heaps);
        self.device.changed.notify_all();
    }
}

impl Device {
    fn new(number: u64, open_limit: usize) -> Device {
        Device {
            number,
            failures: AtomicU64::new(0),
            open: Arc::new(OpenFiles::new(open_limit)),
            heaps: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Syncs of the whole file system that have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// One more has failed.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::AcqRel);
    }

    /// Somebody has something in hand that lies on no heap; to be called in the step that took it.
    fn take_up<'a>(&'a self, heaps: &mut Heaps, brings: bool) -> Working<'a> {
        heaps.busy += 1;
        heaps.bringing += usize::from(brings);
        Working {
            device: self,
            brings,
        }
    }

    /// The next job; `None`: the file system is let go, because there were none for a while.
    pub(super) fn take_job(&self, shared: &Shared) -> Option<(Job, Working<'_>)> {
        let mut heaps = lock(&self.heaps);
        loop {
            if let Some(job) = heaps.jobs.pop_front() {
                let working = self.take_up(&mut heaps, true);
                return Some((job, working));
            }
            if heaps.over {
                return None;
            }
            let closing = shared.is_closing();
            let timed_out = if closing && heaps.is_idle() {
                true
            } else {
                let (guard, timeout) = self
                    .changed
                    .wait_timeout(heaps, IDLE)
                    .unwrap_or_else(PoisonError::into_inner);
                heaps = guard;
                timeout.timed_out()
            };
            if timed_out && heaps.is_idle() && !heaps.over {
                drop(heaps);
                if shared.devices.leave(self) {
                    return None;
                }
                heaps = lock(&self.heaps);
            }
        }
    }

    /// Adds files that are written.
    pub(super) fn add_written(&self, written: &mut Vec<Written>) {
        if !written.is_empty() {
            lock(&self.heaps).written.append(written);
            self.changed.notify_all();
        }
    }

    /// Adds files whose data is durable.
    pub(super) fn add_synced(&self, mut synced: Vec<Written>) {
        lock(&self.heaps).synced.append(&mut synced);
        self.changed.notify_all();
    }

    /// Adds files under their names.
    pub(super) fn add_linked(&self, mut linked: Vec<Linked>) {
        lock(&self.heaps).linked.append(&mut linked);
        self.changed.notify_all();
    }

    /// What is to be synced, when there is something; `None`: nothing comes any more. While more is on its way it is waited
    /// for, though not for long: each sync of a file system costs about the same, however many files it is for.
    pub(super) fn take_unsynced(&self) -> Option<(Vec<Written>, Vec<Linked>, Working<'_>)> {
        let mut heaps = lock(&self.heaps);
        let mut since = None;
        loop {
            let found = heaps.written.len() + heaps.linked.len();
            let more = heaps.bringing > 0 || !heaps.jobs.is_empty();
            let waited = since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
            if found > 0 && (!more || found >= HEAP || waited >= GATHER) {
                let working = self.take_up(&mut heaps, false);
                let written = std::mem::take(&mut heaps.written);
                return Some((written, std::mem::take(&mut heaps.linked), working));
            }
            if heaps.over {
                return None;
            }
            if found == 0 {
                heaps = wait(&self.changed, heaps);
                continue;
            }
            since.get_or_insert_with(Instant::now);
            let left = GATHER.saturating_sub(waited);
            let woken = self.changed.wait_timeout(heaps, left);
            heaps = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is to be linked, as [`take_unsynced`](Self::take_unsynced), at once.
    pub(super) fn take_synced(&self) -> Option<(Vec<Written>, Working<'_>)> {
        let mut heaps = lock(&self.heaps);
        loop {
            if !heaps.synced.is_empty() {
                let working = self.take_up(&mut heaps, true);
                return Some((std::mem::take(&mut heaps.synced), working));
            }
            if heaps.over {
                return None;
            }
            heaps = wait(&self.changed, heaps);
        }
    }

    /// Ends its threads.
    fn end(&self) {
        let mut heaps = lock(&self.heaps);
        heaps.over = true;
        self.changed.notify_all();
    }
}
