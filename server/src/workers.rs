//! The worker threads of the daemon, which end when their owner goes.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_datapath::link::LinkKind;
use blk_datapath::mailbox::MailSender;
use blk_datapath::worker::{Port, WorkerConfig, WorkerHandle, WorkerReport, spawn};

use crate::error::DaemonError;
use crate::service::{Commons, Mail, StorageService};

/// Running workers. Dropped, they are stopped as by [`stop`](Workers::stop): no thread outlives it, also when the
/// daemon fails while it starts.
#[derive(Default)]
pub(crate) struct Workers {
    handles: Vec<WorkerHandle<Mail>>,
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
        let commons = commons.clone();
        let stop = Arc::clone(&self.stop);
        let worker = spawn(config, port, move || {
            StorageService::new(number, commons, stop)
        })?;
        let started = (worker.xsk_fd(), worker.mail().clone());
        self.handles.push(worker);
        Ok(started)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether one of them has ended by itself.
    pub(crate) fn is_broken(&self) -> bool {
        self.handles.iter().any(WorkerHandle::is_over)
    }

    /// The least link that one of them got.
    pub(crate) fn link(&self) -> Option<LinkKind> {
        let links = || self.handles.iter().map(WorkerHandle::link);
        links()
            .find(|&link| link != LinkKind::ZeroCopy)
            .or_else(|| links().next())
    }

    /// What each has done so far; `None` for one that does not answer.
    pub(crate) fn reports(&self) -> Vec<Option<WorkerReport>> {
        self.handles.iter().map(WorkerHandle::report).collect()
    }

    /// Tells the sessions and ends the threads.
    pub(crate) fn stop(mut self) -> Vec<WorkerReport> {
        self.end()
    }

    fn end(&mut self) -> Vec<WorkerReport> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in &self.handles {
            // Any mail wakes a sleeping worker, which then sees that it shall stop.
            let _ = worker.mail().send(Mail::Wake);
        }
        let mut reports = Vec::new();
        for worker in self.handles.drain(..) {
            match worker.join() {
                Ok(report) => reports.push(report),
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
