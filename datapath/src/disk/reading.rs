//! The queue's side of reads: which way they go, what that costs, and how they are counted.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::operation::{Kind, Operation};
use super::queue::Work;
use super::read_choice::{ReadChooser, ReadWay};
use super::read_cost::ReadCosts;
use super::read_probe::cached;
use super::read_stats::ReadWays;
use super::{BlockFile, DiskQueue};
use crate::umem::{Disk, Frame, SECTOR, Umem};

/// Devices whose costs are known at a time.
const DEVICES_MAX: usize = 16;
/// A device's rate is told by so many bytes during which it always had a read to do.
const SAMPLE: u64 = 2 << 20;
/// One in so many submissions is measured: the thread's clock is a system call.
const SAMPLED: u32 = 4;

impl DiskQueue {
    /// Which way to read `len` bytes from `offset` of the file, for [`read_by`](Self::read_by). Asks the kernel about the
    /// page cache where the chooser does not know. A file opened for [`Intent::Update`](super::Intent) is read directly.
    pub fn choose(
        &mut self,
        chooser: &mut ReadChooser,
        file: &BlockFile,
        offset: u64,
        len: u64,
    ) -> ReadWay {
        if !file.is_direct() || !offset.is_multiple_of(SECTOR as u64) {
            return ReadWay::Buffered;
        }
        // Of a file in place nothing is brought into the cache, nor believed of it: a page read there while the device
        // writes beneath it is stale, and would stay so where the kernel cannot drop it after the write.
        if file.is_in_place() {
            return ReadWay::Direct;
        }
        let mut calls = 0;
        let costs = &mut self.meter.device(file.device()).costs;
        let way = chooser.choose(costs, (offset, len), file.size(), |offset, len| {
            calls += 1;
            cached(file.as_fd(), offset, len)
        });
        if calls > 0 {
            self.count(
                file,
                &ReadWays {
                    cachestat_calls: calls,
                    ..ReadWays::default()
                },
            );
        }
        way
    }

    /// Reads as [`read`](Self::read) does, which is always direct where the file is, the chosen way. Through the page
    /// cache any offset will do.
    pub fn read_by(
        &mut self,
        umem: &mut Umem,
        file: &Arc<BlockFile>,
        way: ReadWay,
        offset: u64,
        frames: Vec<Frame<Disk>>,
        tag: u64,
    ) -> Result<(), Vec<Frame<Disk>>> {
        // Without a second descriptor (no /proc, say) there is one way only.
        let way = match file.buffered_fd() {
            _ if way == ReadWay::Direct => way,
            Ok(_) => way,
            Err(error) => {
                tracing::debug!(%error, "no second descriptor: the file is read directly");
                ReadWay::Direct
            }
        };
        self.start(umem, (Kind::Read, way), file, offset, frames, tag)
    }

    /// An operation enters the queue.
    pub(super) fn begin_read(&mut self, operation: &Operation) {
        let device = operation.file.device();
        match operation.kind {
            Kind::Write => self.meter.batch.mixed = true,
            Kind::Read if operation.is_direct() => {
                self.meter.batch.add(device, 0, operation.total);
                self.meter.device(device).begin();
            }
            Kind::Read if operation.way == ReadWay::Cache => {
                self.meter.batch.add(device, operation.total, 0);
            }
            Kind::Read => self.meter.batch.mixed = true,
        }
    }

    /// A direct read leaves the queue, with so many bytes from the device.
    pub(super) fn end_direct_read(&mut self, operation: &Operation, bytes: u64) {
        if operation.kind == Kind::Read && operation.is_direct() {
            self.meter.device(operation.file.device()).end(bytes);
        }
    }

    /// Whether that is the answer of a page cache that does not have (all of) what it should have; the operation then goes
    /// on directly.
    pub(super) fn missed_cache(&mut self, index: u32, result: i32) -> bool {
        let Work::Disk(operation) = &mut self.parts.slots[index as usize].work else {
            return false;
        };
        if operation.kind != Kind::Read || operation.way != ReadWay::Cache {
            return false;
        }
        let bytes = match result {
            // EOPNOTSUPP: a file system without IOCB_NOWAIT.
            _ if result == -libc::EAGAIN || result == -libc::EOPNOTSUPP => 0,
            0.. => result as u64,
            _ => return false,
        };
        if operation.done + bytes >= operation.total {
            return false;
        }
        operation.advance(operation.phase(), bytes);
        let direct = operation.miss(&self.cost);
        let (file, device) = (Arc::clone(&operation.file), operation.file.device());
        self.meter.discard_sample();
        if direct {
            self.meter.device(device).begin();
        }
        self.count(
            &file,
            &ReadWays {
                nowait_misses: 1,
                ..ReadWays::default()
            },
        );
        true
    }

