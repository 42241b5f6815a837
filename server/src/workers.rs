//! The worker threads of the daemon, which end when their owner goes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_datapath::engine::Headcount;
use blk_datapath::link::LinkKind;
use blk_datapath::net::Interface;
use blk_datapath::worker::{Port, WorkerConfig, WorkerHandle, WorkerReport, spawn};
use blk_proto::session::ConnectionId;

use crate::daemon::DaemonConfig;
use crate::entrance::Entrance;
use crate::error::DaemonError;
use crate::queues::QueueChoice;
use crate::service::{Commons, Mail, StorageService};

/// What a worker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// A queue of the interface; over UDP its own number stands for that.
    Queue(u32),
    /// What comes by queues that no other worker has.
    OtherQueues,
}

impl Post {
    /// The queue, if it is one of its own.
    #[must_use]
    pub fn queue(self) -> Option<u32> {
        match self {
            Self::Queue(queue) => Some(queue),
            Self::OtherQueues => None,
        }
    }
}

impl fmt::Display for Post {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(out, "queue {queue}"),
            Self::OtherQueues => out.write_str("the other queues"),
        }
    }
}

/// A worker, and its place.
struct Worker {
    post: Post,
    cpu: Option<usize>,
    handle: WorkerHandle<Mail>,
}

/// Who is wanted, and where.
pub(crate) struct Wanted<'a> {
    /// The queues. Those that were not asked for by their numbers only say how many.
    pub(crate) queues: &'a [u32],
    /// The CPU of each worker.
    pub(crate) cpus: &'a [Option<usize>],
    /// CPUs that are left, of which the worker for other queues gets the first.
    pub(crate) spare: &'a [usize],
}

/// Running workers. Dropped, they are stopped as by [`stop`](Workers::stop): no thread outlives it, also when the
/// daemon fails while it starts.
#[derive(Default)]
pub(crate) struct Workers {
    handles: Vec<Worker>,
    /// The last of them is there for what comes by queues that others have.
    has_fallback: bool,
    stop: Arc<AtomicBool>,
}

impl Workers {
    /// Starts a worker for each queue that is wanted, as far as nobody else has them, and one with UDP sockets for what comes by
    /// the other queues of the interface. Over UDP there is a worker for each of so many ports.
    pub(crate) fn staff(
        &mut self,
        config: &DaemonConfig,
        interface: &Interface,
        wanted: &Wanted<'_>,
        entrance: &mut Entrance,
        commons: &Commons,
    ) -> Result<(), DaemonError> {
        let last = interface.rx_queues.saturating_sub(1);
        let by_number = matches!(config.queues, Some(QueueChoice::These(_)));
        // Over UDP there are as many as are wanted; over AF_XDP it is known before the first packet gets to one of them.
        let count = Headcount::from(wanted.queues.len() as u16);
        let mut next = 0;
        for (number, &queue) in wanted.queues.iter().enumerate() {
            let mut settings = worker_config(config, interface, wanted, number);
            settings.engine.workers = count.clone();
            if entrance.is_xdp() && by_number {
                (settings.queue, settings.last_queue) = (queue, queue);
            } else if entrance.is_xdp() {
                (settings.queue, settings.last_queue) = (next, last);
            }
            match self.start(settings, entrance.port(number), commons) {
                Ok(queue) => next = queue.map_or(next, |queue| queue + 1),
                Err(error) if number == 0 && (error.is_busy() || error.is_no_af_xdp()) => {
                    entrance.give_up(config, interface, wanted.queues.len(), error)?;
                    return self.staff(config, interface, wanted, entrance, commons);
                }
                Err(error) => {
                    do_with_fewer(config, number, error)?;
                    break;
                }
            }
            if entrance.is_xdp() && !by_number && next > last {
                break;
            }
        }
        let missing = self.len() < interface.rx_queues as usize;
        let others = entrance.is_xdp() && missing && self.len() < ConnectionId::WORKERS;
        count.set((self.len() + usize::from(others)) as u16);
        for worker in &self.handles {
            entrance.register(worker.handle.queue(), worker.handle.xsk_fd())?;
        }
        // Its sockets come after that: in them, a Hello of a queue that is registered later would begin a session with the wrong
        // worker.
        if others && let Some(port) = entrance.beside(interface)? {
            let mut settings = worker_config(config, interface, wanted, self.len());
            settings.engine.workers = count;
            settings.cpu = wanted.spare.first().copied().or(settings.cpu);
            self.start_fallback(settings, port, commons)?;
        }
        Ok(())
    }

