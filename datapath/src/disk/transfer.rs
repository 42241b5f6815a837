//! The steps of an operation: next request, its result, the outcome.

use std::io;

use super::{
    Completion, DiskQueue, Ways,
    operation::{Kind, Operation},
    queue::{Parts, Work},
};
use crate::umem::{Disk, Frame, SECTOR, Umem};

/// What follows a request's result.
enum Next {
    /// Another request.
    Continue,
    /// Nothing: the operation ended.
    End(Result<(), io::Error>),
}

impl DiskQueue {
    /// Zeroes the rest of the last sector of a direct write: file bytes beyond the tail are then zero and not
    /// what the frame held before.
    pub(super) fn pad(&mut self, umem: &mut Umem, index: u32) {
        let Work::Disk(operation) = &mut self.parts.slots[index as usize].work else {
            return;
        };
        let padding = (operation.padded - operation.total) as usize;
        // Copies are padded in their buffer; in the frame there may be no room.
        if operation.kind != Kind::Write || operation.gathered < operation.padded || padding == 0 {
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
        let fd = operation.file.ring_fd();
        let offset = operation.offset + operation.done;
        let entry = if operation.done < operation.gathered {
            let count = operation.gather(umem, &mut slot.vectors);
            match operation.kind {
                Kind::Write => ring.write_vectored(fd, &slot.vectors[..count], offset),
                Kind::Read => ring.read_vectored(fd, &slot.vectors[..count], offset),
            }
        } else if operation.done < operation.padded {
            let Some(buffer) = operation.copy.take().or_else(|| copies.take()) else {
                self.starved.push_back(index);
                return;
            };
            let bytes = copies.bytes(&buffer);
            let entry = match operation.kind {
                Kind::Write => {
                    let len = operation.copy_into(umem, bytes);
                    ring.write_copy(fd, bytes.as_ptr(), len as u32, offset)
                }
                Kind::Read => {
                    let len = (operation.padded - operation.done).min(bytes.len() as u64);
                    ring.read_copy(fd, bytes.as_mut_ptr(), len as u32, offset)
                }
            };
            operation.copy = Some(buffer);
            entry
        } else {
            return self.finish(umem, index, Ok(()));
        };
        // SAFETY: the vectors live in the slot, the bytes in frames and copy buffers that the operation owns, and
        // the descriptor in its `Arc<BlockFile>`; the operation leaves its slot only after this request completed.
        if !unsafe { ring.push(&entry.user_data(u64::from(index))) } {
            let error = io::Error::other("the submission queue does not drain");
            self.finish(umem, index, Err(error));
        }
    }

    /// Takes the result of the operation's request.
    pub(super) fn progress(&mut self, umem: &mut Umem, index: u32, result: i32) {
        let Parts { copies, slots, .. } = &mut *self.parts;
        let Work::Disk(operation) = &mut slots[index as usize].work else {
            return;
        };
        if operation.kind == Kind::Read
            && let Some(buffer) = operation.copy.take()
        {
            let bytes = copies.bytes(&buffer);
            let valid = usize::try_from(result).unwrap_or(0).min(bytes.len());
            operation.copy_out(umem, &bytes[..valid]);
            operation.copy = Some(buffer);
        }
        match outcome(operation, result) {
            Next::Continue => {
                self.counters.resubmissions += 1;
                self.step(umem, index);
            }
            Next::End(result) => self.finish(umem, index, result),
        }
    }

    /// Ends the operation with `result`.
    fn finish(&mut self, umem: &Umem, index: u32, result: io::Result<()>) {
        let Some(mut operation) = self.retire(index) else {
            return;
        };
        if let Some(buffer) = operation.copy.take() {
            self.parts.copies.put(buffer);
            if let Some(next) = self.starved.pop_front() {
                self.step(umem, next);
            }
        }
        let completion = match result {
            Ok(()) => self.succeeded(operation),
            Err(error) => self.failed(operation.kind, operation.tag, operation.frames, error),
        };
        self.ready.push_back(completion);
    }

    fn succeeded(&mut self, operation: Operation) -> Completion {
        let bytes = operation.done.min(operation.total);
        // What went straight between frames and device; a buffered file copies all.
        let direct = if operation.file.is_direct() {
            bytes.min(operation.gathered)
        } else {
            0
        };
        let ways = Ways {
            direct,
            copied: bytes - direct,
        };
        self.counters.operations += 1;
        let Operation {
            kind, tag, frames, ..
        } = operation;
        match kind {
            Kind::Write => {
                self.counters.direct_bytes_written += ways.direct;
                self.counters.copied_bytes_written += ways.copied;
                Completion::Written {
                    tag,
                    frames,
                    result: Ok(ways),
                }
            }
            Kind::Read => {
                self.counters.direct_bytes_read += ways.direct;
                self.counters.copied_bytes_read += ways.copied;
                Completion::Read {
                    tag,
                    frames,
                    result: Ok(bytes),
                }
            }
        }
    }

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
                result: result.map(|()| 0),
            },
        }
    }
}

