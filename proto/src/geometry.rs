//! Where a payload lies in a packet and in a UMEM chunk, so that disks can take it where the NIC put it.
//!
//! O_DIRECT wants memory aligned to the disk's granule (512 bytes on most disks). The kernel decides where packet data
//! starts in a chunk, the headers are of several sizes, and so the sender pads its header until the payload lands on
//! the offset that the receiver announced. All lengths are in bytes.
//!
//! VLAN tags are the receiver's part of that: a switch between two ends may put tags in or take them out, so only the
//! receiver knows how many there are when a packet arrives. It announces a smaller offset for them
//! ([`announced_offset`]), and the sender counts its headers without tags.
//!
//! ```text
//!   chunk + 0 │ XDP_PACKET_HEADROOM 256 │ UMEM_HEADROOM 128 │ PAYLOAD_OFFSET 128 │ payload ≤ 3584 │ chunk + 4096
//!                                                           │ l4_overhead │ span │
//! ```

use crate::net::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, UDP_LEN, VLAN_LEN};
use crate::wire::{HEADER_LEN, PAYLOAD_OFFSET};

/// Bytes the kernel keeps in front of packet data in every chunk: `XDP_PACKET_HEADROOM` in
/// `include/uapi/linux/bpf.h`.
pub const XDP_PACKET_HEADROOM: usize = 256;

/// UMEM headroom (`xdp_umem_reg.headroom`) that puts the payload of a packet at chunk + 512.
pub const UMEM_HEADROOM: usize = 128;

/// A UMEM chunk: the largest there is, since a chunk never exceeds the page size.
pub const CHUNK_LEN: usize = 4096;

/// Payloads are multiples of this, except the last one of a file: a disk sector.
pub const PAYLOAD_GRANULE: usize = 512;

/// Largest payload offset that a receiver may ask for: what aligns the payload of multi-buffer packets, whose first
/// fragment has as little headroom as the others.
pub const MAX_PAYLOAD_OFFSET: u16 = 512;

/// UMEM headroom of a receiver that takes packets in several chunks: every fragment starts at chunk + 512.
pub const LONG_UMEM_HEADROOM: usize = 256;

/// Bytes of a packet in each chunk but its last, for that headroom: 7 sectors.
pub const FRAGMENT_LEN: usize = CHUNK_LEN - XDP_PACKET_HEADROOM - LONG_UMEM_HEADROOM;

/// Distance in bytes from the Ethernet header to the payload of a long block: a sector, so that each fragment is one of
/// whole sectors.
pub const LONG_PAYLOAD_OFFSET: usize = MAX_PAYLOAD_OFFSET as usize;

/// Longest payload of a long block: 105 sectors, of which [`GRID`] is 16. Its sender's payload fills 15 chunks, and with one more for the
/// headers a packet has fewer fragments than socket buffers have (`MAX_SKB_FRAGS`, 17); its receiver needs 16 chunks.
pub const MAX_LONG_PAYLOAD: usize = 15 * FRAGMENT_LEN;

/// No block crosses a multiple of this many bytes of its file. Both ends read and write a file in pieces between two such
/// bounds, and flows share a transfer out in them, whatever the length of the blocks, which may change on the way:
/// payloads of 1 to 7 sectors (420 sectors are their least common multiple) fit in a whole number of times, and
/// the bounds are those of pages, so that neighbouring writes share no block of the file system. 840 KiB.
pub const GRID: u64 = 4 * 420 * PAYLOAD_GRANULE as u64;

const _: () = assert!(GRID.is_multiple_of(4096) && GRID.is_multiple_of(MAX_LONG_PAYLOAD as u64));

/// [`l4_overhead`] of IPv4.
pub const L4_OVERHEAD_V4: u16 = l4_overhead(false);
/// [`l4_overhead`] of IPv6.
pub const L4_OVERHEAD_V6: u16 = l4_overhead(true);

/// Distance from the start of a chunk to the payload of a packet received into it.
#[must_use]
pub const fn payload_start(umem_headroom: usize, payload_offset: usize) -> usize {
    XDP_PACKET_HEADROOM + umem_headroom + payload_offset
}

/// The UMEM headroom that puts a payload at a multiple of `alignment` (a power of two) in its chunk: the smallest one
/// that does, for a payload `payload_offset` bytes into the packet.
#[must_use]
pub const fn headroom(payload_offset: usize, alignment: usize) -> usize {
    let unpadded = XDP_PACKET_HEADROOM + payload_offset;
    round_up(unpadded, alignment) - unpadded
}

/// `len` rounded down to a multiple of `granule`; `len` itself if `granule` is 0.
#[must_use]
pub const fn round_down(len: usize, granule: usize) -> usize {
    if granule == 0 {
        return len;
    }
    len - len % granule
}

