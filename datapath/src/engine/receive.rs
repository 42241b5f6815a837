//! From the RX ring to the session: parse, check, and hand each block to its transfer.

use blk_proto::drops::DropReason;
use blk_proto::net::{self, Ecn, Path};
use blk_proto::session::{BlockMeta, Config, Parameters, Refusal, RefuseReason, Session, Versions};
use blk_proto::time::Time;
use blk_proto::wire::{self, Kind, PAYLOAD_OFFSET, Packet, WireError};

use super::Engine;
use super::Unwanted;
use super::events::SessionId;
use super::peer::Peer;
use super::peers::Peers;
use crate::umem::{Frame, Rx, SECTOR};

/// What a received frame turned out to be.
enum Arrival {
    /// Nothing that anybody here can take.
    Dropped(DropReason),
    /// Handled; nothing of it is needed any more. A session counts what it drops.
    Consumed,
    /// A new block: the frame belongs to the session's transfer.
    Block(SessionId, BlockMeta),
    /// A Hello that makes no session: the other end is told so.
    Refuse(Path, Refusal),
}

impl Engine {
    /// Takes what the RX ring has, up to one batch; `true` when there was anything.
    pub(super) fn receive(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.scratch.received);
        self.xsk.receive(&mut self.umem, &mut batch);
        let busy = !batch.is_empty();
        self.counters.frames_received += batch.len() as u64;
        for frame in batch.drain(..) {
            self.receive_frame(frame);
        }
        self.scratch.received = batch;
        busy
    }

    fn receive_frame(&mut self, frame: Frame<Rx>) {
        match self.classify(&frame) {
            Arrival::Block(session, meta) => return self.receive_block(session, meta, frame),
            Arrival::Dropped(reason) => self.counters.dropped.count(reason),
            Arrival::Consumed => {}
            Arrival::Refuse(path, refusal) => {
                self.counters.dropped.count(DropReason::Refused);
                self.send_refusal(&path, &refusal);
            }
        }
        self.umem.release(frame);
    }

    fn classify(&mut self, frame: &Frame<Rx>) -> Arrival {
        let bytes = self.umem.packet(frame);
        let udp = match net::parse(bytes) {
            Ok(udp) => udp,
            Err(error) => return Arrival::Dropped((&error).into()),
        };
        if udp.destination.port() != self.config.port {
            return Arrival::Dropped(DropReason::WrongPort);
        }
        let packet = match wire::open(udp.payload) {
            Ok(packet) => packet,
            Err(error @ WireError::UnsupportedVersion { .. }) if self.config.accept => {
                return match Refusal::of_version(&error, Versions::SUPPORTED) {
                    Some(refusal) => Arrival::Refuse(Path::reply_to(&udp), refusal),
                    None => Arrival::Dropped(DropReason::Version),
                };
            }
            Err(error) => return Arrival::Dropped((&error).into()),
        };
        let remote = udp.source;
        let session = if packet.kind == Kind::Hello {
            match self.peers.greeted_by(remote, &packet) {
                Some(known) => known,
                None if self.config.accept => {
                    let path = Path::reply_to(&udp);
                    let config = self.session_config(&path);
                    let room = self.peers.len() < self.config.max_sessions;
                    return accept(&mut self.peers, room, config, path, &packet, self.now);
                }
                None => return Arrival::Dropped(DropReason::NoSession),
            }
        } else {
            SessionId(packet.header.session.get())
        };
        let Some(peer) = self.peers.get_mut(session) else {
            return Arrival::Dropped(DropReason::NoSession);
        };
        if peer.path.destination != remote {
            return Arrival::Dropped(DropReason::WrongAddress);
        }
        if is_misplaced(udp.payload_offset, &packet) {
            return Arrival::Dropped(DropReason::Misplaced);
        }
        match peer
            .session
            .handle_packet(self.now, &packet, Ecn::from_bits(udp.ecn))
        {
            Ok(Some(meta)) => Arrival::Block(session, meta),
            // A violation closes the session by itself; its Closed event says why.
            Ok(None) | Err(_) => Arrival::Consumed,
        }
    }

    fn receive_block(&mut self, session: SessionId, meta: BlockMeta, frame: Frame<Rx>) {
        let frame = self.umem.rx_to_disk(frame, meta.len);
        let mut runs = std::mem::take(&mut self.scratch.runs);
        let refused = match self.peers.get_mut(session) {
            None => Some(Unwanted {
                frame,
                duplicate: false,
            }),
            Some(peer) => match peer.inbound.get_mut(meta.transfer) {
                None => {
                    self.counters.blocks_stray += 1;
                    Some(Unwanted {
                        frame,
                        duplicate: false,
                    })
                }
                Some(inbound) => inbound
                    .receive(self.now, meta.offset, meta.crc, frame, &mut runs)
                    .err(),
            },
        };
        if let Some(unwanted) = refused {
            self.umem.release(unwanted.frame);
            self.counters.blocks_duplicate += u64::from(unwanted.duplicate);
            if let Some(peer) = self.peers.get_mut(session) {
                peer.session.release_credit(1);
            }
        }
        if !runs.is_empty() {
            self.write_runs(session, meta.transfer, &mut runs);
        }
        self.scratch.runs = runs;
    }
}

