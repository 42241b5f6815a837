//! What a service asks of the engine: sessions, messages, transfers.

use std::sync::Arc;

use blk_proto::net::Path;
use blk_proto::session::{CloseCode, CloseReason, Session};

use super::peer::Peer;
use super::{Engine, EngineEvent, Inbound, Outbound, Progress, SessionId};
use crate::disk::BlockFile;

impl Engine {
    /// Opens a session to the other end of `path`.
    pub fn connect(&mut self, path: Path) -> Option<SessionId> {
        let id = self.peers.reserve()?;
        let session = Session::connect(self.session_config(&path), id.0, self.now);
        self.peers.insert(id, Peer::new(session, path));
        Some(id)
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

    /// Receives a file of `size` bytes; the end is told by [`EngineEvent::Received`]. `false` when the session is
    /// gone or the transfer's name is taken.
    pub fn start_inbound(
        &mut self,
        session: SessionId,
        transfer: u32,
        file: Arc<BlockFile>,
        size: u64,
        progress: Progress,
    ) -> bool {
        let block_len = self.config.max_payload;
        let Some(peer) = self.peers.get_mut(session) else {
            return false;
        };
        let mut inbound = Inbound::new(file, size, peer.block_len(block_len), progress);
        if size == 0 {
            let outcome = inbound.outcome();
            self.events
                .extend(outcome.map(|outcome| EngineEvent::Received {
                    session,
                    transfer,
                    outcome,
                }));
            return true;
        }
        peer.inbound.insert(transfer, inbound).is_ok()
    }

    /// Sends `len` bytes of `file` from `offset`; the end is told by [`EngineEvent::Sent`]. `false` when the session
    /// is gone or the transfer's name is taken.
    pub fn start_outbound(
        &mut self,
        session: SessionId,
        transfer: u32,
        file: Arc<BlockFile>,
        (offset, len): (u64, u64),
        progress: Progress,
    ) -> bool {
        let block_len = self.config.max_payload;
        let Some(peer) = self.peers.get_mut(session) else {
            return false;
        };
        let mut outbound = Outbound::new(file, offset, len, peer.block_len(block_len), progress);
        if len == 0 {
            let outcome = outbound.outcome();
            self.events.extend(outcome.map(|outcome| EngineEvent::Sent {
                session,
                transfer,
                outcome,
            }));
            return true;
        }
        peer.outbound.insert(transfer, outbound).is_ok()
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
        if let Some(inbound) = inbound {
            let frames = inbound.into_frames();
            peer.session.release_credit(frames.len() as u64);
            frames
                .into_iter()
                .for_each(|frame| self.umem.release(frame));
        }
        if let Some(outbound) = outbound {
            let frames = outbound.into_frames();
            self.send_frames_used -= frames.len();
            frames
                .into_iter()
                .for_each(|frame| self.umem.release(frame));
        }
    }

    /// Ends a session; `Closed` follows when the other end has been told.
    pub fn close(&mut self, session: SessionId, code: CloseCode) {
        if let Some(peer) = self.peers.get_mut(session) {
            peer.session.close(CloseReason::Local(code));
        }
    }
}
