//! Puts blockd together: exports, namespace thread, XDP program, one worker per queue.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blk_datapath::dump::Taps;
use blk_datapath::explain::explain;
use blk_datapath::files::StoreStats;
use blk_datapath::link::{Datapath, LinkKind};
use blk_datapath::net::{Interface, InterfaceError, near_cpus};
use blk_datapath::number_list::NumberList;
use blk_datapath::worker::{WorkerReport, allowed_cpus, online_cpus};
use blk_xdp::{Counters, CountersError, Program, TableError};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::admission::Admission;
use crate::cpus::{Cpus, Placement};
use crate::entrance::Entrance;
use crate::error::DaemonError;
use crate::exports::{ExportSpec, Exports};
use crate::gc::Sweeper;
use crate::namespace::{JobKey, Namespace, Outcome};
use crate::queues::{QueueChoice, served};
use crate::service::{Commons, Mail, Mailboxes, Registry};
use crate::steering::{Request, STATE_DIRECTORY, StateError, Steering, recover};
pub use crate::workers::Post;
use crate::workers::{Wanted, Workers};

/// Why UDP sockets are not steered.
const NO_STEERING: &str = "UDP sockets have no queues of their own: left as it is";

/// What blockd is asked to do.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// The interface that it shares with all other traffic.
    pub interface: String,
    /// The directories it serves.
    pub exports: Vec<ExportSpec>,
    /// The UDP port it takes.
    pub port: u16,
    /// Who may send to it.
    pub admission: Admission,
    /// How blocks cross the kernel.
    pub datapath: Datapath,
    /// For how long an idle worker polls the driver before it sleeps; `None`: the kernel polls, by interrupts.
    pub busy_poll: Option<Duration>,
    /// The queues that it serves; `None`: all that the interface has.
    pub queues: Option<QueueChoice>,
    /// The CPUs of the workers, in the order of their queues; `None`: those that the process may run on, the card's first.
    pub cpus: Option<NumberList>,
    /// Whether the card's interrupts and its spreading of packets are set for the workers.
    pub steer: bool,
    /// How long partial files wait for their put to go on.
    pub keep_partials: Duration,
    /// Where the packets of the workers are taken down; `None`: nowhere.
    pub dump: Option<Taps>,
}

/// A running blockd. Dropped, it ends as by [`stop`](Daemon::stop): the fields go in the same order.
pub struct Daemon {
    // First the workers, so that the sessions can be told while packets still come; then the program, and from then
    // on the kernel has the packets; last the namespace thread, with the jobs that the workers have left.
    workers: Workers,
    /// The program, and the port for as long as the program has it.
    entrance: Entrance,
    // Put back when the card is as it was otherwise: some start anew when a program leaves them.
    steering: Option<Steering>,
    steering_notes: Vec<String>,
    namespace: Namespace,
    _sweeper: Sweeper,
    interface: Interface,
    summary: String,
}

/// What a daemon has done from its start to its end.
#[derive(Debug)]
pub struct FinalReport {
    /// Packets by what the XDP program did with them, where there is one.
    pub packets: Option<Result<Counters, CountersError>>,
    /// Place and report of each worker; those that died do not tell.
    pub workers: Vec<(Post, WorkerReport)>,
}

impl Daemon {
    /// Starts everything; when this returns, clients are served.
    pub fn start(config: &DaemonConfig) -> Result<Self, DaemonError> {
        raise_descriptor_limit();
        let exports = Exports::open(&config.exports)?;
        let interface = Interface::by_name(&config.interface)?;
        let (queues, placement) = places(config, &interface)?;
        recover_steering(&interface.name);
        let mut entrance = Entrance::open(config, &interface, queues.len())?;

        let mailboxes = Mailboxes::default();
        let sweeper = Sweeper::start(exports.clone(), config.keep_partials)?;
        let (namespace, sender) = Namespace::start(exports, deliver_to(mailboxes.clone()))?;
        let commons = Commons {
            namespace: sender,
            mailboxes,
            registry: Arc::new(Registry::new()?),
        };
        // Should anything fail from here on, this ends those that run, before the program and the namespace thread.
        let mut workers = Workers::default();
        let wanted = Wanted {
            queues: &queues,
            cpus: &placement.workers,
            spare: &placement.spare,
        };
        workers.staff(config, &interface, &wanted, &mut entrance, &commons)?;
        let request = Request {
            port: config.port,
            workers: workers.places(),
        };
        let mut spare = placement.spare;
        if workers.has_fallback() && !spare.is_empty() {
            // The first one has a worker by now.
            spare.rotate_left(1);
        }
        entrance.relieve(&request.workers, &spare);
        // Not before: a card may start anew when it gets a program, or a zero-copy socket.
        let (steering, steering_notes) = match config.steer {
            true => steer(&interface, entrance.is_xdp(), &request)?,
            false => (None, Vec::new()),
        };
        let summary = summary(config, &interface, &workers, entrance.reason());
        Ok(Self {
            workers,
            entrance,
            steering,
            steering_notes,
            namespace,
            _sweeper: sweeper,
            interface,
            summary,
        })
    }

    /// One line that says what runs and in which mode.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// What was set on the card, and what was not, and why.
    pub fn steering_notes(&self) -> &[String] {
        &self.steering_notes
    }

    /// Whether a thread has died, which must never happen: blockd cannot serve without it.
    pub fn is_broken(&self) -> bool {
        !self.namespace.is_running() || self.workers.is_broken()
    }

