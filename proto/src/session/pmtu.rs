//! How long a block's payload may be so that its packet fits the path: RFC 8899 (DPLPMTUD), over payload sizes.
//!
//! Sizes are multiples of the peer's granule, so there are few of them: six between 1024 and 3584. The base size is
//! taken to fit every path; larger ones must be proved by a [`Probe`], a packet of that size that carries nothing.
//!
//! ```text
//!              the largest first, then halving what is left
//!   Search ───────────────────────────────────────────────► Rest ──after RAISE_INTERVAL──► Search
//!     ▲  ▲      a candidate fails after MAX_PROBES             │
//!     │  │                                                     │ blocks above the base are lost in a row
//!     │  └──one gets through, or a probe of the limit──── Verify ◄──────────────────────┘
//!     │                                                     │ MAX_PROBES of the limit are lost
//!     └───────────── at once, later after a wait ◄──────────┘ black hole: the limit is the base again
//! ```
//!
//! There are no timers for single probes. A probe is followed by a small packet, which overtakes it if it is lost, so
//! recovery tells within a round trip and a quarter; when both are lost, its probe timeout (RFC 9002, section 6.2) sends
//! the next small packet. So a probe counts as lost only when something smaller got through: a link that is down for
//! a while does not look like a path with a smaller MTU. For the same reason a run of lost blocks is no proof of a black
//! hole by itself, since a full queue on the path makes such runs too: it is verified (section 4.3 of RFC 8899).
//!
//! A probe of a long block may get through where the blocks do not: a queue on the path that holds one or two such packets takes
//! the probe, which goes first, and drops what follows it. Probes would answer for the path for ever. So when they have done that
//! [`MAX_VAIN`] times and no long block has arrived in between, blocks are short for a while.
//!
//! ICMP is not needed and not heard.

use core::time::Duration;

use super::config::Parameters;
use crate::geometry;
use crate::time::Time;

/// Lost probes that rule a candidate out: `MAX_PROBES` in RFC 8899, section 5.1.2.
const MAX_PROBES: u8 = 3;
/// How long to rest before larger sizes are tried again: `PMTU_RAISE_TIMER` in RFC 8899, section 5.1.1.
const RAISE_INTERVAL: Duration = Duration::from_secs(600);
/// Lost blocks in a row, above the base and with none as long acknowledged between them, that call for a look.
const SUSPICIOUS_LOSSES: u8 = 4;
/// Verified so often, while long blocks are lost and none arrives, the path is not fit for them.
const MAX_VAIN: u8 = 3;
/// Wait before the search after a second black hole; doubles with each one until a rest has passed without.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// A packet that tells whether its size fits the path.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// Bytes of payload.
    pub(super) size: u16,
    /// Counts probes, modulo 2^16.
    id: u16,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Looking for a larger size.
    Search { candidate: u16 },
    /// Looking whether the limit still fits.
    Verify,
    /// Nothing to find out for `wait` (for ever, if `None`), which begins when the time is known.
    Rest {
        wait: Option<Duration>,
        until: Option<Time>,
    },
}

/// Counters of a [`Pmtu`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Probes sent.
    pub(super) probes: u64,
    /// Times that the limit fell back to the base.
    pub(super) black_holes: u64,
    /// Times that it fell from that of long blocks to that of short ones, since only probes arrived.
    pub(super) shortened: u64,
}

/// The largest payload that the path is known to take, and the search for a larger one.
#[derive(Clone, Debug)]
pub(super) struct Pmtu {
    granule: u16,
    base: u16,
    /// Longest block that is not a long one.
    short: u16,
    most: u16,
    limit: u16,
    /// Smallest size known not to fit. Above `most` if none is.
    ceiling: u32,
    phase: Phase,
    /// Probes of this phase's size that were lost.
    failures: u8,
    /// The one whose outcome is awaited.
    awaited: Option<u16>,
    next_id: u16,
    /// Older probes say how the path was before it was found to be a black hole.
    oldest_id: u16,
    /// Blocks above the base that were lost since one as long as the longest of them was acknowledged.
    losses: u8,
    longest_lost: u16,
    /// Longest block lost since one as long arrived; unlike `longest_lost`, probes do not count.
    missing: u16,
    /// Times that a probe was believed while long blocks were missing.
    vain: u8,
    /// Black holes, and falls to short blocks, since the last rest without one.
    recent_holes: u32,
    pub(super) counters: Counters,
}

