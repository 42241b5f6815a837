//! Which queue of a card gets which packets, by the ethtool ioctl: the table of receive-side scaling (RSS), the fields that
//! are hashed for it, and rules.
//!
//! Structures and numbers are those of include/uapi/linux/ethtool.h. Changes need CAP_NET_ADMIN.

use std::io;
use std::mem::offset_of;

use super::ethtool::{call, call_raw};

const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
const GET_FIELDS: u32 = 0x29;
const SET_FIELDS: u32 = 0x2a;
const GET_RINGS: u32 = 0x2d;
const GET_RULE_COUNT: u32 = 0x2e;
const GET_RULE: u32 = 0x2f;
const GET_RULES: u32 = 0x30;
const DELETE_RULE: u32 = 0x31;
const INSERT_RULE: u32 = 0x32;
const GET_TABLE: u32 = 0x38;
const SET_TABLE: u32 = 0x39;

/// `ETH_FLAG_NTUPLE`.
const FLAG_NTUPLE: u32 = 1 << 27;
/// `RX_CLS_LOC_SPECIAL`: the driver takes `RX_CLS_LOC_ANY`.
const SPECIAL_LOCATIONS: u64 = 0x8000_0000;
/// `RX_CLS_LOC_ANY`: the driver picks the place.
const ANY_LOCATION: u32 = 0xffff_ffff;

/// Fields that are hashed: `RXH_IP_SRC`, `RXH_IP_DST`, `RXH_L4_B_0_1` and `RXH_L4_B_2_3`, which are the ports.
pub const HASH_ADDRESSES_AND_PORTS: u64 = 0xf0;
/// The last two of these.
pub const HASH_PORTS: u64 = 0xc0;

/// More entries than any table has, or rules any card.
const ENTRIES_MAX: u32 = 1 << 16;

/// `struct ethtool_value`.
#[repr(C)]
struct Flags {
    command: u32,
    data: u32,
}

/// `struct ethtool_rx_flow_spec`: the headers of a rule, and which of their bits count.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Specification {
    flow_type: u32,
    value: [u8; 52],
    value_extension: [u8; 20],
    mask: [u8; 52],
    mask_extension: [u8; 20],
    padding: u32,
    /// The queue.
    cookie: u64,
    location: u32,
    padding_at_end: u32,
}

const _: () = assert!(size_of::<Specification>() == 168);
const _: () = assert!(offset_of!(Specification, cookie) == 152);

/// `struct ethtool_rxnfc`; a list of locations may follow.
#[repr(C)]
#[derive(Clone, Copy)]
struct Classification {
    command: u32,
    flow_type: u32,
    data: u64,
    specification: Specification,
    count: u32,
    /// The first location of a list.
    first: u32,
}

const _: () = assert!(size_of::<Classification>() == 192);
const _: () = assert!(offset_of!(Classification, first) == 188);

/// `UDP_V4_FLOW` and `UDP_V6_FLOW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// UDP over IPv4.
    V4,
    /// UDP over IPv6.
    V6,
}

impl Family {
    const fn flow_type(self) -> u32 {
        match self {
            Self::V4 => 0x02,
            Self::V6 => 0x06,
        }
    }

    /// Where the destination port is in `struct ethtool_tcpip4_spec` and `struct ethtool_tcpip6_spec`: behind two addresses
    /// and the source port.
    const fn port_at(self) -> usize {
        match self {
            Self::V4 => 4 + 4 + 2,
            Self::V6 => 16 + 16 + 2,
        }
    }
}

/// All UDP packets to a port go to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRule {
    /// Of which family.
    pub family: Family,
    /// The destination port.
    pub port: u16,
    /// The queue.
    pub queue: u32,
}

impl PortRule {
    fn specification(self, location: u32) -> Specification {
        let (mut value, mut mask) = ([0; 52], [0; 52]);
        let at = self.family.port_at();
        value[at..at + 2].copy_from_slice(&self.port.to_be_bytes());
        mask[at..at + 2].copy_from_slice(&[0xff; 2]);
        Specification {
            flow_type: self.family.flow_type(),
            value,
            value_extension: [0; 20],
            mask,
            mask_extension: [0; 20],
            padding: 0,
            cookie: self.queue.into(),
            location,
            padding_at_end: 0,
        }
    }

