//! The worker: one thread, pinned to a CPU, that owns an [`Engine`] and runs a [`Service`] on it.
//!
//! It spins for a bounded time while there is work, and sleeps in one place otherwise: the io_uring, on which the
//! link, the mailbox and the companion of an AF_XDP socket are polled. An idle worker costs nothing.

mod activity;
mod companion;
mod config;
mod pin;
mod report;
mod spin;

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use activity::Activity;
use activity::Stopwatch;
use companion::Heard;
pub(crate) use companion::bind_patiently;
pub use companion::{Companion, CompanionError};
pub use config::{WorkerConfig, max_payload_for};
pub use pin::{allowed_cpus, online_cpus, pin_to};
pub use report::WorkerReport;

use crate::disk::{DiskError, DiskQueue};
use crate::engine::{Engine, EngineConfig, EngineEvent, Seed};
use crate::link::{Link, LinkKind};
use crate::mailbox::{MailReceiver, MailSender, mailbox};
use crate::udp::{UdpError, UdpLink, UdpPort};
use crate::umem::{PACKET_START, PAYLOAD_START, Umem, UmemError};
use crate::xsk::{XskError, XskSocket};
use report::Inquiry;
use spin::{Hope, Spin};

/// The longest sleep: a bound on how late a service sees that it shall finish.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// After a service has finished, its sessions have so long to say goodbye.
const FAREWELL: Duration = Duration::from_millis(200);

/// Looks at the RX ring between two turns of an idle worker that still spins.
const PAUSES: u32 = 32;

/// A worker that has enough to do does not sleep, and only sleepers are woken: after so many turns it looks by itself whether
/// the companion has something.
const LISTEN_EVERY: u32 = 64;

const WATCH_LINK: u32 = 0;
const WATCH_MAIL: u32 = 1;
const WATCH_COMPANION: u32 = 2;

/// What runs on a worker: it is told what happens and calls the engine.
pub trait Service {
    /// What other threads send to it.
    type Mail: Send + 'static;

    /// A turn begins: the events and the mail that are there now come until the next one.
    fn on_turn(&mut self) {}
    /// Something happened in the engine.
    fn on_event(&mut self, engine: &mut Engine, event: EngineEvent);
    /// Mail from another thread.
    fn on_mail(&mut self, engine: &mut Engine, mail: Self::Mail);
    /// The kernel reports an error on the port, e.g. that the other end's is closed.
    fn on_companion_error(&mut self, engine: &mut Engine, error: std::io::Error);
    /// Whether something may come that it has not asked for, or it waits for an answer; if not, an idle worker sleeps at once.
    fn expects(&self) -> bool {
        true
    }
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
    /// The UDP sockets could not be had.
    #[error(transparent)]
    Udp(#[from] UdpError),
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

/// What a worker sends and receives through.
#[derive(Debug, Clone)]
pub enum Port {
    /// An AF_XDP socket of its own; the companion, which has the port's number, reserves it, and hears what the kernel has
    /// to say about it.
    Companion(Arc<Companion>),
    /// These UDP sockets.
    Udp(Arc<UdpPort>),
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle<M: Send + 'static> {
    mail: MailSender<M>,
    link_fd: RawFd,
    link: LinkKind,
    queue: Option<u32>,
    inquiry: Arc<Inquiry>,
    thread: JoinHandle<WorkerReport>,
}

impl WorkerError {
    /// Whether other processes have the queues that would do: that may change.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Xsk(error) if error.is_busy())
    }

    /// Whether this process may not have an AF_XDP socket, or not the memory for one locked, or the kernel has none, or not in the
    /// mode that was asked for: what UDP does without.
    pub fn is_no_af_xdp(&self) -> bool {
        matches!(
            self,
            Self::Umem(
                UmemError::NoPrivilege { .. } | UmemError::NoAfXdp | UmemError::Memlock { .. }
            ) | Self::Xsk(
                XskError::NoPrivilege { .. }
                    | XskError::ZeroCopyRefused { .. }
                    | XskError::Unsupported { .. }
            )
        )
    }
}

impl<M: Send + 'static> WorkerHandle<M> {
    /// Sends to the worker's service.
    pub fn mail(&self) -> &MailSender<M> {
        &self.mail
    }