impl Pmtu {
    /// Nothing may be sent: the peer is not known yet.
    pub(super) const fn closed() -> Self {
        Self {
            granule: 1,
            base: 0,
            short: 0,
            most: 0,
            limit: 0,
            ceiling: 0,
            phase: Phase::Rest {
                wait: None,
                until: None,
            },
            failures: 0,
            awaited: None,
            next_id: 0,
            oldest_id: 0,
            losses: 0,
            longest_lost: 0,
            missing: 0,
            vain: 0,
            recent_holes: 0,
            counters: Counters {
                probes: 0,
                black_holes: 0,
                shortened: 0,
            },
        }
    }

    /// For a peer with these parameters, when this side sends at most `local` bytes of payload; `long`: most bytes of payload
    /// in long blocks, if the two sides send any.
    pub(super) fn new(peer: &Parameters, long: Option<u16>, local: u16) -> Self {
        let granule = peer.granule.max(1);
        let bound = |longest: u16| {
            let most = longest.min(local);
            match geometry::round_down(usize::from(most), usize::from(granule)) as u16 {
                // A peer with a granule beyond what this side sends: what is left is one block that is a whole file.
                0 => most,
                rounded => rounded,
            }
        };
        let short = bound(peer.max_payload);
        let most = long.map_or(short, |long| bound(long).max(short));
        let base = geometry::base_payload(peer.payload_offset, granule).min(most);
        let mut pmtu = Self {
            granule,
            base,
            short,
            most,
            limit: base,
            ceiling: u32::from(most) + 1,
            ..Self::closed()
        };
        pmtu.advance();
        pmtu
    }

    /// Bytes of payload that a block may have now.
    pub(super) const fn limit(&self) -> u16 {
        self.limit
    }

    /// Bytes of payload that a block may have now, if a probe has shown that the path takes them.
    pub(super) fn proved(&self) -> Option<u16> {
        (self.limit > self.base).then_some(self.limit)
    }

