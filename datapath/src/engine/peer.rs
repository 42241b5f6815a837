//! One session with its path and its transfers.

use std::collections::VecDeque;
use std::sync::Arc;

use blk_proto::message::MAX_RANGES;
use blk_proto::net::{Ecn, Path, UdpFrame};
use blk_proto::session::{BlockMeta, Session, Violation};
use blk_proto::time::Time;
use blk_proto::wire::Packet;

use super::grouping::Company;
use super::{EngineEvent, GATHER_PATIENCE, HeldBlock, Inbound, Outbound, SessionId};
use crate::umem::{Disk, Frame, SECTOR};

/// The Ethernet addresses of a session's packets, seen from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Of this host's interface.
    pub source_mac: [u8; 6],
    /// Of the other end, or of the gateway to it.
    pub destination_mac: [u8; 6],
}

/// One session with its path and its transfers.
#[derive(Debug)]
pub struct Peer {
    /// The protocol's state.
    pub session: Session<HeldBlock>,
    /// How its packets are addressed.
    pub path: Path,
    /// Files being received, by transfer.
    pub inbound: Transfers<Inbound>,
    /// Files being sent, by transfer.
    pub outbound: Transfers<Outbound>,
    /// Frames of the blocks that it may have outstanding here, as last told to the session; 0 until then.
    pub window: u64,
    /// Since when its Close has waited for room to be sent.
    pub closing_since: Option<Time>,
    /// Frames of its blocks in disk writes now.
    pub writing: u64,
    /// Frames that its outgoing transfers use now.
    pub sending: usize,
    /// The control stream is full: messages that wait for room.
    pub messages: VecDeque<Vec<u8>>,
    /// Whether its packets go to the kernel in messages of several.
    pub company: Company,
}

/// A small table of transfers; the last one used is found first.
#[derive(Debug)]
pub struct Transfers<T> {
    entries: Vec<(u32, T)>,
    last: usize,
}

impl<T> Default for Transfers<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            last: 0,
        }
    }
}

impl<T> Transfers<T> {
    /// Finds a transfer.
    pub fn get_mut(&mut self, transfer: u32) -> Option<&mut T> {
        if self
            .entries
            .get(self.last)
            .is_none_or(|entry| entry.0 != transfer)
        {
            self.last = self.entries.iter().position(|entry| entry.0 == transfer)?;
        }
        self.entries.get_mut(self.last).map(|entry| &mut entry.1)
    }

    /// Adds a transfer; gives it back when the name is taken.
    pub fn insert(&mut self, transfer: u32, value: T) -> Result<(), T> {
        if self.entries.iter().any(|entry| entry.0 == transfer) {
            return Err(value);
        }
        self.entries.push((transfer, value));
        Ok(())
    }

    /// Removes a transfer.
    pub fn remove(&mut self, transfer: u32) -> Option<T> {
        let at = self.entries.iter().position(|entry| entry.0 == transfer)?;
        Some(self.entries.swap_remove(at).1)
    }

    /// The transfer at `position`, for walks that change the table.
    pub fn at_mut(&mut self, position: usize) -> Option<(u32, &mut T)> {
        self.entries
            .get_mut(position)
            .map(|entry| (entry.0, &mut entry.1))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.entries.iter().map(|entry| &entry.1)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes all of them.
    pub fn drain(&mut self) -> impl Iterator<Item = (u32, T)> + '_ {
        self.entries.drain(..)
    }
}

impl Peer {
    /// A session without transfers.
    pub fn new(session: Session<HeldBlock>, path: Path) -> Self {
        Self {
            session,
            path,
            inbound: Transfers::default(),
            outbound: Transfers::default(),
            window: 0,
            closing_since: None,
            writing: 0,
            sending: 0,
            messages: VecDeque::new(),
            company: Company::default(),
        }
    }

    /// From now on packets go to the next hop with this Ethernet address, from this host's.
    pub fn redirect(&mut self, hop: Hop) {
        self.path.source_mac = hop.source_mac;
        self.path.destination_mac = hop.destination_mac;
    }

