//! The header parser that the XDP program and user space share.
//!
//! No unbounded loops, no slices, no panicking operation: only reads of fixed-size arrays. Those of the
//! usual headers are at constant offsets. The eBPF verifier can prove those safe, and it lets a process
//! load such a program with CAP_BPF and CAP_NET_ADMIN; packet pointers with a variable offset would need
//! CAP_PERFMON too (speculative execution). What lies behind IPv4 options or IPv6 extension headers is at
//! no constant offset, and is read by [`PacketBytes::read_far`].

use super::extension::{EXTENSIONS_LEN_MAX, skip_extensions};
use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, PROTOCOL_UDP};

/// Bytes of an Ethernet header without VLAN tags and without the frame check sequence.
pub const ETHERNET_LEN: usize = 14;
/// Bytes that one VLAN tag adds to the Ethernet header.
pub const VLAN_LEN: usize = 4;
/// Bytes of an IPv4 header without options (RFC 791, section 3.1).
pub const IPV4_LEN: usize = 20;
/// Bytes of the fixed IPv6 header (RFC 8200, section 3).
pub const IPV6_LEN: usize = 40;
/// Bytes of a UDP header (RFC 768).
pub const UDP_LEN: usize = 8;

/// Bytes of an IPv4 header with as many options as there can be.
const IPV4_LEN_MAX: usize = 15 * 4;
/// Where the UDP payload starts at the latest: behind two VLAN tags and the most options or extension headers
/// that are followed.
pub const PAYLOAD_OFFSET_MAX: usize =
    ETHERNET_LEN + 2 * VLAN_LEN + IPV6_LEN + EXTENSIONS_LEN_MAX + UDP_LEN;
const _: () = assert!(IPV4_LEN_MAX <= IPV6_LEN + EXTENSIONS_LEN_MAX);

/// "More fragments" and the fragment offset in the IPv4 flags field; "don't fragment" is not part of it.
const IPV4_FRAGMENT_MASK: u16 = 0x3fff;

/// Bytes of a packet that can be read at an offset, each read checked against the packet's end.
///
/// Implemented by byte slices, and by the XDP program for its context.
pub trait PacketBytes {
    /// The `N` bytes at `offset`, or `None` when the packet ends before `offset + N`.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The same for an offset that is no constant.
    #[inline(always)]
    fn read_far<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.read(offset)
    }
}

impl PacketBytes for [u8] {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk::<N>().copied()
    }
}

/// Why a frame is not a UDP packet that the protocol takes.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// The frame ends inside a header, or before the length that its headers state.
    #[error("the frame ends before its headers say it does")]
    Truncated,
    /// Neither IPv4 nor IPv6 behind at most two VLAN tags: ARP, LLDP, a third tag.
    #[error("not an IP packet")]
    NotIp,
    /// IP, but not UDP.
    #[error("not a UDP packet")]
    NotUdp,
    /// IPv6 extension headers that are not followed: more than four, more than 128 bytes of them, or a routing
    /// header that names further nodes, so that this host is not the packet's destination.
    #[error("too many IPv6 extension headers, or a route that does not end here")]
    Options,
    /// A fragment of an IPv4 UDP datagram, or an IPv6 packet with a fragment header.
    #[error("IP fragments are not supported")]
    Fragment,
    /// Version or lengths of the IP or UDP header contradict each other.
    #[error("malformed IP or UDP header")]
    Malformed,
    /// The IPv4 header checksum is wrong. Checked in user space only, by [`parse`](super::parse).
    #[error("wrong IPv4 header checksum")]
    Ipv4Checksum,
}

/// One VLAN tag.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub protocol: u16,
    /// Tag control information: 3 bits of priority, drop eligibility, 12 bits of VLAN id.
    pub control: u16,
}

impl VlanTag {
    /// The tag of this VLAN (IEEE 802.1Q), with the lowest priority; of `id` its low 12 bits.
    #[must_use]
    pub const fn customer(id: u16) -> Self {
        Self {
            protocol: ETHERTYPE_VLAN,
            control: id & VLAN_ID_MASK,
        }
    }

    /// The same for an outer tag of two (IEEE 802.1ad).
    #[must_use]
    pub const fn service(id: u16) -> Self {
        Self {
            protocol: ETHERTYPE_SERVICE_VLAN,
            control: id & VLAN_ID_MASK,
        }
    }

    /// The VLAN id; 0 in a tag that has only a priority.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.control & VLAN_ID_MASK
    }

    /// The same tag with the lowest priority, and not to be dropped first.
    #[must_use]
    pub const fn plain(&self) -> Self {
        Self {
            protocol: self.protocol,
            control: self.id(),
        }
    }
}

/// The VLAN id in a tag's control information (IEEE 802.1Q, section 9.6).
const VLAN_ID_MASK: u16 = 0x0fff;

