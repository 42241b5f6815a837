//! The worker: one thread, pinned to a CPU, that owns an [`Engine`] and runs a [`Service`] on it.
//!
//! It spins for a bounded time while there is work, and sleeps in one place otherwise: the io_uring, on which the
//! AF_XDP socket, the mailbox and the companion UDP socket are polled. An idle worker costs nothing.

mod companion;
mod config;
mod pin;
mod report;

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use companion::{Companion, CompanionError};
pub use config::{WorkerConfig, max_payload_for};
pub use pin::{allowed_cpus, pin_to};
pub use report::WorkerReport;

use crate::disk::{DiskError, DiskQueue};
use crate::engine::{Engine, EngineEvent, Seed};
use crate::mailbox::{MailReceiver, MailSender, mailbox};
use crate::umem::{Umem, UmemError};
use crate::xsk::{XskError, XskSocket};
use report::Inquiry;

/// The longest sleep: a bound on how late a service sees that it shall finish.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// After a service has finished, its sessions have so long to say goodbye.
const FAREWELL: Duration = Duration::from_millis(200);

/// Looks at the RX ring between two turns of an idle worker that still spins.
const PAUSES: u32 = 32;

const WATCH_XSK: u32 = 0;
const WATCH_MAIL: u32 = 1;
const WATCH_COMPANION: u32 = 2;

/// What runs on a worker: it is told what happens and calls the engine.
pub trait Service {
    /// What other threads send to it.
    type Mail: Send + 'static;

