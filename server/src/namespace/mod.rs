//! The namespace thread: everything about names, so that a worker never blocks.
//!
//! ```text
//!  worker 0 ─┐ submit(JobKey, Job)        ┌─ task: CreateTarget ─┐
//!  worker 1 ─┼──► bounded queue ──► thread┼─ task: Commit ► sync ┼──► reply(JobKey, Outcome)
//!  worker n ─┘   full: Err(job), "busy"   └─ task: List ► pool ──┘     (the worker's mailbox)
//! ```
//!
//! One thread runs one task per job on a `tokio_uring` runtime. What waits for the disk for long
//! (syncs, large reservations) goes through the ring, so that many commits overlap and share the
//! syncs of their directory; the listing of directories and the freeing of large files go to the
//! runtime's blocking pool. Opens, links, renames and the like are plain system calls on the thread.
//!
//! Invariants:
//!
//! - Every job that was accepted is answered exactly once, also when its task panics.
//! - `Committed` is answered only when file and name are durable.
//! - Queue and tasks are bounded ([`QUEUE_MAX`], [`TASKS_MAX`]); a job that does not fit goes back
//!   to its sender. Jobs that dispose of a target ([`Job::disposes`]) always fit: each gives back
//!   the descriptors of its target, and the limit of those bounds them.
//! - [`Namespace::shutdown`] answers what was accepted, commits included. Targets that are not
//!   committed vanish when their owner drops them.

mod job;
mod listings;
mod run;
mod thread;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc};

pub use job::{Asker, Job, JobKey, Outcome};

use crate::exports::Exports;
use thread::Message;

/// Jobs that wait in the queue at most, besides those that dispose of a target.
pub const QUEUE_MAX: usize = 1024;

/// Jobs that are being carried out at the same time at most.
pub const TASKS_MAX: usize = 512;

/// Why the namespace thread could not start, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// No thread.
    #[error("cannot start the namespace thread: {0}")]
    Spawn(io::Error),
    /// No ring.
    #[error(
        "cannot set up io_uring for the namespace thread: {0}; check sysctl kernel.io_uring_disabled, \
         the container's seccomp profile and the memlock limit"
    )]
    Ring(io::Error),
    /// A bug.
    #[error("the namespace thread panicked; commits that were not answered may be lost")]
    Panicked,
}

/// The running thread. Dropped, it is shut down as by [`shutdown`](Namespace::shutdown).
#[derive(Debug)]
pub struct Namespace {
    queue: mpsc::UnboundedSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Starts the thread. `reply` is called on it, once for each job; it must not block.
    ///
    /// # Errors
    ///
    /// [`NamespaceError::Spawn`] and [`NamespaceError::Ring`].
    pub fn start(
        exports: Exports,
        reply: impl Fn(JobKey, Outcome) + Send + 'static,
    ) -> Result<(Namespace, NamespaceSender), NamespaceError> {
        let (queue, jobs) = mpsc::unbounded_channel();
        let (started, start) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("blockd-names".to_owned())
            .spawn(move || thread::main(exports, reply, jobs, &started))
            .map_err(NamespaceError::Spawn)?;
        match start.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(NamespaceError::Ring(error)),
            Err(_) => return Err(NamespaceError::Panicked),
        }
        let sender = NamespaceSender {
            queue: queue.clone(),
            room: Arc::new(Semaphore::new(QUEUE_MAX)),
        };
        let namespace = Namespace {
            queue,
            thread: Some(thread),
        };
        Ok((namespace, sender))
    }

    /// Whether the thread still runs; if not, the daemon should say so and end.
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Accepts no more jobs, carries out and answers those accepted, and ends the thread.
    ///
    /// # Errors
    ///
    /// [`NamespaceError::Panicked`].
    pub fn shutdown(mut self) -> Result<(), NamespaceError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), NamespaceError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        // Fails when the thread is gone already; joining tells why.
        let _ = self.queue.send(Message::Stop);
        thread.join().map_err(|_| NamespaceError::Panicked)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "namespace thread");
        }
    }
}

/// The way to the namespace thread; one for each worker.
#[derive(Clone, Debug)]
pub struct NamespaceSender {
    queue: mpsc::UnboundedSender<Message>,
    /// A permit for each free place in the queue.
    room: Arc<Semaphore>,
}

impl NamespaceSender {
    /// Hands a job to the thread, which answers under the same key. Never blocks.
    ///
    /// # Errors
    ///
    /// The job itself when the thread is shut down ([`is_closed`](NamespaceSender::is_closed)) or the queue is
    /// full; the latter never happens to a job that [disposes](Job::disposes) of a target.
    // A refused job carries its target back: that is its size.
    #[allow(clippy::result_large_err)]
    pub fn submit(&self, key: JobKey, job: Job) -> Result<(), Job> {
        let place = if job.disposes() {
            None
        } else {
            match self.room.clone().try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) => return Err(job),
            }
        };
        match self.queue.send(Message::Job(key, job, place)) {
            Err(mpsc::error::SendError(Message::Job(_, job, _))) => Err(job),
            // `Stop` is not what was sent.
            Ok(()) | Err(mpsc::error::SendError(Message::Stop)) => Ok(()),
        }
    }

    /// Whether the thread takes no more jobs, for good.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}
