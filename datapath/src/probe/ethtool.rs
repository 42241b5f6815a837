//! What a driver tells of queues, rings, steering and offloads, by the ethtool ioctl. Each is `None` where it does not.

use crate::net::ethtool::{ask, channels};

/// Commands of include/uapi/linux/ethtool.h; all work without privileges.
const GET_SETTINGS: u32 = 0x01;
const GET_RINGS: u32 = 0x10;
const GET_RX_CHECKSUM: u32 = 0x14;
const GET_TX_CHECKSUM: u32 = 0x16;
const GET_TSO: u32 = 0x1e;
const GET_GSO: u32 = 0x23;
const GET_FLAGS: u32 = 0x25;
const GET_GRO: u32 = 0x2b;
const GET_RULE_COUNT: u32 = 0x2e;
const GET_RSS: u32 = 0x46;
/// `enum ethtool_flags`.
const FLAG_RX_VLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;
const FLAG_NTUPLE: u32 = 1 << 27;
const FLAG_RX_HASH: u32 = 1 << 28;

/// `struct ethtool_cmd`.
#[repr(C)]
#[derive(Default)]
struct Settings {
    command: u32,
    supported: u32,
    advertising: u32,
    speed: u16,
    modes: [u8; 6],
    max_packets: [u32; 2],
    speed_high: u16,
    crossover: [u8; 2],
    peer: u32,
    reserved: [u32; 2],
}

const _: () = assert!(size_of::<Settings>() == 44);

/// `struct ethtool_ringparam`.
#[repr(C)]
#[derive(Default)]
struct RingSizes {
    command: u32,
    max: [u32; 4],
    now: [u32; 4],
}

/// `struct ethtool_value`.
#[repr(C)]
#[derive(Default)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_rxnfc`, whose flow specification is of no interest here.
#[repr(C)]
#[derive(Default)]
struct Rules {
    command: u32,
    flow_type: u32,
    data: u64,
    specification: [u64; 21],
    count: u32,
    padding: u32,
}

const _: () = assert!(size_of::<Rules>() == 192);

/// `struct ethtool_rxfh` without its table: with both sizes zero, the kernel only tells the sizes.
#[repr(C)]
#[derive(Default)]
struct Hash {
    command: u32,
    context: u32,
    table: u32,
    key: u32,
    function: [u8; 4],
    reserved: u32,
}

const _: () = assert!(size_of::<Hash>() == 24);

/// RX queues.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Queues {
    /// In use.
    pub now: u32,
    /// The most there can be.
    pub max: u32,
    /// Set by `ethtool -L IF combined N`, not `rx N tx N`.
    pub combined: bool,
}

/// Descriptors of each queue.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rings {
    /// For receiving, now.
    pub rx: u32,
    /// For receiving, at most.
    pub rx_max: u32,
    /// For sending, now.
    pub tx: u32,
    /// For sending, at most.
    pub tx_max: u32,
}

/// How packets find their queue.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Steering {
    /// Entries of the RSS table; `None`: no RSS, or not told.
    pub rss_table: Option<u32>,
    /// Rules set (`ethtool -N`); `None`: the driver takes none.
    pub rules: Option<u32>,
}

/// What driver and kernel do to packets before, or instead of, a program.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Offloads {
    /// Packets received are joined by the kernel.
    pub gro: Option<bool>,
    /// Packets received are joined by the device.
    pub lro: Option<bool>,
    /// Packets to be sent are cut by the kernel.
    pub gso: Option<bool>,
    /// Packets to be sent are cut by the device.
    pub tso: Option<bool>,
    /// Checksums are checked by the device.
    pub rx_checksum: Option<bool>,
    /// Checksums are filled in by the device.
    pub tx_checksum: Option<bool>,
    /// VLAN tags are taken out of packets received.
    pub rx_vlan: Option<bool>,
    /// Rules for packets are on.
    pub ntuple: Option<bool>,
    /// Packets are spread over queues by a hash.
    pub rx_hash: Option<bool>,
}

/// Megabits per second; `None` without a carrier, and where there is no such thing.
pub(super) fn speed(interface: &str) -> Option<u32> {
    let mut settings = Settings {
        command: GET_SETTINGS,
        ..Settings::default()
    };
    // SAFETY: `settings` is the structure of its command, plain data.
    unsafe { ask(interface, &mut settings)? };
    let speed = u32::from(settings.speed_high) << 16 | u32::from(settings.speed);
    // SPEED_UNKNOWN is -1; some drivers leave the upper half out.
    (speed != 0 && speed != u32::MAX && speed != 0xffff).then_some(speed)
}

impl Queues {
    pub(super) fn of(interface: &str) -> Option<Self> {
        let channels = channels(interface)?;
        Some(Self {
            now: channels.rx.checked_add(channels.combined)?,
            max: channels.max_rx.checked_add(channels.max_combined)?,
            combined: channels.max_combined > 0,
        })
    }
}

impl Rings {
    pub(super) fn of(interface: &str) -> Option<Self> {
        let mut sizes = RingSizes {
            command: GET_RINGS,
            ..RingSizes::default()
        };
        // SAFETY: `sizes` is the structure of its command, plain data.
        unsafe { ask(interface, &mut sizes)? };
        let ([rx_max, _, _, tx_max], [rx, _, _, tx]) = (sizes.max, sizes.now);
        // Software devices answer with zeros.
        (rx_max > 0).then_some(Self {
            rx,
            rx_max,
            tx,
            tx_max,
        })
    }
}

impl Steering {
    pub(super) fn of(interface: &str) -> Self {
        let mut hash = Hash {
            command: GET_RSS,
            ..Hash::default()
        };
        // SAFETY: `hash` is the structure of its command, plain data, and its sizes are zero: nothing lies behind it.
        let told = unsafe { ask(interface, &mut hash) };
        let mut rules = Rules {
            command: GET_RULE_COUNT,
            ..Rules::default()
        };
        // SAFETY: `rules` is the structure of its command, plain data.
        let takes_rules = unsafe { ask(interface, &mut rules) };
        Self {
            rss_table: told.map(|()| hash.table).filter(|entries| *entries > 0),
            rules: takes_rules.map(|()| rules.count),
        }
    }
}

impl Offloads {
    pub(super) fn of(interface: &str) -> Self {
        let value = |command| {
            let mut value = Value { command, data: 0 };
            // SAFETY: `value` is the structure of these commands, plain data.
            unsafe { ask(interface, &mut value) }.map(|()| value.data)
        };
        let switch = |command| value(command).map(|data| data != 0);
        let flags = value(GET_FLAGS);
        let flag = |bit| flags.map(|flags| flags & bit != 0);
        Self {
            gro: switch(GET_GRO),
            lro: flag(FLAG_LRO),
            gso: switch(GET_GSO),
            tso: switch(GET_TSO),
            rx_checksum: switch(GET_RX_CHECKSUM),
            tx_checksum: switch(GET_TX_CHECKSUM),
            rx_vlan: flag(FLAG_RX_VLAN),
            ntuple: flag(FLAG_NTUPLE),
            rx_hash: flag(FLAG_RX_HASH),
        }
    }
}
