//! UMEM: one memory region of fixed-size frames that the NIC, the worker and the disk share.
//!
//! This module (with [`xsk`](crate::xsk)) is the only one that knows addresses; everything else passes
//! [`Frame`] tokens. A chunk looks like this, in bytes:
//!
//! ```text
//! 0          128             384                        512                              4096
//! | headroom | kernel's 256  | Ethernet .. our header   | payload, up to 3584 = 7 x 512  |
//!            (XDP_PACKET_HEADROOM)                      ^ 512-aligned: what O_DIRECT asks for
//!                            ^ packet, up to 3712
//! ```
//!
//! Where packets may lie in several frames, each piece of one begins at chunk + 512, so that all of them are whole sectors
//! but for the last one's end ([`Umem::with_fragments`]):
//!
//! ```text
//! 0                        512            1024                                          4096
//! | headroom, kernel's 256 | Ethernet ..  | payload, 3072                               |
//! | headroom, kernel's 256 | payload, 3584                                              |  and so on
//! ```
//!
//! # Invariant: frame conservation
//!
//! Every frame is in exactly one place: `free + fill + rx + disk + held + tx == total`. Each transition is
//! checked against a table; a mismatch panics, because continuing would corrupt somebody's file.
//!
//! ```text
//!   allocate            free_to_disk / rx_to_disk          disk_to_held
//! free --> Frame<Free> ----------------------> Frame<Disk> ------------> Frame<Held>
//!   | fill       | transmit                                                | transmit_held
//!   v            v                                                         v
//! fill ring    TX ring --completion--> free                              TX ring --completion--> Frame<Held>
//!   | receive
//!   v
//! Frame<Rx>                     any Frame --release--> free
//! ```

mod fragments;
mod frame;
mod memory;
mod payload;
mod rings;
mod sockets;
mod state;

use std::{
    io,
    num::NonZeroU32,
    slice,
    sync::atomic::{AtomicU16, Ordering},
};

use xsk_rs::FrameDesc;

pub use frame::{
    Disk, Fill, Frame, FrameIndex, FrameState, Free, HasPayload, Held, PayloadWritable, Rx,
    Transmittable, TxFree, TxHeld,
};
pub(crate) use memory::Memory;
pub(crate) use rings::Received;
use state::{State, StateTable};

/// Bytes of a frame: a page, the largest chunk AF_XDP takes in aligned mode.
pub const CHUNK: usize = 4096;
/// UMEM headroom in bytes: what the kernel leaves free at the start of each chunk for us.
pub const HEADROOM: u32 = 128;
/// Offset of a packet in its chunk: headroom + `XDP_PACKET_HEADROOM` (256).
pub const PACKET_START: usize = 384;
/// Offset of the payload in its chunk; a multiple of 512.
pub const PAYLOAD_START: usize = 512;
/// Longest payload in one frame, bytes: 7 sectors of 512.
pub const PAYLOAD_MAX: usize = CHUNK - PAYLOAD_START;
/// Longest packet in one frame, bytes, from the Ethernet header.
pub const PACKET_MAX: usize = CHUNK - PACKET_START;
/// Offset of a packet, and of each piece of one, in its chunk where packets may lie in several frames.
pub const FRAGMENT_START: usize = PAYLOAD_START;
/// The unit of direct I/O in bytes: offsets, lengths and payload addresses are multiples of it.
pub const SECTOR: usize = 512;
/// Most frames in one UMEM: io_uring takes at most 1 GiB in one registered buffer.
pub const FRAMES_MAX: u32 = 1 << 18;
/// Default size of the fill ring and of the completion ring, entries.
pub const DEFAULT_UMEM_RING: u32 = 8192;

const _: () =
    assert!(PACKET_START == HEADROOM as usize + 256 && PAYLOAD_START.is_multiple_of(SECTOR));
const _: () = assert!(
    FRAGMENT_START == blk_proto::geometry::LONG_UMEM_HEADROOM + 256
        && CHUNK - FRAGMENT_START == blk_proto::geometry::FRAGMENT_LEN
);
const _: () =
    assert!(PAYLOAD_MAX == 3584 && PACKET_MAX == 3712 && PAYLOAD_MAX.is_multiple_of(SECTOR));

/// How many frames are in each place. The sum is the UMEM's size, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameCounts {
    /// Ready to be allocated, or allocated and empty.
    pub free: usize,
    /// With the kernel, for reception.
    pub fill: usize,
    /// Received, being read.
    pub rx: usize,
    /// In disk operations.
    pub disk: usize,
    /// Kept for (re)transmission.
    pub held: usize,
    /// With the kernel, for transmission, until the completion is read.
    pub tx: usize,
}

