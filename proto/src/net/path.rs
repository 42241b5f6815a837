//! Where a session's packets go, and the headers that take them there.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum;
use super::frame::UdpFrame;
use super::parse::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, UDP_LEN, VLAN_LEN, VlanTag, Vlans};
use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ecn, PROTOCOL_UDP};

/// Time to live and hop limit of every packet (the value RFC 1700 recommends).
const HOP_LIMIT: u8 = 64;
/// "Don't fragment" in the IPv4 flags field.
const DONT_FRAGMENT: u16 = 0x4000;
/// Offset of the checksum in an IPv4 header.
const IPV4_CHECKSUM: usize = 10;

/// Why headers could not be written; nothing of use has been written then.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError {
    /// One address of the path is IPv4, the other IPv6.
    #[error("the path mixes an IPv4 and an IPv6 address")]
    MixedFamilies,
    /// The output buffer is shorter than [`Path::header_len`].
    #[error("the buffer is shorter than the packet's headers")]
    BufferTooShort,
    /// The UDP payload does not fit the 16-bit lengths of UDP and IP.
    #[error("the UDP payload does not fit one IP packet")]
    PayloadTooLong,
}

/// Both ends of a flow, on the link and on the network, seen from this host.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Ethernet address of this host's interface.
    pub source_mac: [u8; 6],
    /// Ethernet address of the peer, or of the gateway to it.
    pub destination_mac: [u8; 6],
    /// VLAN tags to send with, outermost first; `[None; 2]` on an untagged link. They name the network that the addresses
    /// are of.
    pub vlans: Vlans,
    /// This host's address and port.
    pub source: SocketAddr,
    /// The peer's address and port.
    pub destination: SocketAddr,
}

impl Path {
    /// A path without VLAN tags.
    #[must_use]
    pub const fn new(
        source_mac: [u8; 6],
        destination_mac: [u8; 6],
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Self {
        Self {
            source_mac,
            destination_mac,
            vlans: [None; 2],
            source,
            destination,
        }
    }

    /// The path back to the sender of `frame`: addresses swapped, the same VLANs. The priority in the tags is not taken over:
    /// it is one that the sender, or a switch, gave to that packet, and its drop eligibility says that it met congestion.
    #[must_use]
    pub const fn reply_to(frame: &UdpFrame<'_>) -> Self {
        Self {
            source_mac: frame.destination_mac,
            destination_mac: frame.source_mac,
            vlans: plain(&frame.vlans),
            source: frame.destination,
            destination: frame.source,
        }
    }

    /// Bytes of headers in front of the UDP payload: 42 for IPv4, 62 for IPv6, 4 more per VLAN tag.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        let ip = match self.destination {
            SocketAddr::V4(_) => IPV4_LEN,
            SocketAddr::V6(_) => IPV6_LEN,
        };
        self.ethernet_len() + ip + UDP_LEN
    }

    /// How many VLAN tags its packets have.
    #[must_use]
    pub const fn tags(&self) -> u16 {
        self.vlans[0].is_some() as u16 + self.vlans[1].is_some() as u16
    }

    /// Whether a packet with these tags is of the VLANs that this path is in, whatever its priority. A tag that has only a
    /// priority names no VLAN: such a packet is as one without it (IEEE 802.1Q, section 6.9.1).
    #[must_use]
    pub fn is_in(&self, vlans: &Vlans) -> bool {
        named(&self.vlans).eq(named(vlans))
    }

    /// Bytes of the Ethernet header and its VLAN tags.
    const fn ethernet_len(&self) -> usize {
        ETHERNET_LEN + self.tags() as usize * VLAN_LEN
    }

    /// Writes Ethernet, IP and UDP headers to the start of `out`, for `udp_payload_len` bytes of payload
    /// that follow them. Returns [`header_len`](Self::header_len).
    ///
    /// The UDP checksum is zero, "not computed". IPv4 allows that (RFC 768). IPv6 allows it between
    /// endpoints that agree on it (RFC 6935, section 5; RFC 6936, section 4): both ends read these packets
    /// from AF_XDP sockets, and every packet carries a CRC of header and payload and a session id, so a
    /// packet that a damaged address misdelivers is recognised. Where an ordinary socket may be the
    /// receiver, call [`fill_udp_checksum`](super::fill_udp_checksum) once the payload is in place.
    ///
    /// # Errors
    /// [`WriteError`]: the addresses are of two families, `out` is shorter than the headers, or the payload
    /// longer than one IP packet.
    #[inline]
    pub fn write_headers(
        &self,
        out: &mut [u8],
        udp_payload_len: usize,
    ) -> Result<usize, WriteError> {
        self.write_marked(out, udp_payload_len, Ecn::Capable0)
    }

    /// The same with other ECN bits than those of every packet sent: for a packet that came without its headers, so
    /// that it reads as it came.
    ///
    /// # Errors
    /// As [`write_headers`](Self::write_headers).
    #[inline]
    pub fn write_marked(
        &self,
        out: &mut [u8],
        udp_payload_len: usize,
        ecn: Ecn,
    ) -> Result<usize, WriteError> {
        let len = self.header_len();
        let out = out.get_mut(..len).ok_or(WriteError::BufferTooShort)?;
        let (ethernet, rest) = out.split_at_mut(self.ethernet_len());
        let (ip, udp) = rest.split_at_mut(rest.len() - UDP_LEN);
        let udp_len = udp_payload_len
            .checked_add(UDP_LEN)
            .and_then(|len| u16::try_from(len).ok())
            .ok_or(WriteError::PayloadTooLong)?;
        let ethertype = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                write_ipv4(ip, source, destination, udp_len, ecn)?;
                ETHERTYPE_IPV4
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                write_ipv6(ip, source, destination, udp_len, ecn);
                ETHERTYPE_IPV6
            }
            _ => return Err(WriteError::MixedFamilies),
        };
        self.write_ethernet(ethernet, ethertype);
        let words = [self.source.port(), self.destination.port(), udp_len, 0];
        udp.copy_from_slice(words.map(u16::to_be_bytes).as_flattened());
        Ok(len)
    }

    /// Writes the Ethernet header; `out` has exactly [`ethernet_len`](Self::ethernet_len) bytes.
    #[inline]
    fn write_ethernet(&self, out: &mut [u8], ethertype: u16) {
        out[..6].copy_from_slice(&self.destination_mac);
        out[6..12].copy_from_slice(&self.source_mac);
        let mut offset = 12;
        for tag in self.vlans.iter().flatten() {
            out[offset..offset + 2].copy_from_slice(&tag.protocol.to_be_bytes());
            out[offset + 2..offset + 4].copy_from_slice(&tag.control.to_be_bytes());
            offset += VLAN_LEN;
        }
        out[offset..].copy_from_slice(&ethertype.to_be_bytes());
    }
}

