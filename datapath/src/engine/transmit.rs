//! From the sessions to the TX ring: headers are written in front of the payload, in the same frame.

use blk_proto::net::{self, Path};
use blk_proto::session::{Answer, Transmit};
use blk_proto::wire::Header;
use zerocopy::{FromBytes, IntoBytes};

use super::peer::Peer;
use super::{Engine, EngineCounters, HeldBlocks};
use crate::umem::{PACKET_MAX, Umem};
use crate::xsk::XskSocket;

/// Packets that one session may send before the next has its turn.
const BURST: usize = 64;

/// The parts of an engine that sending needs, borrowed apart from the sessions.
struct Sender<'a> {
    xsk: &'a mut XskSocket,
    umem: &'a mut Umem,
    held: &'a mut HeldBlocks,
    counters: &'a mut EngineCounters,
}

impl Engine {
    /// Gives every session a turn of at most [`BURST`] packets, then kicks the kernel; `true` when anything was sent.
    pub(super) fn transmit(&mut self) -> bool {
        self.reap();
        let now = self.now;
        let positions = self.peers.positions();
        let mut busy = false;
        for step in 0..positions {
            let at = (self.turn + step) % positions;
            let Some((_, peer)) = self.peers.at(at) else {
                continue;
            };
            let mut sender = Sender {
                xsk: &mut self.xsk,
                umem: &mut self.umem,
                held: &mut self.held,
                counters: &mut self.counters,
            };
            let mut sent = 0;
            while sent < BURST && sender.send_next(peer, now) {
                sent += 1;
            }
            busy |= sent > 0;
        }
        let kicked = self.xsk.kick();
        if let Err(error) = &kicked
            && !self.transmit_refused
        {
            tracing::warn!(%error, "the kernel did not take the TX ring; trying on");
        }
        self.transmit_refused = kicked.is_err();
        busy
    }

    /// Takes frames back from the completion ring.
    fn reap(&mut self) {
        let mut returned = std::mem::take(&mut self.scratch.returned);
        self.xsk.complete(&mut self.umem, &mut returned);
        for frame in returned.drain(..) {
            self.held.completed(&mut self.umem, frame);
        }
        self.scratch.returned = returned;
    }

    /// Sends a packet that belongs to no session.
    pub(super) fn send_answer(&mut self, path: &Path, answer: &Answer) {
        let mut sender = Sender {
            xsk: &mut self.xsk,
            umem: &mut self.umem,
            held: &mut self.held,
            counters: &mut self.counters,
        };
        if let Ok((header, payload)) = Header::read_from_prefix(answer.as_bytes()) {
            sender.send_inline(path, &header, payload);
        }
    }
}

impl Sender<'_> {
    /// Sends the session's next packet; `false` when there is none, or no room for it.
    fn send_next(&mut self, peer: &mut Peer, now: blk_proto::time::Time) -> bool {
        if self.xsk.transmit_space() == 0 || self.umem.available() == 0 {
            return false;
        }
        let held = &*self.held;
        match peer
            .session
            .poll_transmit(now, |block| held.is_ready(block))
        {
            None => false,
            Some(Transmit::Inline { header, payload }) => {
                self.send_inline(&peer.path, &header, payload)
            }
            Some(Transmit::Block {
                header,
                payload_len,
                block,
            }) => {
                let Some(mut frame) = self.held.take(block) else {
                    // Still in the TX ring; the session was told so, and sends it again when it counts as lost.
                    return true;
                };
                let span = usize::from(header.span.get());
                let packet = self.umem.packet_mut(&mut frame);
                let Some(start) =
                    write_headers(&peer.path, &header, packet, span + usize::from(payload_len))
                else {
                    // Both addresses of a path are of one family and a payload fits a packet, so this cannot be; as
                    // good as lost if it is.
                    self.held.completed(self.umem, frame);
                    return false;
                };
                let len = start + span + usize::from(payload_len);
                match self.xsk.transmit_held(self.umem, frame, len) {
                    Ok(()) => self.counters.frames_sent += 1,
                    Err(frame) => self.held.completed(self.umem, frame),
                }
                true
            }
        }
    }

    /// Sends a packet whose payload is copied behind the header: control, acknowledgements, handshakes.
    fn send_inline(&mut self, path: &Path, header: &Header, payload: &[u8]) -> bool {
        let Some(mut frame) = self.umem.allocate() else {
            return false;
        };
        let span = usize::from(header.span.get());
        let packet = self.umem.packet_mut(&mut frame);
        let len = path.header_len() + span + payload.len();
        let start = if len > PACKET_MAX {
            None
        } else {
            write_headers(path, header, packet, span + payload.len())
        };
        let Some(start) = start else {
            self.umem.release(frame);
            return false;
        };
        packet[start + span..len].copy_from_slice(payload);
        // A kernel may see this one (a closed port answers it), and IPv6 kernels drop datagrams without a checksum.
        // The headers were written just above, so they parse.
        let _ = net::fill_udp_checksum(&mut packet[..len]);
        match self.xsk.transmit(self.umem, frame, len) {
            Ok(()) => {
                self.counters.frames_sent += 1;
                true
            }
            Err(frame) => {
                self.umem.release(frame);
                false
            }
        }
    }
}

/// Writes Ethernet, IP, UDP and protocol headers with their padding; returns where the protocol header starts.
fn write_headers(
    path: &Path,
    header: &Header,
    packet: &mut [u8],
    udp_payload: usize,
) -> Option<usize> {
    let start = path.write_headers(packet, udp_payload).ok()?;
    let bytes = header.as_bytes();
    packet[start..start + bytes.len()].copy_from_slice(bytes);
    packet[start + bytes.len()..start + usize::from(header.span.get())].fill(0);
    Some(start)
}