/// `len` rounded up to a multiple of `granule`; `len` itself if `granule` is 0.
#[must_use]
pub const fn round_up(len: usize, granule: usize) -> usize {
    round_down(len + granule.saturating_sub(1), granule)
}

/// Bytes in front of a UDP payload: Ethernet without VLAN tags, IP without options, UDP.
#[must_use]
pub const fn l4_overhead(ipv6: bool) -> u16 {
    let ip = if ipv6 { IPV6_LEN } else { IPV4_LEN };
    (ETHERNET_LEN + ip + UDP_LEN) as u16
}

/// What a receiver announces so that payloads start `payload_offset` bytes into packets that have `vlan_tags` tags when
/// they arrive: the offset without the tags, which senders do not count.
#[must_use]
pub const fn announced_offset(payload_offset: u16, vlan_tags: u16) -> u16 {
    payload_offset - vlan_tags * VLAN_LEN as u16
}

/// The header's `span` (bytes from the header's start to the payload, padding included) that puts a payload
/// `payload_offset` bytes into the packet, VLAN tags not counted. `None` if the headers do not fit in front of it, or it lies beyond
/// [`MAX_PAYLOAD_OFFSET`].
#[must_use]
pub const fn span(payload_offset: u16, l4_overhead: u16) -> Option<u16> {
    let Some(span) = payload_offset.checked_sub(l4_overhead) else {
        return None;
    };
    if (span as usize) < HEADER_LEN || payload_offset > MAX_PAYLOAD_OFFSET {
        return None;
    }
    Some(span)
}

/// Largest payload that a packet on an interface of this MTU carries, when it starts `payload_offset` bytes into the
/// packet and must fit into a chunk from `payload_start` on: a multiple of `granule`, 0 if nothing fits.
///
/// `l2_len` is what the MTU does not count: the Ethernet header and VLAN tags.
#[must_use]
pub const fn max_payload(
    mtu: usize,
    l2_len: usize,
    payload_offset: usize,
    payload_start: usize,
    chunk: usize,
    granule: usize,
) -> usize {
    let on_wire = (mtu + l2_len).saturating_sub(payload_offset);
    let in_chunk = chunk.saturating_sub(payload_start);
    let most = if on_wire < in_chunk {
        on_wire
    } else {
        in_chunk
    };
    round_down(most, granule)
}

/// [`max_payload`] for this crate's defaults: untagged Ethernet, [`PAYLOAD_OFFSET`], 4 KiB chunks, 512-byte granule.
#[must_use]
pub const fn max_payload_for_mtu(mtu: usize) -> usize {
    max_payload(
        mtu,
        ETHERNET_LEN,
        PAYLOAD_OFFSET,
        payload_start(UMEM_HEADROOM, PAYLOAD_OFFSET),
        CHUNK_LEN,
        PAYLOAD_GRANULE,
    )
}

/// What is longer than one chunk and less than this leaves chunks half empty, and disks want full ones: two full ones at
/// the receiver.
pub const MIN_LONG_PAYLOAD: usize = 2 * FRAGMENT_LEN - LONG_PAYLOAD_OFFSET;

/// Longest payload of a long block that a packet of this MTU carries on untagged Ethernet; `None` if it is less than
/// [`MIN_LONG_PAYLOAD`].
#[must_use]
pub const fn max_long_payload_for_mtu(mtu: usize) -> Option<u16> {
    let on_wire = (mtu + ETHERNET_LEN).saturating_sub(LONG_PAYLOAD_OFFSET);
    let most = if on_wire < MAX_LONG_PAYLOAD {
        round_down(on_wire, PAYLOAD_GRANULE)
    } else {
        MAX_LONG_PAYLOAD
    };
    if most >= MIN_LONG_PAYLOAD {
        Some(most as u16)
    } else {
        None
    }
}

/// Chunks that a packet takes at its receiver, if the payload of `payload` bytes starts `payload_offset` bytes into it, VLAN
/// tags not counted.
#[must_use]
pub const fn fragments(payload_offset: usize, payload: usize) -> usize {
    (payload_offset + 2 * VLAN_LEN + payload).div_ceil(FRAGMENT_LEN)
}

/// Smallest MTU that every IPv6 link has (RFC 8200, section 5), and hardly an IPv4 link lacks.
pub const MIN_MTU: usize = 1280;

/// Payload that fits every path without a look at it: the largest multiple of `granule` in a packet of [`MIN_MTU`] whose
/// payload starts `payload_offset` bytes after the start of its Ethernet header; at least one granule.
#[must_use]
pub const fn base_payload(payload_offset: u16, granule: u16) -> u16 {
    let headers = (payload_offset as usize).saturating_sub(ETHERNET_LEN);
    let base = round_down(MIN_MTU.saturating_sub(headers), granule as usize) as u16;
    if base < granule { granule } else { base }
}

