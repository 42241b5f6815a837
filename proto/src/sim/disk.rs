//! A model of the disk under a receiver: writes take time, it stalls, and a crash takes what was not synced.
//!
//! ```text
//!   write ──► in flight ──► written ──sync──► durable ──► named
//!     frame is held │          │ a crash takes it     │ a crash leaves it
//! ```

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::content::Contents;
use super::extents::Extents;
use super::frames::{Frame, Frames};
use super::invariants::Broken;
use super::random::Random;
use super::tally::{Count, Tally};
use crate::time::Time;

/// How fast a disk is. Times in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct DiskPlan {
    /// It takes so long for each write, one after the other: its bandwidth.
    pub service: u64,
    /// And up to so long more until it says that a write is done.
    pub latency: u64,
    /// A sync takes up to so long.
    pub sync: u64,
    /// It does nothing from one time to the other.
    pub stalls: Vec<(Time, Time)>,
}

/// A file that is being written, unknown under any name yet.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Temporary(u64);

#[derive(Debug)]
struct Stored {
    contents: Contents,
    size: u64,
    written: Extents,
    durable: Extents,
}

/// An operation that the disk has finished.
#[derive(Debug)]
pub enum Done {
    /// A block was written; its frame is the host's again.
    Written {
        /// Into which file; it may be gone.
        file: Temporary,
        /// What was written.
        frame: Frame,
        /// Whose session sent it.
        session: u32,
    },
    /// What had been written to the file when the sync began is durable.
    Synced(Temporary),
}

#[derive(Debug)]
enum Operation {
    Write {
        file: Temporary,
        contents: Contents,
        offset: u64,
        frame: Frame,
        session: u32,
    },
    Sync {
        file: Temporary,
        covered: Extents,
    },
}

