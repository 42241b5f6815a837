//! Packets going out.

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::time::Time;
use crate::wire::{self, HEADER_LEN, Header, Kind};

use super::blocks::Outgoing;
use super::pmtu::Probe;
use super::recovery::Content;
use super::timers::RETRY_INTERVAL;
use super::{CLOSE_LEN, Session, State, Transmit};

/// What a connected session sends next.
enum Next {
    Ack,
    Segment(u64),
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
        if !self.recovery.may_send() {
            self.recovery.limited = true;
            return self.ping_due.then_some(Next::Ping);
        }
        if let Some(number) = self.outbox.control.transmit() {
            return Some(Next::Segment(number));
        }
        if let Some(outgoing) = self.outbox.blocks.retransmit(idle) {
            self.stats.retransmitted += 1;
            return Some(Next::Block(outgoing));
        }
        if let Some(outgoing) = self.outbox.blocks.transmit() {
            self.stats.blocks_sent += 1;
            return Some(Next::Block(outgoing));
        }
        self.recovery.limited = false;
        self.ping_due.then_some(Next::Ping)
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
            Next::Segment(number) => self.build_segment(now, number),
            Next::Block(outgoing) => self.build_block(now, outgoing),
            Next::Ping => {
                let number = self.recovery.on_sent(now, Content::Ping);
                self.ping_due = false;
                self.scratch.clear();
                Some(self.scratch_packet(Kind::Control, number))
            }
            Next::Probe(probe) => Some(self.build_probe(now, probe)),
        }
    }

    /// As long as a Data packet with a payload of this size.
    fn build_probe(&mut self, now: Time, probe: Probe) -> Transmit<'_, B> {
        let number = self.recovery.on_sent(now, Content::Probe(probe));
        self.overtake_due = true;
        let payload = &ZEROS[..usize::from(probe.size)];
        let mut header = Header::new(Kind::Probe, self.peer_id);
        header.packet_number = U64::new(number);
        header.payload_len = U16::new(probe.size);
        header.span = U16::new(self.span);
        wire::seal(&mut header, wire::payload_crc(payload));
        Transmit::Inline { header, payload }
    }

    fn build_segment(&mut self, now: Time, segment: u64) -> Option<Transmit<'_, B>> {
        let number = self.recovery.on_sent(now, Content::Segment(segment));
        self.ping_due = false;
        let (offset, payload) = self.outbox.control.segment(segment)?;
        let mut header = Header::new(Kind::Control, self.peer_id);
        header.packet_number = U64::new(number);
        header.payload_len = U16::new(payload.len() as u16);
        header.offset = U64::new(offset);
        wire::seal(&mut header, wire::payload_crc(payload));
        Some(Transmit::Inline { header, payload })
    }

    fn build_block(&mut self, now: Time, outgoing: Outgoing) -> Option<Transmit<'_, B>> {
        let Outgoing {
            slot,
            number,
            meta,
            void,
        } = outgoing;
        let packet_number = self.recovery.on_sent(now, Content::Block { slot, number });
        self.ping_due = false;
        let mut header = Header::new(Kind::Data, self.peer_id);
        header.packet_number = U64::new(packet_number);
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
        header.span = U16::new(self.span);
        header.payload_len = U16::new(meta.len);
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
        self.retry_at = (blocks.has_lost() && !self.recovery.limited)
            .then(|| self.retry_at.unwrap_or(now + RETRY_INTERVAL));
        // An Ack that brings credit may get lost, and nobody sends it again.
        let starved = blocks.is_starved() && self.recovery.in_flight() == 0;
        self.starved_at = starved.then(|| {
            self.starved_at
                .unwrap_or_else(|| now + self.starved_interval())
        });
    }
}
