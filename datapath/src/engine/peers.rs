//! The sessions of one engine.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use blk_proto::session::{ConnectionId, Generations, Occupancy, Reset, hello_id};
use blk_proto::time::Time;
use blk_proto::wire::{Kind, Packet};

use super::events::SessionId;
use super::peer::Peer;

#[derive(Debug)]
struct Slot {
    /// Of who is here, or was last; 0 before the first.
    generation: u32,
    peer: Option<Box<Peer>>,
    /// Since when the session is half open, if it is; counted in [`Peers::half_open`].
    half_open: Option<Time>,
}

/// The sessions, by their own id, and by remote address and the other end's id.
#[derive(Debug)]
pub struct Peers {
    worker: u32,
    generations: Generations,
    slots: Vec<Slot>,
    /// Places to use again, the one that has been free for longest first: so an id does not come back soon.
    free: VecDeque<usize>,
    by_peer: HashMap<(SocketAddr, u32), SessionId>,
    count: usize,
    half_open: usize,
}

impl Peers {
    /// An empty table of worker number `worker`. With a random `key` nobody can predict an id, and those of two processes
    /// differ, so that a packet for a daemon's earlier life finds no session.
    pub fn new(worker: u32, key: &[u8; 16]) -> Self {
        Self {
            worker,
            generations: Generations::new(key),
            slots: Vec::new(),
            free: VecDeque::new(),
            by_peer: HashMap::new(),
            count: 0,
            half_open: 0,
        }
    }

    /// Reserves an id for a session to come; `None` when the table is full.
    pub fn reserve(&mut self) -> Option<SessionId> {
        let index = if self.slots.len() < ConnectionId::INDEXES && self.free.is_empty() {
            self.slots.push(Slot {
                generation: 0,
                peer: None,
                half_open: None,
            });
            self.slots.len() - 1
        } else {
            self.free.pop_front()?
        };
        let slot = &mut self.slots[index];
        slot.generation = self.generations.draw(slot.generation);
        self.id_of(index)
    }

    /// Gives a reserved id back.
    pub fn unreserve(&mut self, id: SessionId) {
        self.free.push_back(id.connection().index());
    }

    /// Puts a session under its reserved id.
    pub fn insert(&mut self, now: Time, id: SessionId, peer: Peer) {
        let slot = &mut self.slots[id.connection().index()];
        slot.half_open = peer.session.is_half_open().then_some(now);
        self.half_open += usize::from(slot.half_open.is_some());
        self.count += 1;
        slot.peer = Some(Box::new(peer));
        self.learn_peer(id);
    }

    /// The session is open: its address is proved, and its other end's id known.
    pub fn opened(&mut self, id: SessionId) {
        if let Some(slot) = self.slots.get_mut(id.connection().index())
            && slot.half_open.take().is_some()
        {
            self.half_open -= 1;
        }
        self.learn_peer(id);
    }

    fn learn_peer(&mut self, id: SessionId) {
        if let Some(key) = self.get_mut(id).and_then(|peer| key_of(peer)) {
            self.by_peer.insert(key, id);
        }
    }

