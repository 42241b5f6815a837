//! What a service asks of the engine: sessions, messages, transfers.

use std::sync::Arc;
use std::time::Duration;

use blk_proto::net::Path;
use blk_proto::session::{CloseCode, CloseReason, ConnectionId, Session};

use super::peer::{Hop, Peer};
use super::{Coverage, Engine, EngineEvent, Inbound, Outbound, Progress, SessionId, SharedWork};
use crate::disk::BlockFile;

impl Engine {
    /// Opens a session to the other end of `path`.
    pub fn connect(&mut self, path: Path) -> Option<SessionId> {
        let id = self.peers.reserve()?;
        let mut config = self.session_config(&path);
        config.local.initial_credit = self.take_first_window();
        let session = Session::connect(config, id.0, self.now);
        self.peers.insert(self.now, id, Peer::new(session, path));
        Some(id)
    }

    /// The worker that a session has reached at the other end, if that is blockd: another program's ids may say anything.
    pub fn remote_worker(&mut self, session: SessionId) -> Option<u32> {
        let id = self.peers.get_mut(session)?.session.peer_id()?;
        Some(ConnectionId::from_bits(id).worker())
    }

    /// The next hop of a session has another Ethernet address now, or this host's interface has.
    pub fn redirect(&mut self, session: SessionId, hop: Hop) {
        if let Some(peer) = self.peers.get_mut(session) {
            peer.redirect(hop);
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Sends a control message: reliable, in order, at most [`blk_proto::message::MAX_MESSAGE`] bytes.
    pub fn send_message(&mut self, session: SessionId, message: Vec<u8>) {
        if let Some(peer) = self.peers.get_mut(session) {
            peer.messages.push_back(message);
            peer.flush_messages();
        }
    }

    /// Control messages of a session that wait for room: a service stops taking requests when it grows.
    pub fn messages_waiting(&mut self, session: SessionId) -> usize {
        self.peers
            .get_mut(session)
            .map_or(0, |peer| peer.messages.len())
    }

    /// Receives what a file lacks; the end is told by [`EngineEvent::Received`]. Several sessions, of this and of other
    /// engines, may bring one file when they share its coverage; each tells the end. `false` when the session is gone
    /// or the transfer's name is taken.
    pub fn start_inbound(
        &mut self,
        session: SessionId,
        transfer: u32,
        file: Arc<BlockFile>,
        coverage: Arc<Coverage>,
        progress: Progress,
    ) -> bool {
        let serial = self.next_serial();
        let Some(peer) = self.peers.get_mut(session) else {
            return false;
        };
        if let Some(received) = coverage.received() {
            self.events.push_back(EngineEvent::Received {
                session,
                transfer,
                outcome: Ok(received),
            });
            return true;
        }
        let inbound = Inbound::new(serial, file, coverage, progress);
        match peer.inbound.insert(transfer, inbound) {
            Ok(()) => true,
            Err(inbound) => {
                let (frames, _) = inbound.into_frames();
                debug_assert!(frames.is_empty());
                false
            }
        }
    }

    /// Sends what it gets of the work on `file`; the end is told by [`EngineEvent::Sent`]. Several sessions, of this and of
    /// other engines, may share the work; each tells the end. `false` when the session is gone or the transfer's name is
    /// taken.
    pub fn start_outbound(
        &mut self,
        session: SessionId,
        transfer: u32,
        file: Arc<BlockFile>,
        work: Arc<SharedWork>,
        progress: Progress,
    ) -> bool {
        let serial = self.next_serial();
        let Some(peer) = self.peers.get_mut(session) else {
            return false;
        };
        if let Some(sent) = work.sent() {
            self.events.push_back(EngineEvent::Sent {
                session,
                transfer,
                work,
                outcome: Ok(sent),
            });
            return true;
        }
        let outbound = Outbound::new(serial, file, work, progress);
        match peer.outbound.insert(transfer, outbound) {
            Ok(()) => true,
            Err(outbound) => {
                let frames = outbound.into_frames();
                debug_assert!(frames.is_empty());
                false
            }
        }
    }

    /// Whether a session sends what it gets of this work.
    pub fn is_sending(
        &mut self,
        session: SessionId,
        transfer: u32,
        work: &Arc<SharedWork>,
    ) -> bool {
        self.peers
            .get_mut(session)
            .and_then(|peer| peer.outbound.get_mut(transfer))
            .is_some_and(|outbound| Arc::ptr_eq(outbound.work(), work))
    }

    /// Forgets a transfer in either direction. Writes in flight finish into the file; blocks that still come are
    /// dropped. No event follows.
    pub fn abandon(&mut self, session: SessionId, transfer: u32) {
        let Some(peer) = self.peers.get_mut(session) else {
            return;
        };
        peer.session.cancel_transfer(transfer);
        let inbound = peer.inbound.remove(transfer);
        let outbound = peer.outbound.remove(transfer);
        let (received, blocks) = inbound.map(Inbound::into_frames).unwrap_or_default();
        peer.session.release_credit(blocks);
        self.release_all(received);
        let sending = outbound.map(Outbound::into_frames).unwrap_or_default();
        self.release_sending(session, sending);
    }

    /// How long nothing has come from the other end of a session, which is asked for a sign of life. `None`: the session
    /// is gone.
    pub fn silence(&mut self, session: SessionId) -> Option<Duration> {
        let now = self.clock();
        let peer = self.peers.get_mut(session)?;
        peer.session.ping();
        Some(now.saturating_since(peer.session.last_received()))
    }

    /// Ends a session; `Closed` follows when the other end has been told.
    pub fn close(&mut self, session: SessionId, code: CloseCode) {
        if let Some(peer) = self.peers.get_mut(session) {
            peer.session.close(CloseReason::Local(code));
        }
    }
}