/// Payload of a full packet in a chunk of [`CHUNK_LEN`].
pub const MAX_FRAME_PAYLOAD: usize = max_payload_for_mtu(9000);

const _: () = {
    assert!(payload_start(UMEM_HEADROOM, PAYLOAD_OFFSET) == 512);
    assert!(headroom(PAYLOAD_OFFSET, PAYLOAD_GRANULE) == UMEM_HEADROOM);
    assert!(MAX_FRAME_PAYLOAD == 7 * PAYLOAD_GRANULE);
    assert!(FRAGMENT_LEN == 7 * PAYLOAD_GRANULE);
    assert!(payload_start(LONG_UMEM_HEADROOM, LONG_PAYLOAD_OFFSET).is_multiple_of(PAYLOAD_GRANULE));
    assert!(MAX_LONG_PAYLOAD == 105 * PAYLOAD_GRANULE);
    assert!(fragments(LONG_PAYLOAD_OFFSET, MAX_LONG_PAYLOAD) == 16);
    assert!(L4_OVERHEAD_V4 == 42 && L4_OVERHEAD_V6 == 62);
    // The widest headers that the parser accepts, IPv6 with two VLAN tags, still leave room for the header.
    assert!(
        span(
            announced_offset(PAYLOAD_OFFSET as u16, 2),
            l4_overhead(true)
        )
        .is_some()
    );
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_for_common_mtus() {
        assert_eq!(max_payload_for_mtu(1500), 1024);
        assert_eq!(max_payload_for_mtu(3498), 3072);
        assert_eq!(max_payload_for_mtu(9000), 3584);
        assert_eq!(max_payload_for_mtu(65535), 3584);
        assert_eq!(max_payload_for_mtu(600), 0);
        assert_eq!(max_payload_for_mtu(0), 0);
    }

    #[test]
    fn long_payload_for_common_mtus() {
        for (mtu, payload) in [
            (1500, None),
            (3498, None),
            (4082, None),
            (7153, None),
            (7154, Some(6656)),
            (9000, Some(8192)),
            (54_257, Some(53_248)),
            (54_258, Some(53_760)),
            (65_535, Some(53_760)),
        ] {
            assert_eq!(max_long_payload_for_mtu(mtu), payload, "{mtu}");
        }
        assert_eq!(fragments(512, 8192), 3);
        assert_eq!(fragments(512, 4096), 2);
        assert_eq!(fragments(512, 6656 - 8), 2);
        assert_eq!(fragments(512, 6656), 3, "with tags it would be");
    }

    #[test]
    fn base_payloads() {
        assert_eq!(base_payload(PAYLOAD_OFFSET as u16, 512), 1024);
        assert_eq!(base_payload(PAYLOAD_OFFSET as u16, 1), 1166);
        assert_eq!(base_payload(512, 512), 512);
        assert_eq!(base_payload(128, 4096), 4096, "nothing smaller is allowed");
        assert_eq!(base_payload(0, 512), 1024);
        assert_eq!(base_payload(u16::MAX, 512), 512);
    }

    #[test]
    fn exact_boundaries_of_an_mtu() {
        let need = PAYLOAD_OFFSET - ETHERNET_LEN + PAYLOAD_GRANULE;
        assert_eq!(max_payload_for_mtu(need), PAYLOAD_GRANULE);
        assert_eq!(max_payload_for_mtu(need - 1), 0);
    }

    #[test]
    fn a_chunk_of_2048_holds_three_sectors() {
        assert_eq!(max_payload(9000, ETHERNET_LEN, 128, 512, 2048, 512), 1536);
    }

    #[test]
    fn spans_for_both_families_and_tags() {
        let spans = |tags| {
            let offset = announced_offset(128, tags);
            [false, true].map(|ipv6| span(offset, l4_overhead(ipv6)))
        };
        assert_eq!(spans(0), [Some(86), Some(66)]);
        assert_eq!(spans(1), [Some(82), Some(62)]);
        assert_eq!(spans(2), [Some(78), Some(58)]);
        assert_eq!(span(64, 42), None, "no room for the header");
        assert_eq!(
            span(10, 42),
            None,
            "the payload would start inside the IP header"
        );
        assert_eq!(span(512, 42), Some(470), "multi-buffer");
    }

    #[test]
    fn rounding() {
        assert_eq!(round_down(1023, 512), 512);
        assert_eq!(round_up(1, 512), 512);
        assert_eq!(round_up(512, 512), 512);
        assert_eq!(round_up(0, 512), 0);
        assert_eq!(round_down(77, 0), 77);
        assert_eq!(round_up(77, 0), 77);
    }

    #[test]
    fn headroom_aligns_the_payload() {
        for payload_offset in 0..600 {
            let headroom = headroom(payload_offset, 512);
            assert!(headroom < 512);
            assert_eq!(payload_start(headroom, payload_offset) % 512, 0);
        }
    }
}
