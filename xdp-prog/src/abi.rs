//! What the XDP program and its user side agree on. Compiled into both.
#![allow(dead_code, reason = "each side uses its own half")]

/// Slots of the socket map per NIC queue: that many workers can share a queue.
pub const WORKERS_PER_QUEUE: u32 = 16;

/// NIC queues that the socket map has room for when nothing else is set at load.
pub const DEFAULT_QUEUES: u32 = 64;

/// Entries of each family's allow-list.
pub const RULES_MAX: u32 = 4096;

/// Sources of handshakes that are remembered; the one not seen for longest is forgotten for a new one.
pub const BUCKETS_MAX: u32 = 8192;

/// CPUs that packets for the kernel can be spread over.
pub const KERNEL_CPUS_MAX: u32 = 64;

/// Name of the program; the kernel shows its first 15 characters.
pub const PROGRAM: &str = "blk_xdp";
/// Name of the socket map: an XSKMAP of queues x [`WORKERS_PER_QUEUE`] slots.
pub const SOCKETS: &str = "SOCKETS";
/// Name of the counter map: a per-CPU array of `u64`, one element per [`Verdict`].
pub const COUNTERS: &str = "COUNTERS";
/// Name of the array of two [`Settings`], of which [`ACTIVE`] says which one counts.
pub const SETTINGS: &str = "SETTINGS";
/// Name of the array of one `u32`: 0 or 1, the [`SETTINGS`] that count. One byte of it ever changes, so a
/// packet meets the old settings or the new ones, never a mixture.
pub const ACTIVE: &str = "ACTIVE";
/// Name of the array of `u32` that holds the workers of each queue; 0: one for each port.
pub const WORKERS: &str = "WORKERS";
/// Name of the LPM trie of IPv4 sources: 4 bytes of address, and a `RULE_*`.
pub const SOURCES_V4: &str = "SOURCES_V4";
/// Name of the LPM trie of IPv6 sources: 16 bytes of address, and a `RULE_*`.
pub const SOURCES_V6: &str = "SOURCES_V6";
/// Name of the LRU hash of token buckets: a source's 16 bytes, and when its bucket will be full again.
pub const BUCKETS: &str = "BUCKETS";
/// Name of the CPUMAP; its index is the CPU's number.
pub const CPUS: &str = "CPUS";
/// Name of the array of `u32` with the CPUs that packets for the kernel go to.
pub const KERNEL_CPUS: &str = "KERNEL_CPUS";

/// [`Settings::flags`]: sources have to be on the allow-list.
pub const FLAG_ALLOW_LIST: u32 = 1;

/// An allow-list entry's value: packets of these sources are taken.
pub const RULE_ALLOW: u32 = 1;
/// An allow-list entry's value: packets of these sources are dropped.
pub const RULE_DENY: u32 = 0;

/// What can be changed while the program runs.
#[repr(C)]
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// First UDP port of the protocol.
    pub port_first: u16,
    /// How many ports from [`port_first`](Self::port_first) on are the protocol's; 0: none.
    pub port_count: u16,
    /// `FLAG_*`.
    pub flags: u32,
    /// How many elements of [`KERNEL_CPUS`] count; 0: packets without a socket stay on their CPU.
    pub kernel_cpus: u32,
    /// 0.
    pub reserved: u32,
    /// Nanoseconds until a source gets another token for a handshake packet; 0: no limit.
    pub token_interval: u64,
    /// Nanoseconds that it takes to fill a bucket but for one token.
    pub token_burst: u64,
}

const _: () = {
    assert!(size_of::<Settings>() == 32);
    assert!(align_of::<Settings>() == 8);
    assert!(core::mem::offset_of!(Settings, flags) == 4);
    assert!(core::mem::offset_of!(Settings, kernel_cpus) == 8);
    assert!(core::mem::offset_of!(Settings, token_interval) == 16);
    assert!(core::mem::offset_of!(Settings, token_burst) == 24);
};

/// Declares [`Verdict`] with its names, which must not get out of step.
macro_rules! verdicts {
    ($($(#[$doc:meta])* $verdict:ident = $number:literal $name:literal,)+) => {
        /// What the program decided about a packet; the value is the packet's counter in [`COUNTERS`].
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Verdict {
            $($(#[$doc])* $verdict = $number,)+
        }

        impl Verdict {
            /// All of them; each stands at its own number.
            pub const ALL: [Self; Self::COUNT as usize] = [$(Self::$verdict,)+];

            /// The name of its counter.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$verdict => $name,)+
                }
            }
        }
    };
}

verdicts! {
    /// To one of our ports, and given to the AF_XDP socket in its slot.
    Redirected = 0 "redirected",
    /// To one of our ports, but no socket is in the slot of its queue and port: passed to the kernel, on this CPU.
    NoSocket = 1 "no_socket",
    /// Not IP, not UDP, or to another port: passed to the kernel.
    NotOurs = 2 "not_ours",
    /// A fragment of a UDP datagram to whatever port: passed to the kernel.
    Fragment = 3 "fragments",
    /// UDP behind IPv6 extension headers that the program does not follow, to whatever port: passed to the kernel.
    Options = 4 "options",
    /// Truncated, or IP and UDP lengths that contradict each other: passed to the kernel.
    Malformed = 5 "malformed",
    /// To one of our ports from a source that is not on the allow-list: dropped.
    NotAllowed = 6 "not_allowed",
    /// To one of our ports, and shorter than the protocol's header: dropped.
    TooShort = 7 "too_short",
    /// A handshake packet of a source that has sent too many: dropped.
    HandshakeLimit = 8 "handshakes_limited",
    /// To one of our ports without a socket in its slot, and given to the kernel on another CPU.
    KernelCpu = 9 "kernel_cpu",
}

impl Verdict {
    /// How many verdicts, and counters, there are.
    pub const COUNT: u32 = 10;
}

const _: () = {
    let mut number = 0;
    while number < Verdict::ALL.len() {
        assert!(Verdict::ALL[number] as usize == number);
        number += 1;
    }
};