    /// The session with that id.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Peer> {
        let index = id.connection().index();
        if self.id_of(index) != Some(id) {
            return None;
        }
        self.slots[index].peer.as_deref_mut()
    }

    /// The session that a packet from `remote` names, whether it is that one's or not.
    pub fn named_by(&self, remote: SocketAddr, packet: &Packet<'_>) -> Option<SessionId> {
        let by_peer = |id| self.by_peer.get(&(remote, id)).copied();
        match packet.kind {
            // A client's next life (the same address, another id) gets a session of its own beside the earlier one,
            // which ends by its silence or a Reset: a Hello proves nothing, so it must not end a session that stands.
            Kind::Hello => by_peer(hello_id(packet)?),
            // Its sender does not know the session, so it has nothing but the id that it was addressed by.
            Kind::Reset => by_peer(Reset::read(packet)?.session),
            _ => Some(SessionId(packet.header.session.get())),
        }
    }

    /// The session that has been half open for longest.
    pub fn oldest_half_open(&self) -> Option<SessionId> {
        let since = |at: &usize| {
            let slot = &self.slots[*at];
            // One that was proved just now is not taken note of before its event is fetched.
            let still = slot.peer.as_ref()?.session.is_half_open();
            slot.half_open.filter(|_| still)
        };
        let oldest = (0..self.slots.len())
            .filter(|at| since(at).is_some())
            .min_by_key(since)?;
        self.id_of(oldest)
    }

    /// Takes a session out.
    pub fn remove(&mut self, id: SessionId) -> Option<Box<Peer>> {
        self.get_mut(id)?;
        let index = id.connection().index();
        let slot = &mut self.slots[index];
        let peer = slot.peer.take()?;
        self.half_open -= usize::from(slot.half_open.take().is_some());
        self.count -= 1;
        if let Some(key) = key_of(&peer)
            && self.by_peer.get(&key) == Some(&id)
        {
            self.by_peer.remove(&key);
        }
        self.free.push_back(index);
        Some(peer)
    }

    /// How many table positions there are; walk them with [`Peers::at`].
    pub fn positions(&self) -> usize {
        self.slots.len()
    }

    /// The session at a table position.
    pub fn at(&mut self, position: usize) -> Option<(SessionId, &mut Peer)> {
        let id = self.id_of(position)?;
        let peer = self.slots[position].peer.as_deref_mut()?;
        Some((id, peer))
    }

    /// The sessions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().filter_map(|slot| slot.peer.as_deref())
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The same, for the acceptor.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            half_open: self.half_open,
            total: self.count,
        }
    }

    /// The id of whoever is at this position, or was there last.
    fn id_of(&self, index: usize) -> Option<SessionId> {
        let generation = self.slots.get(index)?.generation;
        let id = ConnectionId::new(generation, self.worker, index)?;
        Some(SessionId(id.bits()))
    }
}