/// A disk; it outlives the processes that use it.
#[derive(Debug)]
pub struct Disk {
    plan: DiskPlan,
    random: Random,
    busy_until: Time,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    /// By the number in `queue`.
    operations: BTreeMap<u64, Operation>,
    count: u64,
    temporaries: BTreeMap<Temporary, Stored>,
    /// By client and file.
    named: BTreeMap<(u32, u32), Stored>,
    scratch: Vec<u8>,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(plan: DiskPlan, random: Random) -> Self {
        Self {
            plan,
            random,
            busy_until: Time::default(),
            queue: BinaryHeap::new(),
            operations: BTreeMap::new(),
            count: 0,
            temporaries: BTreeMap::new(),
            named: BTreeMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Makes an empty temporary file for these contents.
    pub fn create(&mut self, contents: Contents, size: u64) -> Temporary {
        self.count += 1;
        let file = Temporary(self.count);
        let stored = Stored {
            contents,
            size,
            written: Extents::default(),
            durable: Extents::default(),
        };
        self.temporaries.insert(file, stored);
        file
    }

    /// Removes a temporary file. Writes to it that are in flight still have to end.
    pub fn remove(&mut self, file: Temporary) {
        self.temporaries.remove(&file);
    }

    /// Queues a write of the bytes in a frame, which is the disk's until [`Self::poll`] gives it back.
    pub fn write(
        &mut self,
        now: Time,
        (file, contents, offset): (Temporary, Contents, u64),
        (session, frame): (u32, Frame),
        tally: &mut Tally,
    ) {
        let start = self.busy_until.max(now);
        self.busy_until = self.after(start, self.plan.service, tally);
        let latency = self.random.within(0, self.plan.latency);
        let ready = self.after(self.busy_until, latency, tally);
        let operation = Operation::Write {
            file,
            contents,
            offset,
            frame,
            session,
        };
        self.push(ready, operation);
    }

    /// Begins to make durable what has been written to a file.
    pub fn sync(&mut self, now: Time, file: Temporary, tally: &mut Tally) {
        let covered = self
            .temporaries
            .get(&file)
            .map(|stored| stored.written.clone())
            .unwrap_or_default();
        let took = self.random.within(0, self.plan.sync);
        let ready = self.after(self.busy_until.max(now), took, tally);
        self.push(ready, Operation::Sync { file, covered });
    }

    fn push(&mut self, ready: Time, operation: Operation) {
        self.count += 1;
        self.queue.push(Reverse((ready, self.count)));
        self.operations.insert(self.count, operation);
    }

    /// When something that starts at `start` and takes so many nanoseconds is done.
    fn after(&self, start: Time, nanos: u64, tally: &mut Tally) -> Time {
        let mut end = start + Duration::from_nanos(nanos);
        for &(from, to) in &self.plan.stalls {
            if start < to && end >= from {
                tally.hit(Count::DiskStalled);
                end += to.saturating_since(from.max(start));
            }
        }
        end
    }

    /// The next operation that is done by now.
    ///
    /// # Errors
    /// The bytes that were written are not those that should be in the file there.
    pub fn poll(&mut self, now: Time, frames: &Frames) -> Result<Option<Done>, Broken> {
        if self.next_done().is_none_or(|at| at > now) {
            return Ok(None);
        }
        let Some(Reverse((_, number))) = self.queue.pop() else {
            return Ok(None);
        };
        Ok(match self.operations.remove(&number) {
            None => None,
            Some(Operation::Sync { file, covered }) => {
                if let Some(stored) = self.temporaries.get_mut(&file) {
                    for &(start, end) in covered.runs() {
                        stored.durable.insert(start, end);
                    }
                }
                Some(Done::Synced(file))
            }
            Some(Operation::Write {
                file,
                contents,
                offset,
                frame,
                session,
            }) => {
                let bytes = frames.bytes(&frame);
                if !contents.matches(offset, bytes, &mut self.scratch) {
                    return Err(Broken::WrongBytes {
                        contents,
                        offset,
                        len: bytes.len(),
                        place: "on the disk",
                    });
                }
                if let Some(stored) = self.temporaries.get_mut(&file) {
                    stored.written.insert(offset, offset + bytes.len() as u64);
                }
                Some(Done::Written {
                    file,
                    frame,
                    session,
                })
            }
        })
    }

    /// When the next operation is done.
    #[must_use]
    pub fn next_done(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Frames that are the disk's now.
    #[must_use]
    pub fn frames(&self) -> usize {
        let is_write = |operation: &&Operation| matches!(operation, Operation::Write { .. });
        self.operations.values().filter(is_write).count()
    }

    /// Gives a temporary file its name, in the place of what had it before.
    pub fn publish(&mut self, file: Temporary) {
        if let Some(stored) = self.temporaries.remove(&file) {
            let Contents { client, file, .. } = stored.contents;
            self.named.insert((client, file), stored);
        }
    }

    /// Whether these contents have their name, and every byte would survive a crash.
    #[must_use]
    pub fn is_durable(&self, contents: Contents) -> bool {
        let named = self.named.get(&(contents.client, contents.file));
        named
            .is_some_and(|stored| stored.contents == contents && stored.durable.covers(stored.size))
    }

    /// Version and size of a client's file, if it is there.
    #[must_use]
    pub fn named(&self, client: u32, file: u32) -> Option<(Contents, u64)> {
        let stored = self.named.get(&(client, file))?;
        Some((stored.contents, stored.size))
    }

    /// The host has died: what was in flight or not synced is gone, and so are files without a name.
    pub fn crash(&mut self, tally: &mut Tally) {
        self.queue.clear();
        self.operations.clear();
        self.busy_until = Time::default();
        let unsynced = |stored: &Stored| {
            let lost = stored
                .written
                .runs()
                .len()
                .saturating_sub(stored.durable.runs().len());
            lost as u64
        };
        tally.add(
            Count::UnsyncedLost,
            self.temporaries.values().map(unsynced).sum(),
        );
        self.temporaries.clear();
        self.named
            .retain(|_, stored| stored.durable.covers(stored.size));
    }

    /// Whether it stands still now.
    #[must_use]
    pub fn is_stalled(&self, now: Time) -> bool {
        self.plan
            .stalls
            .iter()
            .any(|(from, to)| (*from..*to).contains(&now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::frames::Place;

    const T0: Time = Time::from_nanos(1_000_000);
    const FILE: Contents = Contents {
        client: 1,
        file: 0,
        version: 0,
    };

    struct Bench {
        disk: Disk,
        frames: Frames,
        tally: Tally,
    }

    fn bench(plan: DiskPlan) -> Bench {
        Bench {
            disk: Disk::new(plan, Random::new(1)),
            frames: Frames::new(4),
            tally: Tally::default(),
        }
    }

    impl Bench {
        fn write(&mut self, file: Temporary, offset: u64, wrong: u8) {
            let frame = self.frames.take(Place::Disk).unwrap();
            let bytes = self.frames.bytes_mut(&frame);
            bytes.resize(100, 0);
            FILE.fill(offset, bytes);
            bytes[7] ^= wrong;
            self.disk
                .write(T0, (file, FILE, offset), (5, frame), &mut self.tally);
        }

        fn finish(&mut self, now: Time) -> Vec<Done> {
            let poll = || self.disk.poll(now, &self.frames).unwrap();
            std::iter::from_fn(poll).collect()
        }
    }

    #[test]
    fn only_what_is_synced_and_named_survives() {
        let plan = DiskPlan {
            sync: 1000,
            ..DiskPlan::default()
        };
        let mut bench = bench(plan);
        let file = bench.disk.create(FILE, 200);
        bench.write(file, 0, 0);
        bench.write(file, 100, 0);
        assert_eq!(bench.disk.frames(), 2);
        assert_eq!(bench.finish(T0).len(), 2);
        bench.disk.sync(T0, file, &mut bench.tally);
        let done = bench.finish(T0 + Duration::from_micros(1));
        assert!(matches!(done[..], [Done::Synced(synced)] if synced == file));
        assert!(!bench.disk.is_durable(FILE), "it has no name");
        bench.disk.publish(file);
        assert!(bench.disk.is_durable(FILE));
        bench.disk.crash(&mut bench.tally);
        assert!(bench.disk.is_durable(FILE));
        assert_eq!(bench.tally.get(Count::UnsyncedLost), 0);
    }

    #[test]
    fn a_crash_takes_what_was_not_synced() {
        let mut bench = bench(DiskPlan::default());
        let file = bench.disk.create(FILE, 100);
        bench.write(file, 0, 0);
        bench.finish(T0);
        bench.disk.publish(file);
        assert!(!bench.disk.is_durable(FILE) && bench.disk.named(1, 0).is_some());
        bench.disk.crash(&mut bench.tally);
        assert!(bench.disk.named(1, 0).is_none());
    }

    #[test]
    fn a_sync_covers_only_what_was_written_before_it() {
        let mut bench = bench(DiskPlan::default());
        let file = bench.disk.create(FILE, 100);
        bench.disk.sync(T0, file, &mut bench.tally);
        bench.write(file, 0, 0);
        bench.finish(T0);
        bench.disk.publish(file);
        assert!(!bench.disk.is_durable(FILE));
    }

    #[test]
    fn wrong_bytes_are_noticed() {
        let mut bench = bench(DiskPlan::default());
        let file = bench.disk.create(FILE, 100);
        bench.write(file, 0, 1);
        let broken = bench.disk.poll(T0, &bench.frames).unwrap_err();
        assert!(matches!(broken, Broken::WrongBytes { .. }), "{broken}");
    }

    #[test]
    fn a_stall_holds_everything_up() {
        let stall = (T0, T0 + Duration::from_secs(5));
        let plan = DiskPlan {
            service: 10,
            stalls: vec![stall],
            ..DiskPlan::default()
        };
        let mut bench = bench(plan);
        let file = bench.disk.create(FILE, 100);
        bench.write(file, 0, 0);
        assert!(bench.disk.is_stalled(T0) && bench.disk.next_done() > Some(stall.1));
        assert!(bench.tally.get(Count::DiskStalled) > 0);
    }
}
