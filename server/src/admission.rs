//! Whom the XDP program, or the gate of the UDP sockets, lets through to the port, and how often anybody may begin.

use std::collections::HashSet;

use blk_datapath::udp::Gate;
use blk_xdp::{HandshakeLimit, HandshakeLimitError, Network, TableError, Tables};

/// A source may send at least so many handshake packets at once, however few a second: a copy over 8 flows begins with one
/// for each, and with another when blockd asks for a proof of the address.
const BURST_LEAST: u32 = 32;

/// Whose packets are taken. What is not let in is dropped, unanswered and counted: by the XDP program, or over UDP in front of
/// the frames.
///
/// The default lets everybody in, as often as they like.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Networks that may send to the port; none: all may.
    pub allow: Vec<Network>,
    /// How many handshake packets each source may send; `None`: any number.
    pub handshakes: Option<HandshakeLimit>,
}

impl Admission {
    /// A limit of `rate` handshake packets per second and source, and as many at once, but at least 32; `None` for 0.
    ///
    /// # Errors
    /// [`HandshakeLimitError`] beyond [`HandshakeLimit::MOST`].
    pub fn limit(rate: u32) -> Result<Option<HandshakeLimit>, HandshakeLimitError> {
        match rate {
            0 => Ok(None),
            _ => HandshakeLimit::new(rate, rate.max(BURST_LEAST)).map(Some),
        }
    }

    /// The same for UDP sockets.
    pub(crate) fn gate(&self) -> Gate {
        Gate::new(&self.allow, self.handshakes)
    }

    /// Networks that are in only one of the two lists: those in `other`, and those in this one.
    #[must_use]
    pub fn difference(&self, other: &Self) -> (Vec<Network>, Vec<Network>) {
        let not_in = |list: &[Network], those: &[Network]| {
            let those: HashSet<&Network> = those.iter().collect();
            let rest = list.iter().filter(|network| !those.contains(network));
            rest.copied().collect()
        };
        let (own, others) = (&self.allow, &other.allow);
        (not_in(others, own), not_in(own, others))
    }

    /// Has the program keep to `new` instead. First more are let in, then some no more: who is in both lists is not refused in
    /// between.
    ///
    /// # Errors
    /// [`TableError`], and the program keeps to this one. Both lists together have to find room.
    pub(crate) fn replace(&self, new: &Self, tables: &mut Tables) -> Result<(), TableError> {
        let (added, removed) = self.difference(new);
        let change = |tables: &mut Tables| {
            for network in &added {
                tables.allow(*network)?;
            }
            tables.enforce_allow_list(!new.allow.is_empty())?;
            tables.set_handshake_limit(new.handshakes)?;
            for network in &removed {
                tables.forget(*network)?;
            }
            Ok(())
        };
        let changed = change(tables);
        if changed.is_err() {
            self.take_back(&added, &removed, tables);
        }
        changed
    }

    /// Undoes a change that came to half of it. What the kernel does not undo, either, is said.
    fn take_back(&self, added: &[Network], removed: &[Network], tables: &mut Tables) {
        let back = |tables: &mut Tables| {
            for network in removed {
                tables.allow(*network)?;
            }
            tables.enforce_allow_list(!self.allow.is_empty())?;
            tables.set_handshake_limit(self.handshakes)?;
            for network in added {
                tables.forget(*network)?;
            }
            Ok::<(), TableError>(())
        };
        if let Err(error) = back(tables) {
            tracing::error!(%error, "the allow-list is partly the new one: start blockd again");
        }
    }

    /// Has the program keep to it.
    pub(crate) fn enter(&self, tables: &mut Tables) -> Result<(), TableError> {
        for network in &self.allow {
            tables.allow(*network)?;
        }
        tables.enforce_allow_list(!self.allow.is_empty())?;
        tables.set_handshake_limit(self.handshakes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_differ_by_what_only_one_has() {
        let list = |networks: &[&str]| Admission {
            allow: networks.iter().map(|text| text.parse().unwrap()).collect(),
            handshakes: None,
        };
        let old = list(&["10.0.0.0/8", "192.0.2.7", "fd00::/64"]);
        let new = list(&["fd00::/64", "10.0.0.0/9", "10.0.0.0/8"]);
        let (added, removed) = old.difference(&new);
        assert_eq!(added, list(&["10.0.0.0/9"]).allow);
        assert_eq!(removed, list(&["192.0.2.7"]).allow);
        assert_eq!(old.difference(&old), (vec![], vec![]));
    }

    #[test]
    fn a_rate_is_a_limit_with_room_for_the_beginning_of_a_copy() {
        let limit = |rate| {
            let limit = Admission::limit(rate).unwrap();
            limit.map(|limit| (limit.rate(), limit.burst()))
        };
        assert_eq!(limit(0), None);
        assert_eq!(limit(1), Some((1, 32)));
        assert_eq!(limit(1000), Some((1000, 1000)));
        assert!(Admission::limit(HandshakeLimit::MOST + 1).is_err());
    }
}