/// What a session's other end is known by.
fn key_of(peer: &Peer) -> Option<(SocketAddr, u32)> {
    Some((peer.path.destination, peer.session.peer_id()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_proto::net::Path;
    use blk_proto::session::{Config, Session, Transmit};
    use blk_proto::wire;
    use zerocopy::IntoBytes;

    const WORKER: u32 = 5;
    const T0: Time = Time::from_nanos(1);

    fn remote(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn hello(id: u32) -> Vec<u8> {
        let mut client = Session::<()>::connect(Config::default(), id, T0);
        match client.poll_transmit(T0, |()| true) {
            Some(Transmit::Inline { header, payload }) => [header.as_bytes(), payload].concat(),
            other => panic!("{other:?}"),
        }
    }

    /// A session for the client `id` at `port`.
    fn accept(peers: &mut Peers, now: Time, port: u16, id: u32) -> SessionId {
        let hello = hello(id);
        let own = peers.reserve().unwrap();
        let packet = wire::open(&hello).unwrap();
        let session = Session::accept(Config::default(), own.0, &packet, now).unwrap();
        let here = SocketAddr::from(([192, 0, 2, 2], 7440));
        let path = Path::new([1; 6], [2; 6], here, remote(port));
        peers.insert(now, own, Peer::new(session, path));
        own
    }

    #[test]
    fn ids_name_the_worker_and_do_not_come_back_soon() {
        let mut peers = Peers::new(WORKER, &[99; 16]);
        let mut seen: Vec<SessionId> = Vec::new();
        for round in 0..100 {
            let id = accept(&mut peers, T0, 1, round + 1);
            assert_eq!(id.connection().worker(), WORKER);
            assert!(peers.get_mut(id).is_some());
            assert!(seen.last() != Some(&id), "{id:?} came back at once");
            assert!(peers.remove(id).is_some() && peers.get_mut(id).is_none());
            seen.push(id);
        }
        let other_life = Peers::new(WORKER, &[100; 16]).reserve();
        assert_ne!(Peers::new(WORKER, &[99; 16]).reserve(), other_life);
        let other_worker = SessionId(ConnectionId::new(99, WORKER + 1, 0).unwrap().bits());
        assert!(peers.get_mut(other_worker).is_none());
    }

    #[test]
    fn ids_that_follow_each_other_follow_no_rule() {
        let mut peers = Peers::new(WORKER, &[3; 16]);
        let fresh: Vec<u32> = (0..100)
            .filter_map(|_| peers.reserve())
            .map(|id| id.connection().generation())
            .collect();
        let used_again: Vec<u32> = (0..100)
            .filter_map(|_| {
                let id = peers.reserve()?;
                peers.unreserve(id);
                Some(id.connection().generation())
            })
            .collect();
        for generations in [fresh, used_again] {
            let steps = generations.windows(2).map(|pair| pair[1].abs_diff(pair[0]));
            let small = steps.filter(|step| *step <= 1).count();
            assert!(generations.len() == 100 && small <= 2, "{generations:?}");
        }
    }

    #[test]
    fn a_session_proved_just_now_is_not_the_oldest_half_open() {
        let mut peers = Peers::new(WORKER, &[0; 16]);
        let ids =
            [1, 2].map(|id| accept(&mut peers, Time::from_nanos(u64::from(id)), id as u16, id));
        assert_eq!(peers.oldest_half_open(), Some(ids[0]));
        peers.get_mut(ids[0]).unwrap().session.mark_validated();
        assert_eq!(peers.oldest_half_open(), Some(ids[1]));
    }

    #[test]
    fn a_table_has_an_end() {
        let mut peers = Peers::new(WORKER, &[0; 16]);
        let ids: Vec<SessionId> = std::iter::from_fn(|| peers.reserve()).collect();
        assert_eq!(ids.len(), ConnectionId::INDEXES);
        peers.unreserve(ids[7]);
        let again = peers.reserve().unwrap();
        assert_eq!(again.connection().index(), 7);
        assert_ne!(again, ids[7]);
        assert_eq!(peers.reserve(), None);
    }

    #[test]
    fn two_lives_of_a_client_at_one_address_are_told_apart() {
        let mut peers = Peers::new(WORKER, &[0; 16]);
        let first = accept(&mut peers, T0, 1, 11);
        let second = accept(&mut peers, T0, 1, 22);
        let named = |peers: &Peers, id: u32| {
            let hello = hello(id);
            let packet = wire::open(&hello).unwrap();
            let reset = Reset {
                session: id,
                kind: Kind::Data,
                number: 0,
            };
            let bytes = reset.packet();
            let by_reset = peers.named_by(remote(1), &wire::open(&bytes).unwrap());
            assert_eq!(peers.named_by(remote(1), &packet), by_reset);
            assert_eq!(peers.named_by(remote(2), &packet), None, "another address");
            by_reset
        };
        assert_eq!(named(&peers, 11), Some(first));
        assert_eq!(named(&peers, 22), Some(second));
        peers.remove(first);
        assert_eq!(named(&peers, 11), None);
        assert_eq!(named(&peers, 22), Some(second));
    }

    #[test]
    fn half_open_sessions_are_counted_and_the_oldest_found() {
        let mut peers = Peers::new(WORKER, &[0; 16]);
        let at = |nanos| Time::from_nanos(nanos);
        let ids = [(30, 1), (10, 2), (20, 3)].map(|(nanos, id)| {
            let port = id as u16;
            accept(&mut peers, at(nanos), port, id)
        });
        let occupancy = |half_open, total| Occupancy { half_open, total };
        assert_eq!(peers.occupancy(), occupancy(3, 3));
        assert_eq!(peers.oldest_half_open(), Some(ids[1]));
        peers.opened(ids[1]);
        peers.opened(ids[1]);
        assert_eq!(peers.occupancy(), occupancy(2, 3));
        assert_eq!(peers.oldest_half_open(), Some(ids[2]));
        peers.remove(ids[2]);
        peers.remove(ids[1]);
        assert_eq!(peers.occupancy(), occupancy(1, 1));
        peers.remove(ids[0]);
        assert_eq!((peers.occupancy(), peers.len()), (occupancy(0, 0), 0));
        assert_eq!(peers.oldest_half_open(), None);
    }
}
