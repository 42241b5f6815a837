//! The XDP program: UDP packets to the protocol's ports go to AF_XDP sockets, everything else to the
//! kernel, untouched.
//!
//! ```text
//!            to one of our ports    may send it                socket in the slot
//!  +-------+      +-----------+      +---------+                 +----------------+
//!  | parse |----->| allow-list|----->| SOCKETS |---------------->| AF_XDP socket  |
//!  +-------+      | length    |      +---------+                 | of this queue  |
//!      |          | handshakes|           | empty slot           | and worker     |
//!      | other    +-----------+           v                      +----------------+
//!      v                | may not      CPUs configured?-- yes --> CPUMAP: the kernel's stack, there
//!  XDP_PASS             v                 | no
//!  the kernel's    XDP_DROP               v
//!  stack                               XDP_PASS
//! ```
//!
//! Only packets to our ports are ever dropped; no packet is changed or answered. The newest helper is
//! `bpf_xdp_load_bytes`, of Linux 5.18, which `frags` needs as well.
#![no_std]
#![allow(
    missing_docs,
    reason = "the xdp attribute makes an undocumented wrapper"
)]
#![no_main]

#[path = "../../src/abi.rs"]
mod abi;
mod context;
mod source;
mod words;

use abi::{DEFAULT_QUEUES, FLAG_ALLOW_LIST, KERNEL_CPUS_MAX, Settings, Verdict, WORKERS_PER_QUEUE};
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, CpuMap, PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;
use blk_proto::net::{PacketBytes, ParseError, UdpHeaders, parse_headers};
use blk_proto::wire::{HEADER_LEN, KIND_AT, Kind};
use context::Linear;

/// One AF_XDP socket per (queue, worker). Its size is set at load.
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(DEFAULT_QUEUES * WORKERS_PER_QUEUE, 0);

/// Packets by [`Verdict`], one counter per CPU.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT, 0);

/// The settings that count, and those that are being prepared.
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(2, 0);

/// Which [`SETTINGS`] count.
#[map]
static ACTIVE: Array<u32> = Array::with_max_entries(1, 0);

/// Workers of each queue; 0: one for each port. Its size is set at load.
#[map]
static WORKERS: Array<u32> = Array::with_max_entries(DEFAULT_QUEUES, 0);

/// Queues of packets for the kernel's stack on other CPUs. Its size is set at load.
#[map]
static CPUS: CpuMap = CpuMap::with_max_entries(1, 0);

/// The CPUs of [`CPUS`] that packets without a socket go to.
#[map]
static KERNEL_CPUS: Array<u32> = Array::with_max_entries(KERNEL_CPUS_MAX, 0);

/// Decides about one packet.
#[xdp(frags)]
pub fn blk_xdp(ctx: XdpContext) -> u32 {
    let (action, verdict) = decide(&ctx).unwrap_or_else(|verdict| match verdict {
        Verdict::NotAllowed | Verdict::TooShort | Verdict::HandshakeLimit => (XDP_DROP, verdict),
        _ => (XDP_PASS, verdict),
    });
    count(verdict);
    action
}

/// What becomes of a packet to one of our ports; `Err`: it is not for us, or unwanted.
#[inline(always)]
fn decide(ctx: &XdpContext) -> Result<(u32, Verdict), Verdict> {
    let packet = Linear::new(ctx);
    let headers = parse_headers(&packet).map_err(|error| match error {
        ParseError::NotIp | ParseError::NotUdp => Verdict::NotOurs,
        ParseError::Fragment => Verdict::Fragment,
        ParseError::Options => Verdict::Options,
        ParseError::Truncated | ParseError::Malformed | ParseError::Ipv4Checksum => {
            Verdict::Malformed
        }
    })?;
    let settings = settings().ok_or(Verdict::NotOurs)?;
    // A port below the first wraps around to a large number.
    let port = headers.destination_port.wrapping_sub(settings.port_first);
    if port >= settings.port_count {
        return Err(Verdict::NotOurs);
    }
    if !packet.holds_headers(headers.payload_offset) {
        return Err(Verdict::Malformed);
    }
    refuse_unwanted(&packet, &headers, settings)?;
    Ok(steer(ctx.rx_queue_index(), port, settings))
}

