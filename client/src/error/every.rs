//! Every failure, what kind it is, and whether another try makes sense. A variant without a line here does not compile.

use std::collections::BTreeSet;

use super::*;

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7440))
}

fn refusing(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn name() -> String {
    "blk1".to_owned()
}

fn what() -> String {
    "h:data/x".to_owned()
}

fn refused(code: ErrorCode) -> ClientError {
    ClientError::Refused {
        what: what(),
        failure: Failure {
            code,
            message: "no".to_owned(),
        },
    }
}

fn lost(source: ConnectionLost) -> ClientError {
    let remote = address();
    ClientError::Lost { remote, source }
}

fn transfer(source: TransferError) -> ClientError {
    let what = what();
    ClientError::Transfer { what, source }
}

/// The number of the last variant.
const LAST: usize = 25;

/// The number of a variant.
fn number(error: &ClientError) -> usize {
    match error {
        ClientError::NoSuchHost { .. } => 0,
        ClientError::Route { .. } => 1,
        ClientError::Neighbour { .. } => 2,
        ClientError::LinkLocal(_) => 3,
        ClientError::Interface(_) => 4,
        ClientError::Udp(_) => 5,
        ClientError::Attach(_) => 6,
        ClientError::Slot(_) => 7,
        ClientError::Flows { .. } => 8,
        ClientError::VlanOverUdp => 9,
        ClientError::VlanTwice(_) => 10,
        ClientError::Port(_) => 11,
        ClientError::Worker(_) => 12,
        ClientError::Lost { .. } => 13,
        ClientError::Threads(_) => 14,
        ClientError::Start(_) => 15,
        ClientError::Panicked => 16,
        ClientError::Name(_) => 17,
        ClientError::Refused { .. } => 18,
        ClientError::Unexpected { .. } => 19,
        ClientError::File(_) => 20,
        ClientError::Transfer { .. } => 21,
        ClientError::Incomplete { .. } => 22,
        ClientError::ChecksumMismatch { .. } => 23,
        ClientError::Changed { .. } => 24,
        ClientError::Across { .. } => 25,
    }
}

/// A line of the table: a failure, its kind, and whether another try makes sense.
type Line = (ClientError, ErrorKind, bool);

/// Those on the way to a session, which stay until somebody mends something, but for a neighbour that is not up yet.
fn before_a_session() -> Vec<Line> {
    let remote = address();
    let ip = remote.ip();
    let neighbour = |source| ClientError::Neighbour { remote, source };
    let no_answer = NeighbourError::NoAnswer {
        address: ip,
        interface: name(),
    };
    let no_such_host = ClientError::NoSuchHost {
        host: "h".to_owned(),
        reason: "no".to_owned(),
    };
    let route = ClientError::Route {
        remote,
        source: RouteError::Unreachable(ip),
    };
    let slot = SlotError::NoSuchQueue {
        queue: 2,
        queues: 1,
    };
    let flows = ClientError::Flows {
        flows: 3,
        interface: name(),
        queues: 1,
    };
    vec![
        (no_such_host, ErrorKind::Unreachable, false),
        (route, ErrorKind::Unreachable, false),
        (neighbour(no_answer), ErrorKind::Unreachable, true),
        (
            neighbour(NeighbourError::NoPrivileges(ip)),
            ErrorKind::Permission,
            false,
        ),
        (
            ClientError::LinkLocal(remote),
            ErrorKind::Unreachable,
            false,
        ),
        (
            InterfaceError::NotEthernet(name()).into(),
            ErrorKind::Datapath,
            false,
        ),
        (UdpError::InUse(7440).into(), ErrorKind::Other, false),
        (
            AttachError::NoInterface(name()).into(),
            ErrorKind::Datapath,
            false,
        ),
        (slot.into(), ErrorKind::Datapath, false),
        (flows, ErrorKind::Datapath, false),
        (ClientError::VlanOverUdp, ErrorKind::Datapath, false),
        (ClientError::VlanTwice(name()), ErrorKind::Datapath, false),
        (CompanionError::InUse(7440).into(), ErrorKind::Other, false),
        (WorkerError::Died.into(), ErrorKind::Other, false),
        (
            WorkerError::from(XskError::NotXdp).into(),
            ErrorKind::Datapath,
            false,
        ),
        (ClientError::Threads(refusing(11)), ErrorKind::Other, false),
        (ClientError::Start(refusing(1)), ErrorKind::Other, false),
        (ClientError::Panicked, ErrorKind::Other, false),
        (AddressError::Empty.into(), ErrorKind::NotAllowed, false),
    ]
}

fn of_a_session() -> Vec<Line> {
    let text = || "no".to_owned();
    vec![
        (lost(ConnectionLost::DaemonGone), ErrorKind::Lost, true),
        (
            lost(ConnectionLost::PortClosed),
            ErrorKind::Unreachable,
            true,
        ),
        (lost(ConnectionLost::NoAnswer), ErrorKind::Unreachable, true),
        (lost(ConnectionLost::Restarted), ErrorKind::Lost, true),
        (lost(ConnectionLost::Silent), ErrorKind::Lost, true),
        (lost(ConnectionLost::NoWay(text())), ErrorKind::Lost, true),
        (lost(ConnectionLost::Undelivered), ErrorKind::Lost, true),
        (lost(ConnectionLost::NothingArrives), ErrorKind::Lost, true),
        (
            lost(ConnectionLost::InterfaceGone(name())),
            ErrorKind::Datapath,
            false,
        ),
        (
            lost(ConnectionLost::AddressGone(address().ip(), name())),
            ErrorKind::Datapath,
            false,
        ),
        (
            lost(ConnectionLost::Refused(text())),
            ErrorKind::Protocol,
            false,
        ),
        (lost(ConnectionLost::Busy), ErrorKind::Protocol, true),
        (
            lost(ConnectionLost::Broken(text())),
            ErrorKind::Protocol,
            true,
        ),
        (lost(ConnectionLost::ByPeer), ErrorKind::Lost, true),
        (lost(ConnectionLost::Closed), ErrorKind::Lost, false),
        (
            lost(ConnectionLost::Request(text())),
            ErrorKind::Protocol,
            false,
        ),
    ]
}

fn of_requests() -> Vec<Line> {
    vec![
        (refused(ErrorCode::NoSuchExport), ErrorKind::NotFound, false),
        (refused(ErrorCode::NotFound), ErrorKind::NotFound, false),
        (
            refused(ErrorCode::OutsideExport),
            ErrorKind::NotAllowed,
            false,
        ),
        (
            refused(ErrorCode::InvalidName),
            ErrorKind::NotAllowed,
            false,
        ),
        (refused(ErrorCode::IsDirectory), ErrorKind::WrongKind, false),
        (
            refused(ErrorCode::NotDirectory),
            ErrorKind::WrongKind,
            false,
        ),
        (refused(ErrorCode::NoSpace), ErrorKind::NoSpace, false),
        (
            refused(ErrorCode::PermissionDenied),
            ErrorKind::Permission,
            false,
        ),
        (refused(ErrorCode::ReadOnly), ErrorKind::Permission, false),
        (
            refused(ErrorCode::ChecksumMismatch),
            ErrorKind::Checksum,
            true,
        ),
        (refused(ErrorCode::Busy), ErrorKind::Protocol, true),
        (refused(ErrorCode::Unsupported), ErrorKind::Protocol, false),
        (refused(ErrorCode::Protocol), ErrorKind::Protocol, false),
        (refused(ErrorCode::TooLarge), ErrorKind::Other, false),
        (refused(ErrorCode::Io), ErrorKind::Other, false),
    ]
}

fn of_transfers() -> Vec<Line> {
    let unexpected = ClientError::Unexpected {
        what: what(),
        reply: "no".to_owned(),
    };
    let incomplete = ClientError::Incomplete {
        what: what(),
        seconds: 20,
    };
    let mismatch = ClientError::ChecksumMismatch {
        what: what(),
        received: 1,
        sent: 2,
    };
    let read = TransferError::Read {
        offset: 0,
        source: refusing(5),
    };
    // ENOENT, ENOSPC.
    let missing = FileError::new("open", b"x", refusing(2));
    let full = FileError::new("create", b"x", refusing(28));
    let across = ClientError::Across {
        from: what(),
        to: what(),
    };
    vec![
        (unexpected, ErrorKind::Protocol, false),
        (incomplete, ErrorKind::Protocol, true),
        (mismatch, ErrorKind::Checksum, true),
        (
            ClientError::Changed { what: what() },
            ErrorKind::Other,
            true,
        ),
        (across, ErrorKind::NotAllowed, false),
        (
            transfer(TransferError::Disk(refusing(28))),
            ErrorKind::NoSpace,
            false,
        ),
        (
            transfer(TransferError::Disk(refusing(5))),
            ErrorKind::Other,
            false,
        ),
        (transfer(read), ErrorKind::Other, false),
        (
            transfer(TransferError::SourceShrank { offset: 0 }),
            ErrorKind::Other,
            true,
        ),
        (
            transfer(TransferError::Protocol("no")),
            ErrorKind::Other,
            false,
        ),
        (
            transfer(TransferError::Incomplete),
            ErrorKind::Protocol,
            true,
        ),
        (transfer(TransferError::Busy), ErrorKind::Other, true),
        (missing.into(), ErrorKind::NotFound, false),
        (full.into(), ErrorKind::NoSpace, false),
    ]
}

#[test]
fn every_failure_has_its_kind_and_says_whether_to_try_again() {
    let mut seen = BTreeSet::new();
    for lines in [
        before_a_session(),
        of_a_session(),
        of_requests(),
        of_transfers(),
    ] {
        for (error, kind, is_retryable) in lines {
            assert_eq!(error.kind(), kind, "{error:?}");
            assert_eq!(error.is_retryable(), is_retryable, "{error:?}");
            seen.insert(number(&error));
        }
    }
    assert_eq!(
        seen,
        (0..=LAST).collect::<BTreeSet<_>>(),
        "a variant is not in the table"
    );
}

#[test]
fn an_io_error_keeps_what_it_was_made_of() {
    let error = io::Error::from(refused(ErrorCode::NotFound));
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let within = error.downcast::<ClientError>().unwrap();
    assert_eq!(within.kind(), ErrorKind::NotFound);
}