/// Applies the result of a request to its operation.
fn outcome(operation: &mut Operation, result: i32) -> Next {
    if result < 0 {
        let errno = -result;
        if matches!(errno, libc::EAGAIN | libc::EINTR) && operation.may_retry() {
            return Next::Continue;
        }
        return Next::End(Err(io::Error::from_raw_os_error(errno)));
    }
    let bytes = result as u64;
    let before = operation.done;
    operation.advance(bytes);
    let whole = operation.done >= operation.padded;
    match operation.kind {
        _ if whole => Next::End(Ok(())),
        // The end of the file; direct reads show it by a partial sector already.
        Kind::Read if bytes == 0 => Next::End(Ok(())),
        Kind::Read if operation.file.is_direct() && !bytes.is_multiple_of(SECTOR as u64) => {
            Next::End(Ok(()))
        }
        Kind::Write => {
            if operation.file.is_direct() {
                // A direct write cannot go on within a sector: that one is written again from its start.
                operation.done -= operation.done % SECTOR as u64;
            }
            if operation.done > before {
                Next::Continue
            } else {
                Next::End(Err(io::ErrorKind::WriteZero.into()))
            }
        }
        _ => Next::Continue,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Access, BlockFile, BufferedReason, operation::vectors};

    const BUFFERED: Access = Access::Buffered {
        reason: BufferedReason::Asked,
    };

    /// Three frames of 1024, 1024 and 1000 bytes.
    fn operation(kind: Kind, access: Access) -> (Umem, Operation) {
        let mut umem = Umem::anonymous(3).expect("memory");
        let frames = [1024, 1024, 1000]
            .map(|len| {
                let frame = umem.allocate().expect("a free frame");
                umem.free_to_disk(frame, len)
            })
            .into();
        let file = Arc::new(BlockFile::null(access));
        let operation = Operation::plan(kind, &file, 512, frames, 0, 0).expect("a run that can be");
        (umem, operation)
    }

    fn goes_on(operation: &mut Operation, result: i32) -> bool {
        matches!(outcome(operation, result), Next::Continue)
    }

    fn error(operation: &mut Operation, result: i32) -> io::Error {
        match outcome(operation, result) {
            Next::End(Err(error)) => error,
            _ => panic!("no error"),
        }
    }

    /// (offset within its chunk, length) of each vector of the next request.
    fn next_vectors(umem: &Umem, operation: &Operation) -> Vec<(usize, usize)> {
        let mut vectors = vectors();
        let count = operation.gather(umem, &mut vectors);
        vectors[..count]
            .iter()
            .map(|vector| (vector.iov_base as usize % 4096, vector.iov_len))
            .collect()
    }

    #[test]
    fn a_short_buffered_write_goes_on_at_the_byte() {
        let (umem, mut operation) = operation(Kind::Write, BUFFERED);
        assert_eq!(
            next_vectors(&umem, &operation),
            [(512, 1024), (512, 1024), (512, 1000)]
        );
        assert!(goes_on(&mut operation, 1100));
        assert_eq!(next_vectors(&umem, &operation), [(588, 948), (512, 1000)]);
        assert!(goes_on(&mut operation, 948));
        assert_eq!(next_vectors(&umem, &operation), [(512, 1000)]);
        assert!(matches!(outcome(&mut operation, 1000), Next::End(Ok(()))));
    }

    #[test]
    fn a_short_direct_write_goes_on_at_a_sector() {
        let (umem, mut operation) = operation(Kind::Write, Access::Direct);
        assert_eq!(
            next_vectors(&umem, &operation),
            [(512, 1024), (512, 1024), (512, 1024)]
        );
        assert!(goes_on(&mut operation, 1100));
        assert_eq!(next_vectors(&umem, &operation), [(512, 1024), (512, 1024)]);
        // Less than a sector is no progress, and must not go on for ever.
        assert_eq!(error(&mut operation, 100).kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn reads_end_at_the_end_of_the_file() {
        let (_, mut buffered) = operation(Kind::Read, BUFFERED);
        assert!(goes_on(&mut buffered, 1100));
        assert!(matches!(outcome(&mut buffered, 0), Next::End(Ok(()))));
        assert_eq!(buffered.done, 1100);
        let (_, mut direct) = operation(Kind::Read, Access::Direct);
        assert!(goes_on(&mut direct, 1024));
        assert!(matches!(outcome(&mut direct, 1000), Next::End(Ok(()))));
        assert_eq!(direct.done, 2024);
    }

    #[test]
    fn transient_errors_are_tried_again_but_not_for_ever() {
        let (_, mut operation) = operation(Kind::Write, BUFFERED);
        for _ in 0..1000 {
            assert!(goes_on(&mut operation, -libc::EAGAIN));
        }
        assert_eq!(
            error(&mut operation, -libc::EINTR).raw_os_error(),
            Some(libc::EINTR)
        );
        assert_eq!(
            error(&mut operation, -libc::EIO).raw_os_error(),
            Some(libc::EIO)
        );
        assert_eq!(error(&mut operation, 0).kind(), io::ErrorKind::WriteZero);
    }
}