/// Stops what the sender may not send to our ports.
#[inline(always)]
fn refuse_unwanted(
    packet: &Linear<'_>,
    headers: &UdpHeaders,
    settings: &Settings,
) -> Result<(), Verdict> {
    if settings.flags & FLAG_ALLOW_LIST != 0 && !source::is_allowed(packet, headers) {
        return Err(Verdict::NotAllowed);
    }
    // Every packet of every version has a header at least this long. Whatever else may be wrong with it, the user
    // side decides: it answers a greeting in an unknown version.
    if headers.payload_len < HEADER_LEN {
        return Err(Verdict::TooShort);
    }
    if settings.token_interval == 0 {
        return Ok(());
    }
    // The kind stands there in every version, and is a Hello's in every version.
    let kind = packet.read_far::<1>(headers.payload_offset + KIND_AT);
    let [kind] = kind.ok_or(Verdict::Malformed)?;
    if kind == Kind::Hello as u8 && !source::take_token(packet, headers, settings) {
        return Err(Verdict::HandshakeLimit);
    }
    Ok(())
}

/// Gives a packet to the worker of its queue and port, or else to the kernel.
#[inline(always)]
fn steer(queue: u32, port: u16, settings: &Settings) -> (u32, Verdict) {
    // Both redirects look the element up at once, and fail with the low flag bits when there is none.
    let fall_back = u64::from(XDP_PASS);
    let slot = queue * WORKERS_PER_QUEUE + worker(queue, port, settings);
    if let Ok(redirect) = SOCKETS.redirect(slot, fall_back) {
        return (redirect, Verdict::Redirected);
    }
    // A queue's packets all go to one CPU, so that they stay in their order.
    if let Some(turn) = queue.checked_rem(settings.kernel_cpus)
        && let Some(&cpu) = get(&KERNEL_CPUS, turn)
        && let Ok(redirect) = CPUS.redirect(cpu, fall_back)
    {
        return (redirect, Verdict::KernelCpu);
    }
    (XDP_PASS, Verdict::NoSocket)
}

/// The worker of a queue that the `port`th of our ports belongs to.
#[inline(always)]
fn worker(queue: u32, port: u16, settings: &Settings) -> u32 {
    let workers = match get(&WORKERS, queue) {
        Some(&workers) if workers != 0 => workers,
        _ => u32::from(settings.port_count),
    };
    // Never 0: the port is one of `port_count`.
    u32::from(port)
        .checked_rem(workers.min(WORKERS_PER_QUEUE))
        .unwrap_or(0)
}

/// The settings that count; there are always some.
#[inline(always)]
fn settings() -> Option<&'static Settings> {
    get(&SETTINGS, *get(&ACTIVE, 0)?)
}

/// The element of an array.
#[inline(always)]
fn get<V>(array: &'static Array<V>, index: u32) -> Option<&'static V> {
    let element = words::element::<_, V>(array, index);
    // SAFETY: null or an element, aligned, which stays mapped while the program runs. The user side writes only words in one
    // piece and settings that do not count.
    unsafe { element.as_ref() }
}

/// Adds one to a verdict's counter of this CPU.
#[inline(always)]
fn count(verdict: Verdict) {
    let counter = words::element::<_, u64>(&COUNTERS, verdict as u32);
    if !counter.is_null() {
        // SAFETY: the map holds `u64`s, which nothing else on this CPU touches while the program runs.
        unsafe { *counter += 1 };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: nothing here can panic, and the verifier refuses an endless loop.
    loop {}
}

/// Tells the kernel which helpers the program may call; MIT is compatible with the GPL.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
