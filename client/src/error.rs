//! What can go wrong for a client, and whether another try makes sense.

use std::io;
use std::net::{IpAddr, SocketAddr};

use blk_datapath::engine::TransferError;
use blk_datapath::files::{FileError, FileErrorKind};
use blk_datapath::net::{InterfaceError, NeighbourError, RouteError};
use blk_datapath::udp::UdpError;
use blk_datapath::umem::UmemError;
use blk_datapath::worker::{CompanionError, WorkerError};
use blk_datapath::xsk::XskError;
use blk_proto::message::{ErrorCode, Failure};
use blk_proto::session::{CloseCode, CloseReason, RefuseReason};
use blk_xdp::{AttachError, SlotError};

use crate::address::AddressError;

/// Why a session ended, or never was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionLost {
    /// The daemon has ended in the middle.
    #[error("the connection was lost: blockd is not running there any more")]
    DaemonGone,
    /// The other end's kernel says that nobody listens on the port.
    #[error("nobody listens there: is blockd running, and on this port?")]
    PortClosed,
    /// No answer to the handshake.
    #[error(
        "no answer: is blockd running on the interface that has this address, and does its --allow let this host in?"
    )]
    NoAnswer,
    /// The blockd there does not know the session: another one runs there now, or it gave the session up.
    #[error(
        "the connection was lost: blockd was restarted there, or gave the connection up; run the copy again"
    )]
    Restarted,
    /// The other end has gone silent.
    #[error("the connection was lost: no packet from the other end for too long")]
    Silent,
    /// The other end has gone silent, and something was in the way.
    #[error("the connection was lost: no packet from the other end for too long: {0}")]
    NoWay(String),
    /// The other end is there, but blocks or messages, which are longer than what asks for a sign of life, do not arrive.
    #[error(
        "the connection was lost: the other end answers, but what it is sent does not arrive: check the MTU of all \
         interfaces and tunnels on the way"
    )]
    Undelivered,
    /// The other end says the same of what it sends.
    #[error(
        "the connection was lost: what the other end sends does not arrive here: check the MTU of all interfaces and \
         tunnels on the way"
    )]
    NothingArrives,
    /// The interface was removed, or moved to another network namespace.
    #[error("the connection was lost: interface {0} is gone")]
    InterfaceGone(String),
    /// The address was taken from the interface.
    #[error(
        "the connection was lost: {0} is not an address of {1} any more; `ip address show dev {1}` lists those it has"
    )]
    AddressGone(IpAddr, String),
    /// The other end does not want a session, e.g. because it speaks another version of the protocol.
    #[error("the other end refuses: {0}")]
    Refused(String),
    /// The other end has too many sessions already.
    #[error("the other end has no room for another connection; try again later")]
    Busy,
    /// The other end broke the protocol, or says that this one did.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The other end closed the session.
    #[error("the other end closed the connection")]
    ByPeer,
    /// This end closed the session.
    #[error("the connection is closed")]
    Closed,
    /// A request could not be made.
    #[error("the request cannot be sent: {0}")]
    Request(String),
}

impl From<CloseReason> for ConnectionLost {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::HandshakeTimeout => Self::NoAnswer,
            CloseReason::PeerRestarted => Self::Restarted,
            CloseReason::TimedOut => Self::Silent,
            CloseReason::Undelivered => Self::Undelivered,
            CloseReason::ByPeer(CloseCode::UNDELIVERED) => Self::NothingArrives,
            CloseReason::Refused(RefuseReason::Busy) => Self::Busy,
            CloseReason::Refused(refused) => Self::Refused(refused.to_string()),
            CloseReason::ByPeer(CloseCode::DONE | CloseCode::SHUTDOWN) => Self::ByPeer,
            CloseReason::ByPeer(code) => Self::Broken(code.to_string()),
            CloseReason::Local(CloseCode::DONE | CloseCode::SHUTDOWN) => Self::Closed,
            CloseReason::Local(code) => Self::Broken(code.to_string()),
            CloseReason::Violation(violation) => Self::Broken(violation.to_string()),
        }
    }
}