    /// The rule in a specification, if it is of this kind.
    fn of(specification: &Specification) -> Option<Self> {
        let family = [Family::V4, Family::V6]
            .into_iter()
            .find(|family| family.flow_type() == specification.flow_type)?;
        let at = family.port_at();
        let port = [specification.value[at], specification.value[at + 1]];
        let rule = Self {
            family,
            port: u16::from_be_bytes(port),
            queue: u32::try_from(specification.cookie).ok()?,
        };
        let expected = rule.specification(specification.location);
        let same = expected.value == specification.value
            && expected.mask == specification.mask
            && expected.mask_extension == specification.mask_extension;
        same.then_some(rule)
    }
}

/// The card of an interface. Each call asks its driver; `Unsupported` when that does not do such things.
#[derive(Debug, Clone)]
pub struct Card {
    interface: String,
}

impl Card {
    /// That of this interface.
    #[must_use]
    pub fn of(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
        }
    }

    /// RX queues that packets are spread over.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn rings(&self) -> io::Result<u32> {
        let mut rings = classification(GET_RINGS);
        self.classify(&mut rings)?;
        u32::try_from(rings.data).map_err(io::Error::other)
    }

    /// The queue of each entry of the RSS table.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn table(&self) -> io::Result<Vec<u32>> {
        let mut size = [GET_TABLE, 0];
        // SAFETY: `struct ethtool_rxfh_indir` with a size of zero: nothing lies behind it.
        unsafe { call(&self.interface, &mut size)? };
        let entries = size[1].min(ENTRIES_MAX);
        let mut table = vec![0; 2 + entries as usize];
        (table[0], table[1]) = (GET_TABLE, entries);
        // SAFETY: the same with room for as many entries as it says.
        unsafe { call_raw(&self.interface, table.as_mut_ptr().cast())? };
        Ok(table.split_off(2))
    }

    /// Sets the table. One that is as the kernel makes it itself, queues in turn, becomes the kernel's own again.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn set_table(&self, table: &[u32]) -> io::Result<()> {
        let rings = self.rings().unwrap_or(0);
        let in_turn = rings > 0
            && (0..)
                .zip(table)
                .all(|(at, queue): (u32, _)| *queue == at % rings);
        let entries = if in_turn { &[] } else { table };
        let mut request = vec![SET_TABLE, entries.len() as u32];
        request.extend_from_slice(entries);
        // SAFETY: `struct ethtool_rxfh_indir` with as many entries as it says; none: the default.
        unsafe { call_raw(&self.interface, request.as_mut_ptr().cast()) }
    }

    /// What is hashed of UDP packets, in bits `RXH_*`.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn hash_fields(&self, family: Family) -> io::Result<u64> {
        let mut fields = classification(GET_FIELDS);
        fields.flow_type = family.flow_type();
        self.classify(&mut fields)?;
        Ok(fields.data)
    }

    /// Sets what is hashed.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn set_hash_fields(&self, family: Family, bits: u64) -> io::Result<()> {
        let mut fields = classification(SET_FIELDS);
        fields.flow_type = family.flow_type();
        fields.data = bits;
        self.classify(&mut fields)
    }

    /// Whether rules are switched on (`ethtool -k`: ntuple-filters).
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn ntuple(&self) -> io::Result<bool> {
        Ok(self.flags()? & FLAG_NTUPLE != 0)
    }

    /// Switches rules on or off.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn set_ntuple(&self, on: bool) -> io::Result<()> {
        let flags = self.flags()? & !FLAG_NTUPLE;
        let mut request = Flags {
            command: SET_FLAGS,
            data: if on { flags | FLAG_NTUPLE } else { flags },
        };
        // SAFETY: the structure of its command, plain data.
        unsafe { call(&self.interface, &mut request) }
    }

    fn flags(&self) -> io::Result<u32> {
        let mut request = Flags {
            command: GET_FLAGS,
            data: 0,
        };
        // SAFETY: the structure of its command, plain data.
        unsafe { call(&self.interface, &mut request)? };
        Ok(request.data)
    }

    /// Rules that direct a UDP port to a queue, with their locations; others are left out.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn rules(&self) -> io::Result<Vec<(u32, PortRule)>> {
        let (locations, _) = self.locations()?;
        let mut rules = Vec::new();
        for location in locations {
            let mut request = classification(GET_RULE);
            request.specification.location = location;
            match self.classify(&mut request) {
                Ok(()) => {
                    rules.extend(PortRule::of(&request.specification).map(|rule| (location, rule)));
                }
                // It went away in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rules)
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn add_rule(&self, rule: PortRule) -> io::Result<()> {
        let mut count = classification(GET_RULE_COUNT);
        self.classify(&mut count)?;
        let location = if count.data & SPECIAL_LOCATIONS != 0 {
            ANY_LOCATION
        } else {
            // The last free place: rules in front of it decide first.
            let (taken, size) = self.locations()?;
            let free = (0..size).rev().find(|location| !taken.contains(location));
            free.ok_or_else(|| io::Error::other("the card has no room for another rule"))?
        };
        let mut request = classification(INSERT_RULE);
        request.specification = rule.specification(location);
        self.classify(&mut request)
    }

    /// Removes a rule; one that is not there is no error.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn remove_rule(&self, rule: PortRule) -> io::Result<()> {
        for (location, there) in self.rules()? {
            if there == rule {
                let mut request = classification(DELETE_RULE);
                request.specification.location = location;
                self.classify(&mut request)?;
            }
        }
        Ok(())
    }

    /// Places that are taken, and how many there are in all.
    fn locations(&self) -> io::Result<(Vec<u32>, u32)> {
        let mut count = classification(GET_RULE_COUNT);
        self.classify(&mut count)?;
        let rules = count.count.min(ENTRIES_MAX) as usize;
        // The list begins within the structure.
        let mut request = vec![classification(GET_RULES); 1 + rules.div_ceil(48)];
        request[0].count = rules as u32;
        let start = request.as_mut_ptr();
        // SAFETY: 48 locations of four bytes fit into each structure behind the first one, so there is room for as many as it
        // says; any bytes are valid.
        unsafe { call_raw(&self.interface, start.cast())? };
        let size = u32::try_from(request[0].data).unwrap_or(0);
        let found = (request[0].count as usize).min(rules);
        let list = offset_of!(Classification, first) / size_of::<u32>();
        // SAFETY: the structures are plain integers without padding, aligned for u32, and the kernel has filled in `found`.
        let words = unsafe {
            std::slice::from_raw_parts(
                start.cast::<u32>(),
                request.len() * size_of::<Classification>() / 4,
            )
        };
        Ok((words[list..list + found].to_vec(), size.min(ENTRIES_MAX)))
    }

    fn classify(&self, request: &mut Classification) -> io::Result<()> {
        // SAFETY: the structure of these commands, plain data; no list follows.
        unsafe { call(&self.interface, request) }
    }
}

