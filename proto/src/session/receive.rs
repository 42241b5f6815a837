//! Packets coming in.

use crate::drops::DropReason;
use crate::net::Ecn;
use crate::time::Time;
use crate::wire::{FLAG_ACK_NOW, Kind, Packet};

use super::ack::{Ack, Request};
use super::handshake::{RECENT_ACKS, Reset};
use super::{BlockMeta, CloseCode, CloseReason, MAX_PACKET_NUMBER, Session, State, Violation};

/// Largest file offset: Linux' `loff_t`.
const MAX_FILE_OFFSET: u64 = i64::MAX as u64;

/// Why a packet is not taken in. Each is counted once, where it came in.
pub(super) enum NotTaken {
    Dropped(DropReason),
    Violation(Violation),
}

impl From<DropReason> for NotTaken {
    fn from(reason: DropReason) -> Self {
        Self::Dropped(reason)
    }
}

impl From<Violation> for NotTaken {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// What the sender of this packet wants to hear about it.
fn request(packet: &Packet<'_>, hurry: bool) -> Request {
    Request {
        interval: packet.header.ack_interval,
        hurry: hurry || packet.header.flags & FLAG_ACK_NOW != 0,
    }
}

impl<B> Session<B> {
    /// Takes in a packet that [`crate::wire::open`] let through; `ecn` as its IP header had it.
    ///
    /// `Ok(Some(meta))`: it brought a block, which is given out this once. The caller owns the payload in its packet
    /// buffer from now on, and says [`Session::release_credit`] when it has dealt with it.
    ///
    /// # Errors
    /// The peer broke the protocol. The session has closed itself, and has a Close packet to send.
    pub fn handle_packet(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        ecn: Ecn,
    ) -> Result<Option<BlockMeta>, Violation> {
        let to = packet.header.session.get();
        // A client does not know the server's id yet when it sends a Hello.
        let is_ours = match packet.kind {
            // A peer that knows nothing of the session names the id in its payload.
            Kind::Hello | Kind::Reset => to == 0,
            _ => to == self.local_id,
        };
        let result = if is_ours {
            let header = packet.header;
            let bytes = usize::from(header.span.get()) + usize::from(header.payload_len.get());
            self.budget.on_received(bytes);
            self.dispatch(now, packet, ecn)
        } else {
            Err(DropReason::WrongSession.into())
        };
        match result {
            Ok(meta) => {
                self.stats.packets_received += 1;
                Ok(meta)
            }
            Err(NotTaken::Dropped(reason)) => {
                self.stats.dropped.count(reason);
                Ok(None)
            }
            Err(NotTaken::Violation(violation)) => {
                self.stats.dropped.count(DropReason::Violation);
                self.close(CloseReason::Violation(violation));
                Err(violation)
            }
        }
    }

    fn dispatch(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        ecn: Ecn,
    ) -> Result<Option<BlockMeta>, NotTaken> {
        match (&mut self.state, packet.kind) {
            (State::Greeting(_), Kind::HelloReply) => self.on_hello_reply(now, packet)?,
            (State::Greeting(_), Kind::Refuse) => self.on_refuse(now, packet)?,
            (State::Greeting(_), Kind::Retry) => self.on_retry(now, packet)?,
            (State::Accepted(_), Kind::Hello) => self.on_repeated_hello(packet)?,
            (State::Connected, Kind::Reset) => self.on_reset(packet)?,
            (
                State::Accepted(_),
                Kind::Data | Kind::Control | Kind::Probe | Kind::Ack | Kind::Close,
            ) => {
                self.confirm(now);
                return self.on_packet(now, packet, ecn);
            }
            (
                State::Connected,
                Kind::Data | Kind::Control | Kind::Probe | Kind::Ack | Kind::Close,
            ) => {
                return self.on_packet(now, packet, ecn);
            }
            (State::Closed { tell, heard, .. }, kind) => {
                // The peer has not heard of it. Tell it again, ever more rarely.
                *heard = heard.saturating_add(1);
                let deserves = matches!(
                    kind,
                    Kind::Data | Kind::Control | Kind::Probe | Kind::Ack | Kind::HelloReply
                );
                *tell |= deserves && self.peer_id != 0 && heard.is_power_of_two();
                return Err(DropReason::SessionClosed.into());
            }
            _ => return Err(DropReason::WrongState.into()),
        }
        Ok(None)
    }

