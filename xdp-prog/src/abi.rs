//! What the XDP program and its user side agree on. Compiled into both.
#![allow(dead_code, reason = "each side uses its own half")]

/// Slots of the socket map per NIC queue: that many workers, each with its own port, can share a queue.
pub const WORKERS_PER_QUEUE: u32 = 16;

/// NIC queues that the socket map has room for when nothing else is set at load.
pub const DEFAULT_QUEUES: u32 = 64;

/// Name of the program; the kernel shows its first 15 characters.
pub const PROGRAM: &str = "blk_xdp";
/// Name of the socket map: an XSKMAP of queues x [`WORKERS_PER_QUEUE`] slots.
pub const SOCKETS: &str = "SOCKETS";
/// Name of the counter map: a per-CPU array of `u64`, one element per [`Verdict`].
pub const COUNTERS: &str = "COUNTERS";
/// Name of the global that holds the first UDP port of the protocol, a `u16`.
pub const PORT_FIRST: &str = "PORT_FIRST";
/// Name of the global that holds the number of ports, a `u16` up to [`WORKERS_PER_QUEUE`].
pub const PORT_COUNT: &str = "PORT_COUNT";

/// What the program decided about a packet; the value is the packet's counter in [`COUNTERS`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Verdict {
    /// To one of our ports, and given to the AF_XDP socket in its slot.
    Redirected = 0,
    /// To one of our ports, but no socket is in the slot of its queue and port: passed to the kernel.
    NoSocket = 1,
    /// Not IP, not UDP, or to another port: passed to the kernel.
    NotOurs = 2,
    /// A fragment of a UDP datagram to whatever port: passed to the kernel.
    Fragment = 3,
    /// UDP behind IPv4 options, to whatever port: passed to the kernel.
    Options = 4,
    /// Truncated, or IP and UDP lengths that contradict each other: passed to the kernel.
    Malformed = 5,
}

impl Verdict {
    /// How many verdicts, and counters, there are.
    pub const COUNT: u32 = 6;
}