    /// Starts the one for what comes by queues that others have.
    fn start_fallback(
        &mut self,
        config: WorkerConfig,
        port: Port,
        commons: &Commons,
    ) -> Result<(), DaemonError> {
        self.start(config, port, commons)?;
        if let Some(fallback) = self.handles.last_mut() {
            fallback.post = Post::OtherQueues;
        }
        self.has_fallback = true;
        Ok(())
    }

    /// Starts one more: the queue of its AF_XDP socket, if it has one.
    fn start(
        &mut self,
        mut config: WorkerConfig,
        port: Port,
        commons: &Commons,
    ) -> Result<Option<u32>, DaemonError> {
        let number = self.handles.len() as u32;
        config.engine.worker = number;
        let cpu = config.cpu;
        let shared = commons.clone();
        let stop = Arc::clone(&self.stop);
        let handle = spawn(config, port, move || {
            StorageService::new(number, shared, stop)
        })?;
        let queue = handle.queue();
        commons.mailboxes.push(handle.mail().clone());
        let post = Post::Queue(queue.unwrap_or(number));
        self.handles.push(Worker { post, cpu, handle });
        Ok(queue)
    }

    /// How many serve a queue, or over UDP a port.
    pub(crate) fn len(&self) -> usize {
        self.handles.len() - usize::from(self.has_fallback)
    }

    /// Whether there is one for what comes by queues that others have.
    pub(crate) fn has_fallback(&self) -> bool {
        self.has_fallback
    }

    /// Whether one of them has ended by itself.
    pub(crate) fn is_broken(&self) -> bool {
        self.handles.iter().any(|worker| worker.handle.is_over())
    }

    /// The least link that one of them got.
    pub(crate) fn link(&self) -> Option<LinkKind> {
        let serving = &self.handles[..self.len()];
        let links = || serving.iter().map(|worker| worker.handle.link());
        links()
            .find(|&link| link != LinkKind::ZeroCopy)
            .or_else(|| links().next())
    }

    /// The queues that are served, each with the CPU of its worker.
    pub(crate) fn places(&self) -> Vec<(u32, Option<usize>)> {
        let place = |worker: &Worker| Some((worker.post.queue()?, worker.cpu));
        self.handles.iter().filter_map(place).collect()
    }

    /// What each worker has done so far; `None` for one that does not answer.
    pub(crate) fn reports(&self) -> Vec<(Post, Option<WorkerReport>)> {
        let report = |worker: &Worker| (worker.post, worker.handle.report());
        self.handles.iter().map(report).collect()
    }

    /// Tells the sessions and ends the threads.
    pub(crate) fn stop(mut self) -> Vec<(Post, WorkerReport)> {
        self.end()
    }

    fn end(&mut self) -> Vec<(Post, WorkerReport)> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in &self.handles {
            // Any mail wakes a sleeping worker, which then sees that it shall stop.
            let _ = worker.handle.mail().send(Mail::Wake);
        }
        let mut reports = Vec::new();
        for Worker { post, handle, .. } in self.handles.drain(..) {
            match handle.join() {
                Ok(report) => reports.push((post, report)),
                Err(error) => tracing::error!(%error, "a worker did not end well"),
            }
        }
        reports
    }
}

/// Whether so many workers will do, when the next one does not start.
///
/// # Errors
/// The same: they will not.
fn do_with_fewer(
    config: &DaemonConfig,
    workers: usize,
    error: DaemonError,
) -> Result<(), DaemonError> {
    match error {
        // Who says how many, or which, gets them, or is told.
        error if config.queues.is_some() => Err(error),
        error if error.is_busy() => Ok(()),
        // The memory that may be locked is enough for the workers so far.
        error if config.datapath.falls_back() && error.is_no_af_xdp() => {
            tracing::warn!(%error, workers, "no more AF_XDP sockets");
            Ok(())
        }
        error => Err(error),
    }
}

fn worker_config(
    config: &DaemonConfig,
    interface: &Interface,
    wanted: &Wanted<'_>,
    number: usize,
) -> WorkerConfig {
    let (name, mtu) = (&config.interface, interface.mtu);
    let mut worker = WorkerConfig::new(name, number as u32, mtu, config.port, true);
    worker.datapath = config.datapath;
    worker.busy_poll = config.busy_poll;
    worker.dump = config.dump.clone();
    let turn = number % wanted.cpus.len().max(1);
    worker.cpu = wanted.cpus.get(turn).copied().flatten();
    worker
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end();
    }
}
