//! The worker threads of the daemon, which end when their owner goes.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_datapath::link::LinkKind;
use blk_datapath::mailbox::MailSender;
use blk_datapath::worker::{Port, WorkerConfig, WorkerHandle, WorkerReport, spawn};

use crate::error::DaemonError;
use crate::service::{Commons, Mail, StorageService};

/// A worker and the queue that it serves.
struct Worker {
    queue: u32,
    handle: WorkerHandle<Mail>,
}

/// Running workers. Dropped, they are stopped as by [`stop`](Workers::stop): no thread outlives it, also when the
/// daemon fails while it starts.
#[derive(Default)]
pub(crate) struct Workers {
    handles: Vec<Worker>,
    stop: Arc<AtomicBool>,
}

impl Workers {
    /// Starts one more; the descriptor of its AF_XDP socket, if it has one, and its mailbox.
    pub(crate) fn start(
        &mut self,
        mut config: WorkerConfig,
        port: Port,
        commons: &Commons,
    ) -> Result<(Option<RawFd>, MailSender<Mail>), DaemonError> {
        let number = self.handles.len() as u32;
        config.engine.worker = number;
        let queue = config.queue;
        let commons = commons.clone();
        let stop = Arc::clone(&self.stop);
        let handle = spawn(config, port, move || {
            StorageService::new(number, commons, stop)
        })?;
        let started = (handle.xsk_fd(), handle.mail().clone());
        self.handles.push(Worker { queue, handle });
        Ok(started)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether one of them has ended by itself.
    pub(crate) fn is_broken(&self) -> bool {
        self.handles.iter().any(|worker| worker.handle.is_over())
    }

    /// The least link that one of them got.
    pub(crate) fn link(&self) -> Option<LinkKind> {
        let links = || self.handles.iter().map(|worker| worker.handle.link());
        links()
            .find(|&link| link != LinkKind::ZeroCopy)
            .or_else(|| links().next())
    }

    /// What the worker of each queue has done so far; `None` for one that does not answer.
    pub(crate) fn reports(&self) -> Vec<(u32, Option<WorkerReport>)> {
        let report = |worker: &Worker| (worker.queue, worker.handle.report());
        self.handles.iter().map(report).collect()
    }

    /// Tells the sessions and ends the threads.
    pub(crate) fn stop(mut self) -> Vec<(u32, WorkerReport)> {
        self.end()
    }

    fn end(&mut self) -> Vec<(u32, WorkerReport)> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in &self.handles {
            // Any mail wakes a sleeping worker, which then sees that it shall stop.
            let _ = worker.handle.mail().send(Mail::Wake);
        }
        let mut reports = Vec::new();
        for Worker { queue, handle } in self.handles.drain(..) {
            match handle.join() {
                Ok(report) => reports.push((queue, report)),
                Err(error) => tracing::error!(%error, "a worker did not end well"),
            }
        }
        reports
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end();
    }
}
