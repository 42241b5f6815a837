//! One io_uring, as a worker uses it: submissions by one thread, completions run when that thread asks.
//!
//! Buffer 0 of the ring is the UMEM, buffer 1 the copy buffers. Once they are registered, their pages stay pinned, so
//! an operation costs no page lookups: `WRITEV_FIXED` takes half the CPU of `WRITEV`. But it makes all of them resident, some
//! 30 ms for 100 MiB, so who may never need them registered does without until it does (`Ring::register`).

mod buffers;
mod probe;

use std::{io, marker::PhantomData, time::Duration};

pub(crate) use buffers::{CopyBuffer, CopyBuffers};
use io_uring::{IoUring, opcode, squeue, types};
use probe::Capabilities;

use crate::umem::Memory;

/// Registered buffer that is the UMEM.
const UMEM_BUFFER: u16 = 0;
/// Registered buffer that is the copy buffers.
const COPY_BUFFERS: u16 = 1;
/// `IORING_ENTER_GETEVENTS`, include/uapi/linux/io_uring.h: also runs deferred completions.
const ENTER_GETEVENTS: u32 = 1;
/// `user_data` of the ring's own requests, whose completions nobody waits for.
pub(crate) const NOBODY: u64 = u64::MAX;

/// Why an io_uring could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// io_uring is switched off.
    #[error(
        "io_uring is not permitted ({source}): set sysctl kernel.io_uring_disabled to 0 (or 1 and grant \
         CAP_SYS_ADMIN or membership in kernel.io_uring_group), and check that no seccomp filter \
         (container runtimes have one) blocks it"
    )]
    NotPermitted {
        /// The system's error.
        source: io::Error,
    },
    /// No io_uring, or one without the flags needed.
    #[error(
        "io_uring with SINGLE_ISSUER and DEFER_TASKRUN is missing ({source}): Linux 6.1 or newer is needed"
    )]
    TooOld {
        /// The system's error.
        source: io::Error,
    },
    /// No memory for the rings.
    #[error(
        "no memory for an io_uring of {entries} entries ({source}): raise the memlock limit (ulimit -l)"
    )]
    NoMemory {
        /// Entries asked for.
        entries: u32,
        /// The system's error.
        source: io::Error,
    },
    /// The buffers could not be registered, for another reason than the memlock limit.
    #[error("cannot register {len} bytes with io_uring: {source}")]
    Register {
        /// Bytes to be registered.
        len: usize,
        /// The system's error.
        source: io::Error,
    },
    /// No memory for the copy buffers.
    #[error("cannot map the copy buffers: {source}")]
    Map {
        /// The system's error.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot set up an io_uring of {entries} entries: {source}")]
    Setup {
        /// Entries asked for.
        entries: u32,
        /// The system's error.
        source: io::Error,
    },
}

/// Whether a ring can be had: its vectored operations on registered buffers, if so.
pub(crate) fn try_out() -> Result<bool, RingError> {
    Ok(Capabilities::probe(&build(4)?).vectored_fixed)
}

fn build(entries: u32) -> Result<IoUring, RingError> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .dontfork()
        .build(entries)
        .map_err(|source| RingError::from_setup(source, entries))
}

/// Whether the buffers are registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Registered {
    /// Nobody needed it so far.
    NotYet,
    Yes,
    /// The kernel refused, as over the memlock limit.
    No,
}

/// The ring. Bound to the thread that made it.
pub(crate) struct Ring {
    ring: IoUring,
    capabilities: Capabilities,
    /// Whether buffers 0 and 1 are registered.
    registered: Registered,
    /// `SINGLE_ISSUER`: no other thread may enter the ring.
    not_send: PhantomData<*mut ()>,
}

impl Ring {
    /// A ring of `entries` submissions (a power of two), without registered buffers.
    pub(crate) fn new(entries: u32) -> Result<Self, RingError> {
        let ring = build(entries)?;
        let mut ring = Self {
            capabilities: Capabilities::probe(&ring),
            ring,
            registered: Registered::NotYet,
            not_send: PhantomData,
        };
        ring.set_threads(1);
        Ok(ring)
    }

    /// Registers `memory` and `copies`, unless that was tried before.
    ///
    /// Over the memlock limit the buffers stay unregistered, which is logged and shown by
    /// [`registered`](Self::registered): operations then work the slower way.
    ///
    /// # Safety
    ///
    /// Both mappings must outlive the ring.
    pub(crate) unsafe fn register(
        &mut self,
        memory: &Memory,
        copies: &mut CopyBuffers,
    ) -> Result<(), RingError> {
        if self.registered != Registered::NotYet {
            return Ok(());
        }
        self.registered = Registered::No;
        // SAFETY: the caller's promise.
        if unsafe { register(&self.ring, memory, copies) }? {
            self.registered = Registered::Yes;
        }
        Ok(())
    }

    /// Lets the kernel use so many threads (io-wq) for operations that cannot be submitted without waiting; four for each
    /// CPU without this (io_uring_register(2), `IORING_REGISTER_IOWQ_MAX_WORKERS`).
    pub(crate) fn set_threads(&mut self, threads: u32) {
        // The second number, of threads for what may wait for ever, stays as it is.
        let limits = &mut [threads, 0];
        if let Err(error) = self.ring.submitter().register_iowq_max_workers(limits) {
            tracing::warn!(%error, threads, "cannot set how many kernel threads wait for disks");
        }
        if threads == 1 {
            return;
        }
        // What waits for a thread gets one when something else asks for one (io_uring/io-wq.c, `io_wq_enqueue`).
        let nothing = opcode::Nop::new().build().user_data(NOBODY);
        // SAFETY: the request points to no memory.
        let _ = unsafe { self.push(&nothing.flags(squeue::Flags::ASYNC)) };
    }