    /// When [`Self::due`] has something to say although nothing was acknowledged or lost.
    pub(super) const fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Rest { until, .. } => until,
            _ => None,
        }
    }

    /// Whether a probe is to be sent now.
    pub(super) fn due(&mut self, now: Time) -> bool {
        if let Phase::Rest {
            wait: Some(wait),
            until,
        } = &mut self.phase
        {
            let until = *until.get_or_insert(now + *wait);
            if now < until {
                return false;
            }
            if *wait >= RAISE_INTERVAL {
                self.recent_holes = 0;
            }
            self.ceiling = u32::from(self.most) + 1;
            self.advance();
        }
        self.awaited.is_none() && self.wanted().is_some()
    }

    /// The probe to send, if one is [due](Self::due); it counts as sent.
    pub(super) fn send(&mut self) -> Option<Probe> {
        let size = self.wanted()?;
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.awaited = Some(id);
        self.counters.probes += 1;
        Some(Probe { size, id })
    }

    const fn is_current(&self, probe: Probe) -> bool {
        probe.id.wrapping_sub(self.oldest_id) < 1 << 15
    }

    const fn wanted(&self) -> Option<u16> {
        match self.phase {
            Phase::Search { candidate } => Some(candidate),
            Phase::Verify => Some(self.limit),
            Phase::Rest { .. } => None,
        }
    }

    /// A probe arrived, maybe one that was taken for lost.
    pub(super) fn on_probe_acked(&mut self, probe: Probe) {
        let awaited = self.awaited == Some(probe.id);
        if awaited {
            self.awaited = None;
        }
        if probe.size > self.limit && self.is_current(probe) {
            self.limit = probe.size;
            if self.ceiling <= u32::from(probe.size) {
                self.ceiling = u32::from(self.most) + 1;
            }
            self.advance();
        } else if awaited && self.phase == Phase::Verify {
            self.trust();
            self.vain += u8::from(self.missing > self.short);
            if self.vain >= MAX_VAIN {
                self.shorten();
            }
        }
    }

    /// A probe was lost.
    pub(super) fn on_probe_lost(&mut self, probe: Probe) {
        if self.awaited != Some(probe.id) {
            return;
        }
        self.awaited = None;
        if self.wanted() != Some(probe.size) {
            return;
        }
        self.failures += 1;
        if self.failures < MAX_PROBES {
            return;
        }
        match self.phase {
            Phase::Search { candidate } => {
                self.ceiling = u32::from(candidate);
                self.advance();
            }
            Phase::Verify => self.fall_back(),
            Phase::Rest { .. } => {}
        }
    }

    /// A block of this length arrived, or another packet as long as one of it.
    pub(super) fn on_block_acked(&mut self, len: u16) {
        let fits = self.losses > 0 && len >= self.longest_lost;
        // Losses are found in the order of sending. So once the first probe is lost, nothing that was sent before it is
        // outstanding: this block was sent after the doubt arose, and answers it as well as a probe.
        let verified = self.phase == Phase::Verify && self.failures > 0 && len >= self.limit;
        if fits || verified {
            self.trust();
        }
        if len > self.short && len >= self.missing {
            (self.missing, self.vain) = (0, 0);
        }
    }

    /// A packet with a block of this length was lost, or another one as long.
    pub(super) fn on_block_lost(&mut self, len: u16) {
        // What is longer than the limit was sent before it fell.
        if len <= self.base || len > self.limit {
            return;
        }
        self.longest_lost = self.longest_lost.max(len);
        self.missing = self.missing.max(len);
        self.losses = self.losses.saturating_add(1);
        if self.losses >= SUSPICIOUS_LOSSES {
            self.verify();
        }
    }

    /// Nothing was acknowledged for two probe timeouts in a row or more. Perhaps all that is sent is too long.
    pub(super) fn on_silence(&mut self) {
        self.verify();
    }

    fn verify(&mut self) {
        if self.limit > self.base && self.phase != Phase::Verify {
            self.phase = Phase::Verify;
            self.failures = 0;
            self.awaited = None;
        }
    }

    /// What is as long as the limit gets through.
    fn trust(&mut self) {
        self.losses = 0;
        self.longest_lost = 0;
        if self.phase == Phase::Verify {
            self.advance();
        }
    }

    /// A black hole: back to the base.
    fn fall_back(&mut self) {
        let wait = self.backoff();
        self.fall(self.base);
        self.counters.black_holes += 1;
        match wait {
            None => self.advance(),
            wait => self.phase = Phase::Rest { wait, until: None },
        }
    }

    /// Only probes arrive: back to short blocks. A search at once would find what is known already.
    fn shorten(&mut self) {
        let wait = self.backoff().or(Some(FIRST_BACKOFF));
        self.fall(self.short);
        self.counters.shortened += 1;
        self.phase = Phase::Rest { wait, until: None };
    }

    fn fall(&mut self, limit: u16) {
        self.limit = limit;
        self.ceiling = u32::from(self.most) + 1;
        (self.losses, self.longest_lost) = (0, 0);
        (self.missing, self.vain) = (0, 0);
        self.oldest_id = self.next_id;
        self.recent_holes = self.recent_holes.saturating_add(1);
    }

    /// How long not to search after the next fall.
    fn backoff(&self) -> Option<Duration> {
        match self.recent_holes {
            0 => None,
            n => Some(
                FIRST_BACKOFF
                    .saturating_mul(1 << (n - 1).min(10))
                    .min(RAISE_INTERVAL),
            ),
        }
    }

    /// Goes on to the next candidate, or to rest if there is none.
    fn advance(&mut self) {
        self.failures = 0;
        self.awaited = None;
        self.phase = match self.candidate() {
            Some(candidate) => Phase::Search { candidate },
            None => Phase::Rest {
                wait: (self.base < self.most).then_some(RAISE_INTERVAL),
                until: None,
            },
        };
    }

    /// The largest size, until it is known not to fit; then the middle of what is left.
    fn candidate(&self) -> Option<u16> {
        if self.ceiling > u32::from(self.most) {
            return (self.limit < self.most).then_some(self.most);
        }
        let steps = (self.ceiling - u32::from(self.limit)) / u32::from(self.granule);
        (steps > 1).then(|| self.limit + (steps / 2) as u16 * self.granule)
    }
}

#[cfg(test)]
mod tests;
