//! What can go wrong, in words that say what to do.

use std::error::Error;
use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::maps::xdp::XdpMapError;
use aya::programs::ProgramError;

use crate::abi::{KERNEL_CPUS_MAX, SERVICES_MAX, SLOTS_PER_QUEUE};
use crate::netlink::NetlinkError;
use crate::running::RunningProgram;

/// Why the XDP program could not be put on an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such interface in this network namespace.
    #[error("no network interface {0} in this network namespace; `ip link` lists those there are")]
    NoInterface(String),
    /// `EPERM` or `EACCES` while loading or attaching.
    #[error("not allowed to {operation} ({source}): {advice}")]
    NoPrivileges {
        /// What was forbidden.
        operation: &'static str,
        /// What would allow it.
        advice: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another XDP program is on the interface.
    #[error(
        "{interface} already has an XDP program, and an interface takes only one: {}",
        .program.as_ref().map_or_else(
            || format!("try again, or `ip -d link show dev {interface}`"),
            |program| program.advice(interface),
        )
    )]
    Busy {
        /// Interface name.
        interface: String,
        /// The program, if it was still there to be looked at.
        program: Option<RunningProgram>,
    },
    /// The program on the interface is one of ours, and cannot be shared.
    #[error(
        "{interface} has the XDP program of another blockd or blkcp, {program}; {why}, or {}",
        .program.remedy(interface)
    )]
    Unshared {
        /// Interface name.
        interface: String,
        /// The program.
        program: RunningProgram,
        /// Why not.
        why: WhyUnshared,
    },
    /// `EOPNOTSUPP`: the driver cannot run XDP programs.
    #[error(
        "the driver of {interface} has no native XDP: use --datapath udp, or --datapath skb for AF_XDP in generic mode (slower)"
    )]
    NoNativeXdp {
        /// Interface name.
        interface: String,
    },
    /// The driver has XDP, but refused this program in the interface's present state.
    #[error(
        "the driver of {interface} refused the XDP program ({source}): often the MTU, now {mtu}, is too \
         large for XDP (try `ip link set dev {interface} mtu 1500`), too few queues are free for XDP \
         transmission (`ethtool -L`), or LRO is on (`ethtool -K {interface} lro off`); \
         the kernel log may have the driver's own words"
    )]
    Refused {
        /// Interface name.
        interface: String,
        /// Its MTU in bytes.
        mtu: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// `ENOMEM`: BPF objects are charged to the memory cgroup (Linux 5.11), not to RLIMIT_MEMLOCK.
    #[error(
        "no memory to {operation} ({source}): raise the memory limit of the service's cgroup, or \
         RLIMIT_MEMLOCK where the kernel still counts against it"
    )]
    NoMemory {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel did not take the object: older than Linux 5.18, without BPF, or a bug here.
    #[error("cannot load the XDP program (it needs Linux 5.18 or newer, with CONFIG_BPF_SYSCALL)")]
    Load(#[source] Box<dyn Error + Send + Sync>),
    /// The interface could not be asked about.
    #[error("cannot read the state of interface {interface}: {source}")]
    Netlink {
        /// Interface name or number.
        interface: String,
        /// What netlink said.
        source: NetlinkError,
    },
}

/// Why a program of ours cannot be shared.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WhyUnshared {
    /// Another version of this software has loaded it.
    #[error("it is of another version: run the same version of both")]
    Version,
    /// It is attached in the other mode.
    #[error("it runs in another mode, native or generic: run both in the same")]
    Mode,
}

/// Why a socket could not be put into, or taken out of, its slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The interface has fewer queues.
    #[error("no queue {queue}: the interface has {queues} RX queues, numbered from 0")]
    NoSuchQueue {
        /// The queue asked for.
        queue: u32,
        /// RX queues of the interface.
        queues: u32,
    },
    /// Another socket is in the slot.
    #[error(
        "queue {queue} already has an AF_XDP socket for port {port}, or for one that is the same modulo {SLOTS_PER_QUEUE}"
    )]
    Taken {
        /// Queue of the slot.
        queue: u32,
        /// Port of the slot.
        port: u16,
    },
    /// Another queue has the same port, at another address of the host, or a process that died had it: choose another port.
    #[error("port {port} is claimed on another queue of the interface")]
    PortElsewhere {
        /// The port.
        port: u16,
    },
    /// The descriptor is not an AF_XDP socket.
    #[error("descriptor {descriptor} is not an AF_XDP socket")]
    NotASocket {
        /// The descriptor.
        descriptor: i32,
    },
    /// The map could not be changed.
    #[error("cannot change the socket map")]
    Map(#[source] MapError),
}

