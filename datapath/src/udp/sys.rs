//! The system calls of a UDP link, with the ancillary data of segmentation (udp(7)). All `unsafe` of this module is here.

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Bytes for ancillary data: more than all that is asked for.
const CONTROL: usize = 256;
/// Index of the dropped packets in what `SO_MEMINFO` tells (include/uapi/linux/sock_diag.h, `SK_MEMINFO_DROPS`).
const MEMINFO_DROPS: usize = 8;
/// `SK_MEMINFO_VARS`.
const MEMINFO_WORDS: usize = 9;

/// Ancillary data, aligned as `cmsghdr` must be.
#[repr(C, align(8))]
pub(super) struct Control(MaybeUninit<[u8; CONTROL]>);

impl Control {
    pub(super) const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// What one call of recvmsg(2) brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes in all.
    pub(super) len: usize,
    /// There were more, which are lost.
    pub(super) truncated: bool,
    /// Bytes of each datagram but the last; `None`: it is one.
    pub(super) segment: Option<usize>,
    /// The ECN bits of the IP header, or of the last of them.
    pub(super) ecn: u8,
    /// Who sent it; `None` when the kernel does not say.
    pub(super) source: Option<SocketAddr>,
    /// The address of this host that it was sent to, when the socket was told to tell.
    pub(super) local: Option<IpAddr>,
}

/// Where a message goes, for a socket that is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) to: SocketAddr,
    /// The address of this host that it comes from.
    pub(super) from: IpAddr,
}

/// Sets an option of type `int`.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: i32,
) -> io::Result<()> {
    // SAFETY: the kernel reads one int, which `value` is.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
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

/// Datagrams that the socket dropped since it was made, for want of room in its buffer (`SO_MEMINFO`, Linux 4.12).
pub(super) fn drops(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut words = [0_u32; MEMINFO_WORDS];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `words` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(u64::from(words[MEMINFO_DROPS]))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Pieces of memory for one call.
pub(super) struct Pieces(Vec<libc::iovec>);

impl Pieces {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a piece to receive into.
    pub(super) fn push_mut(&mut self, piece: &mut [u8]) {
        self.0.push(libc::iovec {
            iov_base: piece.as_mut_ptr().cast(),
            iov_len: piece.len(),
        });
    }

    /// Adds a piece to send.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.0.push(libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        });
    }
}

/// Receives one message, of one or many segments, without waiting.
///
/// # Safety
///
/// Every piece was added by [`Pieces::push_mut`], and its memory is still there and nobody else's.
pub(super) unsafe fn receive(
    socket: BorrowedFd<'_>,
    pieces: &mut Pieces,
    control: &mut Control,
) -> io::Result<Received> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    // SAFETY: a msghdr of zeroes is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = pieces.0.as_mut_ptr();
    message.msg_iovlen = pieces.0.len();
    message.msg_control = control.as_mut_ptr();
    message.msg_controllen = CONTROL;
    // SAFETY: name, pieces and control are as long as the message says, and the caller promises that the pieces may be
    // written.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(len) = usize::try_from(len) else {
        return Err(io::Error::last_os_error());
    };
    let mut received = Received {
        len,
        truncated: message.msg_flags & libc::MSG_TRUNC != 0,
        segment: None,
        ecn: 0,
        // SAFETY: zeroed, so whatever the kernel left unwritten is initialised, and the family tells what was written.
        source: unsafe { address_of(&name.assume_init()) },
        local: None,
    };
    // SAFETY: the kernel has set the control length to what it wrote, and the iteration stays within.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(&raw const message);
        while !entry.is_null() {
            take_in(&mut received, entry);
            entry = libc::CMSG_NXTHDR(&raw const message, entry);
        }
    }
    Ok(received)
}

/// Reads one entry of ancillary data.
///
/// # Safety
///
/// `entry` points to an entry that the kernel wrote.
unsafe fn take_in(received: &mut Received, entry: *const libc::cmsghdr) {
    // SAFETY: the caller's promise; the kernel writes the whole structure that belongs to a kind of entry (net/ipv4/udp.c
    // `udp_cmsg_recv`, net/ipv4/ip_sockglue.c, net/ipv6/datagram.c), at no particular alignment.
    unsafe {
        let data = libc::CMSG_DATA(entry);
        match ((*entry).cmsg_level, (*entry).cmsg_type) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let segment: i32 = ptr::read_unaligned(data.cast());
                received.segment = usize::try_from(segment).ok().filter(|&bytes| bytes > 0);
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => received.ecn = *data & 3,
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                let class: i32 = ptr::read_unaligned(data.cast());
                received.ecn = (class & 3) as u8;
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                received.local = Some(address.into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                received.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            _ => {}
        }
    }
}

