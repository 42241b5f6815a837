//! From a socket into frames.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use blk_proto::net::{ETHERNET_LEN, Ecn, IPV4_LEN, IPV6_LEN, Path, UDP_LEN};
use blk_proto::wire::KIND_AT;

use super::counters::UdpCounters;
use super::gate::Gate;
use super::port::{Socket, UdpPort};
use super::split::{Expected, Lie, MESSAGE_MAX, PIECES_MAX, segments};
use super::sys::{self, Control, Pieces, Received};
use crate::umem::{Fill, Frame, PACKET_MAX, Rx, Umem};

/// Longest headers made here: Ethernet, IPv6, UDP.
const HEADERS_MAX: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;

/// What receiving needs besides a socket.
pub(super) struct Receiver {
    /// Frames put aside, used as a stack: the one used last is the one still in the CPU's cache.
    pub(super) aside: Vec<Frame<Fill>>,
    pieces: Pieces,
    control: Control,
    /// Takes what does not fit into the pieces.
    spill: Vec<u8>,
    /// A message whose segments lie across frames.
    stream: Vec<u8>,
    /// Frames of datagrams that were not let in, while their message is handed over.
    passed_over: Vec<Frame<Fill>>,
}

/// One socket, and what is expected to come next.
pub(super) struct Inlet {
    ipv6: bool,
    connected: Option<(SocketAddr, SocketAddr)>,
    port: u16,
    gate: Option<Arc<Gate>>,
    expected: Expected,
}

/// One message in its frames.
struct Message<'a> {
    path: Path,
    received: Received,
    lie: Lie,
    gate: Option<&'a Gate>,
}

impl Inlet {
    /// `packet_len` is where the longest packet ends, in bytes from the start of its Ethernet header.
    pub(super) fn new(socket: &Socket, port: &UdpPort, packet_len: usize) -> Self {
        let mut inlet = Self {
            ipv6: socket.ipv6,
            connected: socket.connected,
            port: port.port(),
            gate: port.gate.clone(),
            expected: Expected::new(0, PACKET_MAX),
        };
        let headers = inlet.header_len();
        inlet.expected = Expected::new(packet_len.saturating_sub(headers), PACKET_MAX - headers);
        inlet
    }

    /// Bytes of headers that are made for its packets.
    fn header_len(&self) -> usize {
        let ip = if self.ipv6 { IPV6_LEN } else { IPV4_LEN };
        ETHERNET_LEN + ip + UDP_LEN
    }

