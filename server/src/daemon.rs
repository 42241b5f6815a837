//! Puts blockd together: exports, namespace thread, XDP program, one worker per queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use blk_datapath::mailbox::MailSender;
use blk_datapath::net::Interface;
use blk_datapath::worker::{
    Companion, WorkerConfig, WorkerHandle, WorkerReport, allowed_cpus, spawn,
};
use blk_datapath::xsk::BindMode;
use blk_xdp::{AttachMode, PortRange, Program};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::error::DaemonError;
use crate::exports::{ExportSpec, Exports};
use crate::namespace::{JobKey, Namespace, NamespaceSender, Outcome};
use crate::service::StorageService;

/// What blockd is asked to do.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// The interface that it shares with all other traffic.
    pub interface: String,
    /// The directories it serves.
    pub exports: Vec<ExportSpec>,
    /// The UDP port it takes.
    pub port: u16,
    /// How its AF_XDP sockets bind.
    pub mode: BindMode,
    /// How many queues it serves; `None`: all that the interface has.
    pub queues: Option<u32>,
}

/// A running blockd.
pub struct Daemon {
    // The program goes first at the end: from then on the kernel has the packets.
    program: Program,
    workers: Vec<WorkerHandle<(JobKey, Outcome)>>,
    namespace: Namespace,
    stop: Arc<AtomicBool>,
    summary: String,
}

/// The mailboxes of the workers, for the namespace thread's answers.
type Mailboxes = Arc<Mutex<Vec<MailSender<(JobKey, Outcome)>>>>;

impl Daemon {
    /// Starts everything; when this returns, clients are served.
    pub fn start(config: &DaemonConfig) -> Result<Self, DaemonError> {
        raise_descriptor_limit();
        let exports = Exports::open(&config.exports)?;
        let interface = Interface::by_name(&config.interface)?;
        let queues = config
            .queues
            .unwrap_or(interface.rx_queues)
            .clamp(1, interface.rx_queues.max(1));
        let companion = Arc::new(Companion::listen(config.port)?);
        let mut program = Program::attach(
            config.interface.as_str(),
            PortRange::new(config.port, 1)?,
            AttachMode::Native,
        )?;

        let mailboxes = Mailboxes::default();
        let (namespace, sender) = Namespace::start(exports, deliver_to(Arc::clone(&mailboxes)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for queue in 0..queues {
            let worker = start_worker(config, &interface, queue, &companion, &sender, &stop)?;
            program.register(queue, 0, worker.xsk_fd())?;
            lock(&mailboxes).push(worker.mail().clone());
            workers.push(worker);
        }
        let summary = summary(config, &interface, &workers);
        Ok(Self {
            program,
            workers,
            namespace,
            stop,
            summary,
        })
    }

    /// One line that says what runs and in which mode.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// Whether a thread has died, which must never happen: blockd cannot serve without it.
    pub fn is_broken(&self) -> bool {
        !self.namespace.is_running() || self.workers.iter().any(WorkerHandle::is_over)
    }

    /// Stops: the sessions are told, commits under way finish, uncommitted files vanish.
    pub fn stop(self) -> Vec<WorkerReport> {
        let Self {
            program,
            workers,
            namespace,
            stop,
            ..
        } = self;
        stop.store(true, Ordering::Relaxed);
        let mut reports = Vec::new();
        for worker in workers {
            // Any mail wakes a sleeping worker, which then sees that it shall stop.
            let nothing = JobKey {
                worker: 0,
                session: 0,
                request: 0,
                transfer: 0,
            };
            let _ = worker.mail().send((nothing, Outcome::Abandoned));
            match worker.join() {
                Ok(report) => reports.push(report),
                Err(error) => tracing::error!(%error, "a worker did not end well"),
            }
        }
        drop(program);
        if let Err(error) = namespace.shutdown() {
            tracing::error!(%error, "the namespace thread did not end well");
        }
        reports
    }
}

/// Each transfer holds two or three descriptors; the usual soft limit of 1024 is kept low for programs that use
/// `select`, which this one does not.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn start_worker(
    config: &DaemonConfig,
    interface: &Interface,
    queue: u32,
    companion: &Arc<Companion>,
    namespace: &NamespaceSender,
    stop: &Arc<AtomicBool>,
) -> Result<WorkerHandle<(JobKey, Outcome)>, DaemonError> {
    let cpus = allowed_cpus();
    let mut worker = WorkerConfig::new(&config.interface, queue, interface.mtu, config.port, true);
    worker.mode = config.mode;
    worker.cpu = cpus.get(queue as usize % cpus.len().max(1)).copied();
    let namespace = namespace.clone();
    let stop = Arc::clone(stop);
    Ok(spawn(worker, Arc::clone(companion), move || {
        StorageService::new(queue, namespace, stop)
    })?)
}

fn deliver_to(mailboxes: Mailboxes) -> impl Fn(JobKey, Outcome) + Send + 'static {
    move |key, outcome| {
        let sender = lock(&mailboxes).get(key.worker as usize).cloned();
        if let Some(sender) = sender {
            // A worker that has ended needs no answer; an unclaimed target vanishes by itself.
            let _ = sender.send((key, outcome));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn summary(
    config: &DaemonConfig,
    interface: &Interface,
    workers: &[WorkerHandle<(JobKey, Outcome)>],
) -> String {
    let zero_copy = workers.iter().all(WorkerHandle::is_zero_copy);
    let mode = if zero_copy { "zero-copy" } else { "copy" };
    let exports: Vec<String> = config
        .exports
        .iter()
        .map(|export| format!("{}={}", export.name, export.directory.display()))
        .collect();
    format!(
        "ready on {} port {}, {} queue(s), AF_XDP {mode} mode, MTU {}, exports: {}",
        config.interface,
        config.port,
        workers.len(),
        interface.mtu,
        exports.join(", ")
    )
}
