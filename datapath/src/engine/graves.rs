//! Sessions that have ended: for a while their peers, who may not have heard of it, are told so again.
//!
//! Without that a peer whose Close got lost would be answered with a Reset, and take this end for restarted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use blk_proto::session::{Answer, CloseCode};
use blk_proto::time::Time;
use blk_proto::wire::{Kind, Packet};

use super::events::SessionId;

/// So long an ended session is remembered: longer than a peer needs that backs off to a probe a second.
const MEMORY: Duration = Duration::from_secs(5);
/// Most of them at a time; the oldest makes room.
const MAX_GRAVES: usize = 256;

#[derive(Debug)]
struct Grave {
    id: SessionId,
    remote: SocketAddr,
    peer_id: u32,
    /// What to tell; `None` if the peer knows.
    code: Option<CloseCode>,
    until: Time,
    /// Packets that came since; the peer is told at each power of two.
    heard: u32,
}

/// The sessions that ended of late.
#[derive(Debug, Default)]
pub struct Graves {
    graves: VecDeque<Grave>,
}

impl Graves {
    /// Remembers a session of the peer at `remote`, which knows it by `peer_id`.
    pub fn dig(
        &mut self,
        now: Time,
        id: SessionId,
        remote: SocketAddr,
        peer_id: u32,
        code: Option<CloseCode>,
    ) {
        if self.graves.len() >= MAX_GRAVES {
            self.graves.pop_front();
        }
        self.graves.push_back(Grave {
            id,
            remote,
            peer_id,
            code,
            until: now + MEMORY,
            heard: 0,
        });
    }

    /// What becomes of a packet from `remote` for the session `id`, which is not here: `None` if it is not one of these,
    /// else perhaps an answer.
    pub fn visit(
        &mut self,
        now: Time,
        id: SessionId,
        remote: SocketAddr,
        packet: &Packet<'_>,
    ) -> Option<Option<Answer>> {
        while self.graves.front().is_some_and(|grave| grave.until <= now) {
            self.graves.pop_front();
        }
        let is_sign = matches!(
            packet.kind,
            Kind::Data | Kind::Control | Kind::Probe | Kind::Ack
        );
        let mut graves = self.graves.iter_mut().rev();
        let grave = graves.find(|grave| grave.id == id && grave.remote == remote)?;
        if !is_sign {
            return Some(None);
        }
        grave.heard = grave.heard.saturating_add(1);
        let code = grave.code.filter(|_| grave.heard.is_power_of_two());
        Some(code.map(|code| Answer::close(grave.peer_id, code)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_proto::wire::{self, Header};
    use zerocopy::IntoBytes;

    const T0: Time = Time::from_nanos(1);
    const ID: SessionId = SessionId(77);

    fn remote(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn ping() -> Vec<u8> {
        let mut header = Header::new(Kind::Control, ID.0);
        wire::seal(&mut header, wire::payload_crc(&[]));
        header.as_bytes().to_vec()
    }

    #[test]
    fn a_peer_that_has_not_heard_is_told_ever_more_rarely() {
        let mut graves = Graves::default();
        graves.dig(T0, ID, remote(1), 9, Some(CloseCode::SHUTDOWN));
        let ping = ping();
        let packet = wire::open(&ping).unwrap();
        let told: Vec<Answer> = (0..100)
            .filter_map(|_| graves.visit(T0, ID, remote(1), &packet).unwrap())
            .collect();
        assert_eq!(told.len(), 7);
        let close = wire::open(told[0].as_bytes()).unwrap();
        assert_eq!((close.kind, close.header.session.get()), (Kind::Close, 9));
        assert_eq!(close.payload, CloseCode::SHUTDOWN.0.to_le_bytes());
    }

    #[test]
    fn others_and_later_ones_get_no_answer() {
        let mut graves = Graves::default();
        graves.dig(T0, ID, remote(1), 9, None);
        let ping = ping();
        let packet = wire::open(&ping).unwrap();
        assert_eq!(graves.visit(T0, ID, remote(1), &packet), Some(None));
        assert_eq!(graves.visit(T0, ID, remote(2), &packet), None);
        assert_eq!(graves.visit(T0, SessionId(78), remote(1), &packet), None);
        assert_eq!(graves.visit(T0 + MEMORY, ID, remote(1), &packet), None);
        for n in 0..1000 {
            graves.dig(T0, SessionId(n), remote(1), 9, None);
        }
        assert_eq!(graves.graves.len(), MAX_GRAVES);
    }
}
