//! The XDP program: UDP packets to the ports of AF_XDP sockets go to these, everything else to the kernel, untouched.
//!
//! ```text
//!            its port is in its slot,  may send it              socket in the slot
//!            or has a living service
//!  +-------+      +-----------+      +---------+                 +----------------+
//!  | parse |----->| allow-list|----->| SOCKETS |---------------->| AF_XDP socket  |
//!  +-------+      | length    |      +---------+                 | of this queue  |
//!      |          | handshakes|           | empty slot           | and port       |
//!      | other    +-----------+           v                      +----------------+
//!      v                | may not      CPUs configured?-- yes --> CPUMAP: the kernel's stack, there
//!  XDP_PASS             v                 | no
//!  the kernel's    XDP_DROP               v
//!  stack                               XDP_PASS
//! ```
//!
//! Independent processes share it: each claims the slots of the queues that its sockets are bound to. A claim counts while there is
//! a socket in its slot, and the kernel takes sockets out that are closed, in whatever way; so nothing of a process that
//! died stops or steers a packet.
//!
//! Only packets to claimed ports are ever dropped; no packet is changed or answered. The newest helper is
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

use core::ffi::c_void;

use abi::{
    DEFAULT_QUEUES, FLAG_ALLOW_LIST, KERNEL_CPU_ENTRIES, SERVICE, SERVICES_MAX, SLOTS_PER_QUEUE,
    Service, Verdict, kernel_cpu_key, slot_of,
};
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, CpuMap, HashMap, PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;
use blk_proto::net::{PacketBytes, ParseError, UdpHeaders, parse_headers};
use blk_proto::wire::{HEADER_LEN, KIND_AT, Kind};
use context::Linear;

/// One AF_XDP socket per slot. Its size is set at load.
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(DEFAULT_QUEUES * SLOTS_PER_QUEUE, 0);

/// The port of each slot. Its size is set at load.
#[map]
static SLOTS: Array<u32> = Array::with_max_entries(DEFAULT_QUEUES * SLOTS_PER_QUEUE, 0);

/// Packets by [`Verdict`], one counter per CPU.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT, 0);

/// What holds for the ports of services.
#[map]
static SERVICES: HashMap<u32, Service> = HashMap::with_max_entries(SERVICES_MAX, 0);

/// Queues of packets for the kernel's stack on other CPUs. Its size is set at load.
#[map]
static CPUS: CpuMap = CpuMap::with_max_entries(1, 0);

/// The CPUs of [`CPUS`] that packets of services without a socket go to.
#[map]
static KERNEL_CPUS: HashMap<u32, u32> = HashMap::with_max_entries(KERNEL_CPU_ENTRIES, 0);

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

/// What becomes of a packet to a claimed port; `Err`: it is not for us, or unwanted.
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
    let (queue, port) = (ctx.rx_queue_index(), headers.destination_port);
    let slot = slot_of(queue, port);
    if is_claimed(slot, u32::from(port)) {
        return give_to_client(&packet, &headers, slot);
    }
    // A pointer to it is followed only where its look-up was seen to succeed: Linux 6.1 follows the branches that a CPU may take
    // by mistake as well when the process has no CAP_PERFMON, and takes a null that was kept beside it for a number.
    let service = get::<_, Service>(&SERVICES, u32::from(port)).ok_or(Verdict::NotOurs)?;
    if !is_living(service, port, slot) {
        return Err(Verdict::NotOurs);
    }
    if !packet.holds_headers(headers.payload_offset) {
        return Err(Verdict::Malformed);
    }
    refuse_unwanted(&packet, &headers, service)?;
    Ok(steer(queue, port, service))
}

/// A packet to a port that is claimed without a service.
#[inline(always)]
fn give_to_client(
    packet: &Linear<'_>,
    headers: &UdpHeaders,
    slot: u32,
) -> Result<(u32, Verdict), Verdict> {
    if !packet.holds_headers(headers.payload_offset) {
        return Err(Verdict::Malformed);
    }
    refuse_short(headers)?;
    SOCKETS
        .redirect(slot, XDP_PASS.into())
        .map(|redirect| (redirect, Verdict::Redirected))
        .map_err(|_| Verdict::NotOurs)
}

/// Whether a living socket has this slot for this port, with [`SERVICE`] or without. The slot's last owner may have died.
#[inline(always)]
fn is_claimed(slot: u32, entry: u32) -> bool {
    get::<_, u32>(&SLOTS, slot).is_some_and(|&claimed| claimed == entry)
        && !words::element::<_, c_void>(&SOCKETS, slot).is_null()
}

/// Whether a service lives: the socket at its home lives, or the one of this slot does.
#[inline(always)]
fn is_living(service: &Service, port: u16, slot: u32) -> bool {
    // One that is replaced meanwhile is replaced as a whole; should its place be used again, which takes two more changes, this one
    // packet meets the newer one.
    let entry = u32::from(port) | SERVICE;
    is_claimed(slot, entry) || is_claimed(service.home, entry)
}

/// Every packet of every version has a header at least this long. Whatever else may be wrong with it, the user side
/// decides: it answers a greeting in an unknown version.
#[inline(always)]
fn refuse_short(headers: &UdpHeaders) -> Result<(), Verdict> {
    if headers.payload_len < HEADER_LEN {
        return Err(Verdict::TooShort);
    }
    Ok(())
}

/// Stops what the sender may not send to a service.
#[inline(always)]
fn refuse_unwanted(
    packet: &Linear<'_>,
    headers: &UdpHeaders,
    service: &Service,
) -> Result<(), Verdict> {
    if service.flags & FLAG_ALLOW_LIST != 0 && !source::is_allowed(packet, headers) {
        return Err(Verdict::NotAllowed);
    }
    refuse_short(headers)?;
    if service.token_interval == 0 {
        return Ok(());
    }
    // The kind stands there in every version, and is a Hello's in every version.
    let kind = packet.read_far::<1>(headers.payload_offset + KIND_AT);
    let [kind] = kind.ok_or(Verdict::Malformed)?;
    if kind == Kind::Hello as u8 && !source::take_token(packet, headers, service) {
        return Err(Verdict::HandshakeLimit);
    }
    Ok(())
}

/// Gives a packet to the service's socket on its queue, or else to the kernel.
#[inline(always)]
fn steer(queue: u32, port: u16, service: &Service) -> (u32, Verdict) {
    // Both redirects look the element up at once, and fail with the low flag bits when there is none.
    let fall_back = u64::from(XDP_PASS);
    let slot = slot_of(queue, port);
    if is_claimed(slot, u32::from(port) | SERVICE)
        && let Ok(redirect) = SOCKETS.redirect(slot, fall_back)
    {
        return (redirect, Verdict::Redirected);
    }
    // A queue's packets all go to one CPU, so that they stay in their order.
    if let Some(turn) = queue.checked_rem(service.kernel_cpus)
        && let Some(&cpu) = get::<_, u32>(&KERNEL_CPUS, kernel_cpu_key(port, turn))
        && let Ok(redirect) = CPUS.redirect(cpu, fall_back)
    {
        return (redirect, Verdict::KernelCpu);
    }
    (XDP_PASS, Verdict::NoSocket)
}

/// The element of a map with keys of 32 bits.
#[inline(always)]
fn get<M, V>(map: &'static M, key: u32) -> Option<&'static V> {
    let element = words::element::<_, V>(map, key);
    // SAFETY: null or an element, aligned, which stays mapped while the program runs. The user side writes words in one piece, and
    // replaces larger elements by others.
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
