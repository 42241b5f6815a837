//! The front door: packets that belong to no session of this engine.

use blk_proto::drops::DropReason;
use blk_proto::geometry::announced_offset;
use blk_proto::net::Path;
use blk_proto::session::{Acceptor, Config, Parameters, Refusal, RefuseReason, Session, Verdict};
use blk_proto::time::Time;
use blk_proto::wire::{PAYLOAD_OFFSET, Packet};

use super::events::SessionId;
use super::peer::Peer;
use super::peers::Peers;
use super::receive::Arrival;
use crate::umem::SECTOR;

/// The parts of an engine that a new session needs, borrowed apart from the frame that its Hello lies in.
pub(super) struct Door<'a> {
    pub(super) now: Time,
    pub(super) acceptor: &'a mut Acceptor,
    pub(super) peers: &'a mut Peers,
}

impl Door<'_> {
    /// Makes a session for a Hello that the acceptor let in, or says why there can be none after all.
    pub(super) fn admit(
        &mut self,
        config: Config,
        path: Path,
        hello: &Packet<'_>,
        validated: bool,
        evict: bool,
    ) -> Arrival {
        let oldest = self.peers.oldest_half_open().filter(|_| evict);
        let Some(id) = self.peers.reserve() else {
            return self.refuse(path, Refusal::to(hello, RefuseReason::Busy));
        };
        match Session::accept(config, id.0, hello, self.now) {
            Ok(mut session) if session.peer().is_some_and(can_obey) => {
                if validated {
                    session.mark_validated();
                }
                self.peers.insert(self.now, id, Peer::new(session, path));
                oldest.map_or(Arrival::Consumed, Arrival::Displaces)
            }
            Ok(_) => {
                self.peers.unreserve(id);
                self.refuse(path, Refusal::to(hello, RefuseReason::Parameters))
            }
            Err(refusal) => {
                self.peers.unreserve(id);
                self.refuse(path, Some(refusal))
            }
        }
    }

    fn refuse(&mut self, path: Path, refusal: Option<Refusal>) -> Arrival {
        match refusal {
            Some(refusal) => unserved(self.acceptor.refuse(self.now, refusal), path),
            None => Arrival::Dropped(DropReason::Handshake),
        }
    }
}

/// Whether this is the id of a session that another worker than `worker`, out of `workers`, has: the NIC put the packet
/// into the wrong queue. An id of a worker that is not there is a session's of an earlier life.
pub(super) fn is_another_workers(named: Option<SessionId>, worker: u32, workers: u16) -> bool {
    named.is_some_and(|id| {
        let named = id.connection().worker();
        named != worker && named < u32::from(workers)
    })
}

/// What a verdict without a session comes to.
pub(super) fn unserved(verdict: Verdict, path: Path) -> Arrival {
    match verdict {
        Verdict::Answer(answer) => Arrival::Answered(path, answer, answer.reason()),
        Verdict::Drop(reason) => Arrival::Dropped(reason),
        Verdict::Accept { .. } => Arrival::Dropped(DropReason::Handshake),
    }
}

/// Whether this end can send what the other end announces: its payloads lie at one place in the frame, but for the VLAN
/// tags that the other end sees, in multiples of a sector.
pub(super) fn can_obey(parameters: &Parameters) -> bool {
    (0..=2).any(|tags| parameters.payload_offset == announced_offset(PAYLOAD_OFFSET as u16, tags))
        && parameters.granule != 0
        && SECTOR.is_multiple_of(usize::from(parameters.granule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_proto::session::ConnectionId;

    #[test]
    fn only_what_this_end_can_send_is_accepted() {
        let good = Parameters::default();
        assert!(can_obey(&good));
        for granule in [0, 3, 1024] {
            assert!(!can_obey(&Parameters { granule, ..good }), "{granule}");
        }
        assert!(can_obey(&Parameters {
            granule: 256,
            ..good
        }));
        let at = |payload_offset| Parameters {
            payload_offset,
            ..good
        };
        assert!(
            [128, 124, 120]
                .into_iter()
                .all(|offset| can_obey(&at(offset)))
        );
        for elsewhere in [116, 122, 132, 192, 0] {
            assert!(!can_obey(&at(elsewhere)), "{elsewhere}");
        }
    }

    #[test]
    fn an_id_of_another_worker_is_told_from_one_of_an_earlier_life() {
        let id = |worker| {
            let id = ConnectionId::new(3, worker, 1).unwrap();
            Some(SessionId(id.bits()))
        };
        assert!(is_another_workers(id(1), 0, 4) && is_another_workers(id(0), 3, 4));
        assert!(!is_another_workers(id(2), 2, 4), "its own");
        assert!(!is_another_workers(id(4), 2, 4), "there were more once");
        assert!(!is_another_workers(None, 0, 4));
    }
}
