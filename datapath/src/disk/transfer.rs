//! The steps of an operation: next request, its result, the outcome.

use std::io;

use io_uring::{opcode, squeue, types};

use super::{
    ByWay, Completion, DiskQueue, ReadWay, WayCount, Ways,
    operation::{Kind, Operation, Phase, Retry},
    queue::{Parts, Slot, Work},
};
use crate::{
    ring::{CopyBuffers, Ring},
    umem::{Disk, Frame, Umem},
};

/// What follows a request's result.
enum Next {
    /// The next part of the run.
    Go,
    /// Another request: the last was short.
    Continue,
    /// The same again: it failed for now.
    Retry,
    /// The same, but after so many milliseconds.
    Rest(u32),
    /// The kernel does not gather these frames: what is left is copied.
    Copy,
    /// Nothing: the operation ended.
    End(Result<(), io::Error>),
}

impl DiskQueue {
    /// Zeroes the rest of the last unit of a padded write: file bytes beyond the tail are then zero and not
    /// what the frame held before.
    pub(super) fn pad(&mut self, umem: &mut Umem, index: u32) {
        let Work::Disk(operation) = &mut self.parts.slots[index as usize].work else {
            return;
        };
        let layout = operation.layout;
        let padding = (layout.end - operation.total) as usize;
        // Copies are padded in their buffer; in the frame there may be no room.
        if operation.kind != Kind::Write || layout.gathered < layout.end || padding == 0 {
            return;
        }
        if let Some(frame) = operation.frames.last_mut() {
            let len = frame.len();
            umem.payload_mut(frame)[len..len + padding].fill(0);
        }
    }

    /// Queues the operation's next request, or ends the operation when there is nothing left to do.
    pub(super) fn step(&mut self, umem: &Umem, index: u32) {
        let Parts {
            ring,
            copies,
            slots,
            ..
        } = &mut *self.parts;
        let slot = &mut slots[index as usize];
        let Work::Disk(operation) = &mut slot.work else {
            return;
        };
        let device = operation.file.device();
        match (operation.phase(), operation.copy.take()) {
            (Phase::Copy(_), None) => {
                let allowed = self.buffers.allows(device, copies.free());
                if let Some(buffer) = allowed.then(|| copies.take()).flatten() {
                    self.buffers.add(device);
                    operation.copy = Some(buffer);
                } else if !operation.gather_instead(&self.cost) {
                    self.starved.push_back(index);
                    return;
                }
            }
            (Phase::Copy(_), held) => operation.copy = held,
            // What is left goes through the page cache.
            (_, Some(buffer)) => {
                copies.put(buffer);
                self.buffers.remove(device);
                self.step(umem, index);
                return self.feed(umem);
            }
            (_, None) => {}
        }
        let entry = match entry(ring, copies, slot, umem) {
            Ok(Some(entry)) => entry,
            Ok(None) => return self.finish(umem, index, Ok(())),
            Err(error) => return self.finish(umem, index, Err(error)),
        };
        #[cfg(test)]
        self.assign_fault(index);
        self.push(umem, index, &entry);
    }

    /// Takes the copy buffer of an operation that does not need it at the moment.
    fn take_buffer(&mut self, index: u32) {
        let Parts { copies, slots, .. } = &mut *self.parts;
        if let Work::Disk(operation) = &mut slots[index as usize].work
            && let Some(buffer) = operation.copy.take()
        {
            copies.put(buffer);
            self.buffers.remove(operation.file.device());
        }
    }

    /// Lets operations go on that wait for copy buffers: of those whose device may have one, the first.
    fn feed(&mut self, umem: &Umem) {
        while let Some(at) = self.starved.iter().position(|&index| {
            let Parts { copies, slots, .. } = &*self.parts;
            match &slots[index as usize].work {
                Work::Disk(of) => self.buffers.allows(of.file.device(), copies.free()),
                Work::Idle | Work::Poll { .. } => false,
            }
        }) {
            if let Some(index) = self.starved.remove(at) {
                self.step(umem, index);
            }
        }
    }

