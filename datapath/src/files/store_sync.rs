//! The syncers and linkers of a store, one of each for a file system: files get their names after a sync of their data, and are
//! answered after a sync of their names. While the linker gives names to one heap the syncer is at the next one.

use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::io::Errno;

use super::store::{GROUP_MIN, StorePlace};
use super::store_batch::Ticket;
use super::store_device::{Device, Linked, copy_of};
use super::store_extents::is_on_blocks;
use super::store_name::publish;
use super::store_shared::{Shared, count};
use super::store_volume::{Pace, Volume};
use super::store_write::Written;
use super::{FileError, FileErrorKind};

/// What is tried when a name is synced.
const NAME: &str = "make durable the directory entry of";
/// And when a file is.
const DATA: &str = "make durable";
/// Why something fails that a sync of others may have been about.
const HIT: &str = "a sync of its file system failed while it was written";

/// The main function of a syncer.
pub(super) fn sync_heaps(shared: &Shared, device: &Device, volume: &Volume) {
    let mut pace = Pace::default();
    while let Some((written, linked, _working)) = device.take_unsynced() {
        let round = || round(shared, device, volume, &mut pace, written, linked);
        match catch_unwind(AssertUnwindSafe(round)) {
            Ok(synced) => device.add_synced(synced),
            Err(_) => {
                // The tickets have answered.
                tracing::error!("the syncer of small files panicked");
            }
        }
    }
}

/// The main function of a linker.
pub(super) fn link_heaps(shared: &Shared, device: &Device, volume: &Volume) {
    while let Some((synced, _working)) = device.take_synced() {
        let link = || link_all(shared, device, volume, synced);
        match catch_unwind(AssertUnwindSafe(link)) {
            Ok(linked) => device.add_linked(linked),
            Err(_) => tracing::error!("the linker of small files panicked"),
        }
    }
}

/// One sync: the names before it are durable then, and so is the data of the files, which are given back.
fn round(
    shared: &Shared,
    device: &Device,
    volume: &Volume,
    pace: &mut Pace,
    written: Vec<Written>,
    linked: Vec<Linked>,
) -> Vec<Written> {
    let failures = device.failures();
    let (written, hit): (Vec<_>, Vec<_>) = written
        .into_iter()
        .partition(|written| written.failures == failures);
    for written in hit {
        fail(shared, written.ticket, DATA, &io::Error::other(HIT));
    }
    let (linked, hit): (Vec<_>, Vec<_>) = linked
        .into_iter()
        .partition(|linked| linked.failures == failures);
    for linked in hit {
        fail(shared, linked.ticket, NAME, &io::Error::other(HIT));
    }
    let calls = written.len() + directories(&linked);
    if calls == 0 {
        return Vec::new();
    }
    let whole = shared.trusts_syncfs && volume.syncs_whole();
    let start = Instant::now();
    if !whole || is_few(&written, &linked) || pace.prefers_single(calls, start) {
        let synced = sync_singly(shared, device, written, linked);
        pace.singles(calls, start.elapsed());
        return synced;
    }
    count(&shared.counters.syncfs);
    let result = told(device, || (shared.syncfs)(volume.fd()));
    pace.whole(start.elapsed(), Instant::now());
    match result {
        Ok(()) => {
            answer(shared, linked);
            written
        }
        Err(error) => {
            device.failed();
            tracing::error!(%error, "a sync of a file system failed");
            for linked in linked {
                fail(shared, linked.ticket, NAME, &error);
            }
            for written in written {
                fail(shared, written.ticket, DATA, &error);
            }
            Vec::new()
        }
    }
}

/// Counts a sync that panics as failed, since what it would have told is lost: before the tickets of its files, which its
/// callers have, answer, so that nobody has heard of it who does not fail with it.
fn told<T>(device: &Device, sync: impl FnOnce() -> T) -> T {
    let _told = Told(device);
    sync()
}

struct Told<'a>(&'a Device);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed();
        }
    }
}