/// A request with nothing in it.
fn classification(command: u32) -> Classification {
    Classification {
        command,
        flow_type: 0,
        data: 0,
        specification: Specification {
            flow_type: 0,
            value: [0; 52],
            value_extension: [0; 20],
            mask: [0; 52],
            mask_extension: [0; 20],
            padding: 0,
            cookie: 0,
            location: 0,
            padding_at_end: 0,
        },
        count: 0,
        first: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        for family in [Family::V4, Family::V6] {
            let rule = PortRule {
                family,
                port: 7440,
                queue: 3,
            };
            let specification = rule.specification(5);
            assert_eq!(PortRule::of(&specification), Some(rule));
            let mut narrower = specification;
            narrower.mask[0] = 0xff;
            assert_eq!(PortRule::of(&narrower), None, "of one sender only");
            let mut tcp = specification;
            tcp.flow_type -= 1;
            assert_eq!(PortRule::of(&tcp), None);
            let mut other = specification;
            other.mask[family.port_at()] = 0;
            assert_eq!(PortRule::of(&other), None, "of several ports");
        }
    }

    #[test]
    fn a_driver_without_queues_says_so() {
        let card = Card::of("lo");
        let unsupported = |error: io::Error| error.raw_os_error() == Some(libc::EOPNOTSUPP);
        assert!(unsupported(card.table().unwrap_err()));
        assert!(unsupported(card.rules().unwrap_err()));
        assert!(unsupported(card.hash_fields(Family::V4).unwrap_err()));
        let missing = Card::of("blk-not-there").table().unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
    }
}