    /// Hands a request of the operation to the ring.
    fn push(&mut self, umem: &Umem, index: u32, entry: &squeue::Entry) {
        let entry = entry.clone().user_data(u64::from(index));
        // SAFETY: the vectors and the time live in the slot, the bytes in frames and copy buffers that the operation
        // owns, and the descriptors in its `Arc<BlockFile>`; the operation leaves its slot only after this request
        // completed.
        if !unsafe { self.parts.ring.push(&entry) } {
            let error = io::Error::other("the submission queue does not drain");
            self.finish(umem, index, Err(error));
        }
    }

    /// Takes the result of the operation's request, or the end of its rest.
    pub(super) fn progress(&mut self, umem: &mut Umem, index: u32, result: i32) {
        let Parts { copies, slots, .. } = &mut *self.parts;
        let slot = &mut slots[index as usize];
        let Work::Disk(operation) = &mut slot.work else {
            return;
        };
        if std::mem::take(&mut operation.resting) {
            return self.step(umem, index);
        }
        if operation.kind == Kind::Read
            && matches!(operation.phase(), Phase::Copy(_))
            && let Some(buffer) = operation.copy.take()
        {
            let bytes = copies.bytes(&buffer);
            let valid = usize::try_from(result).unwrap_or(0).min(bytes.len());
            operation.copy_out(umem, &bytes[..valid]);
            operation.copy = Some(buffer);
        }
        if self.missed_cache(index, result) {
            return self.step(umem, index);
        }
        let slot = &mut self.parts.slots[index as usize];
        let Work::Disk(operation) = &mut slot.work else {
            return;
        };
        match outcome(operation, result) {
            Next::Go => self.step(umem, index),
            Next::Continue => {
                self.counters.short += 1;
                self.step(umem, index);
            }
            Next::Retry => {
                self.counters.retries += 1;
                self.step(umem, index);
            }
            Next::Rest(milliseconds) => {
                self.counters.retries += 1;
                operation.resting = true;
                slot.rest = types::Timespec::new().nsec(milliseconds * 1_000_000);
                let entry = opcode::Timeout::new(&raw const slot.rest).build();
                self.push(umem, index, &entry);
                // Others need it meanwhile. What is written is copied again, what was read is in the frames.
                self.take_buffer(index);
                self.feed(umem);
            }
            Next::Copy => {
                operation.file.refuse_gather();
                operation.layout.gathered = operation.done;
                self.step(umem, index);
            }
            Next::End(result) => self.finish(umem, index, result),
        }
    }

    /// Ends the operation with `result`.
    fn finish(&mut self, umem: &Umem, index: u32, result: io::Result<()>) {
        self.take_buffer(index);
        let Some(operation) = self.retire(index) else {
            return;
        };
        self.feed(umem);
        let ways = self.count_ways(&operation, result.is_ok());
        let bytes = operation.done.min(operation.total);
        match (&result, operation.kind) {
            (Ok(()), Kind::Read) => self.count_read(&operation, bytes),
            (Ok(()), Kind::Write) => {}
            (Err(_), _) => self.end_direct_read(&operation, 0),
        }
        let Operation {
            kind,
            tag,
            frames,
            way,
            ..
        } = operation;
        let completion = match kind {
            Kind::Write => Completion::Written {
                tag,
                frames,
                result: result.map(|()| ways),
            },
            Kind::Read => Completion::Read {
                tag,
                frames,
                way,
                result: result.map(|()| bytes),
            },
        };
        self.ready.push_back(completion);
    }

    /// Counts an operation that ended; how its bytes went.
    fn count_ways(&mut self, operation: &Operation, succeeded: bool) -> Ways {
        let requests = operation.requests;
        let bytes = if succeeded {
            operation.bytes_by_way(operation.done.min(operation.total))
        } else {
            Default::default()
        };
        let add = |way: &mut WayCount, requests, bytes| {
            way.requests += requests;
            way.bytes += bytes;
        };
        let ByWay {
            gathered,
            coalesced,
            buffered,
        } = match operation.kind {
            Kind::Write => &mut self.counters.written,
            Kind::Read => &mut self.counters.read,
        };
        add(gathered, requests.gathered, bytes.gathered);
        add(coalesced, requests.coalesced, bytes.coalesced);
        add(buffered, requests.buffered, bytes.buffered);
        self.counters.operations += 1;
        self.counters.errors += u64::from(!succeeded);
        Ways {
            direct: bytes.gathered,
            copied: bytes.coalesced + bytes.buffered,
        }
    }

