//! Socket options of AF_XDP (include/uapi/linux/if_xdp.h).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use super::XskError;
use blk_xdp::{Attachment, InterfaceId, link_state};
use rustix::net::{
    sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force, xdp_options},
    xdp::XdpOptionsFlags,
};

/// `XDP_MAX_TX_SKB_BUDGET`: packets per send(2) in copy mode, 32 to the size of the TX ring. Linux 6.17.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// Bytes of socket buffer accounting for one packet in copy mode: its 4 KiB and the kernel's structures.
const BYTES_PER_PACKET: usize = 8192;
/// The budget to set: enough that the system call costs little per packet.
const TRANSMIT_BUDGET: u32 = 512;
/// Packets that one busy poll takes: as many as one on behalf of an interrupt (`NAPI_POLL_WEIGHT`).
const BUSY_POLL_BUDGET: i32 = 64;

/// What the kernel and this socket counted since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct XskStatistics {
    /// Packets dropped for other reasons than those below.
    pub rx_dropped: u64,
    /// Fill ring entries that the kernel found invalid.
    pub rx_invalid_descriptors: u64,
    /// TX ring entries that the kernel found invalid.
    pub tx_invalid_descriptors: u64,
    /// Packets dropped because the RX ring was full: the worker is too slow.
    pub rx_ring_full: u64,
    /// Times the fill ring was empty when a packet came: frames are held too long.
    pub rx_fill_ring_empty: u64,
    /// Times the kernel looked at an empty TX ring.
    pub tx_ring_empty: u64,
    /// Frames of packets in several, taken here.
    pub rx_fragments: u64,
    /// The same, dropped here.
    pub rx_fragments_dropped: u64,
    /// Frames sent in packets of several.
    pub tx_fragments: u64,
    /// Packets that did not start where the UMEM's headroom puts them, dropped here.
    pub rx_misplaced: u64,
}

/// Lifts the limits that copy mode has on packets in flight. Both are optional: without, sending only takes
/// more system calls.
pub(super) fn lift_transmit_limits(fd: BorrowedFd<'_>, tx_ring: u32) {
    // Copy mode accounts each packet to the socket until the receiver has read it; the default (208 KiB) would
    // stop the ring after some 50 packets. The kernel doubles the value, and holds it in an int.
    let bytes = (tx_ring as usize * BYTES_PER_PACKET / 2).min(i32::MAX as usize / 2);
    if let Err(error) = set_socket_send_buffer_size_force(fd, bytes)
        .or_else(|_| set_socket_send_buffer_size(fd, bytes))
    {
        tracing::debug!(%error, bytes, "SO_SNDBUF not raised");
    }
    let budget = tx_ring.min(TRANSMIT_BUDGET) as i32;
    if let Err(error) = set(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, budget) {
        tracing::debug!(%error, "XDP_MAX_TX_SKB_BUDGET not set (Linux 6.17 has it)");
    }
}

/// Whether the kernel bound the socket in zero-copy mode. (It says so in generic mode of some drivers as well.)
pub(super) fn is_zero_copy(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(xdp_options(fd)?.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY))
}

/// Whether the network stack runs the interface's XDP program, as rtnetlink tells (`IFLA_XDP_ATTACHED`); the socket's own options
/// do not tell.
pub(super) fn has_generic_program(interface: &str) -> bool {
    match link_state(&InterfaceId::from(interface)) {
        Ok(state) => matches!(state.xdp, Some((Attachment::Generic, _))),
        Err(error) => {
            tracing::debug!(%error, interface, "the mode of the XDP program is not known");
            false
        }
    }
}

/// Has each non-blocking call on the socket poll the driver's queue, and keep interrupts away while calls come
/// (Documentation/networking/af_xdp.rst and napi.rst, "Busy polling"). The kernel uses the time for blocking calls only, of which
/// there are none, but wants one; the caller keeps to it.
pub(super) fn poll_busily(fd: BorrowedFd<'_>, time: Duration) -> Result<(), XskError> {
    let microseconds = i32::try_from(time.as_micros()).unwrap_or(i32::MAX).max(1);
    let options = [
        ("SO_PREFER_BUSY_POLL", libc::SO_PREFER_BUSY_POLL, 1),
        ("SO_BUSY_POLL", libc::SO_BUSY_POLL, microseconds),
        (
            "SO_BUSY_POLL_BUDGET",
            libc::SO_BUSY_POLL_BUDGET,
            BUSY_POLL_BUDGET,
        ),
    ];
    for (option, number, value) in options {
        set(fd, libc::SOL_SOCKET, number, value)
            .map_err(|source| XskError::BusyPoll { option, source })?;
    }
    Ok(())
}

/// The NAPI instance that the last packet came by (`SO_INCOMING_NAPI_ID`); 0: none that could be polled.
pub(super) fn incoming_napi_id(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut id = 0_u32;
    let mut len = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `id` has.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut id).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(id)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets an option of 4 bytes.
fn set(fd: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads 4 bytes, which `value` has.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