/// Why a table of the program could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The interface has fewer queues.
    #[error("no queue {queue}: the interface has {queues} RX queues, numbered from 0")]
    NoSuchQueue {
        /// The queue asked for.
        queue: u32,
        /// RX queues of the interface.
        queues: u32,
    },
    /// This process has no service on the interface.
    #[error("no service whose tables could be changed")]
    NoService,
    /// Too many services on the interface.
    #[error("{SERVICES_MAX} services are on the interface already")]
    ServicesFull,
    /// The allow-list is full.
    #[error(
        "the allow-list is full: {most} networks of each family, for all blockds on the interface together; use shorter prefixes"
    )]
    ListFull {
        /// Entries of each family.
        most: u32,
    },
    /// More CPUs than the program can choose from.
    #[error("{0} CPUs for packets without a socket: at most {KERNEL_CPUS_MAX} are possible")]
    TooManyCpus(usize),
    /// There is no such CPU.
    #[error("no CPU {0} on this host; `lscpu` lists those there are")]
    NoSuchCpu(u32),
    /// The kernel cannot take packets on this CPU.
    #[error("cannot have CPU {cpu} take packets")]
    Cpu {
        /// Its number.
        cpu: u32,
        /// Why.
        source: XdpMapError,
    },
    /// The map could not be changed.
    #[error("cannot change a table of the XDP program")]
    Map(#[source] MapError),
}

impl TableError {
    /// The error for a CPU that the kernel did not take.
    pub(crate) fn cpu(cpu: u32, source: XdpMapError) -> Self {
        match os_error(&source) {
            // kernel/bpf/cpumap.c: not a possible CPU.
            Some(libc::ENODEV) => Self::NoSuchCpu(cpu),
            _ => Self::Cpu { cpu, source },
        }
    }
}

/// The counters could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the counters of the XDP program")]
pub struct CountersError(#[source] pub(crate) MapError);

impl AttachError {
    /// The error for a failure to load the object or the program.
    pub(crate) fn load(error: impl Error + Send + Sync + 'static) -> Self {
        const OPERATION: &str = "load the XDP program";
        match os_error(&error) {
            Some(code @ (libc::EPERM | libc::EACCES)) => Self::no_privileges(OPERATION, code),
            Some(libc::ENOMEM) => Self::NoMemory {
                operation: OPERATION,
                source: io::Error::from_raw_os_error(libc::ENOMEM),
            },
            _ => Self::Load(Box::new(error)),
        }
    }

    /// The error for an operation that the kernel forbade with `code`.
    pub(crate) fn no_privileges(operation: &'static str, code: i32) -> Self {
        Self::NoPrivileges {
            operation,
            advice: crate::privileges::advice(),
            source: io::Error::from_raw_os_error(code),
        }
    }
}

impl From<EbpfError> for AttachError {
    fn from(error: EbpfError) -> Self {
        Self::load(error)
    }
}

impl From<ProgramError> for AttachError {
    fn from(error: ProgramError) -> Self {
        match &error {
            // The verifier's EACCES is not about privileges; its log, part of the message, says why.
            ProgramError::LoadError { verifier_log, .. }
                if !verifier_log.to_string().is_empty() =>
            {
                Self::Load(Box::new(error))
            }
            _ => Self::load(error),
        }
    }
}

impl From<MapError> for AttachError {
    fn from(error: MapError) -> Self {
        Self::load(error)
    }
}

/// The first operating system error number among an error and its causes.
pub(crate) fn os_error(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        next = error.source();
    }
    None
}