/// Why an operation of the client failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The host's name has no address.
    #[error("no such host: {host} ({reason})")]
    NoSuchHost {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No way to the host.
    #[error("cannot reach {remote}: {source}")]
    Route {
        /// The address.
        remote: SocketAddr,
        /// Why.
        #[source]
        source: RouteError,
    },
    /// The next hop does not answer.
    #[error("cannot reach {remote}: {source}")]
    Neighbour {
        /// The address.
        remote: SocketAddr,
        /// Why.
        #[source]
        source: NeighbourError,
    },
    /// An address that every link has.
    #[error("{0} is a link-local address, which is not supported: use another address of the host")]
    LinkLocal(SocketAddr),
    /// The interface cannot be used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// No UDP socket to the host.
    #[error(transparent)]
    Udp(#[from] UdpError),
    /// The XDP program cannot be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The program has no place for the socket.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// More flows were asked for than there are queues.
    #[error(
        "{flows} flows need {flows} queues, and {interface} has {queues}: ask for fewer with --flows"
    )]
    Flows {
        /// Flows asked for.
        flows: u16,
        /// The interface.
        interface: String,
        /// Its queues.
        queues: u16,
    },
    /// VLAN tags over UDP sockets, where they are the kernel's.
    #[error(
        "VLAN tags cannot be chosen for UDP sockets: leave --vlan out and route by a VLAN interface, or use AF_XDP (--datapath copy or zerocopy)"
    )]
    VlanOverUdp,
    /// VLAN tags given where an interface tells them.
    #[error("the route leads by {0}, a VLAN interface, which tells the tags: leave --vlan out")]
    VlanTwice(String),
    /// No UDP port could be had.
    #[error(transparent)]
    Port(#[from] CompanionError),
    /// The worker cannot start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The session could not be opened, or was lost.
    #[error("{remote}: {source}")]
    Lost {
        /// The other end.
        remote: SocketAddr,
        /// Why.
        #[source]
        source: ConnectionLost,
    },
    /// No thread for small files can be started.
    #[error("cannot start a thread for small files: {0}; check the limits of processes and memory")]
    Threads(io::Error),
    /// The server refused.
    #[error("{what}: {}", failure.message)]
    Refused {
        /// What was asked for.
        what: String,
        /// The server's words.
        failure: Failure,
    },
    /// The server answered something that makes no sense.
    #[error("{what}: the server answered something unexpected ({reply})")]
    Unexpected {
        /// What was asked for.
        what: String,
        /// What came.
        reply: String,
    },
    /// The thread of a client cannot be started, or its io_uring cannot be had.
    #[error(
        "cannot start the client's thread with its io_uring: {0}; check the limits of processes and memory, and that \
         io_uring is allowed here (sysctl kernel.io_uring_disabled, seccomp)"
    )]
    Start(io::Error),
    /// The operation panicked, and was ended by that; the others go on.
    #[error("the operation was ended by a panic, which is a fault of this library")]
    Panicked,
    /// The words name nothing.
    #[error(transparent)]
    Name(#[from] AddressError),
    /// A local file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A transfer failed on this side.
    #[error("{what}: {source}")]
    Transfer {
        /// The file.
        what: String,
        /// Why.
        #[source]
        source: TransferError,
    },
    /// The server says that it has sent everything, and a part never came.
    #[error(
        "{what}: the server has sent the whole file, it says, but {seconds} s later not all of it is here and on the \
         disk; nothing was stored"
    )]
    Incomplete {
        /// The file.
        what: String,
        /// How long the rest was waited for.
        seconds: u64,
    },
    /// The file that arrived is not the file that was sent.
    #[error(
        "{what}: the CRC32 is {received:08x} here and {sent:08x} at the sender; nothing was stored"
    )]
    ChecksumMismatch {
        /// The file.
        what: String,
        /// CRC32 of what arrived.
        received: u32,
        /// CRC32 of what was sent.
        sent: u32,
    },
    /// A rename from one export or host to another.
    #[error(
        "{from} cannot be renamed to {to}: names change within one export of one host; copy it there"
    )]
    Across {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// The source changed while it was read.
    #[error("{what}: the file changed while it was read; nothing was stored")]
    Changed {
        /// The file.
        what: String,
    },
}