    /// Something happened in the engine.
    fn on_event(&mut self, engine: &mut Engine, event: EngineEvent);
    /// Mail from another thread.
    fn on_mail(&mut self, engine: &mut Engine, mail: Self::Mail);
    /// The companion socket reports an error, e.g. that the other end's port is closed.
    fn on_companion_error(&mut self, engine: &mut Engine, error: std::io::Error);
    /// Whether the worker shall stop.
    fn is_finished(&self) -> bool;
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The frames could not be had.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// The AF_XDP socket could not be had.
    #[error(transparent)]
    Xsk(#[from] XskError),
    /// The io_uring could not be had.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A descriptor or a thread could not be had.
    #[error("cannot start a worker: {0}")]
    Io(#[from] std::io::Error),
    /// The thread died while it started.
    #[error("a worker thread died while it started")]
    Died,
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle<M: Send + 'static> {
    mail: MailSender<M>,
    xsk_fd: RawFd,
    zero_copy: bool,
    inquiry: Arc<Inquiry>,
    thread: JoinHandle<WorkerReport>,
}

impl<M: Send + 'static> WorkerHandle<M> {
    /// Sends to the worker's service.
    pub fn mail(&self) -> &MailSender<M> {
        &self.mail
    }

    /// The AF_XDP socket to enter into the XSKMAP; open as long as the worker runs.
    pub fn xsk_fd(&self) -> RawFd {
        self.xsk_fd
    }

    /// Whether the socket got zero-copy mode.
    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Whether the thread has ended.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// What the worker has done so far; `None` when it does not answer within a second. A sleeping worker answers after
    /// half a second at the latest.
    pub fn report(&self) -> Option<WorkerReport> {
        self.inquiry.ask(2 * LONGEST_SLEEP)
    }

    /// Waits for the worker's end.
    pub fn join(self) -> Result<WorkerReport, WorkerError> {
        self.thread.join().map_err(|_| WorkerError::Died)
    }
}

/// Starts a worker with the service that `make` builds on the worker's own thread.
///
/// The companion socket shares the protocol's port with the AF_XDP socket: it reserves the port, and it hears what
/// the kernel has to say about it.
pub fn spawn<S: Service + 'static>(
    config: WorkerConfig,
    companion: Arc<Companion>,
    make: impl FnOnce() -> S + Send + 'static,
) -> Result<WorkerHandle<S::Mail>, WorkerError> {
    let (mail, inbox) = mailbox()?;
    let (ready, started) = mpsc::sync_channel(1);
    let inquiry = Arc::new(Inquiry::default());
    let asked = Arc::clone(&inquiry);
    let thread = std::thread::Builder::new()
        .name(config.thread_name())
        .spawn(move || {
            let engine = match build(&config) {
                Ok(engine) => engine,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return WorkerReport::default();
                }
            };
            let _ = ready.send(Ok((engine.xsk_fd(), engine.is_zero_copy())));
            Worker {
                engine,
                service: make(),
                inbox,
                companion,
                inquiry: asked,
                spin: config.spin,
                armed: [false; 3],
            }
            .run()
        })?;
    match started.recv() {
        Ok(Ok((xsk_fd, zero_copy))) => Ok(WorkerHandle {
            mail,
            xsk_fd,
            zero_copy,
            inquiry,
            thread,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(WorkerError::Died),
    }
}

/// Builds the engine on the thread that will run it: the io_uring has a single issuer.
fn build(config: &WorkerConfig) -> Result<Engine, WorkerError> {
    if let Some(cpu) = config.cpu {
        pin_to(cpu)?;
    }
    let mut umem = Umem::with_rings(config.frames, config::FILL_RING, config::COMPLETION_RING)?;
    let disk = DiskQueue::new(&umem, config.disk_depth)?;
    let mut xsk = XskSocket::open(&config.xsk(), &mut umem)?;
    if let Some(taps) = &config.dump {
        xsk.set_tap(taps.tap(&config.interface, config.queue));
    }
    xsk.fill(&mut umem, config.engine.fill_target);
    Ok(Engine::new(
        config.engine.clone(),
        umem,
        xsk,
        disk,
        &Seed::random()?,
    ))
}

struct Worker<S: Service> {
    engine: Engine,
    service: S,
    inbox: MailReceiver<S::Mail>,
    companion: Arc<Companion>,
    inquiry: Arc<Inquiry>,
    spin: Duration,
    armed: [bool; 3],
}

impl<S: Service> Worker<S> {
    fn run(mut self) -> WorkerReport {
        let mut last_work = Instant::now();
        while !self.service.is_finished() {
            self.inquiry.serve(&self.engine);
            if self.step() {
                last_work = Instant::now();
            } else if last_work.elapsed() < self.spin {
                self.pause();
            } else {
                self.sleep();
            }
        }
        self.farewell();
        self.engine.assert_conserved();
        WorkerReport::of(&self.engine)
    }

    /// Waits a moment without sleeping; the pauses leave the core to its other hardware thread.
    fn pause(&mut self) {
        for _ in 0..PAUSES {
            if self.engine.has_received() {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn step(&mut self) -> bool {
        let mut busy = self.engine.turn();
        busy |= self.deliver_events();
        let woken: Vec<u32> = self.engine.take_wakeups().collect();
        for &number in &woken {
            self.armed[number as usize] = false;
            if number == WATCH_COMPANION
                && let Some(error) = self.companion.drain()
            {
                self.service.on_companion_error(&mut self.engine, error);
            }
        }
        if woken.contains(&WATCH_MAIL) || self.inbox.has_mail() {
            for mail in self.inbox.drain() {
                self.service.on_mail(&mut self.engine, mail);
                busy = true;
            }
            busy |= self.deliver_events();
        }
        busy
    }

    fn deliver_events(&mut self) -> bool {
        let mut busy = false;
        while let Some(event) = self.engine.poll_event() {
            self.service.on_event(&mut self.engine, event);
            busy = true;
        }
        busy
    }

    /// The one place where a worker waits. The polls are level-triggered: what became ready before they were armed
    /// completes them at once.
    fn sleep(&mut self) {
        let watched = [
            (WATCH_XSK, self.engine.xsk_fd()),
            (WATCH_MAIL, self.inbox.fd()),
            (WATCH_COMPANION, self.companion.as_raw_fd()),
        ];
        for (number, fd) in watched {
            let armed = &mut self.armed[number as usize];
            if !*armed {
                *armed = self.engine.watch(fd, number);
            }
        }
        if let Err(error) = self.engine.sleep(LONGEST_SLEEP) {
            tracing::error!(%error, "the worker's io_uring cannot wait");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Tells every session that this end goes, and lets disk operations finish.
    fn farewell(&mut self) {
        for session in self.engine.session_ids() {
            self.engine
                .close(session, blk_proto::session::CloseCode::SHUTDOWN);
        }
        let start = Instant::now();
        while start.elapsed() < FAREWELL && (self.engine.sessions() > 0 || self.engine.disk_busy())
        {
            self.step();
        }
    }
}