/// Sends the pieces as one message, cut into datagrams of `segment` bytes when that is given, without waiting.
///
/// # Safety
///
/// The memory of every piece is still there.
pub(super) unsafe fn send(
    socket: BorrowedFd<'_>,
    pieces: &mut Pieces,
    control: &mut Control,
    segment: Option<u16>,
    destination: Option<Destination>,
) -> io::Result<usize> {
    let mut name = destination.map(|destination| storage_of(destination.to));
    // SAFETY: a msghdr of zeroes is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if let Some((name, len)) = &mut name {
        message.msg_name = ptr::from_mut(name).cast();
        message.msg_namelen = *len;
    }
    message.msg_iov = pieces.0.as_mut_ptr();
    message.msg_iovlen = pieces.0.len();
    let mut used = 0;
    if let Some(segment) = segment {
        // SAFETY: there is room for all entries, see `put`.
        used += unsafe { put(control, used, libc::SOL_UDP, libc::UDP_SEGMENT, segment) };
    }
    match destination.map(|destination| destination.from) {
        Some(IpAddr::V4(from)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(from).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            // SAFETY: as above.
            used += unsafe { put(control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info) };
        }
        Some(IpAddr::V6(from)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: 0,
            };
            // SAFETY: as above.
            used += unsafe { put(control, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info) };
        }
        None => {}
    }
    if used > 0 {
        message.msg_control = control.as_mut_ptr();
        message.msg_controllen = used;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: name, pieces and control are as long as the message says, and the kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Writes an entry of ancillary data behind `used` bytes; returns its length, padding included.
///
/// # Safety
///
/// `T` is what the kernel reads for this kind of entry: plain bytes, at most 20 of them, and at most two entries are written.
unsafe fn put<T>(control: &mut Control, used: usize, level: i32, kind: i32, value: T) -> usize {
    const { assert!(size_of::<T>() <= 20 && 2 * (20 + 8 + size_of::<libc::cmsghdr>()) <= CONTROL) };
    // SAFETY: two entries of this size fit, and `used` is a multiple of the alignment, as CMSG_SPACE is.
    unsafe {
        let entry = control
            .as_mut_ptr()
            .cast::<u8>()
            .add(used)
            .cast::<libc::cmsghdr>();
        entry.write(libc::cmsghdr {
            cmsg_len: libc::CMSG_LEN(size_of::<T>() as u32) as usize,
            cmsg_level: level,
            cmsg_type: kind,
        });
        ptr::write_unaligned(libc::CMSG_DATA(entry).cast(), value);
        libc::CMSG_SPACE(size_of::<T>() as u32) as usize
    }
}

/// The address in what the kernel wrote.
///
/// # Safety
///
/// All bytes are initialised, and the family tells the truth about the others.
unsafe fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let name = ptr::from_ref(name);
    // SAFETY: the storage is as large and as aligned as any address.
    unsafe {
        match i32::from((*name).ss_family) {
            libc::AF_INET => {
                let name = &*name.cast::<libc::sockaddr_in>();
                let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 => {
                let name = &*name.cast::<libc::sockaddr_in6>();
                let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                // As `net::parse` has it: no flow label, no scope.
                Some(SocketAddrV6::new(address, u16::from_be(name.sin6_port), 0, 0).into())
            }
            _ => None,
        }
    }
}

/// An address as the kernel reads it, and its length.
fn storage_of(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    const {
        assert!(offset_of!(libc::sockaddr_in, sin_family) == 0);
        assert!(offset_of!(libc::sockaddr_in6, sin6_family) == 0);
    }
    // SAFETY: a sockaddr_storage of zeroes is valid.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let name = &raw mut storage;
    let len = match address {
        SocketAddr::V4(address) => {
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*address.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is as large and as aligned as any address.
            unsafe { name.cast::<libc::sockaddr_in>().write(value) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let value = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe { name.cast::<libc::sockaddr_in6>().write(value) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as libc::socklen_t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_were_written() {
        for text in ["192.0.2.7:7440", "[fd00::7]:1", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let (storage, len) = storage_of(address);
            assert!(len as usize <= size_of_val(&storage));
            // SAFETY: `storage_of` makes whole addresses.
            assert_eq!(unsafe { address_of(&storage) }, Some(address), "{text}");
        }
    }
}