    /// Whether a packet of the session came from, or to, another Ethernet address than packets are sent to, or from.
    #[inline]
    pub fn is_elsewhere(&self, came: &UdpFrame<'_>) -> bool {
        came.source_mac != self.path.destination_mac || came.destination_mac != self.path.source_mac
    }

    /// Gives a packet that came another way to the session. When it is taken in, answers go back that way from now on:
    /// a router has replaced another one, a host has a new card. Others may be late, or forged.
    pub fn handle_and_follow(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        came: &UdpFrame<'_>,
    ) -> Result<Option<BlockMeta>, Violation> {
        let taken = self.session.stats().packets_received;
        let outcome = self
            .session
            .handle_packet(now, packet, Ecn::from_bits(came.ecn));
        let back = Path::reply_to(came);
        let is_one_host = back.destination_mac[0] & 1 == 0 && back.source_mac[0] & 1 == 0;
        if self.session.stats().packets_received != taken && is_one_host {
            // Who alternates its Ethernet address would write a line for every packet.
            tracing::debug!(remote = %back.destination, "packets come another way, and are answered there");
            self.path = back;
        }
        outcome
    }

    /// The payload length of every block that is sent, but a file's last: what both ends and the path can do.
    pub fn send_len(&self) -> u16 {
        let len = self.session.max_block();
        (len - len % SECTOR as u16).max(SECTOR as u16)
    }

    /// Gives waiting messages to the session, as far as it has room.
    pub fn flush_messages(&mut self) {
        while let Some(message) = self.messages.front() {
            if self.session.send_message(message).is_err() {
                break;
            }
            self.messages.pop_front();
        }
    }

    /// When the oldest incomplete chunk has waited long enough.
    pub fn chunk_deadline(&self) -> Option<Time> {
        self.inbound
            .iter()
            .filter_map(Inbound::oldest)
            .min()
            .map(|opened| opened + GATHER_PATIENCE)
    }

    /// When a file that is sent with others may have something to do again.
    pub fn look_again(&self) -> Option<Time> {
        self.outbound.iter().filter_map(Outbound::look_again).min()
    }

    /// Tells the ends of transfers, and gives up the frames that a failed one still has.
    pub fn collect_outcomes(
        &mut self,
        session: SessionId,
        events: &mut VecDeque<EngineEvent>,
    ) -> Leftovers {
        let mut leftovers = Leftovers::default();
        let mut at = 0;
        while let Some((transfer, inbound)) = self.inbound.at_mut(at) {
            let Some(outcome) = inbound.outcome() else {
                let missing = inbound.coverage().take_missing(MAX_RANGES);
                events.extend(missing.map(|missing| EngineEvent::Incomplete {
                    session,
                    transfer,
                    missing,
                }));
                at += 1;
                continue;
            };
            events.push_back(EngineEvent::Received {
                session,
                transfer,
                outcome,
            });
            if let Some(inbound) = self.inbound.remove(transfer) {
                let (frames, blocks) = inbound.into_frames();
                leftovers.received.extend(frames);
                self.session.release_credit(blocks);
            }
        }
        let mut at = 0;
        while let Some((transfer, outbound)) = self.outbound.at_mut(at) {
            let Some(outcome) = outbound.outcome() else {
                at += 1;
                continue;
            };
            // Failed, or another flow was faster with what this one took.
            if outcome.is_err() || outbound.is_queued() {
                self.session.cancel_transfer(transfer);
            }
            events.push_back(EngineEvent::Sent {
                session,
                transfer,
                work: Arc::clone(outbound.work()),
                outcome,
            });
            leftovers.sending.extend(
                self.outbound
                    .remove(transfer)
                    .map(Outbound::into_frames)
                    .unwrap_or_default(),
            );
        }
        leftovers
    }
}

/// Frames of transfers that ended early.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Of files being received.
    pub received: Vec<Frame<Disk>>,
    /// Of files being sent.
    pub sending: Vec<Frame<Disk>>,
}