    /// The completion of an operation that never began.
    pub(super) fn failed(
        &mut self,
        kind: Kind,
        tag: u64,
        frames: Vec<Frame<Disk>>,
        error: io::Error,
    ) -> Completion {
        self.counters.operations += 1;
        self.counters.errors += 1;
        let result = Err(error);
        match kind {
            Kind::Write => Completion::Written {
                tag,
                frames,
                result: result.map(|()| Ways::default()),
            },
            Kind::Read => Completion::Read {
                tag,
                frames,
                way: ReadWay::Direct,
                result: result.map(|()| 0),
            },
        }
    }
}

/// The next request of the operation in a slot; `None` when it is over. The operation has a copy buffer if it needs one.
fn entry(
    ring: &Ring,
    copies: &mut CopyBuffers,
    slot: &mut Slot,
    umem: &Umem,
) -> io::Result<Option<squeue::Entry>> {
    let Work::Disk(operation) = &mut slot.work else {
        return Ok(None);
    };
    let offset = operation.offset + operation.done;
    let (fd, to) = match operation.phase() {
        Phase::Over => return Ok(None),
        Phase::Buffered(to) => (operation.file.ring_buffered_fd()?, to),
        Phase::Gather(to) => (operation.file.ring_fd(), to),
        Phase::Copy(to) => {
            let Some(buffer) = &operation.copy else {
                return Err(io::Error::other("no copy buffer"));
            };
            let fd = operation.file.ring_fd();
            let bytes = copies.bytes(buffer);
            let len = operation.copy_len(to, bytes.len());
            let bytes = &mut bytes[..len];
            return Ok(Some(match operation.kind {
                Kind::Write => {
                    operation.copy_into(umem, bytes);
                    ring.write_copy(fd, bytes.as_ptr(), len as u32, offset)
                }
                Kind::Read => ring.read_copy(fd, bytes.as_mut_ptr(), len as u32, offset),
            }));
        }
    };
    let count = operation.gather(umem, to, &mut slot.vectors);
    let vectors = &slot.vectors[..count];
    Ok(Some(match operation.kind {
        Kind::Write => ring.write_vectored(fd, vectors, offset),
        Kind::Read => ring.read_vectored(fd, vectors, offset, operation.read_flags()),
    }))
}

/// Applies the result of a request to its operation.
fn outcome(operation: &mut Operation, result: i32) -> Next {
    let phase = operation.phase();
    if result < 0 {
        return failure(operation, phase, -result);
    }
    let bytes = result as u64;
    let before = operation.done;
    operation.advance(phase, bytes);
    if operation.phase() == Phase::Over {
        return Next::End(Ok(()));
    }
    // Where it goes on when a direct request ended within a unit: it cannot start there.
    let unit = operation
        .file
        .rules()
        .map_or(1, |rules| u64::from(rules.unit));
    let (target, unit) = match phase {
        Phase::Buffered(to) => (to, 1),
        Phase::Gather(to) | Phase::Copy(to) => (to, unit),
        Phase::Over => (0, 1),
    };
    if operation.done >= target {
        return Next::Go;
    }
    let beyond = (operation.offset + operation.done) % unit;
    match operation.kind {
        // The end of the file; direct reads show it by a partial unit already.
        Kind::Read if bytes == 0 || beyond != 0 => Next::End(Ok(())),
        Kind::Read => Next::Continue,
        Kind::Write => {
            operation.done -= beyond.min(operation.done);
            if operation.done > before {
                Next::Continue
            } else {
                Next::End(Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    "the disk took less than a block of a write",
                )))
            }
        }
    }
}

/// What follows an error.
fn failure(operation: &mut Operation, phase: Phase, errno: i32) -> Next {
    let retry = match errno {
        libc::EAGAIN | libc::EINTR => operation.retries.next(),
        // Before Linux 6.18 each piece must have the length of a block of the device, not only the sum; and what a
        // device reports may be wrong. A copy is right in either case, or shows the error again.
        libc::EINVAL if matches!(phase, Phase::Gather(_)) && operation.frames.len() > 1 => {
            return Next::Copy;
        }
        _ => Retry::Never,
    };
    match retry {
        Retry::Now => Next::Retry,
        Retry::After(milliseconds) => Next::Rest(milliseconds),
        Retry::Never => Next::End(Err(io::Error::from_raw_os_error(errno))),
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