impl FrameCounts {
    /// The sum of all places.
    pub fn total(&self) -> usize {
        self.free + self.fill + self.rx + self.disk + self.held + self.tx
    }
}

/// Why a UMEM could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UmemError {
    /// A frame count of 0 or above [`FRAMES_MAX`].
    #[error("a UMEM of {frames} frames: between 1 and {FRAMES_MAX} are possible")]
    Frames {
        /// What was asked for.
        frames: u32,
    },
    /// A ring size that is not a power of two.
    #[error("a fill or completion ring of {size} entries: the size must be a power of two")]
    RingSize {
        /// What was asked for.
        size: u32,
    },
    /// xsk-rs refused the geometry.
    #[error("UMEM geometry refused: {0}")]
    Config(String),
    /// No memory to map.
    #[error("cannot map {len} bytes for frames: {source}")]
    Map {
        /// Bytes asked for.
        len: usize,
        /// The system's error.
        source: io::Error,
    },
    /// No right to open an AF_XDP socket.
    #[error("no privilege to create an AF_XDP socket ({source}): run as root or with CAP_NET_RAW")]
    NoPrivilege {
        /// The system's error.
        source: io::Error,
    },
    /// A kernel without AF_XDP.
    #[error("this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS): use another kernel")]
    NoAfXdp,
    /// Over the limit of locked memory.
    #[error(
        "the kernel will not lock {len} bytes for AF_XDP ({source}): raise the memlock limit (ulimit -l, \
         LimitMEMLOCK=) to twice that, grant CAP_IPC_LOCK, or use fewer frames"
    )]
    Memlock {
        /// Bytes to be locked.
        len: usize,
        /// The system's error.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot create an AF_XDP UMEM of {frames} frames: {source}")]
    Create {
        /// Frames asked for.
        frames: u32,
        /// The system's error.
        source: io::Error,
    },
}

/// A pool of frames, and the state of each. Owned by one worker; may be moved to its thread.
#[derive(Debug)]
pub struct Umem {
    memory: Memory,
    table: StateTable,
    /// Indices of free frames, used as a stack: the frame freed last is the one still in the CPU's cache.
    free: Vec<u32>,
    /// Payload length of each frame while a ring has it (state `TxHeld`).
    lengths: Vec<u16>,
    /// Where the payload of each frame lies in its chunk; of account to frames in state `Disk` and `Held`.
    payload_starts: Vec<u16>,
    /// Where a packet begins in its chunk.
    packet_start: usize,
    /// xsk-rs' descriptor of each frame; empty for anonymous memory.
    descriptors: Vec<FrameDesc>,
    /// Sizes of the fill and completion ring; they belong to the UMEM, not to the socket.
    rings: (u32, u32),
    /// Whether a socket is open on this UMEM.
    bound: bool,
    /// Sizes of the RX and TX ring of the first attempt to open one.
    socket_rings: Option<(u32, u32)>,
    /// Marks this UMEM's tokens.
    pool: u16,
}

impl Umem {
    /// A UMEM of `frames` frames, registered with AF_XDP, with fill and completion rings of
    /// [`DEFAULT_UMEM_RING`] entries.
    ///
    /// The calling thread's network namespace becomes that of the socket opened on it.
    pub fn new(frames: u32) -> Result<Self, UmemError> {
        Self::with_rings(frames, DEFAULT_UMEM_RING, DEFAULT_UMEM_RING)
    }

    /// As [`new`](Self::new), with rings of `fill` and `completion` entries (powers of two).
    pub fn with_rings(frames: u32, fill: u32, completion: u32) -> Result<Self, UmemError> {
        Self::registered(frames, fill, completion, PACKET_START)
    }

    /// As [`with_rings`](Self::with_rings), for packets that may lie in several frames.
    pub fn with_fragments(frames: u32, fill: u32, completion: u32) -> Result<Self, UmemError> {
        Self::registered(frames, fill, completion, FRAGMENT_START)
    }

    fn registered(
        frames: u32,
        fill: u32,
        completion: u32,
        packet_start: usize,
    ) -> Result<Self, UmemError> {
        let count = frame_count(frames)?;
        let (memory, descriptors) = Memory::xdp(count, fill, completion, packet_start)?;
        let mut umem = Self::assemble(memory, descriptors, frames, (fill, completion));
        umem.packet_start = packet_start;
        Ok(umem)
    }

    /// The same frames over plain memory, for a link without AF_XDP and for tests: no privilege needed. No
    /// socket can be opened on it.
    pub fn anonymous(frames: u32) -> Result<Self, UmemError> {
        let memory = Memory::anonymous(frame_count(frames)?)?;
        Ok(Self::assemble(memory, Vec::new(), frames, (0, 0)))
    }

