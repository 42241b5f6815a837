//! Raw packet sockets (packet(7)): whole Ethernet frames to and from one interface. The only unsafe code of the wire.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::netdevice::name_to_index;

use super::frame::Frame;

/// Frames moved by one system call.
pub const BATCH: usize = 64;

/// EtherType in a VLAN tag when the kernel does not name one (IEEE 802.1Q).
const VLAN_8021Q: u16 = 0x8100;

/// Room for one control message with a `tpacket_auxdata` (20 bytes), rounded up generously.
const CONTROL_LEN: usize = 64;

/// Space for ancillary data, aligned as `cmsghdr` demands.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

/// What one receive call gave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Received {
    /// Frames filled, from the first of the slice on.
    pub frames: usize,
    /// Of these, frames that were longer than their buffer. They are cut short and must not be passed on.
    pub truncated: usize,
}

/// A promiscuous raw socket on one interface. Sees the frames that arrive, never those that leave.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on `interface` with room for `buffer` bytes in either direction.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW and CAP_NET_ADMIN, `ENODEV` when there is no such interface.
    pub fn open(interface: &str, buffer: usize) -> io::Result<Self> {
        // Protocol 0 receives nothing: no frame of another interface slips in before the bind.
        // SAFETY: no pointers are passed.
        let fd = check(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self { fd };
        let index = name_to_index(&socket.fd, interface)? as libc::c_int;

        let size = buffer.min(i32::MAX as usize / 2) as libc::c_int;
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size)?;
        socket.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &size)?;
        let on: libc::c_int = 1;
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)?;
        // The kernel takes the outer VLAN tag out of a frame and hands it over beside it.
        socket.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)?;
        socket.bind(index)?;
        // The hosts' frames are addressed to each other, not to the wire.
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        socket.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)?;
        Ok(socket)
    }

    /// Fills up to [`BATCH`] frames with what has arrived. Does not wait: no frame is `WouldBlock`.
    ///
    /// # Errors
    /// As recvmmsg(2); `NetworkDown` once when the interface goes down.
    pub fn receive(&self, frames: &mut [Frame]) -> io::Result<Received> {
        let count = frames.len().min(BATCH);
        let mut vectors = [EMPTY_VECTOR; BATCH];
        let mut controls = [Control([0; CONTROL_LEN]); BATCH];
        let mut headers = empty_headers();
        for (i, frame) in frames[..count].iter_mut().enumerate() {
            let room = frame.room();
            vectors[i] = libc::iovec {
                iov_base: room.as_mut_ptr().cast(),
                iov_len: room.len(),
            };
            headers[i].msg_hdr.msg_iov = &raw mut vectors[i];
            headers[i].msg_hdr.msg_iovlen = 1;
            headers[i].msg_hdr.msg_control = controls[i].0.as_mut_ptr().cast();
            headers[i].msg_hdr.msg_controllen = CONTROL_LEN as _;
        }
        // SAFETY: `headers[..count]` name the frames' rooms and `controls`, which are exclusively borrowed, initialised
        // and live until the call returns; MSG_DONTWAIT needs no timeout.
        let received = check(unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        })? as usize;
        let mut result = Received {
            frames: received,
            truncated: 0,
        };
        for (frame, header) in frames.iter_mut().zip(&headers[..received]) {
            frame.set_len(header.msg_len as usize);
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                result.truncated += 1;
                frame.set_len(0);
            } else if let Some((protocol, control)) = vlan_tag(&header.msg_hdr) {
                frame.insert_vlan(protocol, control);
            }
        }
        Ok(result)
    }

    /// Sends frames in order and gives how many the kernel took (at most [`BATCH`]). Waits for room in the send buffer.
    ///
    /// # Errors
    /// As sendmmsg(2), about the first frame: `ENOBUFS` when the queue of the interface is full, `EMSGSIZE` when the frame
    /// is longer than the MTU, `ENETDOWN` when the interface is down.
    pub fn send(&self, frames: &[Frame]) -> io::Result<usize> {
        let count = frames.len().min(BATCH);
        let mut vectors = [EMPTY_VECTOR; BATCH];
        let mut headers = empty_headers();
        for (i, frame) in frames[..count].iter().enumerate() {
            let bytes = frame.bytes();
            vectors[i] = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
            headers[i].msg_hdr.msg_iov = &raw mut vectors[i];
            headers[i].msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: `headers[..count]` name the frames' bytes, which live until the call returns and are only read.
        let sent = unsafe {
            libc::sendmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count as libc::c_uint,
                0,
            )
        };
        Ok(check(sent)? as usize)
    }

    /// Frames that the kernel dropped since the last call because the receive buffer was full.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn take_drops(&self) -> io::Result<u64> {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: both pointers are valid for writes, and `length` is the size of the structure.
        check(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        })?;
        Ok(u64::from(statistics.tp_drops))
    }

    /// Binds to one interface, for frames of every protocol.
    fn bind(&self, index: libc::c_int) -> io::Result<()> {
        // SAFETY: all bytes zero is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address is a whole `sockaddr_ll`, and `length` is its size.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(())
    }

    /// Sets one socket option. `T` must be the plain C type that the option takes.
    fn set<T: Copy>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the pointer is valid for reads of `length` bytes; the kernel checks the length against the option.
        check(unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(value).cast(),
                length,
            )
        })?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A gather list entry of no bytes.
const EMPTY_VECTOR: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// Message headers that name nothing.
fn empty_headers() -> [libc::mmsghdr; BATCH] {
    // SAFETY: all bytes zero is a valid `mmsghdr`: null pointers with zero lengths.
    unsafe { mem::zeroed() }
}

/// The VLAN tag (protocol id, control information) that the kernel took out of a received frame.
fn vlan_tag(header: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the header was filled by recvmmsg and its control buffer is still alive.
    let message = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if message.cmsg_level != libc::SOL_PACKET || message.cmsg_type != libc::PACKET_AUXDATA {
        return None;
    }
    // SAFETY: a PACKET_AUXDATA message carries one `tpacket_auxdata`; it may lie unaligned.
    let auxiliary = unsafe {
        libc::CMSG_DATA(message)
            .cast::<libc::tpacket_auxdata>()
            .read_unaligned()
    };
    if auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let named = auxiliary.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if named {
        auxiliary.tp_vlan_tpid
    } else {
        VLAN_8021Q
    };
    Some((protocol, auxiliary.tp_vlan_tci))
}

/// The result of a system call, or its error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
