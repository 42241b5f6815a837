//! Which queued packets go into one message.

use std::ffi::OsStr;
use std::sync::LazyLock;

use blk_proto::net::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, UDP_LEN};

/// Datagrams in a message: `UDP_MAX_SEGMENTS` of kernels before 6.9 (include/linux/udp.h).
pub(super) const SEGMENTS_MAX: usize = 64;
/// How many datagrams go into a message at most: a number from 1 to 64 (which it is without). 1 keeps the kernel, and the
/// network card, from cutting messages (UDP_SEGMENT), for drivers that do it wrong.
pub const SEGMENTS_VARIABLE: &str = "BLK_UDP_SEGMENTS";
/// Bytes of a message: the payload of the longest IPv4 datagram.
pub(super) const BYTES_MAX: usize = 65_535 - IPV4_LEN - UDP_LEN;

/// Whether a packet may share a message with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grouping {
    /// With those of its flow.
    Allowed,
    /// It is a message of its own: its receiver does not take others.
    Alone,
}

/// Datagrams in a message, as the environment has it at the beginning; what is no number from 1 to 64 is said and not obeyed.
pub(crate) fn segments_max() -> usize {
    static SEGMENTS: LazyLock<usize> = LazyLock::new(|| {
        let Some(word) = std::env::var_os(SEGMENTS_VARIABLE) else {
            return SEGMENTS_MAX;
        };
        segments_of(&word).unwrap_or_else(|| {
            tracing::warn!(
                "{SEGMENTS_VARIABLE} is {word:?}, not a number from 1 to {SEGMENTS_MAX}, and is not obeyed"
            );
            SEGMENTS_MAX
        })
    });
    *SEGMENTS
}

fn segments_of(word: &OsStr) -> Option<usize> {
    let number = word.to_str()?.parse().ok()?;
    (1..=SEGMENTS_MAX).contains(&number).then_some(number)
}

/// EtherTypes (IEEE 802 numbers).
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Bytes of headers in front of the UDP payload, in a packet without VLAN tags and options; `None` for others.
pub(super) fn header_len(packet: &[u8]) -> Option<usize> {
    let kind = packet.get(ETHERNET_LEN - 2..ETHERNET_LEN)?;
    let len = if kind == IPV4 {
        ETHERNET_LEN + IPV4_LEN + UDP_LEN
    } else if kind == IPV6 {
        ETHERNET_LEN + IPV6_LEN + UDP_LEN
    } else {
        return None;
    };
    (packet.len() >= len).then_some(len)
}

/// What packets of one flow have in common: addresses and ports. `header` is as long as [`header_len`] says.
pub(super) fn flow(header: &[u8]) -> &[u8] {
    // Both families have the addresses last in the IP header, and the ports first in the UDP header.
    let addresses = if header.len() == ETHERNET_LEN + IPV4_LEN + UDP_LEN {
        8
    } else {
        32
    };
    let ports = 4;
    let end = header.len() - UDP_LEN + ports;
    &header[end - ports - addresses..end]
}

/// How many of the packets, from the first on, can go as one message: of one flow, all as long as the first but the last,
/// which may be shorter. Each is told by its flow and the bytes of its UDP payload. Not more than `most`.
pub(crate) fn group<F: PartialEq>(
    most: usize,
    mut packets: impl Iterator<Item = (F, usize)>,
) -> usize {
    let Some((flow, segment)) = packets.next() else {
        return 0;
    };
    let (mut count, mut bytes) = (1, segment);
    for (other, len) in packets.take(most - 1) {
        bytes += len;
        if other != flow || len > segment || len == 0 || bytes > BYTES_MAX {
            break;
        }
        count += 1;
        if len < segment {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_proto::net::{self, Path};
    use proptest::prelude::*;

    fn counted(packets: &[(u8, usize)]) -> usize {
        group(SEGMENTS_MAX, packets.iter().copied())
    }

    #[test]
    fn a_message_has_as_many_as_are_allowed() {
        for most in [1, 2, 63] {
            assert_eq!(group(most, [(1, 100); 100].into_iter()), most);
        }
        for (word, number) in [("1", Some(1)), ("64", Some(64)), ("0", None), ("65", None)] {
            assert_eq!(segments_of(OsStr::new(word)), number);
        }
        assert_eq!(segments_of(OsStr::new("off")), None);
    }

    #[test]
    fn equal_packets_of_one_flow_go_together() {
        assert_eq!(counted(&[]), 0);
        assert_eq!(counted(&[(1, 100)]), 1);
        assert_eq!(counted(&[(1, 100), (1, 100), (2, 100)]), 2);
        assert_eq!(
            counted(&[(1, 100), (1, 60), (1, 60)]),
            2,
            "a shorter one is the last"
        );
        assert_eq!(counted(&[(1, 100), (1, 101)]), 1, "a longer one is not");
        assert_eq!(counted(&[(1, 100), (1, 0)]), 1, "nor an empty one");
        assert_eq!(counted(&[(1, 100); 100]), SEGMENTS_MAX);
        assert_eq!(counted(&[(1, 3670); 30]), BYTES_MAX / 3670);
    }

    #[test]
    fn a_flow_is_its_addresses_and_ports() {
        let make = |source: &str, destination: &str, len: usize| {
            let path = Path::new(
                [0; 6],
                [0; 6],
                source.parse().unwrap(),
                destination.parse().unwrap(),
            );
            let mut packet = vec![0; 200];
            path.write_headers(&mut packet, len).unwrap();
            packet
        };
        let cases = [
            (
                ["10.0.0.1:1", "10.0.0.2:2"],
                ["10.0.0.1:1", "10.0.0.2:3"],
                42,
            ),
            (
                ["10.0.0.1:1", "10.0.0.2:2"],
                ["10.0.0.3:1", "10.0.0.2:2"],
                42,
            ),
            (
                ["[fd00::1]:1", "[fd00::2]:2"],
                ["[fd00::1]:2", "[fd00::2]:2"],
                62,
            ),
            (
                ["[fd00::1]:1", "[fd00::2]:2"],
                ["[fd00::1]:1", "[fd00::3]:2"],
                62,
            ),
        ];
        for ([from, to], [other_from, other_to], len) in cases {
            let packet = make(from, to, 100);
            assert_eq!(header_len(&packet), Some(len));
            assert_eq!(net::parse(&packet[..]).unwrap().payload_offset, len);
            let same = make(from, to, 50);
            assert_eq!(flow(&packet[..len]), flow(&same[..len]));
            let other = make(other_from, other_to, 100);
            assert_ne!(flow(&packet[..len]), flow(&other[..len]));
        }
        assert_eq!(header_len(&[0; 100]), None);
        assert_eq!(header_len(&make("10.0.0.1:1", "10.0.0.2:2", 9)[..41]), None);
    }

    proptest! {
        #[test]
        fn the_kernel_can_cut_every_group(
            packets in proptest::collection::vec((0_u8..2, prop_oneof![Just(1110_usize), 1_usize..4000]), 1..200),
        ) {
            let mut rest = &packets[..];
            while !rest.is_empty() {
                let count = counted(rest);
                prop_assert!((1..=SEGMENTS_MAX).contains(&count));
                let (taken, left) = rest.split_at(count);
                let (flow, segment) = taken[0];
                let total: usize = taken.iter().map(|&(_, len)| len).sum();
                prop_assert!(total <= BYTES_MAX);
                prop_assert!(taken.iter().all(|&(other, _)| other == flow));
                prop_assert!(taken[..count - 1].iter().all(|&(_, len)| len == segment));
                prop_assert!(taken[count - 1].1 <= segment);
                rest = left;
            }
        }
    }
}
