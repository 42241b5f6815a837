//! A small reader of pcapng files, written from the specification (draft-ietf-opsawg-pcapng) and from nothing else. Used by the
//! unit tests of the writer and by the namespace tests.

// Not every test looks at everything.
#![allow(dead_code)]

use std::collections::BTreeMap;

/// A file, read.
#[derive(Debug, Default)]
pub struct Capture {
    /// Options of the section's header by code.
    pub section: Options,
    /// The interfaces, in order.
    pub interfaces: Vec<Interface>,
    /// The packets, in order.
    pub packets: Vec<Packet>,
    /// The counts at the end.
    pub statistics: Vec<Statistics>,
    /// Bytes at the end that are no whole block.
    pub rest: usize,
}

/// Options by code.
pub type Options = BTreeMap<u16, Vec<u8>>;

/// An Interface Description Block.
#[derive(Debug)]
pub struct Interface {
    /// Type of the link; 1: Ethernet.
    pub link: u16,
    /// Bytes kept of a packet.
    pub snaplen: u32,
    /// Its options.
    pub options: Options,
}

impl Interface {
    /// `if_name`.
    pub fn name(&self) -> String {
        String::from_utf8(self.options[&2].clone()).expect("names are text")
    }
}

/// An Enhanced Packet Block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its interface.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its length on the wire.
    pub original_len: u32,
    /// What was kept.
    pub bytes: Vec<u8>,
    /// 1: inbound, 2: outbound.
    pub direction: u32,
    /// Packets lost before it.
    pub lost_before: u64,
}

/// An Interface Statistics Block.
#[derive(Debug)]
pub struct Statistics {
    /// The interface.
    pub interface: u32,
    /// Its options.
    pub options: Options,
}

impl Statistics {
    /// A count.
    pub fn count(&self, code: u16) -> u64 {
        u64_at(&self.options[&code], 0)
    }

    /// Packets that are missing (`isb_ifdrop`).
    pub fn dropped(&self) -> u64 {
        self.count(5)
    }
}

impl Capture {
    /// Packets of one direction, 1: inbound, 2: outbound.
    pub fn count(&self, direction: u32) -> u64 {
        let of = |packet: &&Packet| packet.direction == direction;
        self.packets.iter().filter(of).count() as u64
    }

    /// Reads a file of one little-endian section.
    ///
    /// # Panics
    /// When it breaks the format, but for an end within a block.
    pub fn read(mut bytes: &[u8]) -> Self {
        let mut capture = Self::default();
        let mut first = true;
        while bytes.len() >= 12 {
            let (kind, len) = (u32_at(bytes, 0), u32_at(bytes, 4) as usize);
            assert!(len >= 12 && len.is_multiple_of(4), "a block of {len} bytes");
            if len > bytes.len() {
                break;
            }
            assert_eq!(u32_at(bytes, len - 4) as usize, len, "the lengths differ");
            assert_eq!(
                kind == 0x0a0d_0d0a,
                first,
                "one section header, at the start"
            );
            first = false;
            capture.take(kind, &bytes[8..len - 4]);
            bytes = &bytes[len..];
        }
        capture.rest = bytes.len();
        capture
    }

    fn take(&mut self, kind: u32, body: &[u8]) {
        match kind {
            0x0a0d_0d0a => {
                assert_eq!(u32_at(body, 0), 0x1a2b_3c4d, "not little-endian");
                assert_eq!((u16_at(body, 4), u16_at(body, 6)), (1, 0), "version");
                self.section = options(&body[16..]);
            }
            1 => {
                assert_eq!(u16_at(body, 2), 0, "reserved");
                self.interfaces.push(Interface {
                    link: u16_at(body, 0),
                    snaplen: u32_at(body, 4),
                    options: options(&body[8..]),
                });
            }
            5 => self.statistics.push(Statistics {
                interface: self.known(u32_at(body, 0)),
                options: options(&body[12..]),
            }),
            6 => self.packet(body),
            other => panic!("a block of type {other}"),
        }
    }

    fn packet(&mut self, body: &[u8]) {
        let captured = u32_at(body, 12) as usize;
        let end = 20 + captured.next_multiple_of(4);
        assert!(body[20 + captured..end].iter().all(|&byte| byte == 0));
        let options = options(&body[end..]);
        assert_eq!(options[&2].len(), 4, "epb_flags");
        self.packets.push(Packet {
            interface: self.known(u32_at(body, 0)),
            time: u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8)),
            original_len: u32_at(body, 16),
            bytes: body[20..20 + captured].to_vec(),
            direction: u32_at(&options[&2], 0) & 3,
            lost_before: options.get(&4).map_or(0, |value| u64_at(value, 0)),
        });
    }

    /// An interface must be described before it is named.
    fn known(&self, interface: u32) -> u32 {
        assert!((interface as usize) < self.interfaces.len(), "{interface}");
        interface
    }
}

/// Options up to their end, which must be that of the block.
fn options(mut bytes: &[u8]) -> Options {
    let mut options = Options::new();
    loop {
        let (code, len) = (u16_at(bytes, 0), usize::from(u16_at(bytes, 2)));
        let end = 4 + len.next_multiple_of(4);
        assert!(bytes[4 + len..end].iter().all(|&byte| byte == 0), "padding");
        if code == 0 {
            assert_eq!((len, bytes.len()), (0, 4), "bytes after the last option");
            return options;
        }
        let before = options.insert(code, bytes[4..4 + len].to_vec());
        assert!(before.is_none(), "option {code} twice");
        bytes = &bytes[end..];
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
