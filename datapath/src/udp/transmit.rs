//! From frames to a socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use blk_proto::net;

use super::counters::UdpCounters;
use super::group::{Grouping, flow, group, header_len, segments_max};
use super::port::Socket;
use super::sys::{self, Control, Destination, Pieces};
use crate::umem::{Frame, Free, Held, TxFree, TxHeld, Umem};

/// A packet that waits for the socket.
struct Packet {
    frame: Token,
    /// Bytes of the headers, which are not sent.
    headers: u8,
    /// Bytes in all.
    len: u16,
    grouping: Grouping,
}

/// The frame of a packet.
enum Token {
    Free(Frame<TxFree>),
    Held(Frame<TxHeld>),
}

impl Packet {
    fn bytes<'a>(&self, umem: &'a Umem) -> &'a [u8] {
        let len = usize::from(self.len);
        match &self.frame {
            Token::Free(frame) => umem.queued_packet(frame, len),
            Token::Held(frame) => umem.queued_packet(frame, len),
        }
    }

    fn payload_len(&self) -> usize {
        usize::from(self.len) - usize::from(self.headers)
    }
}

/// What became of a message.
enum Sent {
    /// The kernel took it.
    All,
    /// No room: later.
    Later,
    /// The kernel does not cut messages on this way: single datagrams may get through.
    Uncut,
    /// It will not take it.
    Refused,
}

/// Packets on their way out.
pub(super) struct Sender {
    queue: VecDeque<Packet>,
    done: Vec<Token>,
    pieces: Pieces,
    control: Control,
    /// So many packets go one by one.
    single: usize,
    /// Packets in a message.
    most: usize,
    /// What the kernel heard about the other end.
    pub(super) heard: Option<io::Error>,
}

impl Sender {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            done: Vec::new(),
            pieces: Pieces::new(),
            control: Control::new(),
            single: 0,
            most: segments_max(),
            heard: None,
        }
    }

    /// Packets that wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Queues a packet whose frame is free afterwards.
    pub(super) fn queue_free(
        &mut self,
        umem: &mut Umem,
        frame: Frame<Free>,
        len: usize,
        grouping: Grouping,
    ) {
        let frame = Token::Free(umem.queue_free(frame));
        self.push(umem, frame, len, grouping);
    }

    /// Queues a packet whose frame is held afterwards.
    pub(super) fn queue_held(
        &mut self,
        umem: &mut Umem,
        frame: Frame<Held>,
        len: usize,
        grouping: Grouping,
    ) {
        let frame = Token::Held(umem.queue_held(frame));
        self.push(umem, frame, len, grouping);
    }

    fn push(&mut self, umem: &Umem, frame: Token, len: usize, grouping: Grouping) {
        let mut packet = Packet {
            frame,
            headers: 0,
            len: len as u16,
            grouping,
        };
        match header_len(packet.bytes(umem)) {
            Some(headers) => {
                packet.headers = headers as u8;
                self.queue.push_back(packet);
            }
            // VLAN tags are the kernel's matter here, so nothing makes such a packet; as good as lost if it does.
            None => self.done.push(packet.frame),
        }
    }

    /// Frames of packets that the kernel took: free ones are freed, held ones appended.
    pub(super) fn complete(&mut self, umem: &mut Umem, returned: &mut Vec<Frame<Held>>) -> usize {
        let count = self.done.len();
        for token in self.done.drain(..) {
            match token {
                Token::Free(frame) => umem.release(frame),
                Token::Held(frame) => returned.push(umem.sent_held(frame)),
            }
        }
        count
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(super) fn send(&mut self, umem: &Umem, sockets: &[Socket], counters: &mut UdpCounters) {
        while !self.queue.is_empty() {
            let count = if self.single > 0 {
                1
            } else {
                let shares = |packet: &&Packet| packet.grouping == Grouping::Allowed;
                let shared = self.queue.iter().take_while(shares).map(|packet| {
                    let header = &packet.bytes(umem)[..usize::from(packet.headers)];
                    (flow(header), packet.payload_len())
                });
                let count = group(self.most, shared);
                // None: the first one goes alone.
                count.max(1)
            };
            match self.send_group(umem, sockets, count) {
                Sent::All => {
                    counters.send_calls += 1;
                    counters.sent += count as u64;
                }
                Sent::Later => return,
                Sent::Uncut if count > 1 => {
                    counters.unsegmented += 1;
                    self.single = count;
                    continue;
                }
                Sent::Uncut | Sent::Refused => counters.refused += count as u64,
            }
            self.single = self.single.saturating_sub(count);
            self.done
                .extend(self.queue.drain(..count).map(|packet| packet.frame));
        }
    }

    /// Sends the first `count` packets as one message.
    fn send_group(&mut self, umem: &Umem, sockets: &[Socket], count: usize) -> Sent {
        self.pieces.clear();
        for packet in self.queue.iter().take(count) {
            let bytes = packet.bytes(umem);
            self.pieces.push(&bytes[usize::from(packet.headers)..]);
        }
        let Some(first) = self.queue.front() else {
            return Sent::All;
        };
        let segment = (count > 1).then(|| first.payload_len() as u16);
        let Ok(headers) = net::parse(first.bytes(umem)) else {
            return Sent::Refused;
        };
        let of_family = |socket: &&Socket| socket.ipv6 == headers.destination.is_ipv6();
        let Some(socket) = sockets.iter().find(of_family) else {
            return Sent::Refused;
        };
        let destination = socket.connected.is_none().then_some(Destination {
            to: headers.destination,
            from: headers.source.ip(),
        });
        let mut again = true;
        loop {
            // SAFETY: the pieces are in frames whose tokens are in the queue.
            let sent = unsafe {
                sys::send(
                    socket.socket.as_fd(),
                    &mut self.pieces,
                    &mut self.control,
                    segment,
                    destination,
                )
            };
            let Err(error) = sent else { return Sent::All };
            let errno = error.raw_os_error().unwrap_or(0);
            match errno {
                libc::EINTR => {}
                libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => return Sent::Later,
                // For one datagram alone it may be a word of ICMP on an earlier one, which the kernel tells by failing the next
                // call, once.
                libc::EMSGSIZE if again && segment.is_none() => again = false,
                // Longer than the interface's MTU; a device without checksum offload, on kernels before 6.11; or a word of
                // ICMP on an earlier one. Which it was shows when they go one by one.
                libc::EMSGSIZE | libc::EIO | libc::EINVAL | libc::EOPNOTSUPP => return Sent::Uncut,
                // The same of any other error (icmp_err_convert, net/ipv4/icmp.c): this message may yet go.
                _ if again => {
                    again = false;
                    self.heard = Some(error);
                }
                _ => {
                    tracing::debug!(%error, to = %headers.destination, "the kernel does not send a packet");
                    self.heard = Some(error);
                    return Sent::Refused;
                }
            }
        }
    }
}