    /// The AF_XDP socket, if it has one, to enter into the XSKMAP; open as long as the worker runs.
    pub fn xsk_fd(&self) -> Option<RawFd> {
        (self.link != LinkKind::Udp).then_some(self.link_fd)
    }

    /// Which link it got.
    pub fn link(&self) -> LinkKind {
        self.link
    }

    /// The queue of the interface that it got, if it has an AF_XDP socket.
    pub fn queue(&self) -> Option<u32> {
        self.queue
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
/// `port` decides which link it has.
pub fn spawn<S: Service + 'static>(
    config: WorkerConfig,
    port: Port,
    make: impl FnOnce() -> S + Send + 'static,
) -> Result<WorkerHandle<S::Mail>, WorkerError> {
    let (mail, inbox) = mailbox()?;
    let (ready, started) = mpsc::sync_channel(1);
    let inquiry = Arc::new(Inquiry::default());
    let asked = Arc::clone(&inquiry);
    let thread = std::thread::Builder::new()
        .name(config.thread_name())
        .spawn(move || {
            let engine = match build(&config, &port) {
                Ok(engine) => engine,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return WorkerReport::default();
                }
            };
            let spin = config.spin.max(config.busy_poll.unwrap_or_default());
            if spin.is_zero() {
                tracing::info!(
                    queue = config.queue,
                    "the worker does not spin: it sleeps as soon as there is nothing to do"
                );
            }
            let _ = ready.send(Ok((engine.link_fd(), engine.link_kind(), engine.queue())));
            Worker {
                engine,
                service: make(),
                inbox,
                companion: match port {
                    Port::Companion(companion) => Some(companion),
                    Port::Udp(_) => None,
                },
                companion_has_more: false,
                turns_unheard: 0,
                inquiry: asked,
                watch: Stopwatch::new(config.cpu),
                spin: Spin::new(spin),
                armed: [false; 3],
            }
            .run()
        })?;
    match started.recv() {
        Ok(Ok((link_fd, link, queue))) => Ok(WorkerHandle {
            mail,
            link_fd,
            link,
            queue,
            inquiry,
            thread,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(WorkerError::Died),
    }
}

/// Builds the engine on the thread that will run it: the io_uring has a single issuer.
fn build(config: &WorkerConfig, port: &Port) -> Result<Engine, WorkerError> {
    if let Some(cpu) = config.cpu {
        pin_to(cpu)?;
    }
    let mut engine = config.engine.clone();
    let (mut umem, mut disk, mut link) = match port {
        Port::Companion(_) => open_xsk(config, &mut engine)?,
        Port::Udp(port) => {
            let umem = Umem::anonymous(config.frames)?;
            let disk = DiskQueue::new(&umem, config.disk_depth)?;
            let packet_len = PAYLOAD_START - PACKET_START + usize::from(engine.max_payload);
            let link = Link::Udp(Box::new(UdpLink::new(Arc::clone(port), &umem, packet_len)?));
            (umem, disk, link)
        }
    };
    if config.engine.accept {
        // A server will need it; not while somebody waits.
        disk.register()?;
    }
    if let Some(taps) = &config.dump {
        let queue = link.queue().unwrap_or(config.queue);
        link.set_tap(taps.tap(&config.interface, queue));
    }
    link.fill(&mut umem, config.engine.fill_target);
    Ok(Engine::new(engine, umem, link, disk, &Seed::random()?))
}

/// An AF_XDP socket, made for packets in several frames if these may come and the kernel has them (Linux 6.6).
fn open_xsk(
    config: &WorkerConfig,
    engine: &mut EngineConfig,
) -> Result<(Umem, DiskQueue, Link), WorkerError> {
    let (frames, fill, completion) = (config.frames, config::FILL_RING, config::COMPLETION_RING);
    if let Some(longest) = config.long_payload() {
        let umem = Umem::with_fragments(frames, fill, completion)?;
        match open_on(config, umem) {
            Ok(parts) => {
                engine.long_payload = Some(longest);
                engine.max_send_payload = engine.max_send_payload.max(longest);
                return Ok(parts);
            }
            Err(WorkerError::Xsk(error)) if error.may_be_for_fragments() => {
                tracing::info!(%error, "no packets in several frames");
            }
            Err(error) => return Err(error),
        }
    }
    open_on(config, Umem::with_rings(frames, fill, completion)?)
}

fn open_on(config: &WorkerConfig, mut umem: Umem) -> Result<(Umem, DiskQueue, Link), WorkerError> {
    let disk = DiskQueue::new(&umem, config.disk_depth)?;
    let link = Link::Xsk(Box::new(XskSocket::open(&config.xsk(), &mut umem)?));
    Ok((umem, disk, link))
}

struct Worker<S: Service> {
    engine: Engine,
    service: S,
    inbox: MailReceiver<S::Mail>,
    companion: Option<Arc<Companion>>,
    companion_has_more: bool,
    /// Turns since the companion was looked at.
    turns_unheard: u32,
    inquiry: Arc<Inquiry>,
    watch: Stopwatch,
    spin: Spin,
    armed: [bool; 3],
}

impl<S: Service> Worker<S> {
    fn run(mut self) -> WorkerReport {
        while !self.service.is_finished() {
            self.inquiry.serve(&self.engine, &self.watch.activity);
            let busy = self.step();
            if busy {
                self.spin.worked(self.watch.waited());
            }
            let idle = self.watch.turned(busy);
            if busy {
                continue;
            }
            if idle < self.spin.limit(self.hope()) {
                self.pause();
            } else {
                self.sleep();
            }
            self.watch.begin();
        }
        self.farewell();
        self.engine.assert_conserved();
        WorkerReport::of(&self.engine, &self.watch.activity)
    }

    fn hope(&self) -> Hope {
        if !self.service.expects() {
            Hope::None
        } else if !self.engine.has_transfers() {
            Hope::Messages
        } else if self.engine.link_kind() == LinkKind::Udp {
            // Each look at a socket is a system call, which takes a good part of what it may save.
            Hope::None
        } else {
            Hope::Blocks
        }
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
        self.service.on_turn();
        let mut busy = self.engine.take_in();
        busy |= self.deliver_events();
        let woken: Vec<u32> = self.engine.take_wakeups().collect();
        for &number in &woken {
            self.armed[number as usize] = false;
        }
        self.turns_unheard += 1;
        let is_due = self.companion_has_more || self.turns_unheard >= LISTEN_EVERY;
        if is_due || woken.contains(&WATCH_COMPANION) {
            self.turns_unheard = 0;
            busy |= self.listen_in();
        }
        if let Some(error) = self.engine.take_link_error() {
            self.service.on_companion_error(&mut self.engine, error);
            busy |= self.deliver_events();
        }
        if woken.contains(&WATCH_MAIL) || self.inbox.has_mail() {
            for mail in self.inbox.drain() {
                self.service.on_mail(&mut self.engine, mail);
                busy = true;
            }
        }
        busy |= self.engine.send_out();
        busy | self.deliver_events()
    }

    /// Hears what the companion has to tell; `true` when that was anything. As long as it is, the next turn looks again.
    fn listen_in(&mut self) -> bool {
        let Some(companion) = &self.companion else {
            return false;
        };
        let engine = &mut self.engine;
        let mut busy = false;
        let heard = companion.listen_in(|path, payload| {
            engine.receive_stray(path, payload);
            busy = true;
        });
        self.companion_has_more = busy || !matches!(heard, Heard::Nothing);
        if let Heard::Error(error) = heard {
            self.service.on_companion_error(&mut self.engine, error);
            busy = true;
        }
        busy | self.deliver_events()
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
        let companion = self.companion.as_ref();
        let watched = [
            (WATCH_LINK, Some(self.engine.link_fd())),
            (WATCH_MAIL, Some(self.inbox.fd())),
            (WATCH_COMPANION, companion.map(|socket| socket.as_raw_fd())),
        ];
        for (number, fd) in watched {
            let armed = &mut self.armed[number as usize];
            if let Some(fd) = fd
                && !*armed
            {
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
