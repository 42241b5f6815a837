//! Packets going out.

use core::time::Duration;

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::time::Time;
use crate::wire::{self, FLAG_ACK_NOW, HEADER_LEN, Header, Kind};

use super::blocks::Outgoing;
use super::control::Piece;
use super::fate::Content;
use super::pmtu::Probe;
use super::timers::RETRY_INTERVAL;
use super::{CLOSE_LEN, Outbox, Session, State, Transmit};

/// So many packets deserve an Ack at once when they are the last for now.
const FEW: u8 = 4;

/// What a connected session sends next.
enum Next {
    Ack,
    Control(Piece),
    Block(Outgoing),
    Ping,
    Probe(Probe),
}

/// Payload of probes.
static ZEROS: [u8; wire::MAX_PAYLOAD] = [0; wire::MAX_PAYLOAD];

impl<B> Session<B> {
    /// The next packet to send, or `None`. It counts as sent: call this only when there is room to send.
    ///
    /// `idle` tells of a block whether its last transmission has left the NIC queue; as long as it says `false` the
    /// block, whose headers would be written over, is not retransmitted.
    pub fn poll_transmit(
        &mut self,
        now: Time,
        idle: impl FnMut(&B) -> bool,
    ) -> Option<Transmit<'_, B>> {
        let kind = match self.state {
            State::Connected => match self.choose(now, idle) {
                Some(next) => {
                    self.stats.packets_sent += 1;
                    return self.build(now, next);
                }
                None => {
                    self.settle(now);
                    return None;
                }
            },
            State::Greeting(_) => return self.greet(now),
            State::Accepted(_) => self.write_hello_reply(now)?,
            State::Closed { .. } => self.write_close()?,
        };
        self.stats.packets_sent += 1;
        Some(self.scratch_packet(kind, 0))
    }

    fn write_close(&mut self) -> Option<Kind> {
        let State::Closed { reason, tell, .. } = &mut self.state else {
            return None;
        };
        if !core::mem::take(tell) || !self.budget.spend(CLOSE_LEN) {
            return None;
        }
        self.scratch.clear();
        self.scratch
            .extend_from_slice(&reason.code().0.to_le_bytes());
        Some(Kind::Close)
    }

    /// A packet with the payload that was written to `scratch`.
    fn scratch_packet(&self, kind: Kind, packet_number: u64) -> Transmit<'_, B> {
        let payload = self.scratch.as_slice();
        let mut header = Header::new(kind, self.peer_id);
        header.packet_number = U64::new(packet_number);
        header.payload_len = U16::new(payload.len() as u16);
        wire::seal(&mut header, wire::payload_crc(payload));
        Transmit::Inline { header, payload }
    }

    /// Acknowledgements first, since the peer waits for them; then a look at the path; then control, which is small; then what was lost, which
    /// others wait for; then new blocks.
    fn choose(&mut self, now: Time, idle: impl FnMut(&B) -> bool) -> Option<Next> {
        if self.acks.is_due(now) || self.grants.should_announce() {
            return Some(Next::Ack);
        }
        if core::mem::take(&mut self.overtake_due) {
            return Some(Next::Ping);
        }
        // Rare, and told to be no congestion when it is lost: so the window does not hold it back.
        if self.outbox.pmtu.due(now)
            && let Some(probe) = self.outbox.pmtu.send()
        {
            return Some(Next::Probe(probe));
        }
        self.paced_at = None;
        if !self.recovery.may_send() {
            self.recovery.on_window_full();
            return self.ping_due.then_some(Next::Ping);
        }
        if let Some(at) = self.recovery.paced_until(now) {
            self.paced_at = self.has_more().then_some(at);
            return self.ping_due.then_some(Next::Ping);
        }
        let most = self.outbox.control_payload();
        if let Some(piece) = self.outbox.control.transmit(most) {
            return Some(Next::Control(piece));
        }
        if let Some(outgoing) = self.outbox.blocks.retransmit(idle) {
            self.stats.retransmitted += 1;
            return Some(Next::Block(outgoing));
        }
        if let Some(outgoing) = self.outbox.blocks.transmit() {
            self.stats.blocks_sent += 1;
            return Some(Next::Block(outgoing));
        }
        self.ping_due.then_some(Next::Ping)
    }

    /// Whether there is something to send, if window and pacing let it go.
    fn has_more(&self) -> bool {
        let Outbox {
            blocks, control, ..
        } = &self.outbox;
        control.is_ready() || blocks.is_ready() || blocks.has_lost()
    }

    /// The header of a packet with `content` that the peer acknowledges, and is sent now.
    fn track(
        &mut self,
        now: Time,
        kind: Kind,
        content: Content,
        span: usize,
        payload: usize,
    ) -> Header {
        let number = self.recovery.on_sent(now, content, (span + payload) as u32);
        self.delivery.look(now, &mut self.outbox);
        self.ping_due = false;
        let mut header = Header::new(kind, self.peer_id);
        header.packet_number = U64::new(number);
        header.span = U16::new(span as u16);
        header.payload_len = U16::new(payload as u16);
        header.ack_interval = self.recovery.ack_interval();
        if self.ask_now(now) {
            header.flags |= FLAG_ACK_NOW;
        }
        header
    }

    /// Whether this packet, just taken as sent, should be acknowledged at once: it is the last for now, and Acks would
    /// come late otherwise. Not for each when they come one by one: then after a few, or a quarter of the round trip.
    fn ask_now(&mut self, now: Time) -> bool {
        self.unasked = self.unasked.saturating_add(1);
        let recovery = &self.recovery;
        let last = if recovery.may_send() {
            !self.has_more()
        } else {
            recovery.is_shallow()
        };
        let pause = Duration::from_nanos(recovery.rtt.smoothed() / 4);
        let is_few = self.unasked < recovery.ack_interval().min(FEW);
        let ask = last && (!is_few || self.asked_at + pause <= now);
        if ask {
            self.asked_at = now;
            self.unasked = 0;
        }
        ask
    }

    fn build(&mut self, now: Time, next: Next) -> Option<Transmit<'_, B>> {
        match next {
            Next::Ack => {
                let granted = self.grants.granted();
                self.acks.write(now, granted, &mut self.scratch);
                self.grants.on_announced();
                self.stats.acks_sent += 1;
                let number = self.next_ack;
                self.next_ack += 1;
                Some(self.scratch_packet(Kind::Ack, number))
            }
            Next::Control(piece) => Some(self.build_control(now, piece)),
            Next::Block(outgoing) => self.build_block(now, outgoing),
            Next::Ping => {
                let mut header = self.track(now, Kind::Control, Content::Ping, HEADER_LEN, 0);
                wire::seal(&mut header, wire::payload_crc(&[]));
                Some(Transmit::Inline {
                    header,
                    payload: &[],
                })
            }
            Next::Probe(probe) => Some(self.build_probe(now, probe)),
        }
    }

    /// As long as a Data packet with a payload of this size.
    fn build_probe(&mut self, now: Time, probe: Probe) -> Transmit<'_, B> {
        let payload = &ZEROS[..usize::from(probe.size)];
        let span = self.span_of(probe.size);
        let size = usize::from(span) + payload.len();
        let content = Content::Probe(probe);
        let number = self.recovery.on_sent(now, content, size as u32);
        self.overtake_due = true;
        let mut header = Header::new(Kind::Probe, self.peer_id);
        header.packet_number = U64::new(number);
        header.payload_len = U16::new(probe.size);
        header.span = U16::new(span);
        wire::seal(&mut header, wire::payload_crc(payload));
        Transmit::Inline { header, payload }
    }

    fn build_control(&mut self, now: Time, piece: Piece) -> Transmit<'_, B> {
        let Piece { offset, len } = piece;
        let content = Content::Control { offset, len };
        let mut header = self.track(now, Kind::Control, content, HEADER_LEN, usize::from(len));
        header.offset = U64::new(offset);
        let payload = match self.outbox.control.bytes(piece) {
            (all, []) => all,
            (first, second) => {
                self.scratch.clear();
                self.scratch.extend_from_slice(first);
                self.scratch.extend_from_slice(second);
                self.scratch.as_slice()
            }
        };
        wire::seal(&mut header, wire::payload_crc(payload));
        Transmit::Inline { header, payload }
    }

    fn build_block(&mut self, now: Time, outgoing: Outgoing) -> Option<Transmit<'_, B>> {
        let Outgoing {
            slot,
            number,
            meta,
            void,
        } = outgoing;
        let content = Content::Block { slot, number };
        let (span, len) = match void {
            true => (HEADER_LEN, 0),
            false => (usize::from(self.span_of(meta.len)), usize::from(meta.len)),
        };
        let mut header = self.track(now, Kind::Data, content, span, len);
        header.transfer = U32::new(meta.transfer);
        header.block_number = U64::new(number);
        header.offset = U64::new(meta.offset);
        if void {
            wire::seal(&mut header, wire::payload_crc(&[]));
            return Some(Transmit::Inline {
                header,
                payload: &[],
            });
        }
        wire::seal(&mut header, meta.crc);
        self.stats.block_bytes_sent += u64::from(meta.len);
        debug_assert!(usize::from(header.span.get()) >= HEADER_LEN);
        Some(Transmit::Block {
            header,
            payload_len: meta.len,
            block: self.outbox.blocks.block(slot)?,
        })
    }

    /// There is nothing to send now: see to it that someone looks again.
    fn settle(&mut self, now: Time) {
        let blocks = &self.outbox.blocks;
        self.retry_at = (blocks.has_lost() && self.recovery.may_send() && self.paced_at.is_none())
            .then(|| self.retry_at.unwrap_or(now + RETRY_INTERVAL));
        // An Ack that brings credit may get lost, and nobody sends it again.
        let starved = blocks.is_starved() && self.recovery.in_flight() == 0;
        self.starved_at = starved.then(|| {
            self.starved_at
                .unwrap_or_else(|| now + self.starved_interval())
        });
    }
}