    fn on_packet(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        ecn: Ecn,
    ) -> Result<Option<BlockMeta>, NotTaken> {
        self.last_received = now;
        self.keepalive_at = now + self.config.keep_alive;
        self.asked_alive_at = None;
        match packet.kind {
            Kind::Data => return self.on_data(now, packet, ecn),
            Kind::Control => self.on_control(now, packet, ecn)?,
            Kind::Probe => self.on_probe(now, packet, ecn)?,
            Kind::Ack => self.on_ack(now, packet)?,
            _ => {
                let code =
                    <[u8; 4]>::try_from(packet.payload).map_err(|_| Violation::MalformedClose)?;
                let code = CloseCode(u32::from_le_bytes(code));
                self.close(CloseReason::ByPeer(code));
            }
        }
        Ok(None)
    }

    /// The peer says that it knows nothing of the session. Believed if it answers a packet that was really sent, and that
    /// may still be unanswered ([`super::handshake`]'s `reset` says why).
    fn on_reset(&mut self, packet: &Packet<'_>) -> Result<(), NotTaken> {
        let is_true = Reset::read(packet).is_some_and(|reset| {
            let is_open = match reset.kind {
                Kind::Ack => {
                    reset.number < self.next_ack && self.next_ack - reset.number <= RECENT_ACKS
                }
                _ => self.recovery.is_unacknowledged(reset.number),
            };
            reset.session == self.peer_id && is_open
        });
        if !is_true {
            return Err(DropReason::Handshake.into());
        }
        self.close(CloseReason::PeerRestarted);
        Ok(())
    }

    /// Gives the number of a packet that has not come before; it is not yet marked as received.
    fn new_number(&self, packet: &Packet<'_>) -> Result<u64, NotTaken> {
        let number = packet.header.packet_number.get();
        if number > MAX_PACKET_NUMBER {
            return Err(Violation::PacketNumber(number).into());
        }
        if self.acks.is_duplicate(number) {
            return Err(DropReason::DuplicatePacket.into());
        }
        Ok(number)
    }

    fn on_data(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        ecn: Ecn,
    ) -> Result<Option<BlockMeta>, NotTaken> {
        let header = packet.header;
        let meta = BlockMeta {
            transfer: header.transfer.get(),
            offset: header.offset.get(),
            len: header.payload_len.get(),
            crc: packet.payload_crc,
        };
        let max = self.max_received();
        if meta.len > max {
            return Err(Violation::PayloadTooLong { len: meta.len, max }.into());
        }
        if meta.offset > MAX_FILE_OFFSET - u64::from(meta.len) {
            return Err(Violation::FileOffset(meta.offset).into());
        }
        let number = self.new_number(packet)?;
        let is_new_block = self.grants.accept(header.block_number.get())?;
        self.acks
            .on_packet(now, number, ecn, request(packet, false));
        if !is_new_block {
            return Err(DropReason::DuplicateBlock.into());
        }
        if meta.len == 0 {
            // Cancelled: nobody has it to release.
            self.grants.release(1);
            return Ok(None);
        }
        let min_rtt = self.recovery.rtt.min();
        if self.tuner.on_block(now, self.grants.received(), min_rtt) {
            self.size_window();
        }
        self.stats.blocks_received += 1;
        self.stats.block_bytes_received += u64::from(meta.len);
        Ok(Some(meta))
    }

    /// The handshake took this long, in nanoseconds: a first round trip.
    pub(super) fn on_handshake_rtt(&mut self, rtt: u64) {
        self.recovery.on_handshake(rtt);
        self.acks.set_rtt(self.recovery.rtt.smoothed());
    }

    /// A probe of the path: nothing in it but its length.
    fn on_probe(&mut self, now: Time, packet: &Packet<'_>, ecn: Ecn) -> Result<(), NotTaken> {
        let number = self.new_number(packet)?;
        self.acks.on_packet(now, number, ecn, request(packet, true));
        Ok(())
    }

    fn on_control(&mut self, now: Time, packet: &Packet<'_>, ecn: Ecn) -> Result<(), NotTaken> {
        let number = self.new_number(packet)?;
        let is_ping = packet.payload.is_empty();
        let taken = is_ping
            || self
                .inbox
                .receive(packet.header.offset.get(), packet.payload)?;
        if !taken {
            return Err(DropReason::ControlFull.into());
        }
        self.acks
            .on_packet(now, number, ecn, request(packet, is_ping));
        Ok(())
    }

    fn on_ack(&mut self, now: Time, packet: &Packet<'_>) -> Result<(), NotTaken> {
        let ack = Ack::decode(packet.payload).ok_or(Violation::MalformedAck)?;
        self.stats.acks_received += 1;
        self.stats.marked = self.stats.marked.max(ack.ce_packets);
        self.recovery.on_ack(now, &ack, &mut self.outbox)?;
        self.delivery.look(now, &mut self.outbox);
        self.acks.set_rtt(self.recovery.rtt.smoothed());
        self.heed_path();
        if self.outbox.blocks.grant(ack.max_blocks) {
            self.starved_count = 0;
            self.starved_at = None;
        }
        Ok(())
    }
}
