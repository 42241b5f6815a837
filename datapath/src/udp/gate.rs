//! Who may send to a port, and how often it may begin: what the XDP program keeps to in front of AF_XDP sockets
//! (`xdp-prog/ebpf/src/source.rs`), for UDP sockets.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use blk_proto::wire::{HEADER_LEN, Kind};
use blk_xdp::{HandshakeLimit, Network};

/// Sources of handshakes that are remembered, as many as in the XDP program (`BUCKETS_MAX`), in sets of [`WAYS`].
const SETS: usize = 1024;
/// Places that one source can be remembered in.
const WAYS: usize = 8;

/// Why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its source is in none of the allowed networks.
    NotAllowed,
    /// It is shorter than the protocol's header.
    TooShort,
    /// It is a handshake packet, and its source has sent too many.
    HandshakeLimit,
}

/// Guards the port of all workers: a source has one allowance, wherever its flows arrive.
pub struct Gate {
    rules: RwLock<Rules>,
    started: Instant,
}

/// What can be changed while packets come.
struct Rules {
    allowed: Option<Allowed>,
    limit: Option<Limit>,
}

impl Gate {
    /// Lets in packets from these networks, or from everywhere when there are none, and so many handshake packets of each
    /// source.
    #[must_use]
    pub fn new(allow: &[Network], handshakes: Option<HandshakeLimit>) -> Self {
        Self {
            rules: RwLock::new(Rules {
                allowed: Allowed::unless_empty(allow),
                limit: handshakes.map(Limit::new),
            }),
            started: Instant::now(),
        }
    }

    /// The same from now on, as a whole: no packet meets half of the change. What sources have sent so far still counts.
    pub fn change(&self, allow: &[Network], handshakes: Option<HandshakeLimit>) {
        let allowed = Allowed::unless_empty(allow);
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.allowed = allowed;
        match (&mut rules.limit, handshakes) {
            (Some(limit), Some(new)) => limit.set(new),
            (limit, new) => *limit = new.map(Limit::new),
        }
    }

    /// What is wrong with all datagrams of a message from `source`, of which none is longer than `longest`. To be asked once a
    /// message, before anything is done with it.
    #[must_use]
    pub fn refuse_all(&self, source: IpAddr, longest: usize) -> Option<Refusal> {
        match &self.rules().allowed {
            Some(allowed) if !allowed.contains(source) => Some(Refusal::NotAllowed),
            _ if longest < HEADER_LEN => Some(Refusal::TooShort),
            _ => None,
        }
    }

    /// What is wrong with one datagram of a message that was not refused as a whole, by its length and the byte at
    /// [`KIND_AT`](blk_proto::wire::KIND_AT), which is looked at only where there is one.
    pub fn refuse(&self, source: IpAddr, len: usize, kind: impl FnOnce() -> u8) -> Option<Refusal> {
        // Every packet of every version has a header at least this long.
        if len < HEADER_LEN {
            return Some(Refusal::TooShort);
        }
        if kind() != Kind::Hello as u8 {
            return None;
        }
        let rules = self.rules();
        let limit = rules.limit.as_ref()?;
        let taken = limit.take_token(source, self.started.elapsed());
        (!taken).then_some(Refusal::HandshakeLimit)
    }

    fn rules(&self) -> RwLockReadGuard<'_, Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One guard: a thread that has one may wait forever for another, when somebody waits to write in between.
        let rules = self.rules();
        f.debug_struct("Gate")
            .field("listed", &rules.allowed.is_some())
            .field("limited", &rules.limit.is_some())
            .finish_non_exhaustive()
    }
}

/// Networks, as ranges of addresses in order that do not touch. IPv4 and IPv6 are apart: `::/0` holds no IPv4 address.
struct Allowed {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Allowed {
    /// `None` for none: everybody gets in.
    fn unless_empty(networks: &[Network]) -> Option<Self> {
        (!networks.is_empty()).then(|| Self::new(networks))
    }

    fn new(networks: &[Network]) -> Self {
        let ranges = |ipv6: bool| {
            let of_family = networks.iter().filter(|n| n.address().is_ipv6() == ipv6);
            merged(of_family.map(|network| range(*network)).collect())
        };
        Self {
            v4: ranges(false),
            v6: ranges(true),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let ranges = if address.is_ipv6() {
            &self.v6
        } else {
            &self.v4
        };
        let address = number(address);
        let after = ranges.partition_point(|&(first, _)| first <= address);
        after > 0 && address <= ranges[after - 1].1
    }
}

/// First and last address of a network.
fn range(network: Network) -> (u128, u128) {
    let first = number(network.address());
    let bits = if network.address().is_ipv6() { 128 } else { 32 };
    let free = bits - u32::from(network.prefix());
    let others = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    (first, first | others)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Sorts ranges, and makes one of those that meet.
fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// A token bucket for each source, in a table that does not grow.
///
/// A bucket is one number, the time when it will be full again if nothing is taken (the generic cell rate algorithm, ITU-T
/// I.371). A full bucket is as good as none. In a set whose places are all taken, the source whose bucket is the fullest is
/// forgotten for a new one, so it gains the least. Sets are chosen by a hash that nobody outside knows.
struct Limit {
    /// Nanoseconds between two tokens.
    interval: u64,
    /// Nanoseconds that fill an empty bucket but for one token.
    burst: u64,
    hasher: RandomState,
    buckets: Mutex<Vec<[Bucket; WAYS]>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    source: u128,
    /// Nanoseconds of the gate's clock; 0: nobody's.
    full_at: u64,
}

impl Limit {
    fn new(limit: HandshakeLimit) -> Self {
        let mut new = Self {
            interval: 0,
            burst: 0,
            hasher: RandomState::new(),
            buckets: Mutex::new(vec![[Bucket::default(); WAYS]; SETS]),
        };
        new.set(limit);
        new
    }

    /// Another limit, for the sources that are remembered, too.
    fn set(&mut self, limit: HandshakeLimit) {
        self.interval = Duration::from_secs(1).as_nanos() as u64 / u64::from(limit.rate());
        self.burst = self.interval * (u64::from(limit.burst()) - 1);
    }

    /// Takes a token from the bucket of `source`; `false`: it is empty. Times come from one clock, and may come out of order by
    /// what threads wait for each other.
    fn take_token(&self, source: IpAddr, now: Duration) -> bool {
        let (source, now) = (owner(source), now.as_nanos() as u64);
        let set = self.hasher.hash_one(source) as usize % SETS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = &mut buckets[set];
        let known = set
            .iter()
            .position(|bucket| bucket.full_at > 0 && bucket.source == source);
        let place = known.unwrap_or_else(|| fullest(set));
        let bucket = &mut set[place];
        let ahead = match known {
            Some(_) => bucket.full_at.saturating_sub(now),
            None => 0,
        };
        if ahead > self.burst {
            return false;
        }
        *bucket = Bucket {
            source,
            full_at: now + ahead + self.interval,
        };
        true
    }
}

/// The place of the bucket that is full first.
fn fullest(set: &[Bucket; WAYS]) -> usize {
    let places = 0..WAYS;
    places.min_by_key(|&at| set[at].full_at).unwrap_or(0)
}

/// Whose bucket a source takes from: an IPv4 address has one, and an IPv6 network of 64 bits, which is what one host usually
/// has to choose from.
fn owner(source: IpAddr) -> u128 {
    match source {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address) >> 64 << 64,
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