/// Whether single syncs cost less than one of the whole.
fn is_few(written: &[Written], linked: &[Linked]) -> bool {
    written.len() < GROUP_MIN && directories(linked) < GROUP_MIN
}

/// In how many directories the names lie, as far as their places tell.
fn directories(linked: &[Linked]) -> usize {
    let mut places: Vec<*const StorePlace> =
        linked.iter().map(|one| Arc::as_ptr(&one.place)).collect();
    places.sort_unstable();
    places.dedup();
    places.len()
}

/// Syncs directories and files, each by itself.
fn sync_singly(
    shared: &Shared,
    device: &Device,
    written: Vec<Written>,
    linked: Vec<Linked>,
) -> Vec<Written> {
    let mut synced: Vec<(Arc<StorePlace>, io::Result<()>)> = Vec::new();
    let mut durable = Vec::new();
    for linked in linked {
        if !synced
            .iter()
            .any(|(place, _)| Arc::ptr_eq(place, &linked.place))
        {
            count(&shared.counters.fsyncs);
            let result = told(device, || (shared.fsync)(linked.place.directory.as_fd()));
            synced.push((Arc::clone(&linked.place), result));
        }
        let failure = synced
            .iter()
            .find(|(place, _)| Arc::ptr_eq(place, &linked.place))
            .and_then(|(_, result)| result.as_ref().err());
        match failure {
            Some(error) => fail(shared, linked.ticket, NAME, error),
            None => durable.push(linked),
        }
    }
    answer(shared, durable);
    let sync = |mut written: Written| {
        count(&shared.counters.fsyncs);
        match told(device, || (shared.fsync)(written.fd.as_fd())) {
            Ok(()) => {
                written.synced_alone = true;
                Some(written)
            }
            Err(error) => {
                fail(shared, written.ticket, DATA, &error);
                None
            }
        }
    };
    written.into_iter().filter_map(sync).collect()
}

/// Looks whether the sync of the whole has written the file, where it does not tell.
fn check_blocks(volume: &Volume, written: &Written) -> io::Result<()> {
    if written.synced_alone || !volume.hides_failed_allocations() {
        return Ok(());
    }
    match is_on_blocks(written.fd.as_fd(), written.size)? {
        true => Ok(()),
        false => Err(io::Error::other(
            "the file system could not allocate its blocks, see the kernel's log",
        )),
    }
}

/// Gives each file its name.
fn link_all(
    shared: &Shared,
    device: &Device,
    volume: &Volume,
    synced: Vec<Written>,
) -> Vec<Linked> {
    let link = |written: Written| link_one(shared, device, volume, written);
    synced.into_iter().filter_map(link).collect()
}

fn link_one(
    shared: &Shared,
    device: &Device,
    volume: &Volume,
    mut written: Written,
) -> Option<Linked> {
    if let Err(error) = check_blocks(volume, &written) {
        fail(shared, written.ticket, DATA, &error);
        return None;
    }
    // Before it gets its name: a sync that fails from now on may be about it.
    let failures = device.failures();
    match publish(&mut written) {
        Ok(()) => Some(Linked {
            place: written.place,
            ticket: written.ticket,
            failures,
        }),
        // What bears the name is no file: `publish` replaces those.
        Err(Errno::EXIST) => {
            count(&shared.counters.failed);
            let error = FileError::explained(
                FileErrorKind::NotRegular,
                "create",
                written.ticket.label(),
                "the name is a device, FIFO or socket, which a file does not replace",
            );
            written.ticket.settle(Err(error));
            None
        }
        Err(errno) => {
            fail(shared, written.ticket, "create", &errno.into());
            None
        }
    }
}

fn answer(shared: &Shared, linked: Vec<Linked>) {
    let files = linked.len() as u64;
    shared.counters.files.fetch_add(files, Ordering::Relaxed);
    for linked in linked {
        linked.ticket.settle(Ok(()));
    }
}

fn fail(shared: &Shared, ticket: Ticket, operation: &'static str, error: &io::Error) {
    count(&shared.counters.failed);
    ticket.fail(operation, copy_of(error));
}
