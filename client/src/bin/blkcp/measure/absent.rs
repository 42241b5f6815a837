//! When a data path counts as one that is not there.

use blk_client::{ClientError, ConnectionLost, ErrorKind};
use blk_datapath::explain::explain;
use blk_xdp::AttachError;

use crate::failure::Failure;

/// What ended a turn.
pub enum Missed {
    /// There was no connection.
    Connection(ClientError),
    /// There was one.
    Copy(Failure),
}

impl From<Missed> for Failure {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Connection(error) => error.into(),
            Missed::Copy(failure) => failure,
        }
    }
}

/// Why a data path could not be measured.
#[derive(Debug, PartialEq, Eq)]
pub struct Absent {
    /// In words.
    pub why: String,
    /// It says nothing of what is found here another time.
    pub is_passing: bool,
}

impl Absent {
    /// What a turn over AF_XDP that failed says of it; `None`: nothing. The other end has been reached over UDP sockets before; if it
    /// is gone now, their next turn or the removal of the file says so.
    pub fn of(missed: &Missed) -> Option<Self> {
        use ErrorKind::{Datapath, Lost, Permission, Unreachable};
        match missed {
            Missed::Connection(error) => {
                let is_absent = error.is_no_af_xdp()
                    || matches!(error.kind(), Datapath | Permission | Unreachable);
                is_absent.then(|| Self {
                    why: explain(error),
                    is_passing: is_passing(error),
                })
            }
            Missed::Copy(Failure::Client(error)) if matches!(error.kind(), Lost | Datapath) => {
                Some(Self {
                    why: format!("it came up, then {}", explain(error)),
                    is_passing: is_passing(error),
                })
            }
            Missed::Copy(_) => None,
        }
    }
}

/// Whether something was in the way that goes away by itself, or that has nothing to do with the data path.
fn is_passing(error: &ClientError) -> bool {
    use ConnectionLost::{AddressGone, ByPeer, Closed, DaemonGone, InterfaceGone, Restarted};
    match error {
        ClientError::Worker(error) => error.is_busy(),
        ClientError::Neighbour { .. }
        | ClientError::Attach(AttachError::Busy { .. } | AttachError::Unshared { .. }) => true,
        ClientError::Lost { source, .. } => matches!(
            source,
            Restarted | DaemonGone | ByPeer | Closed | InterfaceGone(_) | AddressGone(..)
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(source: ConnectionLost) -> ClientError {
        let remote = "192.0.2.1:7440".parse().unwrap();
        ClientError::Lost { remote, source }
    }

    /// Whether it is absent, and then whether that passes.
    fn passes(missed: &Missed) -> Option<bool> {
        Absent::of(missed).map(|absent| absent.is_passing)
    }

    #[test]
    fn what_comes_up_and_carries_nothing_is_absent() {
        let copy = |source| passes(&Missed::Copy(lost(source).into()));
        for source in [ConnectionLost::Undelivered, ConnectionLost::Silent] {
            assert_eq!(copy(source), Some(false));
        }
        for source in [ConnectionLost::DaemonGone, ConnectionLost::Restarted] {
            assert_eq!(copy(source), Some(true));
        }
        assert_eq!(copy(ConnectionLost::Broken("x".to_owned())), None);
        assert_eq!(passes(&Missed::Copy(Failure::Stopped)), None);
    }

    #[test]
    fn what_does_not_come_up_is_absent_unless_the_other_end_refuses() {
        let connection = |error| passes(&Missed::Connection(error));
        assert_eq!(connection(lost(ConnectionLost::NoAnswer)), Some(false));
        assert_eq!(connection(lost(ConnectionLost::Busy)), None);
        let interface = || "eth1".to_owned();
        let attach = |error: AttachError| connection(error.into());
        let none = AttachError::NoNativeXdp {
            interface: interface(),
        };
        assert_eq!(attach(none), Some(false));
    }
}
