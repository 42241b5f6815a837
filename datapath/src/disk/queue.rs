//! The queue: slots of operations around one ring.

use std::{
    collections::VecDeque,
    fmt, io,
    mem::ManuallyDrop,
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use io_uring::{opcode, types};

use super::{
    Completion, DiskCounters, DiskError, QueueFull, ReadWay,
    cost::CostModel,
    file::BlockFile,
    operation::{Kind, Operation, Vectors, vectors},
    reading::Meter,
    shares::Shares,
    threads::{ThreadLimit, Threads},
};
use crate::{
    ring::{CopyBuffers, NOBODY, Ring},
    umem::{Disk, Frame, Memory, Umem},
};

/// Most operations in flight in one queue.
pub const DEPTH_MAX: u32 = 4096;
/// Most polls armed at a time in one queue.
pub const POLLS_MAX: usize = 32;

/// What a slot does. The index of the slot is the request's user data.
#[derive(Debug)]
pub(super) enum Work {
    /// Nothing.
    Idle,
    /// A one-shot poll.
    Poll { tag: u64 },
    /// A read or a write.
    Disk(Operation),
}

/// One request in the kernel, and the vectors it may point to.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) vectors: Vectors,
    pub(super) work: Work,
    /// How long a retry waits.
    pub(super) rest: types::Timespec,
    #[cfg(test)]
    pub(super) fault: Option<super::faults::Fault>,
}

/// All that the kernel may read or write while a request runs.
pub(super) struct Parts {
    /// First, so that it closes before the memory below goes.
    pub(super) ring: Ring,
    pub(super) copies: CopyBuffers,
    pub(super) slots: Vec<Slot>,
    /// Keeps the frames mapped.
    memory: Memory,
}

/// Disk operations of one worker. Bound to the thread that made it (its ring allows no other).
///
/// Dropping it waits for the operations in flight; their frames are then lost to the UMEM, so
/// [`drain`](Self::drain) first where they matter.
pub struct DiskQueue {
    pub(super) parts: ManuallyDrop<Parts>,
    idle: Vec<u32>,
    /// Slots of operations that wait for a copy buffer.
    pub(super) starved: VecDeque<u32>,
    /// Who holds the copy buffers.
    pub(super) buffers: Shares,
    /// Who has the operations.
    busy: Shares,
    /// Outcomes that needed no kernel.
    pub(super) ready: VecDeque<Completion>,
    /// The UMEM whose frames are used.
    pool: u16,
    /// Whether to gather or to copy.
    pub(super) cost: CostModel,
    #[cfg(test)]
    pub(super) faults: super::faults::Injector,
    depth: usize,
    operations: usize,
    polls: usize,
    pub(super) counters: DiskCounters,
    /// What reads cost.
    pub(super) meter: Meter,
    threads: ThreadLimit,
    events: Vec<(u64, i32)>,
}

impl DiskQueue {
    /// A queue of up to `depth` operations on frames of `umem`.
    pub fn new(umem: &Umem, depth: u32) -> Result<Self, DiskError> {
        if depth == 0 || depth > DEPTH_MAX {
            return Err(DiskError::Depth { depth });
        }
        let slots = depth + POLLS_MAX as u32;
        let copies = CopyBuffers::new().map_err(|source| crate::ring::RingError::Map { source })?;
        // One request per slot, and one more to cancel them: the submission queue cannot overflow. (`Ring::set_threads` submits when
        // it is full.)
        let ring = Ring::new((slots + 1).next_power_of_two())?;
        let slot = || Slot {
            vectors: vectors(),
            work: Work::Idle,
            rest: types::Timespec::new(),
            #[cfg(test)]
            fault: None,
        };
        let cost = CostModel::with_huge_copies(copies.is_huge());
        Ok(Self {
            parts: ManuallyDrop::new(Parts {
                ring,
                copies,
                slots: (0..slots).map(|_| slot()).collect(),
                memory: umem.memory().clone(),
            }),
            idle: (0..slots).rev().collect(),
            starved: VecDeque::with_capacity(depth as usize),
            buffers: Shares::default(),
            busy: Shares::default(),
            ready: VecDeque::with_capacity(depth as usize),
            pool: umem.pool(),
            cost,
            #[cfg(test)]
            faults: super::faults::Injector::default(),
            depth: depth as usize,
            operations: 0,
            polls: 0,
            counters: DiskCounters::default(),
            meter: Meter::default(),
            threads: ThreadLimit::new(),
            events: Vec::with_capacity(slots as usize),
        })
    }

