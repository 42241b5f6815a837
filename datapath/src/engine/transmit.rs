//! From the sessions to the TX ring: headers are written in front of the payload, in the same frame. Where packets may lie in
//! several frames, those of a block lie in one of their own, and the payload where it was read to:
//!
//! ```text
//!   frame of the headers  │ Ethernet, IP, UDP, header, padding │       free with its completion
//!   frames of the block   │ payload, up to 3584 each ...       │ ...   held until the block is acknowledged
//! ```

use blk_proto::net::{self, Path};
use blk_proto::session::{Answer, Transmit};
use blk_proto::time::Time;
use blk_proto::wire::{Header, PAYLOAD_OFFSET};
use zerocopy::IntoBytes;

use super::grouping::Change;
use super::peer::Peer;
use super::{Engine, EngineCounters, HeldBlocks, reserve};
use crate::chain::Chain;
use crate::link::{Link, LinkKind};
use crate::udp::Grouping;
use crate::umem::{FRAGMENT_START, Frame, Free, Held, PAYLOAD_START, Umem};

/// A payload's pieces can be sent as fragments, from where they were read to.
const _: () = assert!(FRAGMENT_START == PAYLOAD_START);

/// The parts of an engine that sending needs, borrowed apart from the sessions.
struct Sender<'a> {
    link: &'a mut Link,
    umem: &'a mut Umem,
    held: &'a mut HeldBlocks,
    counters: &'a mut EngineCounters,
}

impl Engine {
    /// Gives every session a turn of at most [`Link::burst`] packets, then kicks the kernel; `true` when anything was sent.
    pub(super) fn transmit(&mut self) -> bool {
        self.reap();
        let now = self.now;
        let positions = self.peers.positions();
        let burst = self.link.burst();
        let mut busy = false;
        for step in 0..positions {
            let at = (self.turn + step) % positions;
            let Some((_, peer)) = self.peers.at(at) else {
                continue;
            };
            let mut sender = Sender {
                link: &mut self.link,
                umem: &mut self.umem,
                held: &mut self.held,
                counters: &mut self.counters,
            };
            sender.begin_turn(peer, now);
            let mut sent = 0;
            while sent < burst && sender.send_next(peer, now) {
                sent += 1;
            }
            busy |= sent > 0;
            sender.end_turn(peer);
        }
        let kicked = self.link.kick(&self.umem);
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
        self.link.complete(&mut self.umem, &mut returned);
        for frame in returned.drain(..) {
            self.held.completed(&mut self.umem, frame);
        }
        self.scratch.returned = returned;
    }

    /// Sends a packet that belongs to no session.
    pub(super) fn send_answer(&mut self, path: &Path, answer: &Answer) {
        let mut sender = Sender {
            link: &mut self.link,
            umem: &mut self.umem,
            held: &mut self.held,
            counters: &mut self.counters,
        };
        sender.send_copied(Grouping::Allowed, |packet| {
            write_answer(path, answer, packet)
        });
    }
}

