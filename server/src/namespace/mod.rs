//! The namespace threads: everything about names, so that a worker never blocks.
//!
//! ```text
//!  worker 0 ─┐ submit(JobKey, Job)                   ┌─ task: CreateTarget ─┐
//!  worker 1 ─┼─► bounded queue of the device ─► thread┼─ task: Commit ► sync ┼─► reply(JobKey, Outcome)
//!  worker n ─┘   full: Err(job), "busy"              └─ task: List ► pool ──┘     (the worker's mailbox)
//! ```
//!
//! Each device that has exports has a thread (`routes`), so a disk that stands still holds up its own names only: queue, limits,
//! directories and listings belong to the thread; the locks of ranges are those of all. A thread runs one task per job on a `tokio_uring` runtime. What waits for the disk for long
//! (syncs, large reservations) goes through the ring, so that many commits overlap and share the
//! syncs of their directory; the listing of directories and the freeing of large files go to the
//! runtime's blocking pool. Small files are written by threads of their own ([`FileStore`]). Opens, links, renames and the like are plain system calls on the thread.
//!
//! Invariants:
//!
//! - Every job that was accepted is answered exactly once, also when its task panics.
//! - `Committed` is answered only when file and name are durable.
//! - Queue and tasks of a thread are bounded ([`QUEUE_MAX`], [`TASKS_MAX`]); a job that does not fit goes back
//!   to its sender. What only waits (for a time, for small files) counts by itself. Jobs that dispose of a target ([`Job::disposes`]) always fit: each gives back
//!   the descriptors of its target, and the limit of those bounds them.
//! - [`Namespace::shutdown`] answers what was accepted, commits included. Targets that are not
//!   committed vanish when their owner drops them.

mod job;
mod listings;
mod locks;
mod ranged;
mod routes;
mod run;
mod small;
mod thread;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use blk_datapath::files::{FileStore, StoreStats};
use tokio::sync::{Semaphore, mpsc};

pub use job::{Asker, Job, JobKey, Outcome};
pub use locks::RangeGuard;
pub use ranged::{Ask, OpenFile, RangedJob, RangedOutcome};

use crate::exports::Exports;
use routes::Routes;
use run::Common;
use thread::Message;

/// Jobs that wait in the queue of a thread at most, besides those that dispose of a target.
pub const QUEUE_MAX: usize = 1024;

/// Jobs that a thread carries out at the same time at most, besides those that only wait.
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

/// The running threads. Dropped, they are shut down as by [`shutdown`](Namespace::shutdown).
#[derive(Debug)]
pub struct Namespace {
    threads: Vec<Thread>,
    store: Arc<FileStore>,
}

#[derive(Debug)]
struct Thread {
    queue: mpsc::UnboundedSender<Message>,
    handle: JoinHandle<()>,
}

impl Namespace {
    /// Starts the threads. `reply` is called on them, once for each job; it must not block.
    ///
    /// # Errors
    ///
    /// [`NamespaceError::Spawn`] and [`NamespaceError::Ring`].
    pub fn start(
        exports: Exports,
        reply: impl Fn(JobKey, Outcome) + Send + Sync + 'static,
    ) -> Result<(Namespace, NamespaceSender), NamespaceError> {
        let (routes, count) = Routes::of(&exports);
        let (routes, reply) = (Arc::new(routes), Arc::new(reply));
        let mut namespace = Namespace {
            threads: Vec::new(),
            store: Arc::new(FileStore::start()),
        };
        let locks = Arc::default();
        let mut queues = Vec::new();
        for number in 0..count {
            let common = Common {
                store: Arc::clone(&namespace.store),
                locks: Arc::clone(&locks),
                routes: Arc::clone(&routes),
            };
            let thread = Thread::start(number, exports.clone(), common, Arc::clone(&reply))?;
            queues.push(Queue {
                queue: thread.queue.clone(),
                room: Arc::new(Semaphore::new(QUEUE_MAX)),
            });
            namespace.threads.push(thread);
        }
        let sender = NamespaceSender {
            queues: queues.into(),
            routes,
        };
        Ok((namespace, sender))
    }

    /// Whether all threads still run; if not, the daemon should say so and end.
    pub fn is_running(&self) -> bool {
        !self.threads.is_empty() && !self.threads.iter().any(|one| one.handle.is_finished())
    }

    /// What it has done with small files so far.
    pub fn small_files(&self) -> StoreStats {
        self.store.statistics()
    }

    /// Accepts no more jobs, carries out and answers those accepted, and ends the threads.
    ///
    /// # Errors
    ///
    /// [`NamespaceError::Panicked`].
    pub fn shutdown(mut self) -> Result<(), NamespaceError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), NamespaceError> {
        for thread in &self.threads {
            // Fails when the thread is gone already; joining tells why.
            let _ = thread.queue.send(Message::Stop);
        }
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            result = result.and(thread.handle.join().map_err(|_| NamespaceError::Panicked));
        }
        result
    }
}

impl Thread {
    fn start(
        number: usize,
        exports: Exports,
        common: Common,
        reply: Arc<impl Fn(JobKey, Outcome) + Send + Sync + 'static>,
    ) -> Result<Thread, NamespaceError> {
        let (queue, jobs) = mpsc::unbounded_channel();
        let (started, start) = std::sync::mpsc::channel();
        let reply = move |key, outcome| reply(key, outcome);
        let handle = std::thread::Builder::new()
            .name(format!("blockd-names-{number}"))
            .spawn(move || thread::main(number, exports, common, reply, jobs, &started))
            .map_err(NamespaceError::Spawn)?;
        match start.recv() {
            Ok(Ok(())) => Ok(Thread { queue, handle }),
            Ok(Err(error)) => Err(NamespaceError::Ring(error)),
            Err(_) => Err(NamespaceError::Panicked),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "namespace thread");
        }
    }
}

/// The way to the namespace threads; one for each worker.
#[derive(Clone, Debug)]
pub struct NamespaceSender {
    queues: Arc<[Queue]>,
    routes: Arc<Routes>,
}

#[derive(Debug)]
struct Queue {
    queue: mpsc::UnboundedSender<Message>,
    /// A permit for each free place in the queue.
    room: Arc<Semaphore>,
}

impl NamespaceSender {
    /// Hands a job to its thread, which answers under the same key. Never blocks.
    ///
    /// # Errors
    ///
    /// The job itself when the threads are shut down ([`is_closed`](NamespaceSender::is_closed)) or its queue is
    /// full; the latter never happens to a job that [disposes](Job::disposes) of a target.
    // A refused job carries its target back: that is its size.
    #[allow(clippy::result_large_err)]
    pub fn submit(&self, key: JobKey, job: Job) -> Result<(), Job> {
        let Some(queue) = self.queues.get(self.routes.find(&job)) else {
            return Err(job);
        };
        let place = if job.disposes() {
            None
        } else {
            match queue.room.clone().try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) => return Err(job),
            }
        };
        match queue.queue.send(Message::Job(key, job, place)) {
            Err(mpsc::error::SendError(Message::Job(_, job, _))) => Err(job),
            // `Stop` is not what was sent.
            Ok(()) | Err(mpsc::error::SendError(Message::Stop)) => Ok(()),
        }
    }

    /// Whether the threads take no more jobs, for good.
    pub fn is_closed(&self) -> bool {
        self.queues.iter().all(|queue| queue.queue.is_closed())
    }
}
