//! From the RX ring to the session: parse, check, and hand each block to its transfer.

use blk_proto::drops::DropReason;
use blk_proto::net::{Ecn, Path};
use blk_proto::session::{Answer, BlockMeta, CloseCode, CloseReason, Verdict};
use blk_proto::wire::{self, WireError};

use super::admit::{Door, is_another_workers, unserved};
use super::events::SessionId;
use super::parts::Parts;
use super::{Engine, Unwanted};
use crate::chain::Chain;
use crate::umem::{Disk, Frame, PAYLOAD_MAX, Rx};

/// What a received frame turned out to be.
pub(super) enum Arrival {
    /// Nothing that anybody here can take.
    Dropped(DropReason),
    /// Handled; nothing of it is needed any more. A session counts what it drops.
    Consumed,
    /// A new block, so many bytes after the start of its packet: the frames belong to the session's transfer.
    Block(SessionId, BlockMeta, usize),
    /// It belongs to no session, and its sender is told so: a Retry, a Refuse or a Reset.
    Answered(Path, Answer, DropReason),
    /// A Hello that made a session; there was no room, so this one has to go for it.
    Displaces(SessionId),
}

impl Engine {
    /// Takes what the RX ring has, up to one batch; `true` when there was anything.
    pub(super) fn receive(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.scratch.received);
        let mut long = std::mem::take(&mut self.scratch.long);
        self.link.receive(&mut self.umem, &mut batch, &mut long);
        let busy = !batch.is_empty();
        let mut at = 0;
        let mut frames = batch.drain(..);
        for range in long.drain(..) {
            for frame in frames.by_ref().take(range.start - at) {
                self.receive_packet(Chain::One(frame));
            }
            let parts = frames.by_ref().take(range.len()).collect();
            self.receive_packet(Chain::Many(parts));
            at = range.end;
        }
        for frame in frames {
            self.receive_packet(Chain::One(frame));
        }
        self.scratch.received = batch;
        self.scratch.long = long;
        busy
    }

    /// Takes a UDP payload that came another way than through the link, as a packet on this path from its sender to here.
    pub fn receive_stray(&mut self, path: &Path, payload: &[u8]) {
        let Some(mut frame) = self.umem.allocate() else {
            return;
        };
        let packet = self.umem.packet_mut(&mut frame);
        let written = path.write_headers(packet, payload.len()).ok();
        let area = written.and_then(|at| packet.get_mut(at..at + payload.len()));
        let Some(area) = area else {
            // Longer than any packet of ours.
            return self.umem.release(frame);
        };
        area.copy_from_slice(payload);
        let frame = self
            .umem
            .free_to_rx(frame, path.header_len() + payload.len());
        self.counters.frames_stray += 1;
        self.receive_packet(Chain::One(frame));
    }

    fn receive_packet(&mut self, frames: Chain<Frame<Rx>>) {
        self.counters.frames_received += 1;
        match self.classify(frames.as_slice()) {
            Arrival::Block(session, meta, at) => {
                let frames = self.put_in_place(frames, &meta, at);
                return self.receive_block(session, meta, frames);
            }
            Arrival::Dropped(reason) => self.counters.dropped.count(reason),
            Arrival::Consumed => {}
            Arrival::Answered(path, answer, reason) => {
                self.counters.dropped.count(reason);
                self.send_answer(&path, &answer);
            }
            Arrival::Displaces(old) => self.bury(old, CloseReason::Local(CloseCode::BUSY)),
        }
        frames.for_each(|frame| self.umem.release(frame));
    }

    fn classify(&mut self, frames: &[Frame<Rx>]) -> Arrival {
        let copied;
        let mut parts = Parts::of(&self.umem, frames);
        if !parts.may_be_apart() {
            copied = self.umem.linear(frames);
            parts = Parts::whole(&copied);
        }
        let udp = match parts.parse() {
            Ok(udp) => udp,
            Err(error) => return Arrival::Dropped((&error).into()),
        };
        if udp.destination.port() != self.config.port {
            return Arrival::Dropped(DropReason::WrongPort);
        }
        let packet = match wire::open_parts(udp.payload, parts.rest()) {
            Ok(packet) => packet,
            Err(error @ WireError::UnsupportedVersion { .. }) => {
                let verdict = self.acceptor.judge_foreign(self.now, &error);
                return unserved(verdict, Path::reply_to(&udp));
            }
            Err(error) => return Arrival::Dropped((&error).into()),
        };
        let remote = udp.source;
        let named = self.peers.named_by(remote, &packet);
        let reason = match named.and_then(|id| Some((id, self.peers.get_mut(id)?))) {
            // A client knows its VLAN from its user or the kernel; its NIC may take the tags out.
            Some((_, peer)) if self.config.accept && !peer.path.is_in(&udp.vlans) => {
                DropReason::WrongVlan
            }
            Some((session, peer)) if peer.path.destination == remote => {
                let ecn = Ecn::from_bits(udp.ecn);
                // A client knows its next hop from the kernel.
                let outcome = if self.config.accept && peer.is_elsewhere(&udp) {
                    peer.handle_and_follow(self.now, &packet, &udp)
                } else {
                    peer.session.handle_packet(self.now, &packet, ecn)
                };
                return match outcome {
                    Ok(Some(meta)) => {
                        let at = udp.payload_offset + usize::from(packet.header.span.get());
                        Arrival::Block(session, meta, at)
                    }
                    // A violation closes the session by itself; its Closed event says why.
                    Ok(None) | Err(_) => Arrival::Consumed,
                };
            }
            Some(_) => DropReason::WrongAddress,
            None => DropReason::NoSession,
        };
        if is_another_workers(named, self.config.worker, self.config.workers.get()) {
            return Arrival::Dropped(DropReason::WrongWorker);
        }
        let path = Path::reply_to(&udp);
        if let Some(id) = named
            && let Some(answer) = self.graves.visit(self.now, id, remote, &packet)
        {
            let reason = DropReason::SessionClosed;
            return match answer {
                Some(answer) => Arrival::Answered(path, answer, reason),
                None => Arrival::Dropped(reason),
            };
        }
        let mut config = self.session_config(&path);
        let occupancy = self.peers.occupancy();
        let verdict = self
            .acceptor
            .judge(self.now, remote, &packet, &config, occupancy);
        let Verdict::Accept { validated, evict } = verdict else {
            return match unserved(verdict, path) {
                Arrival::Answered(path, answer, DropReason::NoSession) => {
                    Arrival::Answered(path, answer, reason)
                }
                other => other,
            };
        };
        config.local.initial_credit = self.take_first_window();
        let mut door = Door {
            now: self.now,
            acceptor: &mut self.acceptor,
            peers: &mut self.peers,
        };
        door.admit(config, path, &packet, validated, evict)
    }

    /// The frames of a block, `at` bytes after the start of its packet, for the disk. A block lies elsewhere than this end asked
    /// for when there are other VLAN tags than its sender was told of, or other headers that nobody foresaw: it is moved. So is a
    /// short one where packets may lie in several frames.
    fn put_in_place(
        &mut self,
        frames: Chain<Frame<Rx>>,
        meta: &BlockMeta,
        at: usize,
    ) -> Chain<Frame<Disk>> {
        let (frames, moved) = match frames {
            Chain::One(frame) => {
                let (frame, moved) = self.umem.take_payload(frame, at, meta.len);
                (Chain::One(frame), moved)
            }
            Chain::Many(frames) => {
                self.counters.blocks_long += u64::from(usize::from(meta.len) > PAYLOAD_MAX);
                self.umem.take_payloads(frames, at, meta.len)
            }
        };
        self.counters.blocks_moved += u64::from(moved);
        frames
    }

    fn receive_block(&mut self, session: SessionId, meta: BlockMeta, frames: Chain<Frame<Disk>>) {
        let mut runs = std::mem::take(&mut self.scratch.runs);
        let unwanted = |frames| Unwanted {
            frames,
            duplicate: false,
        };
        let refused = match self.peers.get_mut(session) {
            None => Some(unwanted(frames)),
            Some(peer) => match peer.inbound.get_mut(meta.transfer) {
                None => {
                    self.counters.blocks_stray += 1;
                    Some(unwanted(frames))
                }
                Some(inbound) => inbound
                    .receive(self.now, meta.offset, meta.crc, frames, &mut runs)
                    .err(),
            },
        };
        if let Some(unwanted) = refused {
            unwanted.frames.for_each(|frame| self.umem.release(frame));
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

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
