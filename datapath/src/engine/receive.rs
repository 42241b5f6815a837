//! From the RX ring to the session: parse, check, and hand each block to its transfer.

use blk_proto::net::{self, Path};
use blk_proto::session::{BlockMeta, Config, Refusal, Session};
use blk_proto::time::Time;
use blk_proto::wire::{self, Kind, PAYLOAD_OFFSET, Packet, WireError};

use super::events::SessionId;
use super::peer::Peer;
use super::peers::Peers;
use super::{Engine, EngineEvent};
use crate::umem::{Frame, Rx};

/// What a received frame turned out to be.
enum Arrival {
    /// Not a valid packet of ours.
    Rejected,
    /// A valid packet for a session that is not here.
    Stray,
    /// Handled; nothing of it is needed any more.
    Consumed,
    /// A new block: the frame belongs to the session's transfer.
    Block(SessionId, BlockMeta),
    /// The other end speaks another version: it is told so.
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
            Arrival::Rejected => self.counters.frames_rejected += 1,
            Arrival::Stray => self.counters.packets_stray += 1,
            Arrival::Consumed => {}
            Arrival::Refuse(path, refusal) => {
                self.counters.frames_rejected += 1;
                self.send_refusal(&path, &refusal);
            }
        }
        self.umem.release(frame);
    }

    fn classify(&mut self, frame: &Frame<Rx>) -> Arrival {
        let bytes = self.umem.packet(frame);
        let Ok(udp) = net::parse(bytes) else {
            return Arrival::Rejected;
        };
        if udp.destination.port() != self.config.port {
            return Arrival::Rejected;
        }
        let packet = match wire::open(udp.payload) {
            Ok(packet) => packet,
            Err(error @ WireError::UnsupportedVersion { .. }) if self.config.accept => {
                return match Refusal::of_version(&error) {
                    Some(refusal) => Arrival::Refuse(Path::reply_to(&udp), refusal),
                    None => Arrival::Rejected,
                };
            }
            Err(_) => return Arrival::Rejected,
        };
        let remote = udp.source;
        let session = if packet.kind == Kind::Hello {
            match self.peers.greeted_by(remote, &packet) {
                Some(known) => known,
                None if self.config.accept => {
                    let path = Path::reply_to(&udp);
                    let config = self.session_config(&path);
                    return accept(&mut self.peers, config, path, &packet, self.now);
                }
                None => return Arrival::Stray,
            }
        } else {
            SessionId(packet.header.session.get())
        };
        let Some(peer) = self.peers.get_mut(session) else {
            return Arrival::Stray;
        };
        if peer.path.destination != remote {
            return Arrival::Stray;
        }
        let in_place = payload_offset(bytes, &packet) == PAYLOAD_OFFSET;
        if packet.kind == Kind::Data && !in_place {
            // The payload is not where this end asked for it, so it could not go to the disk as it lies.
            return Arrival::Rejected;
        }
        match peer.session.handle_packet(self.now, &packet) {
            Ok(Some(meta)) => Arrival::Block(session, meta),
            // A violation closes the session by itself; its Closed event says why.
            Ok(None) | Err(_) => Arrival::Consumed,
        }
    }

    fn receive_block(&mut self, session: SessionId, meta: BlockMeta, frame: Frame<Rx>) {
        let frame = self.umem.rx_to_disk(frame, meta.len);
        let mut runs = std::mem::take(&mut self.scratch.runs);
        let refused = match self.peers.get_mut(session) {
            None => Some(frame),
            Some(peer) => match peer.inbound.get_mut(meta.transfer) {
                None => {
                    self.counters.blocks_stray += 1;
                    Some(frame)
                }
                Some(inbound) => inbound
                    .receive(self.now, meta.offset, meta.crc, frame, &mut runs)
                    .err(),
            },
        };
        if let Some(frame) = refused {
            self.umem.release(frame);
            if let Some(peer) = self.peers.get_mut(session) {
                peer.session.release_credit(1);
            }
        }
        for run in runs.drain(..) {
            self.write_run(session, meta.transfer, run);
        }
        self.scratch.runs = runs;
    }
}

/// Makes a session for a Hello, or says why there can be none.
fn accept(peers: &mut Peers, config: Config, path: Path, hello: &Packet<'_>, now: Time) -> Arrival {
    let Some(id) = peers.reserve() else {
        return Refusal::busy(hello).map_or(Arrival::Rejected, |busy| Arrival::Refuse(path, busy));
    };
    match Session::accept(config, id.0, hello, now) {
        Ok(session) => {
            peers.insert(id, Peer::new(session, path));
            Arrival::Consumed
        }
        Err(refusal) => {
            peers.unreserve(id);
            Arrival::Refuse(path, refusal)
        }
    }
}

/// Where the packet's payload lies in the frame, from the Ethernet header.
fn payload_offset(frame: &[u8], packet: &Packet<'_>) -> usize {
    packet.payload.as_ptr() as usize - frame.as_ptr() as usize
}

impl EngineEvent {
    /// The session that the event is about.
    pub fn session(&self) -> SessionId {
        match self {
            Self::Connected { session, .. }
            | Self::Message { session, .. }
            | Self::Received { session, .. }
            | Self::Sent { session, .. }
            | Self::Closed { session, .. } => *session,
        }
    }
}
