//! Why blockd cannot start, and the exit code that says so.

use blk_datapath::net::InterfaceError;
use blk_datapath::worker::{CompanionError, WorkerError};
use blk_datapath::xsk::XskError;
use blk_xdp::{AttachError, PortRangeError, SlotError};

use crate::exports::ExportError;
use crate::namespace::NamespaceError;

/// Why blockd cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// An export cannot be served.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The interface cannot be used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The port is taken.
    #[error(transparent)]
    Port(#[from] CompanionError),
    /// The XDP program cannot be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A worker cannot start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The program cannot steer this port.
    #[error(transparent)]
    PortRange(#[from] PortRangeError),
    /// The program has no place for a socket.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The namespace thread cannot start.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A thread or a descriptor cannot be had.
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

impl DaemonError {
    /// The process's exit code; the list is in `docs/operations.md`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Export(_) => 5,
            Self::Attach(AttachError::NoPrivileges { .. }) => 9,
            Self::Worker(WorkerError::Xsk(XskError::NoPrivilege { .. })) => 9,
            Self::Interface(_)
            | Self::Attach(_)
            | Self::Slot(_)
            | Self::Worker(WorkerError::Xsk(_)) => 11,
            Self::Port(_)
            | Self::PortRange(_)
            | Self::Worker(_)
            | Self::Namespace(_)
            | Self::Io(_) => 1,
        }
    }
}
