//! Whom the XDP program, or the gate of the UDP sockets, lets through to the port, and how often anybody may begin.

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
