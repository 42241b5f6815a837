//! What a socket is to be.

use std::time::Duration;

use crate::umem::DEFAULT_UMEM_RING;

/// How long a queue may stay busy by default: the kernel gives one free some time after its socket closed.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// Default size of the RX ring and of the TX ring, entries.
pub const DEFAULT_RING: u32 = 4096;

/// How the kernel moves packets between NIC and UMEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BindMode {
    /// The kernel copies; any driver with XDP support (`XDP_COPY`).
    Copy,
    /// The NIC reads and writes the frames itself; the driver must support it (`XDP_ZEROCOPY`).
    ZeroCopy,
    /// Zero-copy where the driver has it, else copy: ask [`XskSocket::is_zero_copy`](super::XskSocket::is_zero_copy).
    #[default]
    Auto,
}

/// Where to bind, how, and how long the rings are. All ring sizes are powers of two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XskConfig {
    /// Name of the interface.
    pub interface: String,
    /// Queue of the interface, from 0.
    pub queue: u32,
    /// The last queue that will do: the socket gets the first one from `queue` to this that nobody has.
    pub last_queue: u32,
    /// How long it is tried while somebody has them all.
    pub patience: Duration,
    /// How packets are moved.
    pub mode: BindMode,
    /// Entries of the RX ring.
    pub rx_ring: u32,
    /// Entries of the TX ring.
    pub tx_ring: u32,
    /// Entries of the fill ring; it was made with the UMEM, so this must be what the UMEM has.
    pub fill_ring: u32,
    /// Entries of the completion ring; as for the fill ring.
    pub completion_ring: u32,
    /// For how long the caller polls before it sleeps, when it shall poll the driver itself (`SO_PREFER_BUSY_POLL`); `None`: the
    /// kernel does, by interrupts.
    pub busy_poll: Option<Duration>,
}

impl XskConfig {
    /// Default rings on one queue.
    pub fn new(interface: impl Into<String>, queue: u32, mode: BindMode) -> Self {
        Self {
            interface: interface.into(),
            queue,
            last_queue: queue,
            patience: BUSY_PATIENCE,
            mode,
            rx_ring: DEFAULT_RING,
            tx_ring: DEFAULT_RING,
            fill_ring: DEFAULT_UMEM_RING,
            completion_ring: DEFAULT_UMEM_RING,
            busy_poll: None,
        }
    }
}