    /// Registers the frames with the ring now. Without, the first operation that goes past the page cache does: who only reads
    /// files that are in the cache never needs it.
    ///
    /// # Errors
    /// The kernel refuses, for another reason than the memlock limit.
    pub fn register(&mut self) -> Result<(), DiskError> {
        let Parts {
            ring,
            copies,
            memory,
            ..
        } = &mut *self.parts;
        // SAFETY: `Parts` has a handle on each mapping and drops the ring first.
        Ok(unsafe { ring.register(memory, copies) }?)
    }

    /// From how many bytes a frame on average, direct files are read and written without a copy; 0 for always. Without,
    /// [`GATHER_MIN`](super::GATHER_MIN), and more where the device takes few pieces in a request.
    pub fn set_gather_min(&mut self, bytes: usize) {
        self.cost.fix(bytes);
    }

    /// Writes the frames' payloads, one after the other, at `offset` of the file.
    ///
    /// On a direct file whose runs are padded ([`Ends::Padded`](super::plan::Ends)), `offset` is a multiple of 512, and so
    /// is the sum of the lengths, except that the last frame may be the tail of the file: it is written padded with zeros
    /// to 512, over whatever was there. Where runs share blocks at their ends ([`Ends::Shared`](super::plan::Ends): files
    /// in place, and alignment above 512) any offset and length will do, and nothing beside them changes.
    ///
    /// `Err` gives the frames back: the queue is full, try after the next completion. All else, also a run
    /// that cannot be (more than [`RUN_MAX`](super::RUN_MAX) frames, an unaligned offset: `EINVAL`), ends in
    /// a [`Completion::Written`].
    pub fn write(
        &mut self,
        umem: &mut Umem,
        file: &Arc<BlockFile>,
        offset: u64,
        frames: Vec<Frame<Disk>>,
        tag: u64,
    ) -> Result<(), Vec<Frame<Disk>>> {
        let way = ReadWay::Direct;
        self.start(umem, (Kind::Write, way), file, offset, frames, tag)
    }

    /// Reads from `offset` of the file into the frames, each as many bytes as its length says.
    ///
    /// Offsets as with [`write`](Self::write). On a direct file whose runs are padded the last frame's length is rounded up
    /// to a multiple of 512, so up to 511 bytes behind it, within the payload area, change. Errors as with `write`.
    pub fn read(
        &mut self,
        umem: &mut Umem,
        file: &Arc<BlockFile>,
        offset: u64,
        frames: Vec<Frame<Disk>>,
        tag: u64,
    ) -> Result<(), Vec<Frame<Disk>>> {
        self.read_by(umem, file, ReadWay::Direct, offset, frames, tag)
    }

    /// Whether one more operation on this file should be given to the queue now: there is room, and more than this file's
    /// device has its share of. So a device that is slow does not get all there is.
    pub fn has_room_for(&self, file: &BlockFile) -> bool {
        let free = self
            .depth
            .saturating_sub(self.operations + self.ready.len());
        self.has_room() && self.busy.allows(file.device(), free)
    }

    /// Whether [`write`](Self::write) and [`read`](Self::read) would take one more operation now.
    pub fn has_room(&self) -> bool {
        self.operations + self.ready.len() < self.depth && !self.idle.is_empty()
    }

