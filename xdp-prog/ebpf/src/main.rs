//! The XDP program: UDP packets to the protocol's ports go to AF_XDP sockets, everything else to the
//! kernel, untouched.
//!
//! ```text
//!             +-------+  to one of our ports   +---------+ socket in the slot  +----------------+
//!  NIC queue -| parse |----------------------->| SOCKETS |-------------------->| AF_XDP socket  |
//!             +-------+                        +---------+                     | of this queue  |
//!                 | anything else, or unclear       | empty slot              | and worker     |
//!                 v                                 v                         +----------------+
//!             XDP_PASS: the kernel's stack, as if there were no program
//! ```
//!
//! The program never drops, changes or answers a packet. It uses two helpers, `bpf_redirect_map` and
//! `bpf_map_lookup_elem`, both older than Linux 5.4; `frags` needs Linux 5.18.
#![no_std]
#![allow(
    missing_docs,
    reason = "the xdp attribute makes an undocumented wrapper"
)]
#![no_main]

#[path = "../../src/abi.rs"]
mod abi;
mod context;

use core::ptr;

use abi::{DEFAULT_QUEUES, Verdict, WORKERS_PER_QUEUE};
use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;
use blk_proto::net::{ParseError, parse_headers};
use context::Linear;

/// One AF_XDP socket per (queue, worker). Its size is set at load.
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(DEFAULT_QUEUES * WORKERS_PER_QUEUE, 0);

/// Packets by [`Verdict`], one counter per CPU.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT, 0);

/// First UDP port of the protocol. Set at load.
#[unsafe(no_mangle)]
static PORT_FIRST: u16 = 0;

/// How many ports from [`PORT_FIRST`] on are the protocol's, at most [`WORKERS_PER_QUEUE`]. Set at load.
#[unsafe(no_mangle)]
static PORT_COUNT: u16 = 0;

/// Decides about one packet.
#[xdp(frags)]
pub fn blk_xdp(ctx: XdpContext) -> u32 {
    let (action, verdict) = match slot(&ctx) {
        Ok(slot) => match SOCKETS.redirect(slot, u64::from(XDP_PASS)) {
            Ok(redirect) => (redirect, Verdict::Redirected),
            // The helper looks the slot up at once, and returns the low flag bits when it is empty or
            // beyond the map.
            Err(pass) => (pass, Verdict::NoSocket),
        },
        Err(verdict) => (XDP_PASS, verdict),
    };
    count(verdict);
    action
}

/// The slot of a packet to one of our ports, or why the packet is not for us.
#[inline(always)]
fn slot(ctx: &XdpContext) -> Result<u32, Verdict> {
    let headers = parse_headers(&Linear(ctx)).map_err(|error| match error {
        ParseError::NotIp | ParseError::NotUdp => Verdict::NotOurs,
        ParseError::Fragment => Verdict::Fragment,
        ParseError::Options => Verdict::Options,
        ParseError::Truncated | ParseError::Malformed | ParseError::Ipv4Checksum => {
            Verdict::Malformed
        }
    })?;
    // Volatile, because the loader changes these "constants".
    // SAFETY: both point to valid, aligned, initialised statics.
    let (first, ports) = unsafe {
        (
            ptr::read_volatile(&PORT_FIRST),
            ptr::read_volatile(&PORT_COUNT),
        )
    };
    // A port below the first wraps around to a large number.
    let worker = headers.destination_port.wrapping_sub(first);
    if worker >= ports {
        return Err(Verdict::NotOurs);
    }
    Ok(ctx.rx_queue_index() * WORKERS_PER_QUEUE + u32::from(worker))
}

/// Adds one to a verdict's counter of this CPU.
#[inline(always)]
fn count(verdict: Verdict) {
    if let Some(counter) = COUNTERS.get_ptr_mut(verdict as u32) {
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