    /// The way of a message, from its sender to here.
    fn path(&self, received: &Received) -> Option<Path> {
        let source = received
            .source
            .or(self.connected.map(|(_, remote)| remote))?;
        let destination = match self.connected {
            Some((local, _)) => local,
            None => SocketAddr::new(received.local?, self.port),
        };
        let fits = source.is_ipv6() == self.ipv6 && destination.is_ipv6() == self.ipv6;
        fits.then(|| Path::new([0; 6], [0; 6], source, destination))
    }
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self {
            aside: Vec::new(),
            pieces: Pieces::new(),
            control: Control::new(),
            spill: vec![0; MESSAGE_MAX],
            stream: Vec::with_capacity(MESSAGE_MAX),
            passed_over: Vec::new(),
        }
    }

    /// Whether there are frames for all datagrams of any message.
    pub(super) fn has_frames(&self) -> bool {
        self.aside.len() >= PIECES_MAX
    }

    /// Receives one message and appends its packets; there must be frames for it.
    pub(super) fn receive(
        &mut self,
        umem: &mut Umem,
        socket: &Socket,
        inlet: &mut Inlet,
        counters: &mut UdpCounters,
        batch: &mut Vec<Frame<Rx>>,
    ) -> io::Result<()> {
        let (at, expected) = (inlet.header_len(), inlet.expected);
        self.pieces.clear();
        for frame in self.aside.iter_mut().rev().take(expected.pieces()) {
            let area = umem.aside_mut(frame);
            self.pieces.push_mut(&mut area[at..at + expected.piece()]);
        }
        self.pieces.push_mut(&mut self.spill);
        // SAFETY: the pieces are in frames whose tokens are here, each in one, and in `spill`; nothing touches them before
        // the call returns.
        let received =
            unsafe { sys::receive(socket.socket.as_fd(), &mut self.pieces, &mut self.control) }?;
        counters.receive_calls += 1;
        let segment = received.segment.unwrap_or(received.len).max(1);
        let Some(path) = inlet.path(&received).filter(|_| !received.truncated) else {
            counters.oversized += received.len.div_ceil(segment) as u64;
            return Ok(());
        };
        if let Some(gate) = &inlet.gate
            && let Some(refusal) = gate.refuse_all(path.source.ip(), segment.min(received.len))
        {
            // An empty message is one datagram.
            counters.refuse(refusal, received.len.div_ceil(segment).max(1) as u64);
            return Ok(());
        }
        let lie = expected.lie(received.len, segment);
        if lie == Lie::Across {
            self.collect(umem, at, expected, received.len);
            inlet.expected.follow(segment);
        }
        let message = Message {
            path,
            received,
            lie,
            gate: inlet.gate.as_deref(),
        };
        self.hand_over(umem, &message, counters, batch);
        Ok(())
    }

    /// Copies a message that lies across pieces into `stream`.
    fn collect(&mut self, umem: &mut Umem, at: usize, expected: Expected, len: usize) {
        self.stream.clear();
        for frame in self.aside.iter_mut().rev().take(expected.pieces()) {
            let bytes = expected.piece().min(len - self.stream.len());
            let area = umem.aside_mut(frame);
            self.stream.extend_from_slice(&area[at..at + bytes]);
        }
        let rest = len - self.stream.len();
        self.stream.extend_from_slice(&self.spill[..rest]);
    }

    /// Writes headers in front of the segments, and hands their frames over.
    fn hand_over(
        &mut self,
        umem: &mut Umem,
        message: &Message<'_>,
        counters: &mut UdpCounters,
        batch: &mut Vec<Frame<Rx>>,
    ) {
        let (path, received, lie) = (&message.path, &message.received, message.lie);
        let at = path.header_len();
        let ecn = Ecn::from_bits(received.ecn);
        let segment = received.segment.unwrap_or(received.len);
        // Packets of one length have the same headers.
        let mut headers = ([0; HEADERS_MAX], usize::MAX);
        for (start, len) in segments(received.len, segment) {
            counters.received += 1;
            let refusal = message.gate.and_then(|gate| {
                let kind = || self.kind_at(umem, lie, at, start);
                gate.refuse(path.source.ip(), len, kind)
            });
            if let Some(refusal) = refusal {
                counters.refuse(refusal, 1);
                // The next datagram lies in the next frame.
                if lie == Lie::InPlace {
                    self.passed_over.extend(self.aside.pop());
                }
                continue;
            }
            if headers.1 != len {
                // Of one family, and room for the longest headers; no segment is longer than a message.
                let written = path.write_marked(&mut headers.0, len, ecn);
                debug_assert!(written.is_ok(), "{written:?}");
                headers.1 = len;
            }
            if at + len > PACKET_MAX {
                counters.oversized += 1;
                continue;
            }
            let Some(mut frame) = self.aside.pop() else {
                counters.oversized += 1;
                continue;
            };
            let area = umem.aside_mut(&mut frame);
            area[..at].copy_from_slice(&headers.0[..at]);
            if lie == Lie::Across {
                area[at..at + len].copy_from_slice(&self.stream[start..start + len]);
                counters.copied += 1;
            }
            batch.push(umem.aside_to_rx(frame, at + len));
        }
        self.aside.append(&mut self.passed_over);
    }

    /// What kind of packet the datagram is that begins at `start` of the message and is the next one to be handed over, behind
    /// `at` bytes of headers.
    fn kind_at(&mut self, umem: &mut Umem, lie: Lie, at: usize, start: usize) -> u8 {
        match (lie, self.aside.last_mut()) {
            (Lie::InPlace, Some(frame)) => umem.aside_mut(frame)[at + KIND_AT],
            _ => self.stream[start + KIND_AT],
        }
    }
}
