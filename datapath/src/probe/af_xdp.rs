//! Whether the kernel has AF_XDP at all.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Whether this kernel has AF_XDP sockets; `None`: it does not tell. Needs no privileges.
pub(super) fn is_supported() -> Option<bool> {
    let family = AddressFamily::from_raw(libc::AF_XDP as u16);
    match socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None) {
        // Only who may not have one is refused like that (xsk_create(), net/xdp/xsk.c).
        Ok(_) | Err(Errno::PERM) => Some(true),
        Err(Errno::AFNOSUPPORT) => Some(false),
        Err(_) => None,
    }
}