/// The VLAN tags of a frame, outermost first; a second tag exists only behind a first.
pub type Vlans = [Option<VlanTag>; 2];

/// Source and destination of an IP packet, in network byte order.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Addresses {
    /// IPv4 addresses.
    V4 {
        /// Sender.
        source: [u8; 4],
        /// Receiver.
        destination: [u8; 4],
    },
    /// IPv6 addresses.
    V6 {
        /// Sender.
        source: [u8; 16],
        /// Receiver.
        destination: [u8; 16],
    },
}

/// What the headers of a UDP packet say.
///
/// The lengths are the headers' claims, consistent with each other but not checked against the frame:
/// the linear part of a multi-buffer packet ends before its payload does.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct UdpHeaders {
    /// Ethernet source address.
    pub source_mac: [u8; 6],
    /// Ethernet destination address.
    pub destination_mac: [u8; 6],
    /// VLAN tags, outermost first.
    pub vlans: Vlans,
    /// IP addresses.
    pub addresses: Addresses,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// Explicit congestion notification bits: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE (RFC 3168, section 5).
    pub ecn: u8,
    /// Bytes from the start of the Ethernet header to that of the IP header.
    pub ip_offset: usize,
    /// Bytes of the IP header with its options, or its extension headers.
    pub ip_len: usize,
    /// Bytes from the start of the Ethernet header to the UDP payload.
    pub payload_offset: usize,
    /// Bytes of UDP payload, from the UDP length; Ethernet padding does not count.
    pub payload_len: usize,
}

/// What is known once the Ethernet header and its tags are behind.
struct Ethernet {
    source: [u8; 6],
    destination: [u8; 6],
    vlans: Vlans,
    ethertype: u16,
}

/// Parses the headers of an Ethernet frame down to UDP.
///
/// Checksums are not looked at (with checksum offload a local sender leaves the UDP one unfilled).
///
/// # Errors
/// [`ParseError`] says why the frame is not a UDP packet that the protocol takes.
#[inline(always)]
pub fn parse_headers<P: PacketBytes + ?Sized>(packet: &P) -> Result<UdpHeaders, ParseError> {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = read(packet, 0)?;
    let mut ethernet = Ethernet {
        source: [s0, s1, s2, s3, s4, s5],
        destination: [d0, d1, d2, d3, d4, d5],
        vlans: [None, None],
        ethertype: u16::from_be_bytes([t0, t1]),
    };
    // Each depth of tags has a copy of the code behind it, so that every offset is a constant.
    const TAGS_0: usize = ETHERNET_LEN;
    const TAGS_1: usize = ETHERNET_LEN + VLAN_LEN;
    const TAGS_2: usize = ETHERNET_LEN + 2 * VLAN_LEN;
    if !is_tag(ethernet.ethertype) {
        return parse_ip::<TAGS_0, P>(packet, ethernet);
    }
    (ethernet.vlans[0], ethernet.ethertype) = parse_tag(packet, ethernet.ethertype, TAGS_0)?;
    if !is_tag(ethernet.ethertype) {
        return parse_ip::<TAGS_1, P>(packet, ethernet);
    }
    (ethernet.vlans[1], ethernet.ethertype) = parse_tag(packet, ethernet.ethertype, TAGS_1)?;
    parse_ip::<TAGS_2, P>(packet, ethernet)
}

/// `N` bytes at `offset`, or the error for a frame that ends before them.
#[inline(always)]
fn read<const N: usize, P: PacketBytes + ?Sized>(
    packet: &P,
    offset: usize,
) -> Result<[u8; N], ParseError> {
    packet.read(offset).ok_or(ParseError::Truncated)
}

/// Whether an EtherType announces a VLAN tag.
#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN
}

/// The VLAN tag at `offset`, which `protocol` announces, and the EtherType behind it.
#[inline(always)]
fn parse_tag<P: PacketBytes + ?Sized>(
    packet: &P,
    protocol: u16,
    offset: usize,
) -> Result<(Option<VlanTag>, u16), ParseError> {
    let [c0, c1, t0, t1] = read(packet, offset)?;
    let control = u16::from_be_bytes([c0, c1]);
    let tag = VlanTag { protocol, control };
    Ok((Some(tag), u16::from_be_bytes([t0, t1])))
}

