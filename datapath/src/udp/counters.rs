//! What a UDP link has done.

use std::fmt;

#[cfg(doc)]
use super::gate::Gate;
use super::gate::Refusal;

/// Counters of one UDP link, cumulative, and the buffers that its sockets got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UdpCounters {
    /// Messages received: one call of recvmsg(2) that brought something.
    pub receive_calls: u64,
    /// Datagrams in them.
    pub received: u64,
    /// Datagrams that were longer or shorter than those before, and so copied into their frames.
    pub copied: u64,
    /// Datagrams that fit no frame, dropped here.
    pub oversized: u64,
    /// Datagrams of a source that is not allowed, dropped by the [`Gate`].
    pub not_allowed: u64,
    /// Datagrams shorter than the protocol's header, dropped by the gate.
    pub too_short: u64,
    /// Handshake packets of a source that has sent too many, dropped by the gate.
    pub handshakes_limited: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub buffer_full: u64,
    /// Messages sent: one call of sendmsg(2) that the kernel took.
    pub send_calls: u64,
    /// Datagrams in them.
    pub sent: u64,
    /// Messages that the kernel would not cut, sent as single datagrams.
    pub unsegmented: u64,
    /// Times that the packets of a session went over to single datagrams, since nothing arrived of messages of several.
    pub parted: u64,
    /// Datagrams that the kernel would not send: too long for the path, no route, or forbidden.
    pub refused: u64,
    /// Bytes of the receive buffer, as the kernel counts them (socket(7), `SO_RCVBUF`).
    pub receive_buffer: u64,
    /// Bytes of the send buffer.
    pub send_buffer: u64,
}

impl UdpCounters {
    /// Counts datagrams that the gate did not let in.
    pub(super) fn refuse(&mut self, refusal: Refusal, datagrams: u64) {
        let counter = match refusal {
            Refusal::NotAllowed => &mut self.not_allowed,
            Refusal::TooShort => &mut self.too_short,
            Refusal::HandshakeLimit => &mut self.handshakes_limited,
        };
        *counter += datagrams;
    }
}

impl fmt::Display for UdpCounters {
    /// `name=value` pairs on one line; those of the gate are named as in the counters of the XDP program.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "udp_receive_calls={} udp_received={} udp_copied={} udp_oversized={} \
             not_allowed={} too_short={} handshakes_limited={} udp_buffer_full={} \
             udp_send_calls={} udp_sent={} udp_unsegmented={} udp_parted={} udp_refused={} udp_receive_buffer={} udp_send_buffer={}",
            self.receive_calls,
            self.received,
            self.copied,
            self.oversized,
            self.not_allowed,
            self.too_short,
            self.handshakes_limited,
            self.buffer_full,
            self.send_calls,
            self.sent,
            self.unsegmented,
            self.parted,
            self.refused,
            self.receive_buffer,
            self.send_buffer,
        )
    }
}