    /// Whether the buffers are registered.
    pub(crate) fn registered(&self) -> bool {
        self.registered == Registered::Yes
    }

    /// Whether vectored operations use the registered UMEM.
    pub(crate) fn vectored_fixed(&self) -> bool {
        self.registered() && self.capabilities.vectored_fixed
    }

    /// A gather write from frames at `offset`.
    pub(crate) fn write_vectored(
        &self,
        fd: types::Fd,
        vectors: &[libc::iovec],
        offset: u64,
    ) -> squeue::Entry {
        let (pointer, count) = (vectors.as_ptr(), vectors.len() as u32);
        if self.vectored_fixed() {
            opcode::WritevFixed::new(fd, pointer, count, UMEM_BUFFER)
                .offset(offset)
                .build()
        } else {
            opcode::Writev::new(fd, pointer, count)
                .offset(offset)
                .build()
        }
    }

    /// A scatter read into frames from `offset`, with flags of preadv2(2).
    pub(crate) fn read_vectored(
        &self,
        fd: types::Fd,
        vectors: &[libc::iovec],
        offset: u64,
        flags: i32,
    ) -> squeue::Entry {
        let (pointer, count) = (vectors.as_ptr(), vectors.len() as u32);
        if self.vectored_fixed() {
            opcode::ReadvFixed::new(fd, pointer, count, UMEM_BUFFER)
                .offset(offset)
                .rw_flags(flags)
                .build()
        } else {
            opcode::Readv::new(fd, pointer, count)
                .offset(offset)
                .rw_flags(flags)
                .build()
        }
    }

    /// A write of the first `len` bytes of a copy buffer (at `address`) at `offset`.
    pub(crate) fn write_copy(
        &self,
        fd: types::Fd,
        address: *const u8,
        len: u32,
        offset: u64,
    ) -> squeue::Entry {
        if self.registered() {
            opcode::WriteFixed::new(fd, address, len, COPY_BUFFERS)
                .offset(offset)
                .build()
        } else {
            opcode::Write::new(fd, address, len).offset(offset).build()
        }
    }

    /// A read of `len` bytes from `offset` into a copy buffer (at `address`).
    pub(crate) fn read_copy(
        &self,
        fd: types::Fd,
        address: *mut u8,
        len: u32,
        offset: u64,
    ) -> squeue::Entry {
        if self.registered() {
            opcode::ReadFixed::new(fd, address, len, COPY_BUFFERS)
                .offset(offset)
                .build()
        } else {
            opcode::Read::new(fd, address, len).offset(offset).build()
        }
    }

    /// Puts a request on the submission queue. `false` when the queue is full even after a submission.
    ///
    /// # Safety
    ///
    /// What the request points to (vectors, buffers, file descriptor) must stay valid until its completion.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller's promise is the one `push` asks for.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return true;
        }
        // SAFETY: as above.
        self.submit().is_ok() && unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Submits what is queued and runs deferred completions. Does not wait; no system call with nothing to do.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        let queue = self.ring.submission();
        let (queued, due) = (queue.len() as u32, queue.taskrun() || queue.cq_overflow());
        drop(queue);
        if queued == 0 && !due {
            return Ok(());
        }
        // SAFETY: no argument is passed, and the queued entries are valid by the contract of `push`.
        let entered = unsafe {
            self.ring
                .submitter()
                .enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None)
        };
        soft(entered)
    }

    /// Submits what is queued and sleeps until a completion is there, or `timeout` has passed.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let submitter = self.ring.submitter();
        soft(match timeout {
            None => submitter.submit_and_wait(1),
            Some(timeout) => {
                let timeout = types::Timespec::from(timeout);
                submitter.submit_with_args(1, &types::SubmitArgs::new().timespec(&timeout))
            }
        })
    }

    /// Appends (user data, result) of every completion there is.
    pub(crate) fn completions(&mut self, out: &mut Vec<(u64, i32)>) {
        out.extend(
            self.ring
                .completion()
                .map(|entry| (entry.user_data(), entry.result())),
        );
    }
}

/// Conditions after which the caller just comes again: interrupted, timed out, completions to be read first.
fn soft(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Registers UMEM and copy buffers; `false` when the memlock limit forbids it.
///
/// # Safety
///
/// Both mappings must outlive the ring.
unsafe fn register(
    ring: &IoUring,
    memory: &Memory,
    copies: &mut CopyBuffers,
) -> Result<bool, RingError> {
    let buffers = [
        libc::iovec {
            iov_base: memory.base().cast(),
            iov_len: memory.len(),
        },
        libc::iovec {
            iov_base: copies.base().cast(),
            iov_len: copies.len(),
        },
    ];
    let len = memory.len() + copies.len();
    // SAFETY: the caller's promise.
    match unsafe { ring.submitter().register_buffers(&buffers) } {
        Ok(()) => Ok(true),
        Err(source) if source.raw_os_error() == Some(libc::ENOMEM) => {
            tracing::warn!(
                len,
                "memlock limit too low to register the frames with io_uring: disk operations cost more CPU; \
                 raise it (ulimit -l, LimitMEMLOCK=) or grant CAP_IPC_LOCK"
            );
            Ok(false)
        }
        Err(source) => Err(RingError::Register { len, source }),
    }
}

impl RingError {
    /// Explains why `io_uring_setup(2)` failed.
    fn from_setup(source: io::Error, entries: u32) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { source },
            Some(libc::ENOSYS | libc::EINVAL) => Self::TooOld { source },
            Some(libc::ENOMEM) => Self::NoMemory { entries, source },
            _ => Self::Setup { entries, source },
        }
    }
}
