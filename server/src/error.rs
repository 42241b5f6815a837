//! Why blockd cannot start, or go on, and the exit code that says so.

use blk_datapath::net::InterfaceError;
use blk_datapath::udp::UdpError;
use blk_datapath::umem::UmemError;
use blk_datapath::worker::{CompanionError, WorkerError};
use blk_datapath::xsk::XskError;
use blk_xdp::{AttachError, SlotError, TableError};

use crate::cpus::CpuError;
use crate::exports::ExportError;
use crate::namespace::NamespaceError;
use crate::queues::QueueError;
use crate::steering::StateError;

/// Why blockd cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// An export cannot be served.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The interface cannot be used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// It has no such queues.
    #[error(transparent)]
    Queues(#[from] QueueError),
    /// The workers cannot have these CPUs.
    #[error(transparent)]
    Cpus(#[from] CpuError),
    /// What steering changes cannot be remembered.
    #[error(transparent)]
    Steering(#[from] StateError),
    /// The interface was removed, or moved to another network namespace.
    #[error("interface {0} is gone: start blockd again when it is back")]
    InterfaceGone(String),
    /// Somebody detached the program by force.
    #[error("the XDP program was taken off {0} by somebody else: start blockd again")]
    Detached(String),
    /// The port is taken.
    #[error(transparent)]
    Port(#[from] CompanionError),
    /// No UDP socket on the port.
    #[error(transparent)]
    Udp(#[from] UdpError),
    /// The XDP program cannot be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A worker cannot start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The program has no place for a socket.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The program does not take the allow-list or the limit of handshakes.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The namespace thread cannot start.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A thread or a descriptor cannot be had.
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

impl DaemonError {
    /// Whether other processes have the queues.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Worker(error) if error.is_busy())
    }

    /// Whether this process cannot have AF_XDP sockets, where UDP does as well.
    pub(crate) fn is_no_af_xdp(&self) -> bool {
        matches!(self, Self::Worker(error) if error.is_no_af_xdp())
    }

    /// The process's exit code; the list is in `docs/operations.md`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Table(TableError::ListFull { .. }) | Self::Queues(_) | Self::Cpus(_) => 2,
            Self::Export(_) => 5,
            Self::Attach(AttachError::NoPrivileges { .. })
            | Self::Worker(
                WorkerError::Xsk(XskError::NoPrivilege { .. })
                // The UMEM is made on the first AF_XDP socket: a missing CAP_NET_RAW shows here.
                | WorkerError::Umem(UmemError::NoPrivilege { .. }),
            ) => 9,
            Self::Interface(_)
            | Self::InterfaceGone(_)
            | Self::Detached(_)
            | Self::Attach(_)
            | Self::Slot(_)
            | Self::Table(_)
            | Self::Worker(WorkerError::Xsk(_) | WorkerError::Umem(UmemError::NoAfXdp)) => 11,
            Self::Port(_)
            | Self::Udp(_)
            | Self::Steering(_)
            | Self::Worker(_)
            | Self::Namespace(_)
            | Self::Io(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    fn code(error: WorkerError) -> u8 {
        DaemonError::Worker(error).exit_code()
    }

    #[test]
    fn a_missing_privilege_is_told_apart_wherever_it_shows() {
        let denied = || Error::from(ErrorKind::PermissionDenied);
        let umem = UmemError::NoPrivilege { source: denied() };
        assert_eq!(code(WorkerError::Umem(umem)), 9);
        let xsk = XskError::NoPrivilege {
            interface: "eth1".to_owned(),
            source: denied(),
        };
        assert_eq!(code(WorkerError::Xsk(xsk)), 9);
    }

    #[test]
    fn a_kernel_without_af_xdp_has_no_usable_interface() {
        assert_eq!(code(WorkerError::Umem(UmemError::NoAfXdp)), 11);
        let locked = UmemError::Memlock {
            len: 1,
            source: Error::from(ErrorKind::OutOfMemory),
        };
        assert_eq!(code(WorkerError::Umem(locked)), 1);
    }
}