/// Makes a session for a Hello, or says why there can be none.
fn accept(
    peers: &mut Peers,
    room: bool,
    config: Config,
    path: Path,
    hello: &Packet<'_>,
    now: Time,
) -> Arrival {
    let refuse = |reason| {
        Refusal::to(hello, reason).map_or(Arrival::Dropped(DropReason::Handshake), |refusal| {
            Arrival::Refuse(path, refusal)
        })
    };
    let reserved = if room { peers.reserve() } else { None };
    let Some(id) = reserved else {
        return refuse(RefuseReason::Busy);
    };
    match Session::accept(config, id.0, hello, now) {
        Ok(session) if session.peer().is_some_and(can_obey) => {
            peers.insert(id, Peer::new(session, path));
            Arrival::Consumed
        }
        Ok(_) => {
            peers.unreserve(id);
            refuse(RefuseReason::Parameters)
        }
        Err(refusal) => {
            peers.unreserve(id);
            Arrival::Refuse(path, refusal)
        }
    }
}

/// Whether this end can send what the other end announces: its payloads lie at one place in the frame, in multiples of
/// a sector.
pub(super) fn can_obey(parameters: &Parameters) -> bool {
    usize::from(parameters.payload_offset) == PAYLOAD_OFFSET
        && parameters.granule != 0
        && SECTOR.is_multiple_of(usize::from(parameters.granule))
}

/// Whether a block's payload is not where this end asked for it, so that it could not go to the disk as it lies. A block
/// without payload stands for one that was cancelled, and need not be anywhere.
fn is_misplaced(udp_payload_offset: usize, packet: &Packet<'_>) -> bool {
    let payload_at = udp_payload_offset + usize::from(packet.header.span.get());
    packet.kind == Kind::Data && !packet.payload.is_empty() && payload_at != PAYLOAD_OFFSET
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_proto::wire::{HEADER_LEN, Header};
    use zerocopy::IntoBytes;

    /// A whole UDP payload: header, padding up to `span`, payload.
    fn data(span: usize, payload: &[u8]) -> Vec<u8> {
        let mut header = Header::new(Kind::Data, 1);
        header.span = (span as u16).into();
        header.payload_len = (payload.len() as u16).into();
        wire::seal(&mut header, wire::payload_crc(payload));
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(span, 0);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_payload_must_lie_where_it_was_asked_for() {
        for (udp_at, span, misplaced) in [(42, 86, false), (62, 66, false), (42, 56, true)] {
            let bytes = data(span, &[7; 512]);
            let packet = wire::open(&bytes).unwrap();
            assert_eq!(is_misplaced(udp_at, &packet), misplaced, "{udp_at} {span}");
        }
    }

    #[test]
    fn a_cancelled_block_has_no_payload_to_misplace() {
        let bytes = data(HEADER_LEN, &[]);
        assert!(!is_misplaced(42, &wire::open(&bytes).unwrap()));
    }

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
        let payload_offset = PAYLOAD_OFFSET as u16 + 64;
        assert!(!can_obey(&Parameters {
            payload_offset,
            ..good
        }));
    }
}
