//! The sessions of one engine.

use std::collections::HashMap;
use std::net::SocketAddr;

use blk_proto::session::hello_id;
use blk_proto::wire::Packet;

use super::events::SessionId;
use super::peer::Peer;

const INDEX_BITS: u32 = 12;
/// Sessions an engine can have at once.
pub const MAX_SESSIONS: usize = 1 << INDEX_BITS;

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    peer: Option<Box<Peer>>,
}

/// The sessions, by id and by remote address.
#[derive(Debug, Default)]
pub struct Peers {
    slots: Vec<Slot>,
    free: Vec<usize>,
    by_remote: HashMap<SocketAddr, SessionId>,
    first_generation: u32,
}

impl Peers {
    /// An empty table; `seed` makes the ids of two processes differ, so that a packet for a daemon's earlier life
    /// finds no session.
    pub fn new(seed: u32) -> Self {
        Self {
            first_generation: seed,
            ..Self::default()
        }
    }

    /// Reserves an id for a session to come; `None` when the table is full.
    pub fn reserve(&mut self) -> Option<SessionId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < MAX_SESSIONS => {
                self.slots.push(Slot {
                    generation: self.first_generation,
                    peer: None,
                });
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        let mut id = slot.generation << INDEX_BITS | index as u32;
        if id == 0 {
            // Zero means "no session yet" on the wire.
            slot.generation = 1;
            id = 1 << INDEX_BITS;
        }
        Some(SessionId(id))
    }

    /// Gives a reserved id back.
    pub fn unreserve(&mut self, id: SessionId) {
        self.free.push(index_of(id));
    }

    /// Puts a session under its reserved id.
    pub fn insert(&mut self, id: SessionId, peer: Peer) {
        self.by_remote.insert(peer.path.destination, id);
        self.slots[index_of(id)].peer = Some(Box::new(peer));
    }

    /// The session with that id.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Peer> {
        let slot = self.slots.get_mut(index_of(id))?;
        if slot.generation << INDEX_BITS != id.0 & !(MAX_SESSIONS as u32 - 1) {
            return None;
        }
        slot.peer.as_deref_mut()
    }

    /// The session that this Hello is for, if it has been greeted before. A client's next life (the same address,
    /// another id) gets a session of its own beside the earlier one, which ends by its silence: a Hello proves nothing,
    /// so it must not end a session that stands.
    pub fn greeted_by(&mut self, remote: SocketAddr, hello: &Packet<'_>) -> Option<SessionId> {
        let known = self.by_remote.get(&remote).copied()?;
        let greeted = self.get_mut(known)?.session.peer_id();
        (greeted.is_none() || greeted == hello_id(hello)).then_some(known)
    }

    /// Takes a session out.
    pub fn remove(&mut self, id: SessionId) -> Option<Box<Peer>> {
        self.get_mut(id)?;
        let peer = self.slots[index_of(id)].peer.take()?;
        if self.by_remote.get(&peer.path.destination) == Some(&id) {
            self.by_remote.remove(&peer.path.destination);
        }
        self.free.push(index_of(id));
        Some(peer)
    }

    /// How many table positions there are; walk them with [`Peers::at`].
    pub fn positions(&self) -> usize {
        self.slots.len()
    }

    /// The session at a table position.
    pub fn at(&mut self, position: usize) -> Option<(SessionId, &mut Peer)> {
        let slot = self.slots.get_mut(position)?;
        let id = SessionId(slot.generation << INDEX_BITS | position as u32);
        slot.peer.as_deref_mut().map(|peer| (id, peer))
    }

    /// The sessions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().filter_map(|slot| slot.peer.as_deref())
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }
}

fn index_of(id: SessionId) -> usize {
    (id.0 & (MAX_SESSIONS as u32 - 1)) as usize
}
