//! What the XDP program and its user side agree on. Compiled into both.
#![allow(dead_code, reason = "each side uses its own half")]

/// Slots of each NIC queue: that many workers, each with a port of its own, can share a queue.
pub const SLOTS_PER_QUEUE: u32 = 16;

/// NIC queues that the socket map has room for when nothing else is set at load.
pub const DEFAULT_QUEUES: u32 = 64;

/// Entries of each family's allow-lists, those of all services together.
pub const RULES_MAX: u32 = 4096;

/// Services on an interface, those that have died included.
pub const SERVICES_MAX: u32 = 256;

/// Sources of handshakes that are remembered; the one not seen for longest is forgotten for a new one.
pub const BUCKETS_MAX: u32 = 8192;

/// CPUs that packets of a service for the kernel can be spread over.
pub const KERNEL_CPUS_MAX: u32 = 64;

/// Entries of [`KERNEL_CPUS`], those of all services together.
pub const KERNEL_CPU_ENTRIES: u32 = 1024;

/// Name of the program; the kernel shows its first 15 characters.
pub const PROGRAM: &str = "blk_xdp";
/// Name of the socket map: an XSKMAP of queues x [`SLOTS_PER_QUEUE`] slots. A socket that is closed leaves its slot by
/// itself: of all that is in these maps, this alone tells who lives.
pub const SOCKETS: &str = "SOCKETS";
/// Name of the array of `u32` that holds the port of each slot, with [`SERVICE`] or without; what it says counts only while
/// there is a socket in the slot. Whoever has an AF_XDP socket bound to a queue, which nobody else can have then, writes
/// the slots of that queue.
pub const SLOTS: &str = "SLOTS";
/// Name of the counter map: a per-CPU array of `u64`, one element per [`Verdict`].
pub const COUNTERS: &str = "COUNTERS";
/// Name of the hash of [`Service`]s by their ports, as `u32`. Whoever has the UDP port bound on the host writes what is kept
/// under its number, here and in the lists.
pub const SERVICES: &str = "SERVICES";
/// Name of the LPM trie of IPv4 sources: 2 bytes of a service's port (big endian), 4 bytes of address, and a `RULE_*`.
pub const SOURCES_V4: &str = "SOURCES_V4";
/// Name of the LPM trie of IPv6 sources: 2 bytes of port, 16 bytes of address, and a `RULE_*`.
pub const SOURCES_V6: &str = "SOURCES_V6";
/// Name of the LRU hash of token buckets: 16 bytes of source and port, and when its bucket will be full again.
pub const BUCKETS: &str = "BUCKETS";
/// Name of the CPUMAP; its index is the CPU's number.
pub const CPUS: &str = "CPUS";
/// Name of the hash of `u32` with the CPUs that packets of a service for the kernel go to, by [`kernel_cpu_key`].
pub const KERNEL_CPUS: &str = "KERNEL_CPUS";

/// In [`SLOTS`]: the port is that of a [`Service`].
pub const SERVICE: u32 = 1 << 16;

/// [`Service::flags`]: sources have to be on the allow-list.
pub const FLAG_ALLOW_LIST: u32 = 1;

/// An allow-list entry's value: packets of these sources are taken.
pub const RULE_ALLOW: u32 = 1;
/// An allow-list entry's value: packets of these sources are dropped.
pub const RULE_DENY: u32 = 0;

/// What holds for packets to a port on all queues, as long as its [`home`](Self::home) is its own: what is left of a service that
/// has died holds for nobody.
#[repr(C)]
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// A slot of this service: it lives while there is a socket in the slot and [`SLOTS`] has its port there.
    pub home: u32,
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
    assert!(size_of::<Service>() == 32);
    assert!(align_of::<Service>() == 8);
    assert!(core::mem::offset_of!(Service, flags) == 4);
    assert!(core::mem::offset_of!(Service, kernel_cpus) == 8);
    assert!(core::mem::offset_of!(Service, token_interval) == 16);
    assert!(core::mem::offset_of!(Service, token_burst) == 24);
};

/// The slot of a port on a queue.
pub const fn slot_of(queue: u32, port: u16) -> u32 {
    queue * SLOTS_PER_QUEUE + port as u32 % SLOTS_PER_QUEUE
}

/// The key in [`KERNEL_CPUS`] of a service's CPU number `turn`.
pub const fn kernel_cpu_key(port: u16, turn: u32) -> u32 {
    (port as u32) << 8 | turn
}

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
    /// To a port whose AF_XDP socket is in the slot of its queue, and given to that.
    Redirected = 0 "redirected",
    /// To the port of a service, but no socket is in the slot of its queue and port: passed to the kernel, on this CPU.
    NoSocket = 1 "no_socket",
    /// Not IP, not UDP, or to a port that nobody has claimed on this queue: passed to the kernel.
    NotOurs = 2 "not_ours",
    /// A fragment of a UDP datagram to whatever port: passed to the kernel.
    Fragment = 3 "fragments",
    /// UDP behind IPv6 extension headers that the program does not follow, to whatever port: passed to the kernel.
    Options = 4 "options",
    /// Truncated, or IP and UDP lengths that contradict each other: passed to the kernel.
    Malformed = 5 "malformed",
    /// To the port of a service from a source that is not on the allow-list: dropped.
    NotAllowed = 6 "not_allowed",
    /// To one of our ports, and shorter than the protocol's header: dropped.
    TooShort = 7 "too_short",
    /// A handshake packet to the port of a service, of a source that has sent too many: dropped.
    HandshakeLimit = 8 "handshakes_limited",
    /// To the port of a service without a socket in its slot, and given to the kernel on another CPU.
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
