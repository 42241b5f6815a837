//! How packets get to the workers: by an XDP program into AF_XDP sockets, or by the kernel into UDP sockets.

use std::os::fd::RawFd;
use std::sync::Arc;

use blk_datapath::explain::explain;
use blk_datapath::link::{Datapath, missing_privileges};
use blk_datapath::net::{Interface, InterfaceError, is_card};
use blk_datapath::probe::{busy_poll_hint, no_zero_copy, refuse_stacked};
use blk_datapath::udp::{Gate, UdpPort};
use blk_datapath::worker::{Companion, Port};
use blk_xdp::{AttachError, Hold, Program, TableError};

use crate::admission::Admission;
use crate::daemon::DaemonConfig;
use crate::error::DaemonError;

/// CPUs that the XDP program can spread packets for the kernel over.
const KERNEL_CPUS_MAX: usize = 64;

/// What all workers share of the way in.
pub(crate) struct Entrance {
    way: Way,
    /// Whose packets are taken.
    admission: Admission,
    /// Keeps to that in front of UDP sockets.
    gate: Arc<Gate>,
}

enum Way {
    /// AF_XDP.
    Xdp {
        // In this order: as long as the program has a service on the port, nobody else can have the port.
        program: Box<Program>,
        companion: Arc<Companion>,
    },
    /// UDP, with the ports of all workers.
    Udp {
        ports: Vec<Arc<UdpPort>>,
        /// Why it is not AF_XDP, where nobody asked for UDP.
        reason: Option<String>,
    },
}

impl Entrance {
    /// Takes the port, for so many workers.
    pub(crate) fn open(
        config: &DaemonConfig,
        interface: &Interface,
        workers: usize,
    ) -> Result<Self, DaemonError> {
        let admission = config.admission.clone();
        let gate = Arc::new(admission.gate());
        let way = Way::open(config, interface, workers, &gate)?;
        Ok(Self {
            way,
            admission,
            gate,
        })
    }

    /// Takes the port for UDP sockets instead, because of this error.
    pub(crate) fn give_up(
        &mut self,
        config: &DaemonConfig,
        interface: &Interface,
        workers: usize,
        error: DaemonError,
    ) -> Result<(), DaemonError> {
        if !config.datapath.falls_back() {
            return Err(error);
        }
        // The program and the port are given back first.
        self.way = Way::Udp {
            ports: Vec::new(),
            reason: None,
        };
        let reason = Some(format!("no AF_XDP: {error}"));
        self.way = Way::udp(config, interface, workers, &self.gate, reason)?;
        Ok(())
    }

    /// A port for what comes by queues of the interface that have no AF_XDP socket of this daemon. The program has judged it, but
    /// not fragments, of which only the first has a port.
    pub(crate) fn beside(&self, interface: &Interface) -> Result<Option<Port>, DaemonError> {
        match &self.way {
            Way::Xdp { companion, .. } => {
                let port = UdpPort::beside(companion, interface.index)?;
                let port = port.guarded_by(Arc::clone(&self.gate));
                Ok(Some(Port::Udp(Arc::new(port))))
            }
            Way::Udp { .. } => Ok(None),
        }
    }

    /// Takes other packets from now on, and no moment refuses what both the old and the new rules let in.
    ///
    /// # Errors
    /// [`TableError`]: the old rules hold.
    pub(crate) fn admit(&mut self, admission: Admission) -> Result<(), TableError> {
        if let Way::Xdp { program, .. } = &mut self.way {
            self.admission.replace(&admission, program.tables_mut())?;
        }
        self.gate.change(&admission.allow, admission.handshakes);
        self.admission = admission;
        Ok(())
    }

    /// Whose packets are taken.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Has the kernel's part of what comes on queues without a worker done on CPUs without one, where there are such, and where
    /// packets come with checksums: on the way to another CPU, the kernel forgets that one is still to be filled in.
    pub(crate) fn relieve(&mut self, served: &[(u32, Option<usize>)], spare: &[usize]) {
        let Way::Xdp { program, .. } = &mut self.way else {
            return;
        };
        if !is_card(&program.interface().name) {
            return;
        }
        let unserved = (0..program.queues())
            .filter(|queue| !served.iter().any(|(has_worker, _)| has_worker == queue));
        // Those of a queue go to one CPU: more of them would stand idle.
        let most = unserved.count().min(KERNEL_CPUS_MAX);
        let cpus: Vec<u32> = spare.iter().take(most).map(|&cpu| cpu as u32).collect();
        if cpus.is_empty() {
            return;
        }
        match program.tables_mut().set_kernel_cpus(&cpus) {
            Ok(()) => tracing::info!(?cpus, "the kernel takes packets without a worker there"),
            Err(error) => {
                let error = explain(&error);
                tracing::warn!(
                    error,
                    "the kernel works on packets without a worker where they come in"
                );
            }
        }
    }