/// The tags that name a VLAN, with the lowest priority.
fn named(vlans: &Vlans) -> impl Iterator<Item = VlanTag> + '_ {
    let tags = vlans.iter().flatten();
    tags.filter(|tag| tag.id() != 0).map(VlanTag::plain)
}

/// The same VLANs, with the lowest priority.
const fn plain(vlans: &Vlans) -> Vlans {
    let [outer, inner] = vlans;
    [plain_tag(outer), plain_tag(inner)]
}

const fn plain_tag(tag: &Option<VlanTag>) -> Option<VlanTag> {
    match tag {
        Some(tag) => Some(tag.plain()),
        None => None,
    }
}

/// Writes an IPv4 header of [`IPV4_LEN`] bytes with its checksum (RFC 791, section 3.1).
///
/// The identification is zero: an atomic datagram (never fragmented) does not need one (RFC 6864).
#[inline]
fn write_ipv4(
    out: &mut [u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    udp_len: u16,
    ecn: Ecn,
) -> Result<(), WriteError> {
    let total_len = udp_len
        .checked_add(IPV4_LEN as u16)
        .ok_or(WriteError::PayloadTooLong)?;
    // Made at its full, constant length: what writes a header for every packet is not to call memset for it.
    let mut header = [0; IPV4_LEN];
    header[0] = 0x45;
    header[1] = ecn as u8;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    header[8] = HOP_LIMIT;
    header[9] = PROTOCOL_UDP;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let checksum = checksum::finish(checksum::sum(&header, 0));
    header[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    out.copy_from_slice(&header);
    Ok(())
}

/// Writes an IPv6 header of [`IPV6_LEN`] bytes (RFC 8200, section 3); flow label and class are zero but for the ECN bits.
#[inline]
fn write_ipv6(out: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr, udp_len: u16, ecn: Ecn) {
    out[..4].copy_from_slice(&[0x60, (ecn as u8) << 4, 0, 0]);
    out[4..6].copy_from_slice(&udp_len.to_be_bytes());
    out[6] = PROTOCOL_UDP;
    out[7] = HOP_LIMIT;
    out[8..24].copy_from_slice(&source.octets());
    out[24..40].copy_from_slice(&destination.octets());
}
