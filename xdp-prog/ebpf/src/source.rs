//! Who may send, and how many handshake packets.

use core::ptr;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{LpmTrie, LruHashMap};
use blk_proto::net::Addresses;

use crate::abi::{BUCKETS_MAX, RULE_ALLOW, RULES_MAX, Settings};

/// Allow-list of IPv4 sources: the longest prefix that matches decides.
#[map]
static SOURCES_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(RULES_MAX, 0);

/// Allow-list of IPv6 sources.
#[map]
static SOURCES_V6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(RULES_MAX, 0);

/// When the bucket of each source will be full again, in nanoseconds of the monotonic clock.
#[map]
static BUCKETS: LruHashMap<[u8; 16], u64> = LruHashMap::with_max_entries(BUCKETS_MAX, 0);

/// Whether the allow-list lets a sender through; one that it does not know, it does not.
#[inline(always)]
pub fn is_allowed(addresses: &Addresses) -> bool {
    let rule = match *addresses {
        Addresses::V4 { source, .. } => SOURCES_V4.get(Key::new(32, source)),
        Addresses::V6 { source, .. } => SOURCES_V6.get(Key::new(128, source)),
    };
    rule.is_some_and(|&rule| rule == RULE_ALLOW)
}

/// Takes a token from the bucket of a sender; `false` when it is empty.
///
/// A bucket is one number, the time when it will be full again if nothing is taken (the generic cell rate
/// algorithm, ITU-T I.371): a token puts that off by an interval, and no more than `token_burst` ahead of now
/// may it be. CPUs that take from one bucket in the same instant may all get the same token: at worst a source
/// that reaches several queues at once has a bucket for each.
#[inline(always)]
pub fn take_token(addresses: &Addresses, settings: &Settings) -> bool {
    let (source, interval) = (bucket(addresses), settings.token_interval);
    // SAFETY: the helper has no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(full_at) = BUCKETS.get_ptr_mut(source) else {
        // Without memory for a bucket nobody is kept out.
        let _ = BUCKETS.insert(source, now + interval, 0);
        return true;
    };
    // SAFETY: the element holds an aligned `u64`, which stays mapped while the program runs. Volatile, because
    // other CPUs write it; 8 bytes are read and written as one.
    let ahead = unsafe { ptr::read_volatile(full_at) }.saturating_sub(now);
    if ahead > settings.token_burst && ahead <= settings.token_burst + interval {
        return false;
    }
    // Further ahead it can only be from times of a stricter limit: the bucket is full then.
    let ahead = if ahead > settings.token_burst {
        0
    } else {
        ahead
    };
    // SAFETY: as above.
    unsafe { ptr::write_volatile(full_at, now + ahead + interval) };
    true
}

/// Whose bucket a sender takes from: an IPv4 address has one (as `::ffff:a.b.c.d`), and an IPv6 network of 64 bits,
/// which is what one host usually has to choose from.
#[inline(always)]
fn bucket(addresses: &Addresses) -> [u8; 16] {
    match *addresses {
        Addresses::V4 {
            source: [a, b, c, d],
            ..
        } => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d],
        Addresses::V6 { source: s, .. } => [
            s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    }
}
