//! A received UDP packet as user space sees it.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum;
use super::parse::{Addresses, ParseError, UdpHeaders, VlanTag, Vlans, parse_headers};

/// A UDP packet in a frame, its headers decoded and its payload borrowed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct UdpFrame<'a> {
    /// Ethernet address of the last hop that sent it.
    pub source_mac: [u8; 6],
    /// Ethernet address that it was sent to.
    pub destination_mac: [u8; 6],
    /// VLAN tags, outermost first; none when the NIC strips them.
    pub vlans: Vlans,
    /// Address and port of the sender. IPv6 flow label and scope are zero.
    pub source: SocketAddr,
    /// Address and port that it was sent to.
    pub destination: SocketAddr,
    /// Explicit congestion notification bits (RFC 3168, section 5).
    pub ecn: u8,
    /// Bytes from the start of the Ethernet header to the payload.
    pub payload_offset: usize,
    /// The UDP payload, without Ethernet padding.
    pub payload: &'a [u8],
}

/// Parses one Ethernet frame that holds a whole UDP packet.
///
/// The IPv4 header checksum is verified, since XDP hands up frames that the kernel would drop; the UDP
/// checksum is not: the protocol has its own CRC, and a local sender with checksum offload leaves it
/// unfilled.
///
/// # Errors
/// [`ParseError`] says why the frame is not such a packet.
#[inline]
pub fn parse(frame: &[u8]) -> Result<UdpFrame<'_>, ParseError> {
    let (udp, rest) = parse_first(frame)?;
    if rest > 0 {
        return Err(ParseError::Truncated);
    }
    Ok(udp)
}

/// As [`parse`], of the first piece of a frame that lies in several pieces of memory: all headers must be in it. The payload
/// is what this piece has of it; how many bytes of it follow in the others is told as well.
///
/// # Errors
/// As [`parse_headers`], and for a wrong IPv4 checksum.
#[inline]
pub fn parse_first(frame: &[u8]) -> Result<(UdpFrame<'_>, usize), ParseError> {
    let headers = parse_checked(frame)?;
    let payload = frame
        .get(headers.payload_offset..)
        .ok_or(ParseError::Truncated)?;
    let payload = &payload[..payload.len().min(headers.payload_len)];
    let rest = headers.payload_len - payload.len();
    let (source, destination) = socket_addresses(&headers);
    let udp = UdpFrame {
        source_mac: headers.source_mac,
        destination_mac: headers.destination_mac,
        vlans: headers.vlans,
        source,
        destination,
        ecn: headers.ecn,
        payload_offset: headers.payload_offset,
        payload,
    };
    Ok((udp, rest))
}

impl UdpFrame<'_> {
    /// The VLAN tags that are present, outermost first.
    pub fn tags(&self) -> impl Iterator<Item = &VlanTag> {
        self.vlans.iter().flatten()
    }
}

/// [`parse_headers`], and the IPv4 header checksum.
#[inline]
pub(super) fn parse_checked(frame: &[u8]) -> Result<UdpHeaders, ParseError> {
    let headers = parse_headers(frame)?;
    if matches!(headers.addresses, Addresses::V4 { .. }) {
        let header = frame
            .get(headers.ip_offset..headers.ip_offset + headers.ip_len)
            .ok_or(ParseError::Truncated)?;
        // A header that contains its own checksum sums to all ones (RFC 1071, section 1).
        if checksum::finish(checksum::sum(header, 0)) != 0 {
            return Err(ParseError::Ipv4Checksum);
        }
    }
    Ok(headers)
}

/// Source and destination as socket addresses.
#[inline]
fn socket_addresses(headers: &UdpHeaders) -> (SocketAddr, SocketAddr) {
    let (from, to) = (headers.source_port, headers.destination_port);
    match headers.addresses {
        Addresses::V4 {
            source,
            destination,
        } => (
            (Ipv4Addr::from(source), from).into(),
            (Ipv4Addr::from(destination), to).into(),
        ),
        Addresses::V6 {
            source,
            destination,
        } => (
            (Ipv6Addr::from(source), from).into(),
            (Ipv6Addr::from(destination), to).into(),
        ),
    }
}