    pub(super) fn start(
        &mut self,
        umem: &mut Umem,
        (kind, way): (Kind, ReadWay),
        file: &Arc<BlockFile>,
        offset: u64,
        frames: Vec<Frame<Disk>>,
        tag: u64,
    ) -> Result<(), Vec<Frame<Disk>>> {
        self.check(umem);
        if !self.has_room() {
            return Err(frames);
        }
        let Some(index) = self.idle.pop() else {
            return Err(frames);
        };
        match Operation::plan((kind, way), file, offset, frames, tag, &self.cost) {
            Ok(operation) => {
                if operation.is_direct()
                    && let Err(error) = self.register()
                {
                    tracing::warn!(%error, "disk operations cost more CPU");
                }
                self.begin_read(&operation);
                self.busy.add(operation.file.device());
                let waits = operation.waits_for_cache();
                self.threads.begin((index, operation.begun), waits);
                self.parts.slots[index as usize].work = Work::Disk(operation);
                self.operations += 1;
                self.pad(umem, index);
                self.step(umem, index);
            }
            Err((errno, frames)) => {
                self.idle.push(index);
                let error = io::Error::from_raw_os_error(errno);
                let completion = self.failed(kind, tag, frames, error);
                self.ready.push_back(completion);
            }
        }
        Ok(())
    }