    /// What has cut it off from its interface for good, if anything has: a link that is down only passes.
    pub fn cut_off(&self) -> Option<DaemonError> {
        let name = || self.interface.name.clone();
        if let Err(InterfaceError::NotFound(_)) = Interface::by_index(self.interface.index) {
            return Some(DaemonError::InterfaceGone(name()));
        }
        let program = self.entrance.program()?;
        // Asked twice: the first question may have failed for a reason of its own.
        let detached = !program.is_attached() && !program.is_attached();
        detached.then(|| DaemonError::Detached(name()))
    }

    /// Whose packets are taken.
    pub fn admission(&self) -> &Admission {
        self.entrance.admission()
    }

    /// Takes other packets from now on. Nobody whom both the old and the new rules let in is refused in between.
    ///
    /// # Errors
    /// [`TableError`]: the XDP program does not take the new rules, and the old ones hold.
    pub fn admit(&mut self, admission: Admission) -> Result<(), TableError> {
        self.entrance.admit(admission)
    }

    /// What each worker has done so far; `None` for one that does not answer.
    pub fn reports(&self) -> Vec<(Post, Option<WorkerReport>)> {
        self.workers.reports()
    }

    /// What the XDP program has done with the packets of the interface so far, where there is one.
    pub fn packets(&self) -> Option<Result<Counters, CountersError>> {
        self.entrance.program().map(Program::counters)
    }

    /// What the daemon has done with small files so far.
    pub fn small_files(&self) -> StoreStats {
        self.namespace.small_files()
    }

    /// Stops: the sessions are told, commits under way finish, what is not committed vanishes or can be resumed.
    pub fn stop(self) -> FinalReport {
        let Self {
            workers,
            entrance,
            steering,
            namespace,
            ..
        } = self;
        let workers = workers.stop();
        let packets = entrance.program().map(Program::counters);
        drop(entrance);
        drop(steering);
        if let Err(error) = namespace.shutdown() {
            tracing::error!(%error, "the namespace thread did not end well");
        }
        FinalReport { packets, workers }
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

/// The queues that are served, and where.
fn places(
    config: &DaemonConfig,
    interface: &Interface,
) -> Result<(Vec<u32>, Placement), DaemonError> {
    let queues = served(
        config.queues.as_ref(),
        &interface.name,
        interface.rx_queues,
        config.datapath != Datapath::Udp,
    )?;
    let cpus = Cpus {
        allowed: allowed_cpus(),
        online: online_cpus(),
        near: near_cpus(&interface.name),
    };
    let placement = cpus.place(config.cpus.as_ref(), queues.len())?;
    Ok((queues, placement))
}

/// Sets the card for the workers, and tells what was not set.
fn steer(
    interface: &Interface,
    is_xdp: bool,
    request: &Request,
) -> Result<(Option<Steering>, Vec<String>), StateError> {
    if !is_xdp {
        return Ok((None, vec![NO_STEERING.to_owned()]));
    }
    match Steering::set(interface, request) {
        // Not set, rather than not served.
        Err(error @ (StateError::Io { .. } | StateError::Unreadable { .. })) => {
            Ok((None, vec![format!("nothing is set: {}", explain(&error))]))
        }
        outcome => outcome,
    }
}

/// Puts back what a blockd has left on the card that was killed.
fn recover_steering(interface: &str) {
    match recover(Some(interface), Path::new(STATE_DIRECTORY)) {
        Ok(outcomes) => {
            for (interface, recovered) in outcomes {
                tracing::info!(interface, ?recovered, "steering of an earlier blockd");
                for note in recovered.into_iter().flat_map(|recovered| recovered.notes) {
                    tracing::warn!("steering of an earlier blockd on {interface}: {note}");
                }
            }
        }
        Err(error) => tracing::warn!("{}", explain(&error)),
    }
}

fn deliver_to(mailboxes: Mailboxes) -> impl Fn(JobKey, Outcome) + Send + Sync + 'static {
    // A worker that has ended needs no answer; an unclaimed target vanishes by itself.
    move |key, outcome| mailboxes.post(key.worker, Mail::Outcome(key, outcome))
}

fn summary(
    config: &DaemonConfig,
    interface: &Interface,
    workers: &Workers,
    reason: Option<&str>,
) -> String {
    let mut mode = match workers.link() {
        Some(LinkKind::ZeroCopy) => "AF_XDP zero-copy mode",
        Some(LinkKind::Skb) => "AF_XDP skb mode",
        Some(LinkKind::Udp) => "UDP sockets",
        Some(LinkKind::Copy) | None => "AF_XDP copy mode",
    }
    .to_owned();
    if workers.has_fallback() {
        mode += ", UDP sockets for what comes by the other queues";
    }
    if let Some(reason) = reason {
        mode += &format!(" ({reason})");
    }
    let exports: Vec<String> = config
        .exports
        .iter()
        .map(|export| format!("{}={}", export.name, export.directory.display()))
        .collect();
    let sources = match config.admission.allow.len() {
        0 => String::new(),
        networks => format!(", for {networks} allowed network(s) only"),
    };
    format!(
        "ready on {} port {}, {} queue(s), {mode}, MTU {}{sources}, exports: {}",
        config.interface,
        config.port,
        workers.len(),
        interface.mtu,
        exports.join(", ")
    )
}