/// What kind of failure it is; `blkcp`'s exit codes follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// None of the others.
    Other,
    /// The host or the port cannot be reached.
    Unreachable,
    /// The other end refused, or broke the protocol.
    Protocol,
    /// No such file or export.
    NotFound,
    /// The name leads outside the export, or is no name.
    NotAllowed,
    /// A directory where a file is meant, or the reverse.
    WrongKind,
    /// Something has the name already, or is in the directory that is to go.
    Taken,
    /// The disk is full.
    NoSpace,
    /// Permissions or privileges are missing.
    Permission,
    /// The file's checksum is wrong.
    Checksum,
    /// The interface cannot do what is needed.
    Datapath,
    /// The connection timed out or was lost.
    Lost,
}

impl ClientError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Neighbour {
                source: NeighbourError::NoPrivileges(_),
                ..
            }
            | Self::Attach(AttachError::NoPrivileges { .. })
            | Self::Worker(WorkerError::Umem(UmemError::NoPrivilege { .. }))
            | Self::Worker(WorkerError::Xsk(XskError::NoPrivilege { .. })) => ErrorKind::Permission,
            Self::NoSuchHost { .. }
            | Self::Route { .. }
            | Self::Neighbour { .. }
            | Self::LinkLocal(_) => ErrorKind::Unreachable,
            Self::Interface(_)
            | Self::Flows { .. }
            | Self::VlanOverUdp
            | Self::VlanTwice(_)
            | Self::Attach(_)
            | Self::Slot(_)
            | Self::Worker(WorkerError::Umem(UmemError::NoAfXdp))
            | Self::Worker(WorkerError::Xsk(_)) => ErrorKind::Datapath,
            Self::Threads(_) | Self::Start(_) | Self::Panicked => ErrorKind::Other,
            Self::Name(_) => ErrorKind::NotAllowed,
            Self::Lost { source, .. } => match source {
                ConnectionLost::PortClosed | ConnectionLost::NoAnswer => ErrorKind::Unreachable,
                ConnectionLost::Refused(_)
                | ConnectionLost::Busy
                | ConnectionLost::Broken(_)
                | ConnectionLost::Request(_) => ErrorKind::Protocol,
                ConnectionLost::InterfaceGone(_) | ConnectionLost::AddressGone(..) => {
                    ErrorKind::Datapath
                }
                ConnectionLost::Silent
                | ConnectionLost::NoWay(_)
                | ConnectionLost::Undelivered
                | ConnectionLost::NothingArrives
                | ConnectionLost::Restarted
                | ConnectionLost::DaemonGone
                | ConnectionLost::ByPeer
                | ConnectionLost::Closed => ErrorKind::Lost,
            },
            Self::Refused { failure, .. } => kind_of(failure.code),
            Self::Across { .. } => ErrorKind::NotAllowed,
            Self::Unexpected { .. } | Self::Incomplete { .. } => ErrorKind::Protocol,
            Self::File(error) => kind_of_file(error.kind),
            Self::ChecksumMismatch { .. } => ErrorKind::Checksum,
            Self::Transfer {
                source: TransferError::Disk(error),
                ..
            } if is_full(error) => ErrorKind::NoSpace,
            Self::Transfer {
                source: TransferError::Incomplete,
                ..
            } => ErrorKind::Protocol,
            Self::Port(_)
            | Self::Udp(_)
            | Self::Worker(_)
            | Self::Transfer { .. }
            | Self::Changed { .. } => ErrorKind::Other,
        }
    }

    /// Whether AF_XDP cannot be had here, and UDP sockets can.
    pub fn is_no_af_xdp(&self) -> bool {
        match self {
            // An interface takes one XDP program, and one is on it that cannot be joined.
            Self::Attach(
                AttachError::NoNativeXdp { .. }
                | AttachError::Busy { .. }
                | AttachError::Unshared { .. },
            )
            | Self::Interface(InterfaceError::NotEthernet(_) | InterfaceError::Stacked { .. })
            | Self::Route {
                source: RouteError::ThisHost(_),
                ..
            } => true,
            // The sockets come last: what the kernel refuses of them shows when the first worker starts.
            Self::Worker(error) => error.is_no_af_xdp(),
            error => error.kind() == ErrorKind::Permission,
        }
    }
}