    /// Counts a read that succeeded.
    pub(super) fn count_read(&mut self, operation: &Operation, bytes: u64) {
        let mut ways = ReadWays::default();
        match operation.way {
            ReadWay::Direct if operation.file.is_direct() => {
                ways.direct_runs = 1;
                ways.direct_bytes = bytes.saturating_sub(operation.from_cache);
                ways.cache_bytes = bytes - ways.direct_bytes;
            }
            ReadWay::Cache => {
                ways.cache_runs = 1;
                ways.cache_bytes = bytes;
            }
            _ => {
                ways.buffered_runs = 1;
                ways.buffered_bytes = bytes;
            }
        }
        self.end_direct_read(operation, ways.direct_bytes);
        self.count(&operation.file, &ways);
    }

    fn count(&mut self, file: &BlockFile, ways: &ReadWays) {
        self.counters.reads.add(ways);
        file.read_counters().add(ways);
    }
}

impl Operation {
    /// Flags of preadv2(2) for a read.
    pub(super) fn read_flags(&self) -> i32 {
        match self.way {
            ReadWay::Cache => libc::RWF_NOWAIT,
            ReadWay::Direct | ReadWay::Buffered => 0,
        }
    }
}

/// What reads cost on one device, and how it is being measured.
#[derive(Debug)]
struct Device {
    number: u64,
    costs: ReadCosts,
    /// Direct reads that it has to do.
    reads: u32,
    /// Since when these bytes were read, without a pause.
    since: Instant,
    bytes: u64,
}

impl Device {
    fn new(number: u64) -> Self {
        Self {
            number,
            costs: ReadCosts::default(),
            reads: 0,
            since: Instant::now(),
            bytes: 0,
        }
    }

    fn begin(&mut self) {
        if self.reads == 0 {
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        self.reads += 1;
    }

    fn end(&mut self, bytes: u64) {
        self.reads = self.reads.saturating_sub(1);
        self.bytes += bytes;
        if self.bytes >= SAMPLE {
            let now = Instant::now();
            self.costs.read(self.bytes, now - self.since);
            (self.since, self.bytes) = (now, 0);
        }
    }
}

/// Reads that go to the kernel with one system call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    device: u64,
    cached: u64,
    direct: u64,
    /// Others are with them, so that the call's time says nothing.
    mixed: bool,
}

impl Batch {
    fn add(&mut self, device: u64, cached: u64, direct: u64) {
        self.mixed |= self.cached + self.direct > 0 && self.device != device;
        self.device = device;
        self.cached += cached;
        self.direct += direct;
        self.mixed |= self.cached > 0 && self.direct > 0;
    }

    /// Whether a time can be told from it.
    fn is_telling(&self) -> bool {
        !self.mixed && self.cached + self.direct > 0
    }
}

/// Measures what reads cost, by device.
#[derive(Debug, Default)]
pub(super) struct Meter {
    devices: Vec<Device>,
    /// Where the next device goes when there are too many.
    replace: usize,
    batch: Batch,
    /// Counts the batches that tell something.
    batches: u32,
    sample: Option<(Batch, Duration)>,
}

impl Meter {
    /// What is known of a device.
    fn device(&mut self, number: u64) -> &mut Device {
        let at = match self
            .devices
            .iter()
            .position(|device| device.number == number)
        {
            Some(at) => at,
            None if self.devices.len() < DEVICES_MAX => {
                self.devices.push(Device::new(number));
                self.devices.len() - 1
            }
            None => {
                self.replace = (self.replace + 1) % DEVICES_MAX;
                self.devices[self.replace] = Device::new(number);
                self.replace
            }
        };
        &mut self.devices[at]
    }

    /// Before a submission: the thread's time by then, if what it takes will tell something.
    pub(super) fn take_batch(&mut self) -> Option<(Batch, Duration)> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_telling() {
            return None;
        }
        self.batches = self.batches.wrapping_add(1);
        (self.batches.is_multiple_of(SAMPLED)).then(|| (batch, thread_time()))
    }

    /// After the submission.
    pub(super) fn submitted(&mut self, batch: Option<(Batch, Duration)>) {
        if let Some((batch, start)) = batch {
            self.sample = Some((batch, thread_time().saturating_sub(start)));
        }
    }

    /// The next submission sleeps: its time tells nothing.
    pub(super) fn discard_batch(&mut self) {
        self.batch = Batch::default();
    }

    /// A read of the last submission did not do what it should.
    fn discard_sample(&mut self) {
        self.sample = None;
    }

    /// All completions of the last submission are seen.
    pub(super) fn learn(&mut self) {
        let Some((batch, took)) = self.sample.take() else {
            return;
        };
        let costs = &mut self.device(batch.device).costs;
        if batch.cached > 0 {
            costs.copied(batch.cached, took);
        } else {
            costs.submitted(batch.direct, took);
        }
    }
}

/// What the calling thread has used of its CPU, so that waiting for one does not count.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}