/// Parses the IP header at `OFFSET` and the UDP header behind it.
#[inline(always)]
fn parse_ip<const OFFSET: usize, P: PacketBytes + ?Sized>(
    packet: &P,
    ethernet: Ethernet,
) -> Result<UdpHeaders, ParseError> {
    // Two copies of the end: one where everything is at a constant offset, one behind options.
    match ethernet.ethertype {
        ETHERTYPE_IPV4 => {
            let ip = parse_ipv4(packet, OFFSET)?;
            if ip.header_len == IPV4_LEN {
                let udp = read(packet, OFFSET + IPV4_LEN)?;
                return parse_udp(udp, OFFSET, IPV4_LEN, ethernet, ip);
            }
            parse_far_udp(packet, OFFSET, ethernet, ip)
        }
        ETHERTYPE_IPV6 => {
            let (mut ip, next) = parse_ipv6(packet, OFFSET)?;
            if next == PROTOCOL_UDP {
                let udp = read(packet, OFFSET + IPV6_LEN)?;
                return parse_udp(udp, OFFSET, IPV6_LEN, ethernet, ip);
            }
            ip.header_len += skip_extensions(packet, OFFSET + IPV6_LEN, next)?;
            parse_far_udp(packet, OFFSET, ethernet, ip)
        }
        _ => Err(ParseError::NotIp),
    }
}

/// What the IP header tells about the UDP datagram.
struct Ip {
    addresses: Addresses,
    ecn: u8,
    /// Bytes of the IP header with its options; of IPv6 with the extension headers, once they are behind.
    header_len: usize,
    /// Bytes of the whole packet from the IP header on, as that header states.
    total_len: usize,
}

/// Parses an IPv4 header (RFC 791, section 3.1). Its options are passed over unread.
#[inline(always)]
fn parse_ipv4<P: PacketBytes + ?Sized>(packet: &P, offset: usize) -> Result<Ip, ParseError> {
    let ip: [u8; IPV4_LEN] = read(packet, offset)?;
    let (version, words) = (ip[0] >> 4, ip[0] & 0xf);
    if version != 4 || words < 5 {
        return Err(ParseError::Malformed);
    }
    if ip[9] != PROTOCOL_UDP {
        return Err(ParseError::NotUdp);
    }
    if u16::from_be_bytes([ip[6], ip[7]]) & IPV4_FRAGMENT_MASK != 0 {
        return Err(ParseError::Fragment);
    }
    let header_len = words as usize * 4;
    let total_len = u16::from_be_bytes([ip[2], ip[3]]) as usize;
    if total_len < header_len + UDP_LEN {
        return Err(ParseError::Malformed);
    }
    Ok(Ip {
        addresses: Addresses::V4 {
            source: [ip[12], ip[13], ip[14], ip[15]],
            destination: [ip[16], ip[17], ip[18], ip[19]],
        },
        ecn: ip[1] & 0b11,
        header_len,
        total_len,
    })
}

/// Parses a fixed IPv6 header (RFC 8200, section 3); also what comes next.
#[inline(always)]
fn parse_ipv6<P: PacketBytes + ?Sized>(packet: &P, offset: usize) -> Result<(Ip, u8), ParseError> {
    let fixed: [u8; 8] = read(packet, offset)?;
    if fixed[0] >> 4 != 6 {
        return Err(ParseError::Malformed);
    }
    let ip = Ip {
        addresses: Addresses::V6 {
            source: read(packet, offset + 8)?,
            destination: read(packet, offset + 24)?,
        },
        // The traffic class straddles the first two bytes; ECN is its low two bits.
        ecn: (fixed[1] >> 4) & 0b11,
        header_len: IPV6_LEN,
        total_len: IPV6_LEN + u16::from_be_bytes([fixed[4], fixed[5]]) as usize,
    };
    Ok((ip, fixed[6]))
}

/// [`parse_udp`] for a UDP header that is at no constant offset.
#[inline(always)]
fn parse_far_udp<P: PacketBytes + ?Sized>(
    packet: &P,
    offset: usize,
    ethernet: Ethernet,
    ip: Ip,
) -> Result<UdpHeaders, ParseError> {
    let len = ip.header_len;
    let udp = packet.read_far(offset + len).ok_or(ParseError::Truncated)?;
    parse_udp(udp, offset, len, ethernet, ip)
}

/// Takes the UDP header behind the `ip_len` bytes of an IP header, and puts everything together.
#[inline(always)]
fn parse_udp(
    udp: [u8; UDP_LEN],
    ip_offset: usize,
    ip_len: usize,
    ethernet: Ethernet,
    ip: Ip,
) -> Result<UdpHeaders, ParseError> {
    let udp_len = u16::from_be_bytes([udp[4], udp[5]]) as usize;
    // Bytes between the UDP length and the IP length are legal: the surplus area of RFC 9868.
    if udp_len < UDP_LEN || ip_len + udp_len > ip.total_len {
        return Err(ParseError::Malformed);
    }
    Ok(UdpHeaders {
        source_mac: ethernet.source,
        destination_mac: ethernet.destination,
        vlans: ethernet.vlans,
        addresses: ip.addresses,
        source_port: u16::from_be_bytes([udp[0], udp[1]]),
        destination_port: u16::from_be_bytes([udp[2], udp[3]]),
        ecn: ip.ecn,
        ip_offset,
        ip_len,
        payload_offset: ip_offset + ip_len + UDP_LEN,
        payload_len: udp_len - UDP_LEN,
    })
}