    /// Puts packets where they lie in a UMEM for packets in several frames.
    #[cfg(test)]
    pub(crate) fn pretend_fragments(&mut self) {
        self.packet_start = FRAGMENT_START;
    }

    fn assemble(
        memory: Memory,
        descriptors: Vec<FrameDesc>,
        frames: u32,
        rings: (u32, u32),
    ) -> Self {
        static POOL: AtomicU16 = AtomicU16::new(0);
        Self {
            memory,
            table: StateTable::new(frames),
            // Reversed, so that a fresh UMEM hands out frame 0 first.
            free: (0..frames).rev().collect(),
            lengths: vec![0; frames as usize],
            payload_starts: vec![PAYLOAD_START as u16; frames as usize],
            packet_start: PACKET_START,
            descriptors,
            rings,
            bound: false,
            socket_rings: None,
            pool: POOL.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Frames in the pool.
    pub fn total(&self) -> usize {
        self.table.len()
    }

    /// Whether packets may lie in several frames.
    #[inline]
    pub fn has_fragments(&self) -> bool {
        self.packet_start == FRAGMENT_START
    }

    /// Longest packet in one frame, bytes, from the Ethernet header.
    #[inline]
    pub fn packet_max(&self) -> usize {
        CHUNK - self.packet_start
    }

    /// Takes a free frame; `None` when there is none.
    #[inline]
    pub fn allocate(&mut self) -> Option<Frame<Free>> {
        let index = self.free.pop()?;
        self.table.check(index, State::Free);
        Some(Frame::new(index, 0, self.pool))
    }

    /// How many frames [`allocate`](Self::allocate) can still give.
    #[inline]
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Gives a frame back.
    ///
    /// # Panics
    ///
    /// When the token is not of this UMEM or its state is not what the table says: see the module's docs.
    #[inline]
    pub fn release<S: FrameState>(&mut self, frame: Frame<S>) {
        let index = self.owned(&frame);
        self.table.transition(index, S::STATE, State::Free);
        self.free.push(index);
    }

    /// The received bytes, from the Ethernet header on.
    #[inline]
    pub fn packet(&self, frame: &Frame<Rx>) -> &[u8] {
        let start = self.address(frame, self.packet_start);
        // SAFETY: `address` checked that the token is current, so user space owns the frame; `len` was bounded
        // by `packet_max` when the token was made. The borrow of `self` keeps every writer out.
        unsafe { slice::from_raw_parts(start, frame.len()) }
    }

    /// [`packet_max`](Self::packet_max) bytes from where a packet starts, to write headers (and a short payload) into.
    #[inline]
    pub fn packet_mut<S: Transmittable>(&mut self, frame: &mut Frame<S>) -> &mut [u8] {
        let start = self.address(frame, self.packet_start);
        // SAFETY: as in `packet`; the range ends with the chunk, and `&mut self` makes it exclusive.
        unsafe { slice::from_raw_parts_mut(start, self.packet_max()) }
    }

    /// The first `len` bytes of a packet that is ready to be sent.
    ///
    /// # Panics
    ///
    /// When `len` is above [`packet_max`](Self::packet_max).
    #[inline]
    pub(crate) fn packet_to_send<S: Transmittable>(&self, frame: &Frame<S>, len: usize) -> &[u8] {
        assert!(len <= self.packet_max(), "a packet of {len} bytes");
        let start = self.address(frame, self.packet_start);
        // SAFETY: as in `packet`; the range ends with the chunk.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// A received frame whose payload goes to disk as it is. `payload_len` is bytes from [`PAYLOAD_START`].
    #[inline]
    pub fn rx_to_disk(&mut self, frame: Frame<Rx>, payload_len: u16) -> Frame<Disk> {
        self.retype_at(frame, PAYLOAD_START, payload_len)
    }

    /// An empty frame that a payload of `payload_len` bytes is read into or written from.
    #[inline]
    pub fn free_to_disk(&mut self, frame: Frame<Free>, payload_len: u16) -> Frame<Disk> {
        self.retype_at(frame, PAYLOAD_START, payload_len)
    }

    /// A frame whose `payload_len` bytes came from disk and wait to be sent and acknowledged.
    ///
    /// # Panics
    ///
    /// When the payload does not lie where packets are sent from: that of a received frame need not.
    #[inline]
    pub fn disk_to_held(&mut self, frame: Frame<Disk>, payload_len: u16) -> Frame<Held> {
        assert_eq!(
            self.payload_start(&frame),
            PAYLOAD_START,
            "a payload elsewhere"
        );
        self.retype(frame, payload_len)
    }

    /// An empty frame that the caller filled with a payload of `payload_len` bytes (not from disk).
    #[inline]
    pub fn free_to_held(&mut self, frame: Frame<Free>, payload_len: u16) -> Frame<Held> {
        self.retype_at(frame, PAYLOAD_START, payload_len)
    }

    /// How many frames are where.
    #[inline]
    pub fn counts(&self) -> FrameCounts {
        self.table.counts()
    }

    /// Panics unless every frame is accounted for. Debug builds recount the whole table.
    pub fn assert_conserved(&self) {
        let counts = self.counts();
        assert_eq!(
            counts.total(),
            self.total(),
            "frames are lost or doubled: {counts:?}"
        );
        assert!(
            self.free.len() <= counts.free,
            "{} frames on the free list, but {counts:?}",
            self.free.len()
        );
        if cfg!(debug_assertions) {
            assert_eq!(
                counts,
                self.table.recount(),
                "the kept counts do not match the table"
            );
        }
    }

    /// A frame in state `A` becomes one in state `B`.
    ///
    /// # Panics
    ///
    /// When the token is stale or foreign, or `len` is above [`PAYLOAD_MAX`] (the bytes would be those of the
    /// next frame).
    #[inline]
    fn retype<A: FrameState, B: FrameState>(&mut self, frame: Frame<A>, len: u16) -> Frame<B> {
        assert!(
            usize::from(len) <= PAYLOAD_MAX,
            "a payload of {len} bytes in a frame of {PAYLOAD_MAX}"
        );
        let index = self.owned(&frame);
        self.table.transition(index, A::STATE, B::STATE);
        Frame::new(index, len, self.pool)
    }

    /// As [`retype`](Self::retype), with the payload `start` bytes after the chunk's beginning.
    ///
    /// # Panics
    ///
    /// As it, and when the payload would not end within the chunk.
    #[inline]
    fn retype_at<A: FrameState, B: FrameState>(
        &mut self,
        frame: Frame<A>,
        start: usize,
        len: u16,
    ) -> Frame<B> {
        assert!(
            start + usize::from(len) <= CHUNK,
            "a payload of {len} bytes at {start}"
        );
        let frame = self.retype(frame, len);
        let index = self.owned(&frame) as usize;
        self.payload_starts[index] = start as u16;
        frame
    }

    /// The frame's number, once the token is known to be of this UMEM.
    #[inline]
    fn owned<S: FrameState>(&self, frame: &Frame<S>) -> u32 {
        assert_eq!(frame.pool(), self.pool, "a frame of another UMEM");
        frame.index().0
    }

    /// The address of byte `offset` of the frame, which must be in state `S` in this UMEM.
    #[inline]
    fn address<S: FrameState>(&self, frame: &Frame<S>, offset: usize) -> *mut u8 {
        let index = self.owned(frame);
        self.table.check(index, S::STATE);
        debug_assert!(offset < CHUNK);
        // SAFETY: `check` proved index < total, so the offset lies within the mapping of total * CHUNK bytes.
        unsafe { self.memory.base().add(index as usize * CHUNK + offset) }
    }

    /// Where the payload of a frame lies, for an operation that the kernel runs on it.
    #[inline]
    pub(crate) fn payload_address(&self, frame: &Frame<Disk>) -> *mut u8 {
        self.address(frame, self.payload_start(frame))
    }

    /// Whether the frames lie in huge pages, of which enough were reserved.
    pub fn is_huge(&self) -> bool {
        self.memory.is_huge()
    }

    /// Sizes of the fill and the completion ring, entries; 0 for anonymous memory.
    pub fn rings(&self) -> (u32, u32) {
        self.rings
    }

    /// What tells this UMEM from others. Whoever holds descriptors or addresses of one checks it.
    #[inline]
    pub(crate) fn pool(&self) -> u16 {
        self.pool
    }

    /// Whether a socket is open on this UMEM.
    pub(crate) fn is_bound(&self) -> bool {
        self.bound
    }

    /// A socket was opened.
    pub(crate) fn bind(&mut self) {
        self.bound = true;
    }

    /// The sizes of a socket's RX and TX ring, which the first attempt to open one fixes: libxdp makes these
    /// rings before it binds, keeps them when binding fails, and would then use them with the wrong size.
    pub(crate) fn fix_socket_rings(&mut self, rings: (u32, u32)) -> (u32, u32) {
        *self.socket_rings.get_or_insert(rings)
    }

    /// A handle that keeps the mapping alive.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }
}

fn frame_count(frames: u32) -> Result<NonZeroU32, UmemError> {
    NonZeroU32::new(frames)
        .filter(|count| count.get() <= FRAMES_MAX)
        .ok_or(UmemError::Frames { frames })
}

#[cfg(test)]
mod tests;