    /// Asks for one [`Completion::Wakeup`] with `tag` when `fd` is readable. The caller keeps `fd` open.
    pub fn poll_readable(&mut self, fd: RawFd, tag: u64) -> Result<(), QueueFull> {
        if self.polls >= POLLS_MAX {
            return Err(QueueFull);
        }
        let index = self.idle.pop().ok_or(QueueFull)?;
        let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32)
            .build()
            .user_data(u64::from(index));
        // SAFETY: a poll points to no memory; a descriptor closed early only makes it fail.
        if !unsafe { self.parts.ring.push(&entry) } {
            self.idle.push(index);
            return Err(QueueFull);
        }
        self.parts.slots[index as usize].work = Work::Poll { tag };
        self.polls += 1;
        Ok(())
    }

    /// Hands queued requests to the kernel and lets it post completions. Never waits; without anything to do,
    /// no system call.
    pub fn submit(&mut self) -> io::Result<()> {
        self.adjust_threads();
        let reads = self.meter.take_batch();
        let submitted = self.parts.ring.submit();
        self.meter.submitted(reads);
        submitted
    }

    /// As [`submit`](Self::submit), then sleeps until there is a completion or `timeout` is over. May return
    /// early (a signal), with nothing to be had.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.ready.is_empty() {
            self.meter.discard_batch();
            return self.submit();
        }
        self.adjust_threads();
        self.meter.discard_batch();
        #[cfg(test)]
        let timeout = self.faults.shorten(timeout);
        let look = self.threads.deadline();
        let look = look.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.into_iter().chain(look).min();
        self.parts.ring.wait(timeout)
    }

    /// More kernel threads when an operation waits, one again when none has for a while.
    fn adjust_threads(&mut self) {
        let Parts { ring, slots, .. } = &mut *self.parts;
        let in_flight = |(slot, begun)| match slots.get(slot as usize).map(|slot| &slot.work) {
            Some(Work::Disk(operation)) => operation.begun == begun,
            _ => false,
        };
        match self.threads.change(Instant::now(), in_flight) {
            Some(Threads::One) => ring.set_threads(1),
            Some(Threads::Many) => ring.set_threads(slots.len() as u32),
            None => {}
        }
    }

    /// Appends all outcomes there are; returns how many. Requests that go on (short transfers) are queued
    /// again: [`submit`](Self::submit) or [`wait`](Self::wait) follows anyway in a worker's loop.
    pub fn completions(&mut self, umem: &mut Umem, out: &mut Vec<Completion>) -> usize {
        self.check(umem);
        let before = out.len();
        let mut events = std::mem::take(&mut self.events);
        self.parts.ring.completions(&mut events);
        for (user_data, result) in events.drain(..) {
            self.dispatch(umem, user_data, result);
        }
        self.events = events;
        #[cfg(test)]
        self.release_delayed(umem);
        self.meter.learn();
        out.extend(self.ready.drain(..));
        out.len() - before
    }

    /// Only this UMEM is kept mapped for the kernel.
    fn check(&self, umem: &Umem) {
        assert_eq!(
            umem.pool(),
            self.pool,
            "a disk queue used with another UMEM than its own"
        );
    }

    fn dispatch(&mut self, umem: &mut Umem, user_data: u64, result: i32) {
        let Some(slot) = self.parts.slots.get_mut(user_data as usize) else {
            debug_assert_eq!(user_data, NOBODY);
            return;
        };
        match slot.work {
            Work::Idle => debug_assert!(false, "a completion for idle slot {user_data}"),
            Work::Poll { tag } => {
                slot.work = Work::Idle;
                self.polls -= 1;
                self.idle.push(user_data as u32);
                self.ready.push_back(Completion::Wakeup { tag });
            }
            Work::Disk(_) => {
                #[cfg(test)]
                let Some(result) = self.apply_fault(user_data as u32, result) else {
                    return;
                };
                self.progress(umem, user_data as u32, result);
            }
        }
    }

    /// Takes the operation out of its slot, which becomes idle.
    pub(super) fn retire(&mut self, index: u32) -> Option<Operation> {
        match std::mem::replace(&mut self.parts.slots[index as usize].work, Work::Idle) {
            Work::Disk(operation) => {
                self.operations -= 1;
                self.busy.remove(operation.file.device());
                self.idle.push(index);
                Some(operation)
            }
            other => {
                self.parts.slots[index as usize].work = other;
                None
            }
        }
    }

    /// Operations whose completion was not yet handed out, polls not counted.
    pub fn in_flight(&self) -> usize {
        let ready = self
            .ready
            .iter()
            .filter(|ready| !matches!(ready, Completion::Wakeup { .. }));
        self.operations + ready.count()
    }

    /// Totals since the queue was made.
    pub fn counters(&self) -> DiskCounters {
        self.counters
    }

    /// Whether the frames are registered with the ring; without (memlock limit), operations cost more CPU.
    pub fn is_registered(&self) -> bool {
        self.parts.ring.registered()
    }

    /// Waits until no operation is in flight, up to `timeout`; appends the outcomes. `true` when none is left.
    pub fn drain(
        &mut self,
        umem: &mut Umem,
        timeout: Duration,
        out: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            self.completions(umem, out);
            let left = deadline.saturating_duration_since(Instant::now());
            if self.operations == 0 || left.is_zero() {
                return Ok(self.operations == 0);
            }
            self.wait(Some(left))?;
        }
    }

    /// Ends all requests in the kernel, without starting new ones.
    fn quiesce(&mut self) -> io::Result<()> {
        let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any())
            .build()
            .user_data(NOBODY);
        let mut left = self.operations + self.polls - self.starved.len();
        #[cfg(test)]
        {
            left -= self.faults.delayed();
        }
        if left == 0 {
            return Ok(());
        }
        // SAFETY: the request points to no memory.
        if !unsafe { self.parts.ring.push(&cancel) } {
            return Err(io::Error::other("no room to cancel requests"));
        }
        while left > 0 {
            self.parts.ring.wait(None)?;
            self.parts.ring.completions(&mut self.events);
            left -= self
                .events
                .drain(..)
                .filter(|event| event.0 != NOBODY)
                .count()
                .min(left);
        }
        Ok(())
    }
}

impl Drop for DiskQueue {
    fn drop(&mut self) {
        match self.quiesce() {
            // SAFETY: dropped once, here; nothing uses `parts` afterwards.
            Ok(()) => unsafe { ManuallyDrop::drop(&mut self.parts) },
            // The kernel may still write into the frames and read the vectors: leak them rather than free them.
            Err(error) => {
                tracing::error!(%error, "disk operations did not end; their memory is leaked")
            }
        }
    }
}

impl fmt::Debug for DiskQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskQueue")
            .field("depth", &self.depth)
            .field("operations", &self.operations)
            .field("polls", &self.polls)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