impl Sender<'_> {
    /// Looks whether messages of several packets arrive. An AF_XDP socket has none.
    fn begin_turn(&mut self, peer: &mut Peer, now: Time) {
        if self.link.kind() != LinkKind::Udp {
            return;
        }
        let remote = peer.path.destination;
        match peer.company.begin_turn(now, peer.session.watched()) {
            Some(Change::Part) => {
                self.link.note_parted();
                tracing::info!(
                    %remote,
                    "nothing arrives of messages of several packets: the other end may not take them, so packets go one by one"
                );
            }
            Some(Change::Join) => {
                tracing::info!(%remote, "messages of several packets arrive again");
            }
            None => {}
        }
    }

    /// Has the session watch what of this turn went as one message.
    fn end_turn(&mut self, peer: &mut Peer) {
        if let Some(message) = peer.company.end_turn() {
            peer.session.watch(message);
        }
    }

    /// Sends the session's next packet; `false` when there is none, or no room for it.
    fn send_next(&mut self, peer: &mut Peer, now: Time) -> bool {
        // What comes next is not known before it is taken, and then it counts as sent.
        let room = reserve::frames(self.umem);
        if self.link.transmit_space() < room || self.umem.available() < room {
            return false;
        }
        let held = &*self.held;
        let grouping = peer.company.grouping();
        match peer
            .session
            .poll_transmit(now, |block| held.is_ready(block))
        {
            None => false,
            Some(Transmit::Inline { header, payload }) => {
                if !fits(&peer.path, &header, self.umem) {
                    if self.umem.has_fragments() {
                        return self.send_long_copied(&peer.path, &header, payload);
                    }
                    // A probe of what no frame holds, with more tags here than at the other end: as good as lost.
                    return true;
                }
                let sent = self.send_copied(grouping, |packet| {
                    write_inline(&peer.path, &header, payload, packet)
                });
                if sent {
                    peer.company.sent(&header);
                }
                sent
            }
            Some(Transmit::Block {
                header,
                payload_len,
                block,
            }) => {
                let Some(frames) = self.held.take(block) else {
                    // Still in the TX ring; the session was told so, and sends it again when it counts as lost.
                    return true;
                };
                let mut frame = match frames {
                    Chain::One(frame) if !self.umem.has_fragments() => frame,
                    frames => return self.send_block(&peer.path, &header, frames),
                };
                let span = usize::from(header.span.get());
                if peer.path.header_len() + span != PAYLOAD_OFFSET {
                    let sent = self.send_shifted(&peer.path, &header, &frame, grouping);
                    self.held.completed(self.umem, frame);
                    if sent {
                        peer.company.sent(&header);
                    }
                    return sent;
                }
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
                match self.link.transmit_held(self.umem, frame, len, grouping) {
                    Ok(()) => {
                        self.counters.frames_sent += 1;
                        peer.company.sent(&header);
                    }
                    Err(frame) => self.held.completed(self.umem, frame),
                }
                true
            }
        }
    }

    /// Sends a block whose headers lie in a frame of their own; `false` when there is no room for it.
    fn send_block(&mut self, path: &Path, header: &Header, block: Chain<Frame<Held>>) -> bool {
        let payload = usize::from(header.payload_len.get());
        let Some(first) = self.write_alone(path, header, payload) else {
            block.for_each(|frame| self.held.completed(self.umem, frame));
            return false;
        };
        match self.link.transmit_parts(self.umem, vec![first], block) {
            Ok(()) => {
                self.counters.frames_sent += 1;
                true
            }
            Err(back) => {
                back.held
                    .for_each(|frame| self.held.completed(self.umem, frame));
                self.release_parts(back.parts);
                // It counts as sent, and as lost in the end.
                true
            }
        }
    }

    /// Sends a packet with a copy of a payload that does not fit into one frame with its headers.
    fn send_long_copied(&mut self, path: &Path, header: &Header, payload: &[u8]) -> bool {
        let Some(mut first) = self.write_alone(path, header, payload.len()) else {
            return false;
        };
        // As in `send_copied`; a span is even, as all headers are.
        let (frame, len) = (&mut first.0, first.1);
        let headers = &mut self.umem.packet_mut(frame)[..len];
        let _ = net::fill_udp_checksum_of_two(headers, payload);
        let mut parts = vec![first];
        for piece in payload.chunks(self.umem.packet_max()) {
            let Some(mut frame) = self.umem.allocate() else {
                self.release_parts(parts);
                return false;
            };
            self.umem.packet_mut(&mut frame)[..piece.len()].copy_from_slice(piece);
            parts.push((frame, piece.len()));
        }
        let sent = self
            .link
            .transmit_parts(self.umem, parts, Chain::Many(Vec::new()));
        match sent {
            Ok(()) => {
                self.counters.frames_sent += 1;
                true
            }
            Err(back) => {
                self.release_parts(back.parts);
                false
            }
        }
    }

    /// All headers of a packet with so many bytes of payload, in a frame of their own, and how long they are.
    fn write_alone(
        &mut self,
        path: &Path,
        header: &Header,
        payload: usize,
    ) -> Option<(Frame<Free>, usize)> {
        let mut frame = self.umem.allocate()?;
        let span = usize::from(header.span.get());
        let packet = self.umem.packet_mut(&mut frame);
        match write_headers(path, header, packet, span + payload) {
            Some(start) => Some((frame, start + span)),
            None => {
                self.umem.release(frame);
                None
            }
        }
    }

    fn release_parts(&mut self, parts: Vec<(Frame<Free>, usize)>) {
        for (frame, _) in parts {
            self.umem.release(frame);
        }
    }

    /// Sends a copy of a block: with other VLAN tags here than at the other end its payload lies elsewhere in the packet than in
    /// its frame, and an AF_XDP socket sends packets from one place in a frame only.
    fn send_shifted(
        &mut self,
        path: &Path,
        header: &Header,
        block: &Frame<Held>,
        grouping: Grouping,
    ) -> bool {
        let Some(mut frame) = self.umem.allocate() else {
            return false;
        };
        let span = usize::from(header.span.get());
        let packet = self.umem.packet_mut(&mut frame);
        let written = write_headers(path, header, packet, span + block.len());
        let Some(start) = written.filter(|_| fits(path, header, self.umem)) else {
            // No block is longer than the probe that got through before it.
            self.umem.release(frame);
            return true;
        };
        self.umem.copy_payload(block, &mut frame, start + span);
        let len = start + span + block.len();
        match self.link.transmit(self.umem, frame, len, grouping) {
            Ok(()) => {
                self.counters.frames_sent += 1;
                self.counters.blocks_shifted += 1;
                true
            }
            Err(frame) => {
                self.umem.release(frame);
                false
            }
        }
    }

    /// Sends the packet that `write` makes, of the length that it returns; `false` when it makes none, or there is no
    /// room for it.
    fn send_copied(
        &mut self,
        grouping: Grouping,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let Some(mut frame) = self.umem.allocate() else {
            return false;
        };
        let packet = self.umem.packet_mut(&mut frame);
        let Some(len) = write(packet) else {
            self.umem.release(frame);
            return false;
        };
        // A kernel may see this one (a closed port answers it), and IPv6 kernels drop datagrams without a checksum.
        if self.link.wants_checksums() {
            // The headers were written just above, so they parse.
            let _ = net::fill_udp_checksum(&mut packet[..len]);
        }
        match self.link.transmit(self.umem, frame, len, grouping) {
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

/// Writes a packet of a session whose payload is copied behind the header: control, acknowledgements, handshakes. Returns
/// its length; `None` if it is too long.
fn write_inline(path: &Path, header: &Header, payload: &[u8], packet: &mut [u8]) -> Option<usize> {
    let span = usize::from(header.span.get());
    let len = path.header_len() + span + payload.len();
    if len > packet.len() {
        return None;
    }
    let start = write_headers(path, header, packet, span + payload.len())?;
    packet[start + span..len].copy_from_slice(payload);
    Some(len)
}

/// Whether a packet with this header has room in a frame.
fn fits(path: &Path, header: &Header, umem: &Umem) -> bool {
    let lens = [header.span, header.payload_len].map(|len| usize::from(len.get()));
    path.header_len() + lens[0] + lens[1] <= umem.packet_max()
}

/// Writes an answer, which is whole already: a Refuse has no span in its header. Returns the packet's length.
fn write_answer(path: &Path, answer: &Answer, packet: &mut [u8]) -> Option<usize> {
    let bytes = answer.as_bytes();
    let start = path.write_headers(packet, bytes.len()).ok()?;
    let len = start + bytes.len();
    packet.get_mut(start..len)?.copy_from_slice(bytes);
    Some(len)
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

#[cfg(test)]
mod tests {
    use blk_proto::session::{
        Acceptor, AcceptorConfig, CloseCode, Config, Occupancy, RetryPolicy, Session, Verdict,
    };
    use blk_proto::wire::{self, HEADER_LEN, Kind, VERSION_AT};

    use super::*;
    use crate::umem::PACKET_MAX;

    const NOW: Time = Time::from_nanos(1);

    fn path(source: &str, destination: &str) -> Path {
        let address = |text: &str| text.parse().unwrap();
        Path::new([2; 6], [4; 6], address(source), address(destination))
    }

    fn paths() -> [Path; 2] {
        [
            path("10.0.0.1:7440", "10.0.0.2:5000"),
            path("[fd00::1]:7440", "[fd00::2]:5000"),
        ]
    }

    /// What a door that wants proof of every address answers to a Hello, to one in another version and to a packet of
    /// no session; and what is said of a session that is over.
    fn answers() -> Vec<Answer> {
        let settings = AcceptorConfig {
            retry: RetryPolicy::Always,
            ..AcceptorConfig::default()
        };
        let mut acceptor = Acceptor::new(settings, &[7; 32]);
        let mut judge = |bytes: &[u8]| {
            let (config, occupancy) = (Config::default(), Occupancy::default());
            let source = "10.0.0.2:5000".parse().unwrap();
            let verdict = match wire::open(bytes) {
                Ok(packet) => acceptor.judge(NOW, source, &packet, &config, occupancy),
                Err(error) => acceptor.judge_foreign(NOW, &error),
            };
            match verdict {
                Verdict::Answer(answer) => answer,
                other => panic!("{other:?}"),
            }
        };
        let mut session = Session::<()>::connect(Config::default(), 5, NOW);
        let Some(Transmit::Inline { header, payload }) = session.poll_transmit(NOW, |()| true)
        else {
            panic!("a client begins with a Hello");
        };
        let hello = [header.as_bytes(), payload].concat();
        let mut foreign = hello.clone();
        foreign[VERSION_AT] += 1;
        let mut stray = Header::new(Kind::Control, 99);
        wire::seal(&mut stray, wire::payload_crc(&[]));
        vec![
            judge(&hello),
            judge(&foreign),
            judge(stray.as_bytes()),
            Answer::close(5, CloseCode::BUSY),
        ]
    }

    #[test]
    fn answers_are_sent_as_they_are() {
        let kinds = answers().iter().map(Answer::kind).collect::<Vec<_>>();
        assert_eq!(kinds, [Kind::Retry, Kind::Refuse, Kind::Reset, Kind::Close]);
        for (path, answer) in paths()
            .iter()
            .flat_map(|path| answers().into_iter().map(move |answer| (path, answer)))
        {
            let mut packet = [0xff; 512];
            let len = write_answer(path, &answer, &mut packet).unwrap();
            let udp = net::parse(&packet[..len]).unwrap();
            assert_eq!(udp.payload, answer.as_bytes());
            assert_eq!(udp.destination, path.destination);
            assert_eq!(wire::open(udp.payload).unwrap().kind, answer.kind());
        }
    }

    #[test]
    fn a_payload_lies_behind_its_header() {
        let payload = [3; 40];
        let mut header = Header::new(Kind::Control, 5);
        header.payload_len = (payload.len() as u16).into();
        wire::seal(&mut header, wire::payload_crc(&payload));
        for path in &paths() {
            let mut packet = [0xff; PACKET_MAX];
            let len = write_inline(path, &header, &payload, &mut packet).unwrap();
            let udp = net::parse(&packet[..len]).unwrap();
            assert_eq!(udp.payload.len(), HEADER_LEN + payload.len());
            assert_eq!(wire::open(udp.payload).unwrap().payload, payload);
            let long = [0; PACKET_MAX];
            assert_eq!(write_inline(path, &header, &long, &mut packet), None);
        }
    }
}
