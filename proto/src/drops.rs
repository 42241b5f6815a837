//! Why packets are dropped, and how often each reason came up.
//!
//! One list of reasons for the whole way of a packet, so that the counts of a worker and of its sessions add up: every
//! packet that came in was either taken or is counted here, once.
//!
//! ```text
//!   frame ──► net::parse ──► wire::open ──► which session? ──► Session::handle_packet ──► taken
//!               │ not UDP       │ checksum      │ no session       │ duplicate packet
//!               ▼               ▼               ▼                  ▼
//!               Drops (of a worker)                                Stats::dropped (of a session)
//! ```

use core::fmt;
use core::ops::{AddAssign, Index};

use crate::net::ParseError;
use crate::wire::WireError;

/// Declares [`DropReason`] with its list and its names, which must not get out of step.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)+) => {
        /// Why a packet was dropped.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $reason,)+
        }

        impl DropReason {
            /// All of them, in the order in which a packet meets them.
            pub const ALL: &[Self] = &[$(Self::$reason,)+];

            /// In a few words, for operators.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// The frame ends before its headers say it does.
    FrameTruncated = "truncated frame",
    /// Not a UDP packet that the protocol takes: something else, a fragment, too many IPv6 extension headers.
    NotUdp = "not UDP",
    /// IP or UDP header contradict themselves.
    FrameMalformed = "malformed frame",
    /// The checksum of the IPv4 header is wrong.
    Ipv4Checksum = "IPv4 checksum",
    /// For another UDP port.
    WrongPort = "wrong port",
    /// [`WireError::TooShort`].
    TooShort = "too short",
    /// [`WireError::UnsupportedVersion`].
    Version = "other version",
    /// [`WireError::UnknownKind`].
    Kind = "unknown kind",
    /// [`WireError::UnknownFlags`].
    Flags = "unknown flags",
    /// [`WireError::BadSpan`].
    Span = "bad span",
    /// [`WireError::BadLength`].
    Length = "wrong length",
    /// [`WireError::ReservedNotZero`].
    Reserved = "reserved field",
    /// [`WireError::BadChecksum`].
    Checksum = "checksum",
    /// A Hello that was answered with a refusal.
    Refused = "refused",
    /// A Hello that was answered with a Retry: its sender has to prove its address first.
    Unproven = "address not proved",
    /// A Hello to a side that takes no sessions.
    NotServing = "no server here",
    /// An answer was due, and so many have been sent already.
    RateLimited = "answer limit",
    /// For a session of another worker.
    WrongWorker = "wrong worker",
    /// For a session that is not, or no longer, here.
    NoSession = "no session",
    /// For a session that is here, but not from the address of its peer.
    WrongAddress = "wrong address",
    /// For a session that is here, but from another VLAN than its peer's.
    WrongVlan = "wrong VLAN",
    /// Given to a session that it is not for.
    WrongSession = "wrong session",
    /// Of a kind that means nothing in the session's state.
    WrongState = "wrong state",
    /// A Hello, or an answer to one, that is not well-formed or not for this session.
    Handshake = "unusable handshake",
    /// The session is over.
    SessionClosed = "session closed",
    /// Its number has come before, or is too old to tell.
    DuplicatePacket = "duplicate packet",
    /// Its block has come before, in another packet; it is acknowledged all the same.
    DuplicateBlock = "duplicate block",
    /// There is no room for its piece of the control stream now; its sender has to repeat it.
    ControlFull = "control stream full",
    /// It broke the protocol, and with that ended the session.
    Violation = "violation",
}

/// How many reasons there are.
const COUNT: usize = DropReason::ALL.len();

impl From<&WireError> for DropReason {
    fn from(error: &WireError) -> Self {
        match error {
            WireError::TooShort { .. } => Self::TooShort,
            WireError::UnsupportedVersion { .. } => Self::Version,
            WireError::UnknownKind(_) => Self::Kind,
            WireError::UnknownFlags(_) => Self::Flags,
            WireError::BadSpan(_) => Self::Span,
            WireError::BadLength { .. } => Self::Length,
            WireError::ReservedNotZero => Self::Reserved,
            WireError::BadChecksum { .. } => Self::Checksum,
        }
    }
}

impl From<&ParseError> for DropReason {
    fn from(error: &ParseError) -> Self {
        match error {
            ParseError::Truncated => Self::FrameTruncated,
            ParseError::NotIp | ParseError::NotUdp | ParseError::Options | ParseError::Fragment => {
                Self::NotUdp
            }
            ParseError::Malformed => Self::FrameMalformed,
            ParseError::Ipv4Checksum => Self::Ipv4Checksum,
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A counter for each [`DropReason`]. [`Display`](fmt::Display) names those that are not zero:
/// `3 checksum, 1 duplicate packet`, or `none`.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Drops([u64; COUNT]);

/// Like [`Display`](fmt::Display): a list of numbers tells nobody anything.
impl fmt::Debug for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl Default for Drops {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Drops {
    /// Counts a packet that was dropped for this reason.
    pub fn count(&mut self, reason: impl Into<DropReason>) {
        self.0[reason.into() as usize] += 1;
    }

    /// Packets dropped, for whatever reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each reason and its count, zeros included, in the order of [`DropReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().copied().zip(self.0)
    }
}

impl Index<DropReason> for Drops {
    type Output = u64;

    fn index(&self, reason: DropReason) -> &u64 {
        &self.0[reason as usize]
    }
}

impl AddAssign<&Self> for Drops {
    fn add_assign(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (reason, count) in self.iter().filter(|&(_, count)| count > 0) {
            write!(f, "{separator}{count} {reason}")?;
            separator = ", ";
        }
        if separator.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::{net, wire};

    #[test]
    fn the_list_is_in_the_order_of_the_counters() {
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
    }

    #[test]
    fn operators_read_what_is_not_zero() {
        let mut drops = Drops::default();
        assert_eq!(drops.to_string(), "none");
        drops.count(&wire::open(&[0; 10]).unwrap_err());
        drops.count(&net::parse(&[0; 10]).unwrap_err());
        drops.count(DropReason::TooShort);
        assert_eq!(drops.to_string(), "1 truncated frame, 2 too short");
        assert_eq!((drops.total(), drops[DropReason::TooShort]), (3, 2));
    }

    #[test]
    fn counts_add_up() {
        let (mut a, mut b) = (Drops::default(), Drops::default());
        a.count(DropReason::NoSession);
        b.count(DropReason::NoSession);
        b.count(DropReason::Violation);
        a += &b;
        assert_eq!(a.to_string(), "2 no session, 1 violation");
    }
}
