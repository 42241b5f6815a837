//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian.
//!
//! ```text
//!   ┌──────┬────────┬──────────── body ───────────┬────────┐      an option: │ code: 2 │ length: 2 │ value │ 0 to 3 zeros │
//!   │ type │ length │ fixed fields, data, options │ length │
//!   └──────┴────────┴─────────────────────────────┴────────┘      lengths of blocks are multiples of 4
//! ```

/// Type of a Section Header Block, which every file begins with; the same in both byte orders.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// Tells the byte order; follows type and length of a Section Header Block.
pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;
/// The length of a section that is still being written.
const UNKNOWN_LENGTH: u64 = u64::MAX;

const END_OF_OPTIONS: u16 = 0;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
/// `if_tsresol`: units of 10^-9 s.
const NANOSECONDS: u8 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_USRDELIV: u16 = 8;

/// Which way a packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To this host.
    Inbound,
    /// From this host.
    Outbound,
}

impl Direction {
    /// Bits 0 and 1 of `epb_flags`.
    fn bits(self) -> u32 {
        match self {
            Self::Inbound => 1,
            Self::Outbound => 2,
        }
    }
}

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    /// Which of the interfaces of the file, from 0 on.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its way.
    pub direction: Direction,
    /// Its length on the wire.
    pub original_len: u32,
    /// Packets of this interface that are missing between the one before and this one.
    pub lost_before: u64,
    /// Its first bytes.
    pub bytes: &'a [u8],
}

/// The counts of one interface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statistics {
    /// Which of the interfaces of the file.
    pub interface: u32,
    /// When its dump began, nanoseconds since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Packets in the file.
    pub written: u64,
    /// Packets that are not in the file for want of room.
    pub lost: u64,
}

/// Begins a file: which system and which program wrote it.
pub(super) fn section_header(out: &mut Vec<u8>, os: &str, application: &str) {
    let mut block = Block::begin(out, SECTION_HEADER);
    block.put(&BYTE_ORDER_MAGIC.to_le_bytes());
    // Version 1.0.
    block.put(&1u16.to_le_bytes());
    block.put(&0u16.to_le_bytes());
    block.put(&UNKNOWN_LENGTH.to_le_bytes());
    block.option(SHB_OS, os.as_bytes());
    block.option(SHB_USERAPPL, application.as_bytes());
    block.end();
}

/// Describes the next interface; its packets follow. A `snaplen` of 0: whole packets.
pub(super) fn interface(out: &mut Vec<u8>, name: &str, description: &str, snaplen: u32) {
    let mut block = Block::begin(out, INTERFACE_DESCRIPTION);
    block.put(&ETHERNET.to_le_bytes());
    block.put(&0u16.to_le_bytes());
    block.put(&snaplen.to_le_bytes());
    block.option(IF_NAME, name.as_bytes());
    block.option(IF_DESCRIPTION, description.as_bytes());
    block.option(IF_TSRESOL, &[NANOSECONDS]);
    block.end();
}

/// Writes a packet.
pub(super) fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut block = Block::begin(out, ENHANCED_PACKET);
    block.put(&packet.interface.to_le_bytes());
    block.put(&timestamp(packet.time));
    block.put(&(packet.bytes.len() as u32).to_le_bytes());
    block.put(&packet.original_len.to_le_bytes());
    block.put(packet.bytes);
    block.pad();
    block.option(EPB_FLAGS, &packet.direction.bits().to_le_bytes());
    if packet.lost_before > 0 {
        block.option(EPB_DROPCOUNT, &packet.lost_before.to_le_bytes());
    }
    block.end();
}

/// Writes the counts of an interface.
pub(super) fn statistics(out: &mut Vec<u8>, counts: &Statistics) {
    let seen = counts.written + counts.lost;
    let mut block = Block::begin(out, INTERFACE_STATISTICS);
    block.put(&counts.interface.to_le_bytes());
    block.put(&timestamp(counts.end));
    block.option(ISB_STARTTIME, &timestamp(counts.start));
    block.option(ISB_ENDTIME, &timestamp(counts.end));
    block.option(ISB_IFRECV, &seen.to_le_bytes());
    block.option(ISB_IFDROP, &counts.lost.to_le_bytes());
    block.option(ISB_USRDELIV, &counts.written.to_le_bytes());
    block.end();
}

/// The upper half comes first, in whatever byte order.
fn timestamp(time: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&((time >> 32) as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&(time as u32).to_le_bytes());
    bytes
}

/// A block being written.
struct Block<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Block<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u32) -> Self {
        let start = out.len();
        out.extend_from_slice(&kind.to_le_bytes());
        // The length, which `end` fills in.
        out.extend_from_slice(&[0; 4]);
        Self { out, start }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Zeros up to a multiple of 4.
    fn pad(&mut self) {
        let len = (self.out.len() - self.start).next_multiple_of(4);
        self.out.resize(self.start + len, 0);
    }

    /// A value that is too long for an option is cut.
    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.put(&code.to_le_bytes());
        self.put(&(value.len() as u16).to_le_bytes());
        self.put(value);
        self.pad();
    }

    fn end(mut self) {
        self.option(END_OF_OPTIONS, &[]);
        let len = (self.out.len() - self.start + 4) as u32;
        self.put(&len.to_le_bytes());
        self.out[self.start + 4..self.start + 8].copy_from_slice(&len.to_le_bytes());
    }
}