/// No room on the file system, or none left for this user.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn kind_of_file(kind: FileErrorKind) -> ErrorKind {
    match kind {
        FileErrorKind::NotFound => ErrorKind::NotFound,
        FileErrorKind::IsDirectory | FileErrorKind::NotDirectory | FileErrorKind::NotRegular => {
            ErrorKind::WrongKind
        }
        FileErrorKind::Exists | FileErrorKind::NotEmpty => ErrorKind::Taken,
        FileErrorKind::NoSpace => ErrorKind::NoSpace,
        FileErrorKind::ChecksumMismatch => ErrorKind::Checksum,
        FileErrorKind::PermissionDenied | FileErrorKind::ReadOnly => ErrorKind::Permission,
        FileErrorKind::OutsideExport | FileErrorKind::InvalidName => ErrorKind::NotAllowed,
        _ => ErrorKind::Other,
    }
}

fn kind_of(code: ErrorCode) -> ErrorKind {
    match code {
        ErrorCode::NoSuchExport | ErrorCode::NotFound => ErrorKind::NotFound,
        ErrorCode::OutsideExport | ErrorCode::InvalidName => ErrorKind::NotAllowed,
        ErrorCode::IsDirectory | ErrorCode::NotDirectory => ErrorKind::WrongKind,
        ErrorCode::Exists | ErrorCode::NotEmpty => ErrorKind::Taken,
        ErrorCode::NoSpace => ErrorKind::NoSpace,
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly => ErrorKind::Permission,
        ErrorCode::ChecksumMismatch => ErrorKind::Checksum,
        ErrorCode::Busy | ErrorCode::Unsupported | ErrorCode::Protocol => ErrorKind::Protocol,
        ErrorCode::TooLarge | ErrorCode::Io => ErrorKind::Other,
    }
}

#[cfg(test)]
mod every;

#[cfg(test)]
mod tests {
    use super::*;

    fn from_errno(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    #[test]
    fn missing_privileges_are_told_wherever_they_are_missed() {
        let address = "192.0.2.1:7440".parse::<SocketAddr>().unwrap();
        let source = || io::Error::from(io::ErrorKind::PermissionDenied);
        let errors: [ClientError; 3] = [
            ClientError::Neighbour {
                remote: address,
                source: NeighbourError::NoPrivileges(address.ip()),
            },
            WorkerError::from(UmemError::NoPrivilege { source: source() }).into(),
            WorkerError::from(XskError::NoPrivilege {
                interface: "blk0".to_owned(),
                source: source(),
            })
            .into(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
        }
        let no_af_xdp = ClientError::from(WorkerError::from(UmemError::NoAfXdp));
        assert_eq!(no_af_xdp.kind(), ErrorKind::Datapath);
    }

    #[test]
    fn a_full_disk_and_a_used_quota_are_alike() {
        // ENOSPC, EDQUOT, EIO.
        for (code, kind) in [
            (28, ErrorKind::NoSpace),
            (122, ErrorKind::NoSpace),
            (5, ErrorKind::Other),
        ] {
            let error = ClientError::Transfer {
                what: "h:data/x".to_owned(),
                source: TransferError::Disk(from_errno(code)),
            };
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn only_what_udp_does_without_makes_it_udp() {
        let remote = "127.0.0.1:1".parse::<SocketAddr>().unwrap();
        let route = |source| ClientError::Route { remote, source };
        assert!(route(RouteError::ThisHost(remote.ip())).is_no_af_xdp());
        assert!(!route(RouteError::Unreachable(remote.ip())).is_no_af_xdp());
        let interface = "lo".to_owned();
        let attach = ClientError::from(AttachError::NoNativeXdp { interface });
        assert!(attach.is_no_af_xdp());
        let worker = |error: WorkerError| ClientError::from(error).is_no_af_xdp();
        let locked = UmemError::Memlock {
            len: 1 << 20,
            source: from_errno(1),
        };
        assert!(worker(locked.into()));
        let umem = UmemError::NoPrivilege {
            source: from_errno(1),
        };
        assert!(worker(umem.into()));
        let interface = "blk1".to_owned();
        let bind = XskError::NoPrivilege {
            interface: interface.clone(),
            source: from_errno(1),
        };
        assert!(worker(bind.into()));
        assert!(!worker(XskError::InterfaceDown { interface }.into()));
        assert!(!worker(WorkerError::Died));
    }
}
