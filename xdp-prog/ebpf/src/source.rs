//! Who may send, and how many handshake packets.

use core::ptr;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{LpmTrie, LruHashMap};
use blk_proto::net::{Addresses, PacketBytes, UdpHeaders};

use crate::abi::{BUCKETS_MAX, RULE_ALLOW, RULES_MAX, Service};
use crate::context::Linear;
use crate::words::{self, Words, word};

/// Allow-lists of IPv4 sources, each behind its port: the longest prefix that matches decides.
#[map]
static SOURCES_V4: LpmTrie<[u8; 6], u32> = LpmTrie::with_max_entries(RULES_MAX, 0);

/// Allow-lists of IPv6 sources.
#[map]
static SOURCES_V6: LpmTrie<[u8; 18], u32> = LpmTrie::with_max_entries(RULES_MAX, 0);

/// When the bucket of each source will be full again, in nanoseconds of the monotonic clock.
#[map]
static BUCKETS: LruHashMap<[u8; 16], u64> = LruHashMap::with_max_entries(BUCKETS_MAX, 0);

/// Where the source address stands in an IPv4 header (RFC 791, section 3.1).
const SOURCE_IN_V4: usize = 12;
/// Where the source address stands in an IPv6 header (RFC 8200, section 3).
const SOURCE_IN_V6: usize = 8;

/// Whether the allow-list of a packet's port lets its sender through; one that it does not know, it does not.
#[inline(always)]
pub fn is_allowed(packet: &Linear<'_>, headers: &UdpHeaders) -> bool {
    let [p, q] = headers.destination_port.to_be_bytes();
    let rule = match headers.addresses {
        Addresses::V4 { .. } => {
            let Some([a, b, c, d]) = source(packet, headers, SOURCE_IN_V4) else {
                return false;
            };
            let mut place = Words::uninit();
            let words = [
                word([48, 0, 0, 0, p, q, a, b]),
                word([c, d, 0, 0, 0, 0, 0, 0]),
            ];
            let key = words::write(&mut place, words);
            // SAFETY: longer than the key, which is plain bytes, has no alignment, and begins with a little-endian length.
            SOURCES_V4.get(unsafe { &*key.as_ptr().cast::<Key<[u8; 6]>>() })
        }
        Addresses::V6 { .. } => {
            let Some(s) = source::<16>(packet, headers, SOURCE_IN_V6) else {
                return false;
            };
            let mut place = Words::uninit();
            let words = [
                word([144, 0, 0, 0, p, q, s[0], s[1]]),
                word([s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9]]),
                word([s[10], s[11], s[12], s[13], s[14], s[15], 0, 0]),
            ];
            let key = words::write(&mut place, words);
            // SAFETY: as above.
            SOURCES_V6.get(unsafe { &*key.as_ptr().cast::<Key<[u8; 18]>>() })
        }
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
pub fn take_token(packet: &Linear<'_>, headers: &UdpHeaders, service: &Service) -> bool {
    let Some(bucket) = bucket(packet, headers) else {
        return false;
    };
    let mut place = Words::uninit();
    let key = words::write(&mut place, bucket);
    let interval = service.token_interval;
    // SAFETY: the same size, plain bytes, no alignment.
    let source = unsafe { &*key.as_ptr().cast::<[u8; 16]>() };
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
    if ahead > service.token_burst && ahead <= service.token_burst + interval {
        return false;
    }
    // Further ahead it can only be from times of a stricter limit: the bucket is full then.
    let ahead = if ahead > service.token_burst {
        0
    } else {
        ahead
    };
    // SAFETY: as above.
    unsafe { ptr::write_volatile(full_at, now + ahead + interval) };
    true
}

/// Whose bucket a sender takes from: each service has one for an IPv4 address (as `::ffff:a.b.c.d`), and for an IPv6 network of
/// 64 bits, which is what one host usually has to choose from. The service's port stands in bytes 8 and 9.
#[inline(always)]
fn bucket(packet: &Linear<'_>, headers: &UdpHeaders) -> Option<[u64; 2]> {
    let [p, q] = headers.destination_port.to_be_bytes();
    Some(match headers.addresses {
        Addresses::V4 { .. } => {
            let [a, b, c, d] = source(packet, headers, SOURCE_IN_V4)?;
            [0, word([p, q, 0xff, 0xff, a, b, c, d])]
        }
        Addresses::V6 { .. } => [
            word(source(packet, headers, SOURCE_IN_V6)?),
            word([p, q, 0, 0, 0, 0, 0, 0]),
        ],
    })
}

/// The first `N` bytes of the source address, which stands at `offset` of the IP header.
///
/// Read again, and not kept from parsing: kept, they are on the stack only where the packet is IPv6, and for a process
/// without CAP_PERFMON the verifier also follows the branch that reads them where it is not (what a CPU may do by
/// speculation), and refuses that.
#[inline(always)]
fn source<const N: usize>(
    packet: &Linear<'_>,
    headers: &UdpHeaders,
    offset: usize,
) -> Option<[u8; N]> {
    packet.read_far(headers.ip_offset + offset)
}
