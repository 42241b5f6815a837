//! Ethernet, VLAN, IPv4, IPv6 and UDP headers: one parser for kernel and user space, and a writer.
//!
//! The XDP program and the worker that takes a frame from the RX ring must agree on what a packet is,
//! so both call [`parse_headers`]: the program over `data..data_end` of its context, the worker over the
//! frame's bytes. The parser reads fixed-size arrays at an offset ([`PacketBytes`]); every read is
//! bounds-checked, so no input can make it panic, and the eBPF verifier can follow it.
//!
//! ```text
//!  0              6            12      14       18       22 (with no, one or two VLAN tags)
//!  +--------------+------------+-------+--------+--------+---------------------+-----+---------
//!  | destination  |   source   | type  | VLAN 0 | VLAN 1 | IPv4 20 B | IPv6 40 | UDP | payload
//!  +--------------+------------+-------+--------+--------+---------------------+-----+---------
//!  untagged: the payload starts at 42 (IPv4) or 62 (IPv6)
//! ```
//!
//! IPv4 options and IPv6 extension headers (hop-by-hop options, routing, destination options) are passed over.
//! What the protocol does not speak is refused with a reason, and the XDP program passes it on to the
//! kernel: fragments, too many extension headers, anything but UDP. The writer never makes such packets, nor
//! options, and sets "don't fragment".

mod checksum;
mod ecn;
mod extension;
mod frame;
mod parse;
mod path;

pub use checksum::{fill_udp_checksum, fill_udp_checksum_of_two};
pub use ecn::Ecn;
pub use frame::{UdpFrame, parse, parse_first};
pub use parse::{
    Addresses, ETHERNET_LEN, IPV4_LEN, IPV6_LEN, PAYLOAD_OFFSET_MAX, PacketBytes, ParseError,
    UDP_LEN, UdpHeaders, VLAN_LEN, VlanTag, Vlans, parse_headers,
};
pub use path::{Path, WriteError};

/// EtherType of IPv4 (IEEE 802 numbers).
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6 (RFC 2464, section 3).
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Tag protocol identifier of a customer VLAN tag (IEEE 802.1Q).
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
/// Tag protocol identifier of a service VLAN tag (IEEE 802.1ad).
pub(crate) const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// IP protocol number of UDP (RFC 768).
pub(crate) const PROTOCOL_UDP: u8 = 17;