    /// What a worker sends and receives through.
    pub(crate) fn port(&self, worker: usize) -> Port {
        match &self.way {
            Way::Xdp { companion, .. } => Port::Companion(Arc::clone(companion)),
            Way::Udp { ports, .. } => Port::Udp(Arc::clone(&ports[worker])),
        }
    }

    /// Directs a queue's packets to its worker's AF_XDP socket, if it has one.
    pub(crate) fn register(
        &mut self,
        queue: Option<u32>,
        xsk: Option<RawFd>,
    ) -> Result<(), DaemonError> {
        let (Way::Xdp { program, companion }, Some(queue), Some(xsk)) = (&mut self.way, queue, xsk)
        else {
            return Ok(());
        };
        let port = companion.port();
        if program.tables().port().is_none() {
            // No slot has a socket yet: nobody gets past the list.
            program.serve(port, queue)?;
            self.admission.enter(program.tables_mut())?;
        }
        program.register(queue, port, xsk)?;
        Ok(())
    }

    /// Whether workers have AF_XDP sockets.
    pub(crate) fn is_xdp(&self) -> bool {
        matches!(self.way, Way::Xdp { .. })
    }

    /// Why it is UDP, where nobody asked for it.
    pub(crate) fn reason(&self) -> Option<&str> {
        match &self.way {
            Way::Udp { reason, .. } => reason.as_deref(),
            Way::Xdp { .. } => None,
        }
    }

    /// The XDP program, which the workers need for as long as they run.
    pub(crate) fn program(&self) -> Option<&Program> {
        match &self.way {
            Way::Xdp { program, .. } => Some(program),
            Way::Udp { .. } => None,
        }
    }
}

impl Way {
    fn open(
        config: &DaemonConfig,
        interface: &Interface,
        workers: usize,
        gate: &Arc<Gate>,
    ) -> Result<Self, DaemonError> {
        let udp = |reason| Self::udp(config, interface, workers, gate, reason);
        match config.datapath {
            Datapath::Udp => udp(None),
            Datapath::ZeroCopy | Datapath::Copy | Datapath::Skb => Self::xdp(config, interface),
            Datapath::Auto | Datapath::PreferXdp => {
                if let Some(missing) = missing_privileges() {
                    return udp(Some(format!("no AF_XDP without {missing}")));
                }
                if config.datapath == Datapath::Auto
                    && let Some(reason) = no_zero_copy(interface)
                {
                    return udp(Some(reason));
                }
                match Self::xdp(config, interface) {
                    Err(error) if is_no_way_for_xdp(&error) || cannot_be_shared(&error) => {
                        udp(Some(format!("no AF_XDP: {error}")))
                    }
                    outcome => outcome,
                }
            }
        }
    }

    fn xdp(config: &DaemonConfig, interface: &Interface) -> Result<Self, DaemonError> {
        refuse_stacked(interface)?;
        interface.ethernet_address()?;
        let companion = Arc::new(Companion::listen(config.port)?);
        let program = Program::attach(config.interface.as_str(), config.datapath.attach_mode())?;
        if config.busy_poll.is_some()
            && let Some(hint) = busy_poll_hint(&interface.name, interface.index)
        {
            tracing::warn!("{hint}");
        }
        Ok(Self::Xdp {
            program: Box::new(program),
            companion,
        })
    }

    fn udp(
        config: &DaemonConfig,
        interface: &Interface,
        workers: usize,
        gate: &Arc<Gate>,
        reason: Option<String>,
    ) -> Result<Self, DaemonError> {
        if config.busy_poll.is_some() {
            tracing::warn!("--busy-poll does nothing over UDP sockets");
        }
        let ports = UdpPort::listen(config.port, Some(interface.index), workers)?;
        let guard = |port: UdpPort| Arc::new(port.guarded_by(Arc::clone(gate)));
        Ok(Self::Udp {
            ports: ports.into_iter().map(guard).collect(),
            reason,
        })
    }
}

/// Whether the program of another blockd or blkcp is in the way, as far as this process may know: it lacks CAP_SYS_ADMIN, or is of
/// another version.
fn cannot_be_shared(error: &DaemonError) -> bool {
    match error {
        DaemonError::Attach(AttachError::Unshared { .. }) => true,
        DaemonError::Attach(AttachError::Busy {
            program: Some(program),
            ..
        }) => program.hold == Hold::Unknown,
        _ => false,
    }
}

/// Whether AF_XDP cannot be had on the interface, and UDP can.
fn is_no_way_for_xdp(error: &DaemonError) -> bool {
    matches!(
        error,
        DaemonError::Attach(AttachError::NoPrivileges { .. } | AttachError::NoNativeXdp { .. })
            | DaemonError::Interface(
                InterfaceError::NotEthernet(_) | InterfaceError::Stacked { .. }
            )
    )
}
